"""Metrics, tables, comparisons, ensembles, decisions, the submission and their plots."""
