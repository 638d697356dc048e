"""A map of embeddings (t-SNE) and numbers for how far it keeps good and bad parts apart.

Embeddings are (N, D), one row a part; labels are (N,).
"""

from functools import cache
from typing import NamedTuple

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from numpy.typing import ArrayLike
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE
from sklearn.metrics import silhouette_score
from sklearn.neighbors import NearestNeighbors

from helpers.core.paths import RunPaths
from helpers.core.style import LABEL_NAMES, PALETTE
from helpers.runs.record import naming_maker
from helpers.training.features import load_features

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
# for each other at every step: 11 s instead of 1 s at 300, 26 s instead of 7 s at 1,668.
# OMP_WAIT_POLICY=passive mends that too.
MOST_ON_ONE_THREAD = 3_000
EXAGGERATED_ITERATIONS = 250  # openTSNE's and scikit-learn's default
MOST_SILHOUETTE_PARTS = 5_000  # the silhouette grows with the square: under 1 s here
NEIGHBOURS = 15
FEWEST_PARTS = 7  # t-SNE's perplexity is at most a third of the others, and wants 2 at least
SIDES = {"train": "training", "val": "validation"}
MARKERS = {"good": "o", "bad": "^"}  # a grey print tells them apart too


class Separation(NamedTuple):
    """How far the classes keep apart; for chance see `chance_agreement`, for silhouette it is 0."""

    label_agreement: float
    chance_agreement: float
    silhouette: float


class Mapped(NamedTuple):
    """The parts of one side under one embedding."""

    side: str  # "train" or "val"
    embedding: str  # "pretrained" or "fine-tuned"
    labels: np.ndarray  # (N,)
    plane: np.ndarray  # (N, 2)
    separation: Separation  # in the whole embedding, not in the plane


def before_and_after(
    run_paths: RunPaths,
    split: pd.DataFrame,
    backbone: str,
    seed: int = 0,
    finetuned: str = "fbp",
) -> list[Mapped]:
    """Training and validation parts, each pretrained and fine-tuned (figures 12 and 13).

    `backbone` and `finetuned` name the files of features that notebooks 02 and 03 wrote. A side
    with fewer parts than t-SNE needs is passed over, which is said.
    """
    names = {"pretrained": backbone, "fine-tuned": finetuned}
    features = {}
    for kind, name in names.items():
        with naming_maker(run_paths, path := run_paths.features(name)):
            features[kind] = load_features(path)
    mapped = []
    for side in SIDES:
        rows = split[split.split == side]
        if len(rows) < FEWEST_PARTS:
            parts = f"{len(rows)} {SIDES[side]} part{'s' if len(rows) != 1 else ''}"
            print(f"no map of the {parts}: t-SNE needs {FEWEST_PARTS}")
            continue
        labels = rows.label.to_numpy(dtype=np.int64)
        for kind, found in features.items():
            x = found.of(rows.id)
            k = min(NEIGHBOURS, len(x) - 1)
            # a collapsed network gives every part the same embedding: its map is one point
            plane = np.zeros((len(x), 2)) if (x == x[0]).all() else tsne(x, seed)
            mapped.append(Mapped(side, kind, labels, plane, separation(x, labels, k, seed)))
    return mapped


def table(mapped: list[Mapped]) -> pd.DataFrame:
    """One row a side and embedding: label agreement of the nearest neighbours, what chance gives,
    and the silhouette."""
    rows = [
        {
            "side": m.side,
            "embedding": m.embedding,
            "images": len(m.labels),
            **m.separation._asdict(),
        }
        for m in mapped
    ]
    columns = ["side", "embedding", "images", *Separation._fields]  # also where no side is left
    return pd.DataFrame(rows, columns=columns)


def figure(mapped: list[Mapped]) -> Figure:
    """The planes of `before_and_after`: a row a side, a column an embedding, a marker a label."""
    if not mapped:
        drawn, ax = plt.subplots(figsize=(5.4, 1))
        ax.set_axis_off()
        ax.text(0, 0.5, f"no side has the {FEWEST_PARTS} parts that t-SNE needs", va="center")
        return drawn
    sides = list(dict.fromkeys(m.side for m in mapped))
    kinds = list(dict.fromkeys(m.embedding for m in mapped))
    drawn, axes = plt.subplots(
        len(sides), len(kinds), figsize=(5.4 * len(kinds), 4.9 * len(sides)), squeeze=False
    )
    for m in mapped:
        ax = axes[sides.index(m.side), kinds.index(m.embedding)]
        _scatter(ax, m)
        found, k = m.separation, min(NEIGHBOURS, len(m.labels) - 1)
        ax.set_title(
            f"{SIDES.get(m.side, m.side)}, {m.embedding}\n{k} neighbours agree "
            f"{found.label_agreement:.2f} (chance {found.chance_agreement:.2f}), "
            f"silhouette {found.silhouette:.2f}",
            fontsize=10,
        )
        ax.set(xticks=[], yticks=[])
    axes[0, -1].legend(loc="upper left", bbox_to_anchor=(1.01, 1), markerscale=2)
    return drawn


def _scatter(ax: plt.Axes, m: Mapped) -> None:
    """Parts in small groups, good and bad in turn, so that neither class lies on the other."""
    n = len(m.labels)
    size, alpha = np.clip(25_000 / n, 4, 30), np.clip(3_000 / n, 0.35, 0.85)
    turns = np.array_split(np.random.default_rng(0).permutation(n), min(20, n))
    for label, word in LABEL_NAMES.items():
        ax.scatter([], [], color=PALETTE[word], marker=MARKERS[word], s=28, label=word)
        for i, rows in enumerate(turns):
            xy = m.plane[rows[m.labels[rows] == label]]
            ax.scatter(
                xy[:, 0],
                xy[:, 1],
                s=size,
                color=PALETTE[word],
                marker=MARKERS[word],
                alpha=alpha,
                linewidths=0.3,
                edgecolors="white",
                zorder=2 + i,
            )


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
    exaggeration; `n_jobs` is the number of threads beyond 3,000 parts, -1 for one a core. The same
    seed gives the same map. A perplexity above (N - 1) / 3 is lowered to that. Without openTSNE
    scikit-learn's Barnes-Hut does the same, which is said: slower on many parts.
    """
    embeddings = _checked(embeddings)
    n, dimensions = embeddings.shape
    if n < FEWEST_PARTS or dimensions < 2:
        raise ValueError(
            f"t-SNE needs {FEWEST_PARTS} parts of 2 dimensions or more, got {embeddings.shape}"
        )
    if (embeddings == embeddings[0]).all():
        raise ValueError(f"all {n} embeddings are the same, there is nothing to map")
    if perplexity < 1:
        raise ValueError(f"perplexity is {perplexity}, it must be 1 or more")
    pca = PCA(min(PCA_DIMENSIONS, n, dimensions), svd_solver="covariance_eigh")
    reduced = pca.fit_transform(embeddings)
    n_jobs = 1 if n <= MOST_ON_ONE_THREAD else n_jobs
    perplexity = min(perplexity, (n - 1) / 3)
    method = _open_tsne if _has_opentsne() else _sklearn_tsne
    return method(reduced, seed, perplexity, n_iterations, n_jobs)


@cache
def _has_opentsne() -> bool:
    """True where openTSNE is installed; Kaggle's image lacks it, which is said once."""
    try:
        import openTSNE  # noqa: F401
    except ImportError:
        print("openTSNE is not installed: scikit-learn draws the t-SNE map, more slowly.")
        return False
    return True


def _open_tsne(
    reduced: np.ndarray, seed: int, perplexity: float, n_iterations: int, n_jobs: int
) -> np.ndarray:
    import openTSNE
    from openTSNE import affinity, initialization

    n = len(reduced)
    affinities = affinity.PerplexityBasedNN(
        reduced,
        perplexity=perplexity,
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


def _sklearn_tsne(
    reduced: np.ndarray, seed: int, perplexity: float, n_iterations: int, n_jobs: int
) -> np.ndarray:
    optimiser = TSNE(
        perplexity=perplexity,
        init="pca",
        max_iter=EXAGGERATED_ITERATIONS + n_iterations,
        n_jobs=n_jobs,
        random_state=seed,
    )
    return optimiser.fit_transform(reduced).astype(np.float64)


def label_agreement(embeddings: ArrayLike, labels: ArrayLike, k: int = NEIGHBOURS) -> float:
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


def separation(
    embeddings: ArrayLike, labels: ArrayLike, k: int = NEIGHBOURS, seed: int = 0
) -> Separation:
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
