"""Grad-CAM and its measures, t-SNE and the image browser."""
