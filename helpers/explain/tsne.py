"""t-SNE maps of embeddings, and a measure of how well embeddings separate good and bad parts."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE
from sklearn.neighbors import NearestNeighbors
from threadpoolctl import threadpool_limits

from helpers.core.metrics import group_numbers
from helpers.core.style import SIDES
from helpers.training.inference import Features

PCA_DIMENSIONS = 50  # neighbours are found several times faster after PCA
MOST_PARTS = 5_000  # the time of the measures grows with the square, and more dots hide each other
NEIGHBOURS = 15
PERPLEXITY = 30
ITERATIONS = 500  # the first 250 with early exaggeration
FEWEST_PARTS = 7  # the perplexity must be 2 or more, and at most a third of the other parts
TABLE = {  # templates of `style.shown`
    "Set": "{side}",
    "Embedding": "{embedding}",
    "Images": "{images:,}",
    "Agreement": "{label_agreement:%} ± {agreement_error:%}",
    "By chance": "{chance_agreement:%}",
    "Same group": "{group_agreement:%}",
    "By chance (group)": "{group_chance:%}",
}


class Mapped(NamedTuple):
    """The parts of one side under one embedding."""

    row: dict[str, Any]  # side, embedding, and `separation` in it (not in the plane)
    labels: np.ndarray  # (N,)
    groups: np.ndarray | None  # numbers (N,), None if no part has a group
    plane: np.ndarray  # (N, 2)


def before_and_after(
    features: Mapping[str, Features], split: pd.DataFrame, seed: int = 0
) -> list[Mapped]:
    """Map training and validation parts under each embedding (report, figures 12, 13).

    `features` are "pretrained" and "fine-tuned". `MOST_PARTS` of a larger side are drawn.
    """
    mapped = []
    for side in ("train", "val"):
        rows, word = split[split.split == side], SIDES[side]
        if len(rows) < FEWEST_PARTS:
            print(f"{len(rows)} {word} parts are too few for t-SNE")
            continue
        if len(rows) > MOST_PARTS:
            print(f"{MOST_PARTS:,} of the {len(rows):,} {word} parts are drawn for the map")
            rows = rows.sample(MOST_PARTS, random_state=seed)
        labels = rows.label.to_numpy(dtype=np.int64)
        for kind, embedded in features.items():
            x = embedded.of(rows.id)
            row = {"side": side, "embedding": kind, "images": len(labels)} | separation(x, labels)
            groups = None
            if "group" in rows and rows.group.notna().any():
                groups = group_numbers(rows.group.to_numpy(), len(x))
                alike = separation(x, groups)
                row["group_agreement"] = alike["label_agreement"]
                row["group_chance"] = alike["chance_agreement"]
            mapped.append(Mapped(row, labels, groups, tsne(x, seed)))
    return mapped


def tsne(embeddings: ArrayLike, seed: int = 0) -> np.ndarray:
    """Map embeddings (N, D) to the plane: (N, 2) float64, t-SNE (van der Maaten and Hinton 2008).

    The map starts from the principal components (Kobak and Berens 2019). Equal embeddings, as a
    collapsed network gives them, are mapped to one point.
    """
    embeddings = np.asarray(embeddings)
    n, dimensions = embeddings.shape
    if (embeddings == embeddings[0]).all():
        return np.zeros((n, 2))
    pca = PCA(min(PCA_DIMENSIONS, n, dimensions), svd_solver="covariance_eigh")
    perplexity = min(PERPLEXITY, (n - 1) / 3)
    optimiser = TSNE(perplexity=perplexity, init="pca", max_iter=ITERATIONS, random_state=seed)
    # Threads wait for each other if another program uses a core: 1,652 parts took 40 s, not 10 s.
    with threadpool_limits(1):
        return optimiser.fit_transform(pca.fit_transform(embeddings)).astype(np.float64)


def separation(embeddings: ArrayLike, labels: ArrayLike, k: int = NEIGHBOURS) -> dict[str, float]:
    """Return how well embeddings (N, D) separate the labels (N,).

    "label_agreement" is the mean fraction of a part's `k` nearest neighbours (Euclidean, without
    the part itself) that have its label; "agreement_error" is its standard error over the parts.
    "chance_agreement" is "label_agreement" of embeddings that are unrelated to the labels.
    """
    labels = np.asarray(labels)
    n, counts = len(labels), np.unique(labels, return_counts=True)[1]
    index = NearestNeighbors(n_neighbors=min(k, n - 1), n_jobs=-1).fit(embeddings)
    neighbours = index.kneighbors(return_distance=False)  # (N, k); leaves out the part itself
    agreements = (labels[neighbours] == labels[:, None]).mean(axis=1)
    return {
        "label_agreement": float(agreements.mean()),
        "agreement_error": float(agreements.std() / n**0.5),
        "chance_agreement": float((counts * (counts - 1)).sum() / (n * (n - 1))),
    }
