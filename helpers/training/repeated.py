"""Frozen features on several random splits and several splits by groups.

One split is one draw. Models that are fitted in seconds can be tested on many, which says how much
a result depends on the draw, and how much is lost on groups that the training has not seen.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
from tqdm.auto import tqdm

from helpers.core import files
from helpers.datasets import DataError, Source, near_duplicates, splits
from helpers.datasets.settings import SplitSettings
from helpers.runs.stages import Stage
from helpers.training.baselines import fit_baseline
from helpers.training.features import Features

Kind = Literal["random", "groups"]
MODELS = ("LDA", "LR")
KINDS: tuple[Kind, ...] = ("random", "groups")


def score_repeated_splits(stage: Stage, features: Features) -> pd.DataFrame:
    """Fit the cheap models on the training images of several splits, and score their test images.

    The stage's `repeats` splits of each kind, with the seeds 0, 1, ..., are drawn from all labelled
    images of the run; hyper-parameters are chosen inside each training set, by groups if the split
    is by groups. Done once.

    Args:
        stage: its settings also give folds, trees and seed.
        features: embeddings of all images.

    Returns:
        One row per test image: `split` ("random" or "groups"), `repetition`, `model`, `id`,
        `label`, `group`, `defect_score`. Without rows if there are no groups, or too few of them
        for a test set of their own, or `repeats` is 0.
    """
    settings, table = stage.settings, stage.split
    columns = ["split", "repetition", "model", "id", "label", "group", "defect_score"]
    if "group" not in table or not settings.repeats:
        return pd.DataFrame(columns=columns)
    table = table[table.label.notna()].reset_index(drop=True)
    linked = _linked(stage, table)
    try:
        by_groups = [_draw(table, "groups", k, linked) for k in range(settings.repeats)]
    except DataError:
        print("REPEATS: there are too few groups with good and with bad parts for splits by groups")
        return pd.DataFrame(columns=columns)
    own = {name: getattr(settings, name) for name in ("folds", "trees", "seed", "cv_images")}
    inputs = {
        "features": features.digest,
        "images": files.fingerprint(table[["id", "label", "group"]].astype(str).to_numpy()),
        "linked": files.fingerprint(linked.to_numpy().tolist()),
        "repeats": settings.repeats,
        **own,
    }

    def work(scores: Path) -> None:
        draws = [(kind, k) for kind in KINDS for k in range(settings.repeats)]
        found = []
        for kind, repetition in tqdm(draws, desc="splits", unit="split", leave=False):
            side = by_groups[repetition]
            if kind == "random":
                side = _draw(table, kind, repetition, linked)
            train, test = table[side == "train"], table[side == "test"]
            x, y = features.of(train.id), train.label.to_numpy(dtype=np.int64)
            groups = train.group.to_numpy() if kind == "groups" else None
            for model in MODELS:
                fitted = fit_baseline(model, x, y, groups=groups, **own)
                rows = test[["id", "label", "group"]].assign(
                    split=kind,
                    repetition=repetition,
                    model=model,
                    defect_score=fitted.defect_score(features.of(test.id)),
                )
                found.append(rows[columns])
        files.save_csv(scores, pd.concat(found))

    path = stage.paths.table("repeated_splits")
    stage.once("repeated splits", inputs, work, sizes=["repeats"], scores=path)
    return files.load_csv(path, columns, text=["group"])


def _linked(stage: Stage, table: pd.DataFrame) -> pd.DataFrame:
    """Return the near duplicates that notebook 01 found, as pairs of row numbers."""
    path = stage.paths.table("duplicates")
    if not path.is_file():
        return near_duplicates.NO_PAIRS
    clusters = files.load_csv(path, ("id", "cluster")).set_index("id").cluster
    cluster = table.id.map(clusters).dropna().sort_values(kind="stable")
    same = cluster.to_numpy()[1:] == cluster.to_numpy()[:-1]  # neighbours link a whole cluster
    rows = cluster.index.to_numpy()
    return pd.DataFrame({"first": rows[:-1][same], "second": rows[1:][same], "bits": 0})


def _draw(table: pd.DataFrame, kind: Kind, seed: int, pairs: pd.DataFrame) -> pd.Series:
    """Return "train", "test" or "excluded" of each row."""
    images = table.assign(official_split="")
    drawn = splits.make_split(
        Source("repeated", images.drop(columns=["split", "fold"], errors="ignore"), ""),
        images.get("digest", images.id),
        SplitSettings(split=kind, seed=seed, cross_fit=2),  # all that is not test is in a fold
        pairs,
    ).table.split
    return drawn.replace("val", "train")
