"""``BIOTClassifier`` and the parts of it."""
