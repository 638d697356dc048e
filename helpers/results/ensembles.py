"""Two ways to join the models, fitted and judged on validation; test labels are used nowhere.

*Rank average* is the mean of the models' ranks, *stacking* a logistic regression on their logits,
both as estimators of scikit-learn: a row of their X holds the scores of one part by each model.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import special, stats
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import PredefinedSplit
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from helpers.core.folds import one_holds_a_class, stratified_folds
from helpers.core.metrics import auc_difference, roc_auc
from helpers.models.record import ENSEMBLES, Model
from helpers.results.predictions import Scored, common

MAX_FOLDS = 5
ONE_STANDARD_ERROR = 0.6826895  # the level of an interval one standard error to either side
NEAREST_TO_CERTAIN = 1e-6  # a logit of 13.8: one wrong certainty must not outvote all the others
# columns of `ensemble_table` for the eye, see `core.tables`
COLUMNS = {
    "Ensemble": "{title}",
    "Valid AUC": "{val_auc:%}",
    "Gain over the best single model": "{gain:+%} ± {error:%} ({best})",
    "Kept": "{kept}",
    "Weights": "{weights}",
}


@dataclass(frozen=True)
class Ensemble:
    """A fitted ensemble, and whether validation says to keep it."""

    model: Model
    predictions: pd.DataFrame  # the content of its predictions file
    weights: dict[str, float]  # of the models, by slug
    val_auc: float  # out of fold: never from a fit that saw the part's own label
    best: str  # the best single model
    gain: float  # in validation AUC over the best single model
    error: float  # standard error of the gain

    @property
    def kept(self) -> bool:
        """True if the gain is more than one standard error."""
        return self.gain > self.error


class RankAverage(ClassifierMixin, BaseEstimator):
    """The mean of the members' ranks, as fractions among the scores that it was fitted on.

    Ranks among fixed scores make a part's score independent of the parts tested with it. Members
    are the best model by AUC and, the greatest gain first, those that raise the average's AUC; the
    other models get weight 0. This is forward selection as in Caruana et al. (2004), "Ensemble
    selection from libraries of models". The weights are not negative and sum to 1.
    """

    def fit(self, scores: np.ndarray, labels: np.ndarray) -> RankAverage:
        """Choose the members by the scores (N, M) and labels (N,)."""
        self.classes_, self.reference_ = np.array([0, 1]), scores
        ranks = self._ranks(scores)
        members: list[int] = []
        reached = -1.0
        while others := [i for i in range(ranks.shape[1]) if i not in members]:
            aucs = [roc_auc(labels, ranks[:, [*members, i]].sum(axis=1)) for i in others]
            if max(aucs) <= reached:
                break
            reached = max(aucs)
            members.append(others[int(np.argmax(aucs))])
        self.coef_ = np.isin(np.arange(ranks.shape[1]), members)[None] / len(members)
        return self

    def predict_proba(self, scores: np.ndarray) -> np.ndarray:
        """Return the weighted mean of the rank fractions, as scores (N, 2) of good and bad."""
        mean = self._ranks(scores) @ self.coef_[0]
        return np.stack([1 - mean, mean], axis=1)

    def _ranks(self, scores: np.ndarray) -> np.ndarray:
        columns = zip(scores.T, self.reference_.T, strict=True)
        return np.stack([_rank_fraction(*pair) for pair in columns], axis=1)


def _rank_fraction(scores: np.ndarray, reference: np.ndarray) -> np.ndarray:
    # ranks among the reference scores, from 0 to 1; interpolation keeps the order in between
    values, first = np.unique(reference, return_index=True)
    fractions = (stats.rankdata(reference)[first] - 0.5) / reference.size
    return np.interp(scores, np.r_[-1e-9, values, 1 + 1e-9], np.r_[0, fractions, 1])


def _logits(scores: np.ndarray) -> np.ndarray:
    return special.logit(np.clip(scores, NEAREST_TO_CERTAIN, 1 - NEAREST_TO_CERTAIN))


def stacking() -> BaseEstimator:
    """Return an unfitted logistic regression on the models' logits."""
    return make_pipeline(FunctionTransformer(_logits), LogisticRegression(max_iter=1000))


def build(scored: Mapping[str, Scored], split: pd.DataFrame, seed: int = 0) -> list[Ensemble]:
    """Fit both ensembles on validation, score validation (out of fold) and test, judge each.

    `models_to_join` chooses the models. An ensemble of cross-fitted ones is cross-fitted over the
    same folds. Its validation scores are out of fold, so that its validation numbers are comparable
    with the other models'. An ensemble is to be kept if its AUC there exceeds the best single
    model's by more than one standard error of the paired difference, by groups if the split keeps
    them apart. The list is empty if there is one model, or if validation is too small for two
    folds.
    """
    joined = models_to_join(scored)
    first = next(iter(joined.values()))
    labels = first.labels_scores("val")[0]
    val, test = (
        np.stack([getattr(own, side).defect_score for own in joined.values()], axis=1)
        for side in ("val", "test")
    )
    n_folds = min(MAX_FOLDS, int(np.bincount(labels, minlength=2).min()) // 2)
    if len(joined) < 2 or n_folds < 2:
        return []
    cross_fitted = len(first.val) > (split.split == "val").sum()
    if cross_fitted:
        folds = first.val.id.map(split.set_index("id").fold).to_numpy(dtype=np.int64)
    else:
        folds = stratified_folds(labels, n_folds, seed, first.blocks("val"))
        if one_holds_a_class(folds, labels):  # by images if the bad parts are in too few groups
            folds = stratified_folds(labels, n_folds, seed)
    aucs = {name: roc_auc(labels, own) for name, own in zip(joined, val.T, strict=True)}
    best = max(aucs, key=aucs.__getitem__)  # the first of equals
    ensembles = []
    for name, estimator in zip(ENSEMBLES, (RankAverage(), stacking()), strict=True):
        fitted = clone(estimator).fit(val, labels)
        out_of_fold, on_test = np.empty(len(labels)), {}
        splitter = PredefinedSplit(folds)
        for fold, (others, own) in zip(np.unique(folds), splitter.split(), strict=True):
            without = clone(estimator).fit(val[others], labels[others])
            out_of_fold[own] = without.predict_proba(val[own])[:, 1]
            on_test[int(fold)] = without.predict_proba(test)[:, 1]
        gain = auc_difference(
            labels,
            out_of_fold,
            val[:, list(joined).index(best)],
            first.blocks("val"),
            level=ONE_STANDARD_ERROR,
        )
        if not cross_fitted:
            rows = [_rows(first.val.id, "val", out_of_fold)]
            rows += [_rows(first.test.id, "test", fitted.predict_proba(test)[:, 1])]
        else:
            rows = []
            for fold, scores in on_test.items():
                own = folds == fold
                rows += [_rows(first.val.id[own], "val", out_of_fold[own], fold)]
                rows += [_rows(first.test.id, "test", scores, fold)]
        coefficients = fitted.coef_[0] if name == "rank_average" else fitted[-1].coef_[0]
        weights = dict(zip(joined, coefficients.tolist(), strict=True))
        error = (gain.high - gain.low) / 2
        auc = roc_auc(labels, out_of_fold)
        about = (weights, auc, best, gain.difference, error)
        ensembles.append(Ensemble(Model(name), pd.concat(rows), *about))
    return ensembles


def _rows(ids: pd.Series, side: str, scores: np.ndarray, fold: int | None = None) -> pd.DataFrame:
    rows = pd.DataFrame({"id": ids, "split": side, "defect_score": np.clip(scores, 0, 1)})
    return rows if fold is None else rows.assign(fold=fold)


def models_to_join(scored: Mapping[str, Scored]) -> dict[str, Scored]:
    """Return the models with the most validation images, or all with those that all have.

    Cross-fitted models have the most. If there is one alone, it is joined with the others. Models
    that only serve as references are not joined.
    """
    kept = {name: own for name, own in scored.items() if own.model.kind != "reference"}
    kept = kept or dict(scored)
    most = max(len(own.val) for own in kept.values())
    largest = {name: own for name, own in kept.items() if len(own.val) == most}
    return common(largest if len(largest) > 1 else kept)


def ensemble_table(ensembles: list[Ensemble], scored: Mapping[str, Scored]) -> pd.DataFrame:
    """Return a row per ensemble: `model, title, val_auc, best, gain, error, kept, weights`."""
    rows = []
    for one in ensembles:
        used = sorted(((abs(w), w, name) for name, w in one.weights.items()), reverse=True)
        weights = ", ".join(
            f"{scored[name].model.title} {w:.2f}" for size, w, name in used if size > 0.005
        )
        names = [one.model.slug, one.model.title, one.val_auc, scored[one.best].model.title]
        rows.append([*names, one.gain, one.error, "yes" if one.kept else "no", weights])
    columns = ["model", "title", "val_auc", "best", "gain", "error", "kept", "weights"]
    return pd.DataFrame(rows, columns=columns)
