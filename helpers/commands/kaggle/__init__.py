"""Kaggle by its official client: submit a checked CSV, run the series there."""
