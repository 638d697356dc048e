"""A run: settings, presets, stages, the record in run.json, predictions and names."""
