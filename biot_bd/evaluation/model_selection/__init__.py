"""Splits by subject, and what a checkpoint must not have seen."""
