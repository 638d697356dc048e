"""Join models by stacking, fitted and judged on validation; test labels are used nowhere.

It is a logistic regression on the models' logits: a row of its X holds the scores of one part by
each model (Wolpert 1992).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import special
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import PredefinedSplit, cross_validate
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer

from helpers.core.members import one_holds_a_class, stratified_folds
from helpers.core.metrics import auc_difference, roc_auc
from helpers.models.record import Model
from helpers.results.predictions import Scored, common

STACKING = Model("stacking")
MAX_FOLDS = 5
NOT_JOINED = ("reference", "ensemble")  # kinds of models
NEAREST_TO_CERTAIN = 1e-6  # a logit of 13.8: one wrong certainty must not outvote all the others


@dataclass(frozen=True)
class Stacked:
    """The fitted ensemble, and whether validation says to keep it."""

    predictions: pd.DataFrame  # the content of its predictions file
    joined: tuple[str, ...]  # the models
    gain: float  # in validation AUC, out of fold, over the best single model
    error: float  # standard error of the gain

    @property
    def kept(self) -> bool:
        """True if the gain is more than one standard error."""
        return self.gain > self.error


def stacking() -> Pipeline:
    """Return an unfitted logistic regression on the logits of scores (N, M)."""
    return make_pipeline(FunctionTransformer(_logits), LogisticRegression(max_iter=1000))


def _logits(scores: np.ndarray) -> np.ndarray:
    return special.logit(np.clip(scores, NEAREST_TO_CERTAIN, 1 - NEAREST_TO_CERTAIN))


def stack(scored: Mapping[str, Scored], split: pd.DataFrame, seed: int = 0) -> Stacked | None:
    """Fit the ensemble on validation, and score validation (out of fold) and test.

    `models_to_join` chooses the models. An ensemble of cross-fitted ones is cross-fitted over the
    same folds. It is to be kept if its out-of-fold AUC exceeds the best single model's by more than
    one standard error of the paired difference, by groups if the split keeps them apart. None if
    there is one model, or if validation is too small for two folds.
    """
    joined = models_to_join(scored)
    first = next(iter(joined.values()))
    labels = first.labels_scores("val")[0]
    val, test = (_columns(joined.values(), side) for side in ("val", "test"))
    n_folds = min(MAX_FOLDS, int(np.bincount(labels, minlength=2).min()) // 2)
    if len(joined) < 2 or n_folds < 2:
        return None
    cross_fitted = len(first.val) > (split.split == "val").sum()
    if cross_fitted:
        folds = first.val.id.map(split.set_index("id").fold).to_numpy(dtype=np.int64)
    else:
        folds = stratified_folds(labels, n_folds, seed, first.blocks("val"))
        if one_holds_a_class(folds, labels):  # by images if the bad parts are in too few groups
            folds = stratified_folds(labels, n_folds, seed)
    cv = PredefinedSplit(folds)
    fits = cross_validate(stacking(), val, labels, cv=cv, return_estimator=True)["estimator"]
    fitted, out_of_fold = stacking().fit(val, labels), np.empty(len(labels))
    blocks = []
    for fold, without in zip(np.unique(folds), fits, strict=True):
        held_out = folds == fold
        out_of_fold[held_out] = without.predict_proba(val[held_out])[:, 1]
        rows = [_rows(first.val.id[held_out], "val", out_of_fold[held_out])]
        if cross_fitted and len(test):  # scored by the trainings that give the fold its scores
            of_fold = _columns([model.without(int(fold)) for model in joined.values()], "test")
            rows += [_rows(first.test.id, "test", without.predict_proba(of_fold)[:, 1])]
        blocks += [part.assign(fold=fold) if cross_fitted else part for part in rows]
    if not cross_fitted and len(test):
        blocks += [_rows(first.test.id, "test", fitted.predict_proba(test)[:, 1])]
    best = val[:, int(np.argmax([roc_auc(labels, column) for column in val.T]))]
    gain = auc_difference(labels, out_of_fold, best, first.blocks("val"))
    return Stacked(pd.concat(blocks), tuple(joined), gain.difference, gain.standard_error)


def _columns(models: Iterable[Scored], side: str) -> np.ndarray:
    return np.stack([getattr(model, side).defect_score for model in models], axis=1)


def _rows(ids: pd.Series, side: str, scores: np.ndarray) -> pd.DataFrame:
    return pd.DataFrame({"id": ids, "split": side, "defect_score": scores})


def models_to_join(scored: Mapping[str, Scored]) -> dict[str, Scored]:
    """Return the models to join: those with the most validation images (cross-fitted, if any).

    If only one has the most, all are returned, with the images that all have scored. References and
    ensembles are left out.
    """
    kept = {name: model for name, model in scored.items() if model.model.kind not in NOT_JOINED}
    kept = kept or dict(scored)
    most = max(len(model.val) for model in kept.values())
    largest = {name: model for name, model in kept.items() if len(model.val) == most}
    return common(largest if len(largest) > 1 else kept)
