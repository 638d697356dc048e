"""Kaggle by its official client: download a contest, submit a checked CSV, run the series there."""
