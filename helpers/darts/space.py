"""The search space of DARTS cells: states and edges.

States are numbered as in DARTS (Liu et al., arXiv 1806.09055): 0 and 1 are the two inputs of the
cell, 2 to 5 its four nodes. Each node of a discrete cell keeps two edges, each with one operation
of `operations.OPS`.
"""

from __future__ import annotations

from helpers.core.errors import UserError

NODE_STATES = (2, 3, 4, 5)
# (source, target) states of the 14 candidate edges, in the order of alpha's rows
EDGES = tuple((source, node) for node in NODE_STATES for source in range(node))
NUM_CLASSES = 2  # good and bad
KINDS = ("normal", "reduce")  # of cells, named as in the published genotypes


class GenotypeError(UserError):
    """A genotype, or the file of a genotype, is not valid; the message names the culprit."""
