"""The training loop, batches, inference, features, baselines and fine-tuning."""
