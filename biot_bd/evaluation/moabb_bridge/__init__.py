"""Seizure data inside MOABB's evaluations, and our results in MOABB's table."""
