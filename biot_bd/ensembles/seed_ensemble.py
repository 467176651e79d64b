"""SKELETON, helper G writes it."""


class SeedEnsemble:
    """Skeleton."""
