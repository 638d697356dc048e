"""Thresholds with a promise, costs, calibration, mistakes, and labels to check."""
