"""Command lines: run, train, score, doctor, publish and Kaggle."""
