"""Join models by stacking (Wolpert 1992): a logistic regression on the models' logits.

It is fitted and judged on validation; test labels are used nowhere.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import special
from sklearn.linear_model import LogisticRegression

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
    error: float  # standard error of the gain, by groups if the split keeps them apart

    @property
    def kept(self) -> bool:
        """Return True if the gain is more than one standard error."""
        return self.gain > self.error


def stack(scored: Mapping[str, Scored], split: pd.DataFrame, seed: int = 0) -> Stacked | None:
    """Fit the ensemble of `models_to_join` on validation, and score validation and test.

    An ensemble of cross-fitted models is cross-fitted over the same folds. Return None if there is
    one model, or if validation is too small for two folds.
    """
    joined = models_to_join(scored)
    first = next(iter(joined.values()))
    labels = first.labels_scores("val")[0]
    val, test = (_logits(joined.values(), side) for side in ("val", "test"))
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
    out_of_fold, blocks = np.empty(len(labels)), []

    def add(ids: pd.Series, side: str, scores: np.ndarray, **fold: int) -> None:
        blocks.append(pd.DataFrame({"id": ids, "split": side, "defect_score": scores, **fold}))

    for fold in np.unique(folds):
        held_out, named = folds == fold, {"fold": fold} if cross_fitted else {}
        score = fitted(val[~held_out], labels[~held_out])
        out_of_fold[held_out] = score(val[held_out])
        add(first.val.id[held_out], "val", out_of_fold[held_out], **named)
        if cross_fitted and len(test):  # scored by the trainings that give the fold its scores
            of_fold = _logits((model.without(int(fold)) for model in joined.values()), "test")
            add(first.test.id, "test", score(of_fold), **named)
    if not cross_fitted and len(test):
        add(first.test.id, "test", fitted(val, labels)(test))
    aucs = [roc_auc(labels, model.val.defect_score) for model in joined.values()]
    best = [*joined.values()][int(np.argmax(aucs))].val.defect_score
    gain = auc_difference(labels, out_of_fold, best, first.blocks("val"))
    return Stacked(pd.concat(blocks), tuple(joined), gain.difference, gain.standard_error)


def fitted(logits: np.ndarray, labels: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """Return a function from logits (N, M) to scores (N,), fitted on these."""
    regression = LogisticRegression(max_iter=1000).fit(logits, labels)
    return lambda given: regression.predict_proba(given)[:, 1]


def _logits(models: Iterable[Scored], side: str) -> np.ndarray:
    scores = np.stack([getattr(model, side).defect_score for model in models], axis=1)
    return special.logit(np.clip(scores, NEAREST_TO_CERTAIN, 1 - NEAREST_TO_CERTAIN))


def models_to_join(scored: Mapping[str, Scored]) -> dict[str, Scored]:
    """Return the models with the most validation images (cross-fitted ones), or all if it is one.

    They have the same images. References and ensembles are left out if there is anything else.
    """
    kept = {name: model for name, model in scored.items() if model.model.kind not in NOT_JOINED}
    kept = kept or dict(scored)
    most = max(len(model.val) for model in kept.values())
    largest = {name: model for name, model in kept.items() if len(model.val) == most}
    return common(largest if len(largest) > 1 else kept)
