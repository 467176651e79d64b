"""Checkpoints: where they are found, their layouts, loading, saving, what they have seen."""
