"""Compute AUCs on seen groups, on unseen ones and inside these, of out-of-fold scores.

With random folds the group of an image is in training too, with folds of groups it is not. A
folder holds all that the table needs: `folds.csv` (`id, label, group`, and the fold of each image
by each protocol: `random, groups`), and for each model `random/<slug>.csv` and `groups/<slug>.csv`
(`id, seed0, seed1, ...`; empty where a training is not done).

    table = three_columns(read_folder(Path("notebooks/results/out_of_fold")))
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from helpers.core import files, metrics, paths, tables
from helpers.datasets.group_prior import group_prior
from helpers.models.record import BASES, Model
from helpers.results.comparison import holm, with_ends
from helpers.results.predictions import Scored

SEEN, UNSEEN = PROTOCOLS = ("random", "groups")  # the folds
AUCS = {  # the three columns
    "seen_auc": (SEEN, metrics.auc_interval),
    "unseen_auc": (UNSEEN, metrics.auc_interval),
    "inside_auc": (UNSEEN, metrics.within_group_auc),
}
PRIOR = Model("module_prior")
OTHERS = {
    "by_hand": "Drawn by hand",
    "efficientnet_lite2@192": "FBP of EfficientNet-Lite2",
    "plain": "Plain fine-tuning",
    "searched": "DARTS searched",
}
# kinds of models that were fitted to the scores, or searched with labels of the images
CHOSEN = ("ensemble", "searched")
COLUMNS = {  # for the eye, see `core.tables`
    "Model": "{title}{mark}",
    "Seen groups": "{seen_auc:%[]}",
    "Unseen groups": "{unseen_auc:%[]}",
    "Inside unseen groups": "{inside_auc:%[]}",
    "Seen minus unseen": "{difference:+%[]} (SE {standard_error:%})",
    "p": "{p_holm:p}",
    "Seeds": "{seeds}",
    "One training: seen": "{seen_auc_mean:%} ± {seen_auc_std:%}",
    "Unseen": "{unseen_auc_mean:%} ± {unseen_auc_std:%}",
    "Inside": "{inside_auc_mean:%} ± {inside_auc_std:%}",
}


@dataclass(frozen=True)
class OutOfFold:
    """The scores of models by one protocol or both."""

    folds: pd.DataFrame  # id, label, group, and the fold by each protocol (empty if there is none)
    # by protocol and slug: a row for each image, in the order of `folds`, a column for each seed
    scores: Mapping[str, Mapping[str, pd.DataFrame]]
    models: Mapping[str, Model]  # by slug


def of_runs(runs: Mapping[str, tuple[pd.DataFrame, Mapping[str, Scored]]]) -> OutOfFold:
    """Return the scores of `runs`: for each protocol a split without a test set, and its models."""
    first = next(iter(runs.values()))[0].reset_index(drop=True)
    folds = first[["id", "label"]].assign(group=first.get("group"), **dict.fromkeys(PROTOCOLS))
    scores, models = {}, dict[str, Model]()
    for protocol, (split, scored) in runs.items():
        folds[protocol] = folds.id.map(split.set_index("id").fold)
        scores[protocol] = {name: _by_seed(one).reindex(folds.id) for name, one in scored.items()}
        models |= {name: one.model for name, one in scored.items()}
    return OutOfFold(folds, scores, models)


def _by_seed(scored: Scored) -> pd.DataFrame:
    """Return the held-out score of each image (rows) by the trainings of each seed (columns)."""
    trainings = [
        one.val.assign(seed=f"seed{one.model.members[0].seed if one.model.members else 0}")
        for one in scored.members or (scored,)
    ]
    return pd.concat(trainings).pivot(index="id", columns="seed", values="defect_score")


def read_folder(folder: Path) -> OutOfFold:
    """Load a folder of scores; a model is known by its slug alone.

    Raises:
        ArtifactError: a file is missing or damaged, or lacks a column.
    """
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
    if slug in OTHERS:
        return Model(OTHERS[slug])
    parts = re.fullmatch(r"(.+?)(?:_(\d+))?(?:_on_(\w+?))?(_distilled)?", slug)
    if not parts or parts[1] not in BASES:
        return Model(slug)
    number = None if parts[2] is None else int(parts[2])
    return Model(parts[1], "", parts[3] or "", "fbp" if parts[4] else "", number)


def published(split: pd.DataFrame) -> OutOfFold | None:
    """Return the published scores if they are of a split's images, with the same labels."""
    folder = paths.published_scores()
    if "group" not in split or not folder.is_dir():
        return None
    found = read_folder(folder)
    here = split.dropna(subset="label").set_index("id").label.astype(int)
    there = found.folds.set_index("id").label.reindex(here.index)
    return found if there.eq(here).all() else None


def lead(found: OutOfFold, protocol: str, model: str, other: str) -> metrics.Comparison:
    """Return a model's AUC minus another's (fractions), each averaged over its seeds."""
    whole = _complete(found, protocol)
    first, second = (whole[name].mean(axis=1) for name in (model, other))
    return metrics.auc_difference(found.folds.label, first, second, found.folds.group)


def _paired(folds: pd.DataFrame, first: pd.DataFrame, second: pd.DataFrame) -> metrics.Comparison:
    """Compare scores (a column for each seed) by the seeds that both have."""
    seeds = first.columns.intersection(second.columns)
    a, b = (scores[seeds].mean(axis=1) for scores in (first, second))
    return metrics.auc_difference(folds.label, a, b, folds.group)


def three_columns(found: OutOfFold) -> pd.DataFrame:
    """Return the AUC of each model on seen groups, on unseen ones, and inside unseen groups.

    An AUC is that of the mean over the seeds that have scored every image; without one it is
    missing. Groups are the units of intervals and tests (`metrics.auc_interval`). The module prior
    is a row, computed from the folds.

    Returns:
        A row for each model, the best on unseen groups first: `model, title, kind`, `chosen` (see
        `CHOSEN`); `random_seeds, groups_seeds`, their numbers; `seen_auc, unseen_auc, inside_auc`
        with `*_low, *_high`, and `*_mean, *_std` of one training; `difference`, seen minus unseen
        by the seeds that both have, paired by image, with its ends, `standard_error, p_value`, and
        `p_holm` over all rows except references.
    """
    labels, groups = found.folds.label.to_numpy(np.int64), found.folds.group.to_numpy()
    models = {PRIOR.slug: PRIOR, **found.models}
    complete, rows = {protocol: _complete(found, protocol) for protocol in PROTOCOLS}, []
    for name in sorted(models, key=lambda slug: models[slug].order):
        model = models[name]
        row: dict[str, Any] = {"model": name, "title": model.title, "kind": model.kind}
        row["chosen"] = dataclasses.replace(model, teacher="").kind in CHOSEN
        row |= dict.fromkeys([*AUCS, "difference", "standard_error", "p_value"], np.nan)
        seen, unseen = (complete[protocol].get(name, pd.DataFrame()) for protocol in PROTOCOLS)
        row |= {"random_seeds": seen.shape[1], "groups_seeds": unseen.shape[1]}
        for column, (protocol, measure) in AUCS.items():
            if name in complete[protocol]:
                scores = complete[protocol][name]
                alone = pd.Series([measure(labels, scores[s], groups).estimate for s in scores])
                row |= with_ends(column, measure(labels, scores.mean(axis=1), groups))
                row |= {f"{column}_mean": alone.mean(), f"{column}_std": alone.std()}
        if len(seen.columns.intersection(unseen.columns)):
            *ends, p_value, error = _paired(found.folds, seen, unseen)
            row |= with_ends("difference", metrics.Interval(*ends))
            row |= {"standard_error": error, "p_value": p_value}
        rows.append(row)
    by = ["unseen_auc", "seen_auc"]
    table = pd.DataFrame(rows).dropna(subset=by, how="all")  # of some no seed is complete
    table = table.sort_values(by, ascending=False, kind="stable", ignore_index=True)
    tested = table.p_value[table.kind != "reference"].dropna()
    return table.assign(p_holm=pd.Series(holm(tested), tested.index))


def _complete(found: OutOfFold, protocol: str) -> dict[str, pd.DataFrame]:
    """Return the scores of each model by the seeds that have scored every image, if any has."""
    if found.folds[protocol].isna().any():
        return {}
    prior = group_prior(found.folds.assign(fold=found.folds[protocol]))
    scores = {PRIOR.slug: pd.DataFrame({"seed0": prior}), **found.scores[protocol]}
    whole = {name: table.dropna(axis="columns") for name, table in scores.items()}
    return {name: table for name, table in whole.items() if table.shape[1]}


def for_the_eye(table: pd.DataFrame) -> pd.DataFrame:
    """Return `three_columns` as text, without columns that are empty; notebook 06 explains it."""
    pairs = table[["random_seeds", "groups_seeds"]].astype(str).to_numpy()
    seeds = [" / ".join(dict.fromkeys(pair)) for pair in pairs]
    mark = np.where(table.chosen, " *", np.where(table.kind == "reference", " (reference)", ""))
    text = tables.filled(table.assign(mark=mark, seeds=seeds), COLUMNS)
    return text.loc[:, (text != tables.MISSING).any()]
