"""DARTS: search space, supernet, search, genotypes, derived networks, drawings."""
