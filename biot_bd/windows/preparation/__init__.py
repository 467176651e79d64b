"""From recordings to a store of windows: jobs, signals, ``prepare``."""
