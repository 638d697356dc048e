"""Show what a model looks at: Grad-CAM and its measures, anomaly maps, and t-SNE."""
