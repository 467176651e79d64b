"""Runs of protocols and training regimes, and their comparison."""
