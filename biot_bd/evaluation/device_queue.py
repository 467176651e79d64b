"""SKELETON (owner B)."""
