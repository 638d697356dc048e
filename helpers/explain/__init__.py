"""Show what a model looks at: Grad-CAM and its measures, t-SNE, and a browser of parts."""
