"""Scores of windows, thresholds and calibration."""
