"""Differentiable architecture search (DARTS): search space, supernet, search, derived network."""
