"""Compute AUCs on seen groups, on unseen ones and inside these, of out-of-fold scores.

With random folds the group of an image is in training too, with folds of groups it is not. A
folder holds `folds.csv` (`id, label, group`, and the fold of each image by each protocol: `random,
groups`), and for each model `random/<slug>.csv` and `groups/<slug>.csv` (`id, seed0, seed1, ...`;
empty where a training is not done).
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from helpers.core import files, metrics, paths
from helpers.datasets.group_prior import group_prior
from helpers.models.record import BASES, Model
from helpers.results.comparison import holm, with_ends

SEEN, UNSEEN = PROTOCOLS = ("random", "groups")  # the folds
AUCS = {  # the three columns
    "seen_auc": (SEEN, metrics.auc_interval),
    "unseen_auc": (UNSEEN, metrics.auc_interval),
    "inside_auc": (UNSEEN, metrics.within_group_auc),
}
PRIOR = Model("module_prior")
OTHERS = {
    "by_hand": "Drawn by hand",
    "plain": "Plain fine-tuning",
    "searched": "DARTS searched",
}


@dataclass(frozen=True)
class OutOfFold:
    """The scores of models by one protocol or both."""

    folds: pd.DataFrame  # id, label, group, and the fold by each protocol (empty if there is none)
    # by protocol and slug: a row for each image, in the order of `folds`, a column for each seed
    scores: Mapping[str, Mapping[str, pd.DataFrame]]
    models: Mapping[str, Model]  # by slug


def read_folder(folder: Path) -> OutOfFold:
    """Load a folder of scores; a model is known by its slug alone."""
    columns = ("id", "label", "group", *PROTOCOLS)
    folds = files.load_csv(folder / "folds.csv", columns, text=["group"])
    scores: dict[str, dict[str, pd.DataFrame]] = {protocol: {} for protocol in PROTOCOLS}
    for path in sorted(path for name in PROTOCOLS for path in (folder / name).glob("*.csv")):
        table = files.load_csv(path, ("id",)).set_index("id")
        with files.reading(path):
            scores[path.parent.name][path.stem] = table.astype(np.float64).reindex(folds.id)
    slugs = sorted({slug for models in scores.values() for slug in models})
    return OutOfFold(folds, scores, {slug: _model_of(slug) for slug in slugs})


def _model_of(slug: str) -> Model:
    """Return the model of a slug; one whose base is not of this package is called by the slug."""
    parts = re.fullmatch(r"(.+?)(?:_(\d+))?(?:_on_(\w+?))?", slug)
    if not parts or parts[1] not in BASES:
        return Model(OTHERS.get(slug, slug))
    number = None if parts[2] is None else int(parts[2])
    return Model(parts[1], features=parts[3] or "", number=number)


def published(split: pd.DataFrame) -> OutOfFold | None:
    """Return the published scores if they are of a split's images, with the same labels."""
    folder = paths.published_scores()
    if "group" not in split or not folder.is_dir():
        return None
    found = read_folder(folder)
    here = split.dropna(subset="label").set_index("id").label.astype(int)
    there = found.folds.set_index("id").label.reindex(here.index)
    return found if there.eq(here).all() else None


def without(found: OutOfFold, group: str) -> OutOfFold:
    """Return the scores without those of one group."""
    rest = (found.folds.group != group).to_numpy()
    scores = {p: {n: t[rest] for n, t in models.items()} for p, models in found.scores.items()}
    return OutOfFold(found.folds[rest].reset_index(drop=True), scores, found.models)


def three_columns(found: OutOfFold) -> pd.DataFrame:
    """Return a row for each model, the best on unseen groups first, and for the module prior.

    An AUC (`AUCS`, with `*_mean, *_std` of one training) is that of the mean over the seeds that
    have scored every image; without one it is missing. Groups are the units of intervals and tests.
    `difference` is seen minus unseen by common seeds; `p_holm` is over all rows except references.
    """
    labels, groups = found.folds.label.to_numpy(np.int64), found.folds.group.to_numpy()
    models = {PRIOR.slug: PRIOR, **found.models}
    complete, rows = {protocol: complete_scores(found, protocol) for protocol in PROTOCOLS}, []
    for name, model in sorted(models.items(), key=lambda item: item[1].order):
        row: dict[str, Any] = {"model": name, "title": model.title, "kind": model.kind}
        row |= dict.fromkeys([*AUCS, "difference", "standard_error", "p_value"], np.nan)
        seen, unseen = (complete[protocol].get(name, pd.DataFrame()) for protocol in PROTOCOLS)
        row |= {"random_seeds": seen.shape[1], "groups_seeds": unseen.shape[1]}
        for column, (protocol, measure) in AUCS.items():
            scores = seen if protocol == SEEN else unseen
            if scores.shape[1]:
                alone = pd.Series([measure(labels, scores[s], groups).estimate for s in scores])
                row |= with_ends(column, measure(labels, scores.mean(axis=1), groups))
                row |= {f"{column}_mean": alone.mean(), f"{column}_std": alone.std()}
        if len(both := seen.columns.intersection(unseen.columns)):
            a, b = (scores[both].mean(axis=1) for scores in (seen, unseen))
            *ends, p_value, error = metrics.auc_difference(labels, a, b, groups)
            row |= with_ends("difference", metrics.Interval(*ends))
            row |= {"standard_error": error, "p_value": p_value}
        rows.append(row)
    by = ["unseen_auc", "seen_auc"]
    table = pd.DataFrame(rows).dropna(subset=by, how="all")  # of some no seed is complete
    table = table.sort_values(by, ascending=False, kind="stable", ignore_index=True)
    tested = table.p_value[table.kind != "reference"].dropna()
    return table.assign(p_holm=pd.Series(holm(tested), tested.index))


def complete_scores(found: OutOfFold, protocol: str) -> dict[str, pd.DataFrame]:
    """Return the scores of each model by the seeds that have scored every image, if any has."""
    if found.folds[protocol].isna().any():
        return {}
    prior = group_prior(found.folds.assign(fold=found.folds[protocol]))
    scores = {PRIOR.slug: pd.DataFrame({"seed0": prior}), **found.scores[protocol]}
    whole = {name: table.dropna(axis="columns") for name, table in scores.items()}
    return {name: table for name, table in whole.items() if table.shape[1]}
