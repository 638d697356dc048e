"""The training loop, batches, inference, features, classifiers and fine-tuning."""
