"""Recordings on disk: readers of EDF and of what MNE reads, channel by channel."""
