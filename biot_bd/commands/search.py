"""SKELETON (owner H)."""

from __future__ import annotations


def search() -> None:
    """SKELETON."""
    raise NotImplementedError
