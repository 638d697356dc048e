"""A map of embeddings (t-SNE) and numbers for how far it keeps good and bad parts apart.

Embeddings are (N, D), one row a part; labels are (N,).
"""

from typing import NamedTuple

import numpy as np
import openTSNE
from numpy.typing import ArrayLike
from openTSNE import affinity, initialization
from sklearn.decomposition import PCA
from sklearn.metrics import silhouette_score
from sklearn.neighbors import NearestNeighbors

# Measured on 2 cores at 30,000 x 512: neighbours in 3 s after PCA, in 10 s without.
PCA_DIMENSIONS = 50
# Exact neighbours take 3 s at 30,000 and grow with the square, annoy's 13 s grow linearly.
MOST_EXACT_NEIGHBOURS = 100_000
# Barnes-Hut is the faster one up to here (3 s both at 6,000), interpolation (FIt-SNE) beyond.
MOST_BARNES_HUT = 5_000
# Twice as wide as openTSNE's default of 1 would cost 1 % of the Kullback-Leibler divergence; 1.5
# takes 16 s instead of 27 s at 30,000 and keeps as many of the 15 nearest neighbours.
INTERVAL_WIDTH = 1.5
# A second thread saves 0.2 s at 500 parts, but where another program holds a core the threads wait
# for each other at every step: 11 s instead of 1 s at 300. OMP_WAIT_POLICY=passive mends that too.
MOST_ON_ONE_THREAD = 1_000
MOST_SILHOUETTE_PARTS = 5_000  # the silhouette grows with the square: under 1 s here


class Separation(NamedTuple):
    """How far the classes keep apart; for chance see `chance_agreement`, for silhouette it is 0."""

    label_agreement: float
    chance_agreement: float
    silhouette: float


def tsne(
    embeddings: ArrayLike,
    seed: int = 0,
    perplexity: float = 30,
    n_iterations: int = 500,
    n_jobs: int = -1,
) -> np.ndarray:
    """Map embeddings (N, D) to the plane, (N, 2) float64: t-SNE (van der Maaten and Hinton 2008).

    Repulsion by interpolation (Linderman et al. 2019) or, for few parts, Barnes-Hut, started from
    the principal components (Kobak and Berens 2019). `n_iterations` follow 250 of early
    exaggeration; `n_jobs` is the number of threads beyond 1,000 parts, -1 for one a core. The same
    seed gives the same map. A perplexity above (N - 1) / 3 is lowered to that.
    """
    embeddings = _checked(embeddings)
    n, dimensions = embeddings.shape
    if n < 7 or dimensions < 2:
        raise ValueError(f"t-SNE needs 7 parts of 2 dimensions or more, got {embeddings.shape}")
    if (embeddings == embeddings[0]).all():
        raise ValueError(f"all {n} embeddings are the same, there is nothing to map")
    if perplexity < 1:
        raise ValueError(f"perplexity is {perplexity}, it must be 1 or more")
    pca = PCA(min(PCA_DIMENSIONS, n, dimensions), svd_solver="covariance_eigh")
    reduced = pca.fit_transform(embeddings)
    n_jobs = 1 if n <= MOST_ON_ONE_THREAD else n_jobs
    affinities = affinity.PerplexityBasedNN(
        reduced,
        perplexity=min(perplexity, (n - 1) / 3),
        method="exact" if n <= MOST_EXACT_NEIGHBOURS else "annoy",
        n_jobs=n_jobs,
        random_state=seed,
    )
    optimiser = openTSNE.TSNE(
        negative_gradient_method="bh" if n <= MOST_BARNES_HUT else "fft",
        ints_in_interval=INTERVAL_WIDTH,
        n_iter=n_iterations,
        n_jobs=n_jobs,
        random_state=seed,
    )
    start = initialization.pca(reduced, random_state=seed)
    return np.asarray(optimiser.fit(affinities=affinities, initialization=start))


def label_agreement(embeddings: ArrayLike, labels: ArrayLike, k: int = 15) -> float:
    """Fraction of the `k` nearest neighbours (Euclidean, the part itself left out) that carry the
    part's own label, averaged over the parts."""
    embeddings, labels = _checked(embeddings), np.asarray(labels)
    if len(labels) != len(embeddings):
        raise ValueError(f"{len(labels)} labels for {len(embeddings)} embeddings")
    if not 1 <= k < len(labels):
        raise ValueError(f"k is {k}, with {len(labels)} parts it must be 1 to {len(labels) - 1}")
    index = NearestNeighbors(n_neighbors=k, n_jobs=-1).fit(embeddings)
    neighbours = index.kneighbors(return_distance=False)  # (N, k), never the part itself
    return float((labels[neighbours] == labels[:, None]).mean())


def chance_agreement(labels: ArrayLike) -> float:
    """The label agreement to expect of embeddings that know nothing of the labels."""
    _, counts = np.unique(np.asarray(labels), return_counts=True)
    n = counts.sum()
    return float((counts * (counts - 1)).sum() / (n * (n - 1)))


def separation(embeddings: ArrayLike, labels: ArrayLike, k: int = 15, seed: int = 0) -> Separation:
    """Label agreement, its chance level, and silhouette (Rousseeuw 1987; of 5,000 parts drawn
    with `seed` where there are more): call it on pretrained and on fine-tuned embeddings."""
    embeddings, labels = _checked(embeddings), np.asarray(labels)
    agreement = label_agreement(embeddings, labels, k)
    if len(np.unique(labels)) < 2:
        raise ValueError(f"all {len(labels)} labels are {labels[0]}; separation needs two classes")
    chosen = np.arange(len(labels))
    if len(chosen) > MOST_SILHOUETTE_PARTS:
        chosen = np.random.default_rng(seed).choice(chosen, MOST_SILHOUETTE_PARTS, replace=False)
    silhouette = silhouette_score(embeddings[chosen], labels[chosen])
    return Separation(agreement, chance_agreement(labels), float(silhouette))


def _checked(embeddings: ArrayLike) -> np.ndarray:
    embeddings = np.asarray(embeddings)
    if embeddings.ndim != 2:
        raise ValueError(f"embeddings must be (N, D), got shape {embeddings.shape}")
    if not np.isfinite(embeddings).all():
        rows = np.flatnonzero(~np.isfinite(embeddings).all(axis=1))
        raise ValueError(f"{rows.size} embeddings hold NaN or infinity, the first is row {rows[0]}")
    return embeddings
