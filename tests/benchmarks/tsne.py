"""Seconds and peak memory of our t-SNE and of scikit-learn's, on the same principal components."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import numpy as np
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE

from helpers.explain import tsne
from tests.benchmarks import made_up, measure
from tests.benchmarks.measure import Timed
from tests.benchmarks.report import Case, Options

SIZES = {"embeddings": [30_000], "dimensions": made_up.DIMENSIONS}
SMALL = {"embeddings": [60], "dimensions": made_up.DIMENSIONS}


def scikit_learn_tsne(embeddings: np.ndarray) -> np.ndarray:
    """Run scikit-learn's t-SNE with its own settings, on all cores."""
    reduced = PCA(tsne.PCA_DIMENSIONS, svd_solver="covariance_eigh").fit_transform(embeddings)
    return TSNE(n_jobs=-1, random_state=0).fit_transform(reduced)


def planes(method: str, n: int) -> Timed:
    """Time the map of n embeddings; a fact beside it is how far labels agree in the plane."""
    x, found = made_up.embeddings(n), []
    function = tsne.tsne if method == "ours" else scikit_learn_tsne
    seconds = measure.seconds_of(lambda: found.append(function(x)))
    labels = x[:, 0] > np.median(x[:, 0])
    return Timed(seconds, facts={"label_agreement": tsne.agreements(found[0], labels).mean()})


def cases(sizes: dict[str, Any], options: Options) -> Iterator[Case]:
    """Yield one case per number of embeddings."""
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # the load of other programs counts less
    for n in sizes["embeddings"]:
        sides = [options.measure(planes, method, n) for method in ("ours", "scikit-learn")]
        agreements = " and ".join(f"{side.facts['label_agreement']:.3f}" for side in sides)
        yield Case(f"{n:,} x {sizes['dimensions']}", *sides, "s", f"label agreement {agreements}")
