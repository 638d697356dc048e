"""Two ways to join the models, fitted and judged on validation, written as predictions files.

`build_ensembles` and everything below it take no test label: a model is a name with its defect
scores, fractions from 0 to 1; `scores` maps each name to an array (N,), all in the same order of
parts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy import optimize, special, stats
from sklearn.model_selection import StratifiedKFold

from helpers.core import files
from helpers.core.paths import RunPaths
from helpers.results.metrics import check_both_classes, delong_test, roc_auc
from helpers.runs import settings, stages
from helpers.runs.predictions import predictions_frame, read_all_predictions, read_split

Scores = Mapping[str, np.ndarray]

MAX_FOLDS = 5
ONE_STANDARD_ERROR = 0.6826895  # the level of an interval one standard error to either side
NEAREST_TO_CERTAIN = 1e-6  # a logit of 13.8: one wrong certainty must not outvote all the others
RIDGE = 1.0  # scikit-learn's default C for a logistic regression


def write_ensembles(stage: stages.Stage, seed: int = 0) -> pd.DataFrame:
    """Fit both ensembles on validation, and write the predictions of those that are kept.

    An ensemble that is no longer kept is removed. The validation rows of the file are out-of-fold
    scores, so that the ensemble's validation numbers are comparable with the other models'.

    Returns:
        `ensemble, val_auc, kept, reason`, and the weight of each model that has one, as text;
        without rows if there is one model, or if validation is too small for two folds.

    Raises:
        ArtifactError: a file has the name of an ensemble, but this stage did not write it.
    """
    scored = read_all_predictions(stage.paths)
    labels = next(iter(scored.values())).labels_scores("val")[0]
    val = {name: model.val.defect_score.to_numpy() for name, model in scored.items()}
    test = {name: model.test.defect_score.to_numpy() for name, model in scored.items()}
    folds = min(MAX_FOLDS, int(np.bincount(labels, minlength=2).min()) // 2)
    fitted: dict[str, EnsembleRow] = {}
    if len(scored) > 1 and folds > 1:
        fitted = build_ensembles(val, labels, test, seed, folds)

    split, first = read_split(stage.paths), next(iter(scored.values()))
    ids = [*first.val.id, *first.test.id]
    contents: dict[str, bytes] = {}
    for name, row in fitted.items():
        if row.kept:
            joined = np.clip(np.concatenate([row.val_scores, row.test_scores]), 0, 1)
            by_id = split.id.map(pd.Series(joined, index=ids)).to_numpy()
            contents[name] = files.csv_bytes(predictions_frame(split, by_id))
    for name in settings.ENSEMBLES:
        _refuse_foreign_file(stage.paths, name, contents.get(name))
    inputs = {"seed": seed, "split": files.file_digest(stage.paths.split_csv)}
    inputs |= {name: files.file_digest(stage.paths.predictions(name)) for name in scored}
    for name in settings.ENSEMBLES:
        path = stage.paths.predictions(name)
        if name not in contents:
            path.unlink(missing_ok=True)
            continue
        stage.once(name, inputs, partial(_write, contents[name]), file=path)

    rows = []
    for name, row in fitted.items():
        used = sorted(((w, model) for model, w in row.weights.items() if w > 0.005), reverse=True)
        weights = ", ".join(f"{model} {weight:.2f}" for weight, model in used)
        rows.append([name, roc_auc(labels, row.val_scores), row.kept, row.reason, weights])
    return pd.DataFrame(rows, columns=["ensemble", "val_auc", "kept", "reason", "weights"])


def _write(content: bytes, file: Path) -> None:
    files.write_bytes(file, content)


def _refuse_foreign_file(run_paths: RunPaths, name: str, content: bytes | None) -> None:
    """Refuse a file with an ensemble's name that is neither on record nor what would be written.

    A stage that was killed before it put its file on record left what would be written again.
    """
    path = run_paths.predictions(name)
    written = stages.load_run(run_paths).get("steps", {}).get(name, {}).get("outputs", {})
    if not path.exists() or (written and stages.outputs_are_intact(run_paths, written)):
        return
    if path.read_bytes() != content:
        raise files.ArtifactError(
            f"{path} has the name of an ensemble but was not made here, or changed since; "
            "rename it to keep it as a model of your own, or delete it"
        )


class EnsembleRow(NamedTuple):
    """A fitted ensemble as a row of the table, and whether validation says to keep it."""

    kept: bool
    reason: str
    weights: dict[str, float]
    val_scores: np.ndarray  # out of fold: never from a fit that saw the part's own label
    test_scores: np.ndarray


def build_ensembles(
    val_scores: Scores, val_labels: ArrayLike, test_scores: Scores, seed: int = 0, n_folds: int = 5
) -> dict[str, EnsembleRow]:
    """Fit both ensembles on validation, score validation (out of fold) and test, judge each.

    An ensemble is kept if its out-of-fold validation AUC exceeds the best single model's by more
    than one standard error of the paired difference (DeLong).
    """
    rows = {}
    for name, fit in (("rank_average", fit_rank_average), ("stacking", fit_stacking)):
        ensemble = fit(val_scores, val_labels)
        out_of_fold = cross_validated_scores(fit, val_scores, val_labels, seed, n_folds)
        kept, reason = judge(out_of_fold, val_scores, val_labels)
        test = ensemble.predict(test_scores)
        rows[name] = EnsembleRow(kept, reason, ensemble.weights, out_of_fold, test)
    return rows


@dataclass(frozen=True)
class RankAverage:
    """The mean of the members' ranks, as fractions among the validation scores.

    Ranks among fixed scores make a part's score independent of the parts tested with it.
    """

    weights: dict[str, float]  # not negative, they sum to 1
    reference: dict[str, np.ndarray]  # each member's validation scores

    def predict(self, scores: Scores) -> np.ndarray:
        """Return defect scores (N,), the weighted mean of the rank fractions."""
        ranks = [_rank_fraction(scores[name], self.reference[name]) for name in self.weights]
        return np.array(list(self.weights.values())) @ ranks


@dataclass(frozen=True)
class Stacking:
    """sigmoid(intercept + slope * sum of weight * logit(score))."""

    weights: dict[str, float]  # not negative, they sum to 1
    slope: float
    intercept: float

    def predict(self, scores: Scores) -> np.ndarray:
        """Return defect scores (N,), probabilities."""
        joined = _logits(scores, self.weights) @ np.array(list(self.weights.values()))
        return special.expit(self.intercept + self.slope * joined)


def fit_rank_average(scores: Scores, labels: ArrayLike) -> RankAverage:
    """Give equal weights to the best model by AUC and to those that raise the average's AUC.

    Members are added one by one, the greatest gain first; the other models get weight 0. This is
    forward selection as in Caruana et al. (2004), "Ensemble selection from libraries of models".
    """
    labels, *columns = check_both_classes(labels, *scores.values())
    ranks = [_rank_fraction(own, own) for own in columns]
    members: list[int] = []
    reached = 0.0
    while others := [i for i in range(len(ranks)) if i not in members]:
        aucs = [roc_auc(labels, sum(ranks[j] for j in [*members, i])) for i in others]
        if max(aucs) <= reached:
            break
        reached = max(aucs)
        members.append(others[int(np.argmax(aucs))])
    weights = {name: (i in members) / len(members) for i, name in enumerate(scores)}
    return RankAverage(weights, dict(zip(scores, columns, strict=True)))


def fit_stacking(scores: Scores, labels: ArrayLike) -> Stacking:
    """Fit a logistic regression on the logits of the scores with a ridge and no negative weight.

    Breiman (1996), "Stacked regressions": non-negative weights make stacking work. If all models
    rank worse than chance, they get equal weights and slope 0, a constant score.
    """
    z = _logits(scores, scores)  # (N, models)
    labels, *_ = check_both_classes(labels, *z.T)

    def loss_and_gradient(theta: np.ndarray) -> tuple[float, np.ndarray]:
        """Return the cross-entropy with the ridge, of weights and intercept theta (models + 1,)."""
        w, intercept = theta[:-1], theta[-1]
        joined = z @ w + intercept
        residual = special.expit(joined) - labels
        loss = np.sum(np.logaddexp(0, joined) - labels * joined) + RIDGE / 2 * w @ w
        return loss, np.append(residual @ z + RIDGE * w, residual.sum())

    n_models = z.shape[1]
    start = np.append(np.full(n_models, 1 / n_models), 0.0)
    bounds = [(0, None)] * n_models + [(None, None)]
    theta = optimize.minimize(loss_and_gradient, start, jac=True, bounds=bounds).x
    w, slope = theta[:-1], float(theta[:-1].sum())
    weights = w / slope if slope > 0 else np.full(n_models, 1 / n_models)
    return Stacking(dict(zip(scores, weights.tolist(), strict=True)), slope, float(theta[-1]))


def cross_validated_scores(
    fit: Callable[[Scores, ArrayLike], RankAverage | Stacking],
    scores: Scores,
    labels: ArrayLike,
    seed: int = 0,
    n_folds: int = 5,
) -> np.ndarray:
    """Return scores (N,) of each part by an ensemble fitted without it, in stratified folds."""
    labels = np.asarray(labels)
    out_of_fold = np.empty(labels.size)
    folds = StratifiedKFold(n_folds, shuffle=True, random_state=seed)
    for inside, outside in folds.split(labels, labels):
        fitted = fit({name: own[inside] for name, own in scores.items()}, labels[inside])
        out_of_fold[outside] = fitted.predict({n: own[outside] for n, own in scores.items()})
    return out_of_fold


def judge(out_of_fold: np.ndarray, scores: Scores, labels: ArrayLike) -> tuple[bool, str]:
    """Return whether to keep an ensemble with these out-of-fold scores, and the reason."""
    aucs = {name: roc_auc(labels, own) for name, own in scores.items()}
    best = max(aucs, key=aucs.__getitem__)  # the first of equals
    gain = delong_test(labels, out_of_fold, scores[best], level=ONE_STANDARD_ERROR)
    kept = bool(gain.low > 0)
    standard_error = (gain.high - gain.low) / 2
    reason = (
        f"validation AUC {roc_auc(labels, out_of_fold):.4f} against {aucs[best]:.4f} of {best}: "
        f"{gain.difference:+.4f} is {'more' if kept else 'not more'} than one standard error "
        f"({standard_error:.4f})"
    )
    return kept, reason


def _rank_fraction(scores: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Return the ranks of scores among the reference ones, from 0 to 1.

    Linear interpolation keeps the order of parts between the same two reference scores.
    """
    values, first = np.unique(reference, return_index=True)
    fractions = (stats.rankdata(reference)[first] - 0.5) / reference.size
    return np.interp(scores, np.r_[-1e-9, values, 1 + 1e-9], np.r_[0, fractions, 1])


def _logits(scores: Scores, names: Mapping[str, object]) -> np.ndarray:
    """Return logits (N, models) of the scores in the order of `names`."""
    table = np.stack([scores[name] for name in names], axis=1)
    return special.logit(np.clip(table, NEAREST_TO_CERTAIN, 1 - NEAREST_TO_CERTAIN))
