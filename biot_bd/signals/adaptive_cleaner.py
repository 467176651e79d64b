"""SKELETON, helper B writes it."""


class AdaptiveCleaner:
    """Skeleton."""
