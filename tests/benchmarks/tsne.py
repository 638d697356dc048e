"""Seconds and peak memory of our t-SNE and scikit-learn's: `python -m tests.benchmarks.tsne`.

Scikit-learn is handed the same principal components, so that only the t-SNE itself is compared.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE

from helpers.explain import tsne as embedding
from tests.benchmarks import machine, made_up, measure, report
from tests.benchmarks.measure import Timed
from tests.benchmarks.report import Case, Options

METHODS = ("ours", "scikit-learn")
SIZES = {"embeddings": [30_000], "dimensions": made_up.DIMENSIONS}
SMALL = {"embeddings": [60], "dimensions": made_up.DIMENSIONS}


def scikit_learn_tsne(embeddings: np.ndarray) -> np.ndarray:
    """Scikit-learn's t-SNE at its own settings, on all cores."""
    reduced = PCA(embedding.PCA_DIMENSIONS, svd_solver="covariance_eigh").fit_transform(embeddings)
    return TSNE(n_jobs=-1, random_state=0).fit_transform(reduced)


def planes(method: str, n: int) -> Timed:
    """Map n embeddings; how far labels agree in the plane is a fact beside the seconds."""
    x, found = made_up.embeddings(n), []
    tsne = embedding.tsne if method == "ours" else scikit_learn_tsne
    seconds = measure.seconds_of(lambda: found.append(tsne(x)))
    labels = x[:, 0] > np.median(x[:, 0])
    return Timed(seconds, facts={"label_agreement": embedding.label_agreement(found[0], labels)})


def cases(
    sizes: dict[str, Any], options: Options, methods: tuple[str, ...] = METHODS
) -> Iterator[Case]:
    """One case per number of embeddings."""
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # other programs' load counts less
    for n in sizes["embeddings"]:
        sides = [options.measure(planes, m, n) if m in methods else None for m in METHODS]
        agreements = [f"{side.facts['label_agreement']:.3f}" for side in sides if side]
        remark = f"label agreement {' and '.join(agreements)}"
        yield Case(f"{n:,} x {sizes['dimensions']}", *sides, "s", remark)


def main() -> None:
    """The command line of this benchmark alone."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=[3_000, 10_000, 30_000])
    parser.add_argument("--methods", nargs="+", default=METHODS, choices=METHODS)
    arguments = parser.parse_args()
    print(machine.line(), flush=True)
    sizes = SIZES | {"embeddings": arguments.sizes}
    with tempfile.TemporaryDirectory() as folder:
        found = cases(sizes, Options(Path(folder)), tuple(arguments.methods))
        report.show("tsne", __doc__, sizes, found)


if __name__ == "__main__":
    main()
