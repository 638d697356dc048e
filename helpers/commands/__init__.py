"""Command lines: run, predict, score, review, export, doctor and Kaggle."""
