"""Two ways to join the models, fitted and judged on validation, written as predictions files.

Test labels are used nowhere. `scores` maps the name of each model to its defect scores (N,),
fractions from 0 to 1, all in the same order of parts.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import partial
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy import optimize, special, stats

from helpers.core import files
from helpers.core.folds import one_holds_a_class, stratified_folds
from helpers.core.members import Member
from helpers.core.metrics import auc_difference, check_both_classes, roc_auc
from helpers.datasets.split_file import read_split
from helpers.models.names import BRIGHTNESS, ENSEMBLES, display_name
from helpers.results.predictions import Scored, common, predictions_frame
from helpers.runs import stages
from helpers.runs.run_models import read_all_predictions

Scores = Mapping[str, np.ndarray]

MAX_FOLDS = 5
ONE_STANDARD_ERROR = 0.6826895  # the level of an interval one standard error to either side
NEAREST_TO_CERTAIN = 1e-6  # a logit of 13.8: one wrong certainty must not outvote all the others
RIDGE = 1.0  # scikit-learn's default C for a logistic regression


def write_ensembles(stage: stages.Stage, seed: int = 0) -> pd.DataFrame:
    """Fit both ensembles on validation, and write the predictions of those that are kept.

    An ensemble that is no longer kept is removed. The validation rows of the file are out-of-fold
    scores, so that the ensemble's validation numbers are comparable with the other models'.

    `models_to_join` chooses the models. An ensemble of cross-fitted ones is cross-fitted over the
    same folds.

    Returns:
        `ensemble, val_auc`; `best` (the best single model), `gain` over its AUC and the standard
        `error` of the gain; `kept`, and the `weights` of the models that have one, as text.
        Without rows if there is one model, or if validation is too small for two folds.

    Raises:
        ArtifactError: a file has the name of an ensemble, but this stage did not write it.
    """
    scored = models_to_join(read_all_predictions(stage.paths))
    split = read_split(stage.paths.split_csv)
    first = next(iter(scored.values()))
    labels = first.labels_scores("val")[0]
    val = {name: model.val.defect_score.to_numpy() for name, model in scored.items()}
    test = {name: model.test.defect_score.to_numpy() for name, model in scored.items()}
    n_folds = min(MAX_FOLDS, int(np.bincount(labels, minlength=2).min()) // 2)
    cross_fitted = len(first.val) > (split.split == "val").sum()
    fitted: dict[str, EnsembleRow] = {}
    if len(scored) > 1 and n_folds > 1:
        folds = stratified_folds(labels, n_folds, seed, first.blocks("val"))
        if one_holds_a_class(folds, labels):  # by images if the bad parts are in too few groups
            folds = stratified_folds(labels, n_folds, seed)
        if cross_fitted:
            folds = first.val.id.map(split.set_index("id").fold).to_numpy(dtype=np.int64)
        fitted = build_ensembles(val, labels, test, folds, first.blocks("val"))

    def by_id(val_scores: np.ndarray, test_scores: np.ndarray) -> np.ndarray:
        joined = np.clip(np.concatenate([val_scores, test_scores]), 0, 1)
        return split.id.map(pd.Series(joined, [*first.val.id, *first.test.id])).to_numpy()

    contents: dict[str, bytes] = {}
    for name, row in fitted.items():
        scores: np.ndarray | dict[Member, np.ndarray] = by_id(row.val_scores, row.test_scores)
        if cross_fitted:
            tests = row.test_scores_by_fold.items()
            scores = {Member(0, fold): by_id(row.val_scores, own) for fold, own in tests}
        if row.kept:
            contents[name] = files.csv_bytes(predictions_frame(split, scores))
    steps = stages.load_run(stage.paths).get("steps", {})
    for name in ENSEMBLES:
        path, written = stage.paths.predictions(name), steps.get(name, {}).get("outputs", {})
        ours = written and stages.outputs_are_intact(stage.paths, written)
        # a stage that was killed before it put its file on record left what is written again
        if path.exists() and not ours and path.read_bytes() != contents.get(name):
            raise files.ArtifactError(
                f"{path} has the name of an ensemble but was not made here, or changed since; "
                "rename it to keep it as a model of your own, or delete it"
            )
    inputs = {"seed": seed, "split": files.file_digest(stage.paths.split_csv)}
    inputs |= {name: files.file_digest(stage.paths.predictions(name)) for name in scored}
    for name in ENSEMBLES:
        path = stage.paths.predictions(name)
        if name in contents:
            write = partial(files.write_bytes, content=contents[name])
            stage.once(name, inputs, write, path=path)
        else:
            path.unlink(missing_ok=True)

    rows = []
    for name, row in fitted.items():
        used = sorted(((w, model) for model, w in row.weights.items() if w > 0.005), reverse=True)
        weights = ", ".join(f"{display_name(model)} {weight:.2f}" for weight, model in used)
        auc = roc_auc(labels, row.val_scores)
        rows.append([name, auc, row.best, row.gain, row.error, row.kept, weights])
    columns = ["ensemble", "val_auc", "best", "gain", "error", "kept", "weights"]
    return pd.DataFrame(rows, columns=columns)


def models_to_join(scored: Mapping[str, Scored]) -> dict[str, Scored]:
    """Return the models with the most validation images, or all with those that all have.

    Cross-fitted models have the most. If there is one alone, it is joined with the others. The
    baseline on brightness alone is not joined.
    """
    kept = {name: model for name, model in scored.items() if not name.endswith(BRIGHTNESS)}
    scored = kept or dict(scored)
    most = max(len(model.val) for model in scored.values())
    largest = {name: model for name, model in scored.items() if len(model.val) == most}
    return common(largest if len(largest) > 1 else scored)


class EnsembleRow(NamedTuple):
    """A fitted ensemble, and whether validation says to keep it."""

    kept: bool
    weights: dict[str, float]
    val_scores: np.ndarray  # out of fold: never from a fit that saw the part's own label
    test_scores: np.ndarray
    test_scores_by_fold: dict[int, np.ndarray]  # by the fits without each fold
    best: str  # the best single model
    gain: float  # in validation AUC over the best single model
    error: float  # standard error of the gain


def build_ensembles(
    val_scores: Scores,
    val_labels: ArrayLike,
    test_scores: Scores,
    folds: np.ndarray,
    groups: np.ndarray | None = None,
) -> dict[str, EnsembleRow]:
    """Fit both ensembles on validation, score validation (out of fold) and test, judge each.

    `folds` (N,) is the fold of each validation part. An ensemble is kept if its out-of-fold
    validation AUC exceeds the best single model's by more than one standard error of the paired
    difference, by `groups` (N,) if they are given. It is half of the interval that holds 68 %,
    with few groups a little more than a standard error.
    """
    aucs = {name: roc_auc(val_labels, own) for name, own in val_scores.items()}
    best = max(aucs, key=aucs.__getitem__)  # the first of equals
    rows = {}
    for name, kind in (("rank_average", RankAverage), ("stacking", Stacking)):
        ensemble = kind(val_scores, val_labels)
        by_fold, out_of_fold = fit_without_each_fold(kind, val_scores, val_labels, folds)
        gain = auc_difference(
            val_labels, out_of_fold, val_scores[best], groups, level=ONE_STANDARD_ERROR
        )
        error = (gain.high - gain.low) / 2
        rows[name] = EnsembleRow(
            kept=bool(gain.difference > error),
            weights=ensemble.weights,
            val_scores=out_of_fold,
            test_scores=ensemble.predict(test_scores),
            test_scores_by_fold={k: own.predict(test_scores) for k, own in by_fold.items()},
            best=best,
            gain=gain.difference,
            error=error,
        )
    return rows


class RankAverage:
    """The mean of the members' ranks, as fractions among the validation scores.

    Ranks among fixed scores make a part's score independent of the parts tested with it. Members
    are the best model by AUC and, the greatest gain first, those that raise the average's AUC; the
    other models get weight 0. This is forward selection as in Caruana et al. (2004), "Ensemble
    selection from libraries of models". The weights are not negative and sum to 1.
    """

    def __init__(self, scores: Scores, labels: ArrayLike) -> None:
        labels, *columns = check_both_classes(labels, *scores.values())
        ranks = [_rank_fraction(own, own) for own in columns]
        members: list[int] = []
        reached = -1.0
        while others := [i for i in range(len(ranks)) if i not in members]:
            aucs = [roc_auc(labels, sum(ranks[j] for j in [*members, i])) for i in others]
            if max(aucs) <= reached:
                break
            reached = max(aucs)
            members.append(others[int(np.argmax(aucs))])
        self.weights = {name: (i in members) / len(members) for i, name in enumerate(scores)}
        self.reference = dict(zip(scores, columns, strict=True))

    def predict(self, scores: Scores) -> np.ndarray:
        """Return the weighted mean of the rank fractions (N,)."""
        ranks = [_rank_fraction(scores[name], self.reference[name]) for name in self.weights]
        return np.array(list(self.weights.values())) @ ranks


class Stacking:
    """sigmoid(intercept + slope * sum of weight * logit(score)).

    A logistic regression with a ridge and no negative weight. Breiman (1996), "Stacked
    regressions": non-negative weights make stacking work. If all models rank worse than chance,
    they get equal weights and slope 0, a constant score.
    """

    def __init__(self, scores: Scores, labels: ArrayLike) -> None:
        z = _logits(scores, scores)  # (N, models)
        labels, *_ = check_both_classes(labels, *z.T)

        def loss_and_gradient(theta: np.ndarray) -> tuple[float, np.ndarray]:
            w, intercept = theta[:-1], theta[-1]
            joined = z @ w + intercept
            residual = special.expit(joined) - labels
            loss = np.sum(np.logaddexp(0, joined) - labels * joined) + RIDGE / 2 * w @ w
            return loss, np.append(residual @ z + RIDGE * w, residual.sum())

        n_models = z.shape[1]
        start = np.append(np.full(n_models, 1 / n_models), 0.0)
        bounds = [(0, None)] * n_models + [(None, None)]
        theta = optimize.minimize(loss_and_gradient, start, jac=True, bounds=bounds).x
        w, self.slope, self.intercept = theta[:-1], float(theta[:-1].sum()), float(theta[-1])
        weights = w / self.slope if self.slope > 0 else np.full(n_models, 1 / n_models)
        self.weights = dict(zip(scores, weights.tolist(), strict=True))

    def predict(self, scores: Scores) -> np.ndarray:
        """Return probabilities (N,)."""
        joined = _logits(scores, self.weights) @ np.array(list(self.weights.values()))
        return special.expit(self.intercept + self.slope * joined)


def fit_without_each_fold(
    kind: type[RankAverage | Stacking], scores: Scores, labels: ArrayLike, folds: np.ndarray
) -> tuple[dict[int, RankAverage | Stacking], np.ndarray]:
    """Return an ensemble for each fold, fitted without its parts, and its scores of them (N,)."""
    labels, by_fold, out_of_fold = np.asarray(labels), {}, np.empty(folds.size)
    for fold in np.unique(folds).tolist():
        inside = folds == fold
        fitted = kind({name: own[~inside] for name, own in scores.items()}, labels[~inside])
        out_of_fold[inside] = fitted.predict({name: own[inside] for name, own in scores.items()})
        by_fold[fold] = fitted
    return by_fold, out_of_fold


def _rank_fraction(scores: np.ndarray, reference: np.ndarray) -> np.ndarray:
    # ranks among the reference scores, from 0 to 1; interpolation keeps the order in between
    values, first = np.unique(reference, return_index=True)
    fractions = (stats.rankdata(reference)[first] - 0.5) / reference.size
    return np.interp(scores, np.r_[-1e-9, values, 1 + 1e-9], np.r_[0, fractions, 1])


def _logits(scores: Scores, names: Iterable[str]) -> np.ndarray:
    table = np.stack([scores[name] for name in names], axis=1)  # (N, models)
    return special.logit(np.clip(table, NEAREST_TO_CERTAIN, 1 - NEAREST_TO_CERTAIN))


def ensembles_shape(joined: pd.DataFrame) -> pd.DataFrame:
    """Return `write_ensembles` for the page."""
    rows = joined.to_dict("records")
    return pd.DataFrame(
        {
            "Ensemble": joined.ensemble.map(display_name),
            "Valid AUC": [f"{100 * row['val_auc']:.2f}" for row in rows],
            "Gain over the best single model": [
                f"{100 * row['gain']:+.2f} ± {100 * row['error']:.2f} ({display_name(row['best'])})"
                for row in rows
            ],
            "Kept": joined.kept.map({True: "yes", False: "no"}),
            "Weights": joined.weights,
        }
    )
