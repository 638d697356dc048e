"""Kaggle: check a submission, prepare the series; the official client sends both."""
