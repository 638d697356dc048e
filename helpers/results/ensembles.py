"""Two ways to join the models, fitted and judged on validation predictions alone.

A model is a name with its defect scores, fractions from 0 to 1; `scores` maps each name to an
array (N,), all in the same order of parts. No function here takes test labels.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import ArrayLike
from scipy import optimize, special, stats
from sklearn.model_selection import StratifiedKFold

from helpers.results.metrics import check_both_classes, delong_test, roc_auc

Scores = Mapping[str, ArrayLike]

ONE_STANDARD_ERROR = 0.6826895  # the level of an interval one standard error to either side
NEAREST_TO_CERTAIN = 1e-6  # a logit of 13.8: one wrong certainty must not outvote all the others
RIDGE = 1.0  # scikit-learn's default C for a logistic regression


class Ensemble(Protocol):
    """A fitted ensemble."""

    @property
    def weights(self) -> dict[str, float]:
        """Of each model: not negative, they sum to 1."""

    def predict(self, scores: Scores) -> np.ndarray:
        """Defect score (N,) of parts from the scores of the models."""


@dataclass(frozen=True)
class RankAverage:
    """Mean of the members' ranks, as fractions among the validation scores, so that a part's
    score does not depend on the other parts that it is tested with."""

    weights: dict[str, float]
    reference: dict[str, np.ndarray]  # each member's validation scores

    def predict(self, scores: Scores) -> np.ndarray:
        """Defect score (N,), the weighted mean of the rank fractions."""
        table = _score_table(scores, list(self.weights))
        ranks = [
            _rank_fraction(own, self.reference[name])
            for name, own in zip(self.weights, table.T, strict=True)
        ]
        return np.array(list(self.weights.values())) @ ranks


@dataclass(frozen=True)
class Stacking:
    """sigmoid(intercept + slope * sum of weight * logit(score))."""

    weights: dict[str, float]
    slope: float
    intercept: float

    def predict(self, scores: Scores) -> np.ndarray:
        """Defect score (N,), a probability."""
        logits = _logit(_score_table(scores, list(self.weights)))
        joined = logits @ np.array(list(self.weights.values()))
        return special.expit(self.intercept + self.slope * joined)


class EnsembleRow(NamedTuple):
    """An ensemble as a row of the table: its scores, and whether validation says to keep it."""

    kept: bool
    reason: str
    weights: dict[str, float]
    val_scores: np.ndarray  # out of fold: never from a fit that saw the part's own label
    test_scores: np.ndarray


def build_ensembles(
    val_scores: Scores, val_labels: ArrayLike, test_scores: Scores, seed: int = 0, n_folds: int = 5
) -> dict[str, EnsembleRow]:
    """Fit both ensembles on validation, score validation (out of fold) and test, judge each.

    Kept is an ensemble whose out-of-fold validation AUC beats the best single model's by more
    than one standard error of the paired difference (DeLong).
    """
    names = list(val_scores)
    if len(names) < 2:
        raise ValueError(f"an ensemble needs two models or more, got {names}")
    rows = {}
    for name, fit in (("rank_average", fit_rank_average), ("stacking", fit_stacking)):
        ensemble = fit(val_scores, val_labels)
        out_of_fold = cross_validated_scores(fit, val_scores, val_labels, seed, n_folds)
        kept, reason = judge(out_of_fold, val_scores, val_labels)
        test = ensemble.predict(test_scores)
        rows[name] = EnsembleRow(kept, reason, ensemble.weights, out_of_fold, test)
    return rows


def fit_rank_average(scores: Scores, labels: ArrayLike) -> RankAverage:
    """Equal weights for the best model by AUC and those that raise the AUC of the average, taken
    one by one, the greatest gain first; the others get weight 0.

    Forward selection as in Caruana et al. (2004), "Ensemble selection from libraries of models".
    """
    table = _score_table(scores, list(scores))
    labels, *columns = check_both_classes(labels, *table.T)
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
    """Logistic regression on the logits of the scores, no weight negative, with a ridge.

    Breiman (1996), "Stacked regressions": non-negative weights make stacking work. Models that
    all rank worse than chance get equal weights and slope 0, a constant score.
    """
    z = _logit(_score_table(scores, list(scores)))  # (N, models)
    labels, *_ = check_both_classes(labels, *z.T)

    def loss_and_gradient(theta: np.ndarray) -> tuple[float, np.ndarray]:
        """Cross-entropy with the ridge, of weights and intercept theta (models + 1,)."""
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
    fit: Callable[[Scores, ArrayLike], Ensemble],
    scores: Scores,
    labels: ArrayLike,
    seed: int = 0,
    n_folds: int = 5,
) -> np.ndarray:
    """Scores (N,) of each part by an ensemble fitted without it, in stratified folds."""
    table = _score_table(scores, list(scores))
    labels, *_ = check_both_classes(labels, *table.T)
    if np.bincount(labels).min() < 2 * n_folds:
        raise ValueError(
            f"{n_folds} folds need {2 * n_folds} parts of each class on validation, "
            f"got {np.bincount(labels).tolist()}; lower n_folds"
        )
    out_of_fold = np.empty(len(labels))
    folds = StratifiedKFold(n_folds, shuffle=True, random_state=seed)
    for inside, outside in folds.split(table, labels):
        fitted = fit(dict(zip(scores, table[inside].T, strict=True)), labels[inside])
        out_of_fold[outside] = fitted.predict(dict(zip(scores, table[outside].T, strict=True)))
    return out_of_fold


def judge(out_of_fold: ArrayLike, scores: Scores, labels: ArrayLike) -> tuple[bool, str]:
    """Whether to keep an ensemble with these out-of-fold scores, and the sentence that says why."""
    aucs = {name: roc_auc(labels, own) for name, own in scores.items()}
    best = max(aucs, key=aucs.__getitem__)  # of equals the first
    gain = delong_test(labels, out_of_fold, scores[best], level=ONE_STANDARD_ERROR)
    kept = bool(gain.low > 0)
    standard_error = (gain.high - gain.low) / 2
    reason = (
        f"validation AUC {roc_auc(labels, out_of_fold):.4f} against {aucs[best]:.4f} of {best}: "
        f"{gain.difference:+.4f} is {'more' if kept else 'not more'} than one standard error "
        f"({standard_error:.4f})"
    )
    return kept, reason


def _score_table(scores: Scores, names: list[str]) -> np.ndarray:
    """Scores (N, models) in the order of `names`."""
    missing = [name for name in names if name not in scores]
    if missing:
        raise ValueError(f"no scores of {missing} for these parts, only of {list(scores)}")
    columns = [np.asarray(scores[name], dtype=np.float64) for name in names]
    for name, own in zip(names, columns, strict=True):
        if own.shape != columns[0].shape:
            raise ValueError(f"{name} scores {own.size} parts, {names[0]} {columns[0].size}")
        if not ((own >= 0) & (own <= 1)).all():
            raise ValueError(f"the scores of {name} are not all fractions from 0 to 1")
    return np.stack(columns, axis=1)


def _rank_fraction(scores: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Where scores fall among the reference ones, 0 to 1; straight lines in between keep the
    order of parts that fall between the same two."""
    values, first = np.unique(reference, return_index=True)
    fractions = (stats.rankdata(reference)[first] - 0.5) / reference.size
    return np.interp(scores, np.r_[-1e-9, values, 1 + 1e-9], np.r_[0, fractions, 1])


def _logit(scores: np.ndarray) -> np.ndarray:
    return special.logit(np.clip(scores, NEAREST_TO_CERTAIN, 1 - NEAREST_TO_CERTAIN))
