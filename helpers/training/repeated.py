"""Several random splits of a run's images, and several by groups.

One split is one draw. Models that are fitted in seconds can be tested on many, which says how much
a result depends on the draw, and how much is lost on groups that the training has not seen.
"""

from __future__ import annotations

from typing import Literal

import pandas as pd

from helpers.datasets import DataError, Source, near_duplicates, splits
from helpers.datasets.settings import SplitSettings
from helpers.training.baselines import score_baseline
from helpers.training.features import Features

MODELS = ("LDA", "LR")
Kind = Literal["random", "groups"]
KINDS: tuple[Kind, ...] = ("random", "groups")


def draws(
    split: pd.DataFrame, repeats: int, clusters: pd.DataFrame | None = None
) -> dict[tuple[Kind, int], pd.DataFrame]:
    """Return tables `id, label, split` (and `group` of splits by groups), with new test images.

    There are `repeats` of each kind, by kind and number; none if `split` has no groups, or too few
    of them. Near duplicates (`clusters`: `id, cluster`) stay on one side.
    """
    if "group" not in split:
        return {}
    table = split[split.label.notna()].reset_index(drop=True)
    pairs = _pairs(table, clusters)
    try:
        return {(kind, k): _draw(table, kind, k, pairs) for kind in KINDS for k in range(repeats)}
    except DataError:
        print("REPEATS: there are too few groups with good and with bad parts for splits by groups")
        return {}


def _pairs(table: pd.DataFrame, clusters: pd.DataFrame | None) -> pd.DataFrame:
    """Return near duplicates as pairs of row numbers."""
    if clusters is None:
        return near_duplicates.NO_PAIRS
    cluster = table.id.map(clusters.set_index("id").cluster).dropna().sort_values(kind="stable")
    same = cluster.to_numpy()[1:] == cluster.to_numpy()[:-1]  # neighbours link a whole cluster
    rows = cluster.index.to_numpy()
    return pd.DataFrame({"first": rows[:-1][same], "second": rows[1:][same], "bits": 0})


def _draw(table: pd.DataFrame, kind: Kind, seed: int, pairs: pd.DataFrame) -> pd.DataFrame:
    images = table.assign(official_split="")
    drawn = splits.make_split(
        Source("repeated", images.drop(columns=["split", "fold"], errors="ignore"), ""),
        images.get("digest", images.id),
        SplitSettings(split=kind, seed=seed, cross_fit=2),  # all that is not test is in a fold
        pairs,
    ).table.split
    columns = ["id", "label", "group"] if kind == "groups" else ["id", "label"]
    return table[columns].assign(split=drawn.replace("val", "train"))


def score(features: Features, table: pd.DataFrame, **options: int) -> pd.DataFrame:
    """Fit the cheap models on a draw, and return `model, id, defect_score` of its test images.

    See `score_baseline`: hyper-parameters are chosen inside the training set.
    """
    found = [
        score_baseline(name, features, table, **options).scores.assign(model=name)
        for name in MODELS
    ]
    return pd.concat(found, ignore_index=True)[["model", "id", "defect_score"]]
