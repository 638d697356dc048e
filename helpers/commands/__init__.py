"""Command lines: run, predict, review, export and kaggle."""
