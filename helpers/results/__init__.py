"""Metrics, tables, comparisons, the submission and their plots."""
