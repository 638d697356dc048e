"""From a run to the line: a model described in model.json, its answers for new images, exports."""
