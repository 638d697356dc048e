"""Evaluate other tries for a higher AUC on ELPV: `python -m tests.benchmarks.tries`.

Each try is paired, image by image, with what it would replace, on the folds that both have scored
(`out_of_fold`). Features are those of frozen EfficientNet-Lite0, with logistic regression (C is
fixed); models are joined by their stored scores. Writes tries.csv.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from scipy import special, stats
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from helpers import datasets
from helpers.core import files, metrics
from helpers.core.paths import published_scores
from helpers.datasets.settings import SplitSettings
from helpers.models import backbones
from helpers.models.spec import at_once
from helpers.results.ensembles import stacking
from helpers.results.out_of_fold import PROTOCOLS, SEEN, UNSEEN, read_folder
from helpers.training.batches import image_batches
from tests.benchmarks import out_of_fold

TABLE = Path(__file__).with_name("tries.csv")
LITE2 = out_of_fold.LITE.format(2) + "@192"
C = 0.002  # of logistic regression on standardised features
By = dict[str, np.ndarray]  # scores (N,) of all images by protocol; NaN where a fold has none
STORED = read_folder(published_scores())
FOLDS = STORED.folds
LABELS = FOLDS.label.to_numpy(np.int64)


def stored(row: str, *seeds: int) -> By:
    """Return the mean score of a row's seeds, seed 0 if none is named; NaN where one has none."""
    columns = [f"seed{seed}" for seed in seeds or (0,)]
    none = pd.DataFrame(index=FOLDS.index)
    tables = {name: STORED.scores[name].get(row, none) for name in PROTOCOLS}
    return {
        name: table.reindex(columns=columns).mean(axis=1, skipna=False).to_numpy()
        for name, table in tables.items()
    }


def fitted(features: np.ndarray, fit: Callable[[np.ndarray], Callable]) -> By:
    """Return the scores of features (N, D) by fits that have not seen their fold.

    `fit` takes the training rows (N,), bool, and returns the function that scores features.
    """
    scores = {name: np.empty(len(FOLDS)) for name in PROTOCOLS}
    for name in PROTOCOLS:
        for fold in np.unique(FOLDS[name]):
            held_out = (FOLDS[name] == fold).to_numpy()
            scores[name][held_out] = fit(~held_out)(features[held_out])
    return scores


def regression(features: np.ndarray, probability: np.ndarray | None = None) -> By:
    """Fit logistic regression to labels, or to the annotators' four levels `probability` (N,)."""

    def fit(rows: np.ndarray) -> Callable:
        model = make_pipeline(StandardScaler(), LogisticRegression(C=C, max_iter=300))
        if probability is None:
            return model.fit(features[rows], LABELS[rows]).decision_function
        both = np.repeat((0, 1), rows.sum())  # each image as a good and as a bad one
        weight = np.abs(1 - both - np.tile(probability[rows], 2))
        given = {"logisticregression__sample_weight": weight}
        return model.fit(np.tile(features[rows], (2, 1)), both, **given).decision_function

    return fitted(features, fit)


def stacked(*rows: str) -> By:
    """Join rows by the package's stacking, fitted on the folds that are not judged."""
    result = {}
    for name in PROTOCOLS:
        scores = np.stack([stored(row)[name] for row in rows], axis=1)

        def fit(rows: np.ndarray, scores: np.ndarray = scores) -> Callable:
            model = stacking().fit(scores[rows], LABELS[rows])
            return lambda part: model.predict_proba(part)[:, 1]

        result[name] = fitted(scores, fit)[name]
    return result


def averaged(**weights: int) -> By:
    """Average the logits of rows, each of mean 0 and deviation 1, by fixed weights."""
    result = {}
    for name in PROTOCOLS:
        logits = {row: special.logit(np.clip(stored(row)[name], 1e-6, 1 - 1e-6)) for row in weights}
        parts = [weight * stats.zscore(logits[row]) for row, weight in weights.items()]
        result[name] = np.sum(parts, axis=0)
    return result


def maps(size_px: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the mean over the last maps (N, D), and their generalised mean, p = 3 (GeM)."""
    cache = out_of_fold.images(size_px)
    weights = backbones.find_weights(out_of_fold.LITE.format(0), "", size_px)
    network = backbones.pretrained(weights, 2, size_px).eval()
    seen: list[np.ndarray] = []

    def look(_module: torch.nn.Module, _given: tuple, found: torch.Tensor) -> None:
        cubes = found.clamp(min=1e-6).pow(3).mean(dim=(2, 3)).pow(1 / 3)
        seen.append(torch.stack([found.mean(dim=(2, 3)), cubes]).numpy())

    network.get_submodule(network.spec.feature_layer).register_forward_hook(look)
    batches = image_batches(cache, FOLDS[["id"]], network, at_once(size_px))
    with torch.no_grad():
        for images in batches.ordered():
            network.embed(images)
    mean, gem = np.concatenate(seen, axis=1)
    return mean, gem


def gain(scores: By, replaced: By) -> dict[str, float | str]:
    """Return the differences of three AUCs, in points, with standard errors by modules."""
    row: dict[str, float | str] = {}
    for column, name in (("seen", SEEN), ("unseen", UNSEEN), ("inside", UNSEEN)):
        known = np.isfinite(scores[name]) & np.isfinite(replaced[name])
        groups, labels = FOLDS.group.to_numpy()[known], LABELS[known]
        pair = scores[name][known], replaced[name][known]
        if not known.any():
            continue
        if column == "inside":
            difference, error, freedom = _inside(labels, *pair, groups)
            ends = difference + error * stats.t.ppf(metrics.TAILS, freedom)
        else:
            difference, *ends, _, error = metrics.auc_difference(labels, *pair, groups)
        numbers = 100 * np.array([difference, error, *ends])
        names = ("", "_error", "_low", "_high")
        row |= {column + end: value for end, value in zip(names, numbers, strict=True)}
        row[f"{column}_images"] = int(known.sum())
    return row


def _inside(
    labels: np.ndarray, scores: np.ndarray, replaced: np.ndarray, groups: np.ndarray
) -> tuple[float, float, int]:
    """Return the difference inside modules, its jackknife standard error and degrees of freedom."""

    def difference(kept: np.ndarray) -> float:
        first, second = (
            metrics.within_group_auc(labels[kept], values[kept], groups[kept]).estimate
            for values in (scores, replaced)
        )
        return first - second

    without = np.array([difference(groups != group) for group in np.unique(groups)])
    n = len(without)
    error = np.sqrt((n - 1) / n * ((without - without.mean()) ** 2).sum())
    return difference(np.ones(len(groups), dtype=bool)), float(error), n - 1


def stored_pairs() -> list[tuple[str, str, By, By]]:
    """Return name, what is replaced, and the scores of both, for tries that need no features."""
    fbp = stored("fbp")
    joined = {
        "stacking of FBP and LL": stacked("fbp", "ll"),
        "stacking of FBP, LL, RF and PatchCore": stacked("fbp", "ll", "rf", "patchcore"),
        "FBP and LL, logits 1 : 1": averaged(fbp=1, ll=1),
        "FBP, LL and PatchCore, logits 1 : 1 : 1": averaged(fbp=1, ll=1, patchcore=1),
        "FBP, LL and PatchCore, logits 3 : 1 : 1": averaged(fbp=3, ll=1, patchcore=1),
        "FBP of EfficientNet-Lite0 and of -Lite2, logits 1 : 1": averaged(**{"fbp": 1, LITE2: 1}),
    }
    large, plain = stored("efficientnet_lite0@256"), stored("plain")
    return [
        *((f"joined: {name}", "FBP", scores, fbp) for name, scores in joined.items()),
        ("three trainings of FBP, averaged", "FBP", stored("fbp", 0, 1, 2), fbp),
        ("three trainings of FBP, averaged", "plain fine-tuning", stored("fbp", 0, 1, 2), plain),
        ("FBP of EfficientNet-Lite2", "FBP", stored(LITE2), fbp),
        ("FBP, 256 px", "FBP", large, fbp),
        ("FBP, the presets' recipe", "plain fine-tuning", fbp, plain),
        ("FBP, the presets' recipe, seed 1", "plain fine-tuning", stored("fbp", 1), plain),
        ("FBP, the presets' recipe, seed 2", "plain fine-tuning", stored("fbp", 2), plain),
        ("DARTS_V2, from scratch", "drawn by hand", stored("darts_v2"), stored("by_hand")),
    ]


def frozen_pairs() -> list[tuple[str, str, By, By]]:
    """Return the same for tries with logistic regression on frozen features (ten minutes)."""
    table = datasets.load(SplitSettings(cross_fit=out_of_fold.FOLDS)).table.set_index("id")
    levels = table.probability[FOLDS.id].to_numpy(dtype=float)
    mean, gem = maps(192)
    large, large_gem = maps(300)
    base = regression(mean)
    frozen = {
        "GeM (p = 3), 192 px": regression(gem),
        "mean and GeM, 192 px": regression(np.hstack([mean, gem])),
        "mean, 300 px": regression(large),
        "GeM, 300 px": regression(large_gem),
        "mean, both sizes": regression(np.hstack([mean, large])),
        "mean, 192 px, the annotators' four levels": regression(mean, levels),
    }
    return [(f"frozen: {n}", "the mean, 192 px", scores, base) for n, scores in frozen.items()]


def lines(table: pd.DataFrame) -> list[str]:
    """Return a line of README for each try: images, differences, errors and 95 % intervals."""
    cell, result = "{:+.1f} ± {:.1f} [{:.1f}, {:.1f}]", []
    for name, replaced, *numbers in table.itertuples(index=False):
        three = [numbers[i : i + 4] for i in (0, 5, 10)]
        cells = ["-" if np.isnan(four[0]) else cell.format(*four) for four in three]
        result.append(f"| {' | '.join([name, replaced, f'{numbers[-1]:,.0f}', *cells])} |")
    return result


def main() -> int:
    """Write and print the table; return the exit code.

    The rows of frozen features are computed with `--frozen` alone, and kept otherwise.
    """
    kept = pd.read_csv(TABLE)
    kept = kept[kept["try"].str.startswith("frozen: ")]
    pairs = stored_pairs()
    if "--frozen" in sys.argv[1:]:
        pairs, kept = pairs + frozen_pairs(), kept[:0]
    rows = [{"try": t, "replaces": r} | gain(scores, other) for t, r, scores, other in pairs]
    known = pd.DataFrame(rows).round(3).dropna(subset="inside")
    table = pd.concat([known, kept], ignore_index=True)
    files.save_csv(TABLE, table)
    print(table.to_string(index=False))
    return 0


if __name__ == "__main__":
    sys.exit(main())
