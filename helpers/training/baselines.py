"""The report's four classical models on embeddings: LDA, random forest, logistic regression, SVM.

They are scikit-learn pipelines; scikit-learn-intelex makes them faster if it is installed.
Hyper-parameters are chosen by cross-validation inside the training set alone, so nothing is chosen
by the validation numbers of the table.
"""

from __future__ import annotations

import importlib
import time
import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import expit
from sklearn.base import BaseEstimator
from sklearn.calibration import CalibratedClassifierCV
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import GridSearchCV, PredefinedSplit
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler

from helpers.core import seeding
from helpers.core.members import stratified_folds
from helpers.datasets.split_file import keeps_groups_apart
from helpers.models.record import Model
from helpers.training.features import Features

NAMES = ("LDA", "RF", "LR", "SVM")
LARGEST_LOGIT = 15.0  # of LDA on training images; a CSV's 9 digits tell scores apart up to about 20
SVM_IMAGES = 50_000  # that an SVM is fitted on at most: its time grows with the square
# of `scores_by_size`
SHARES = (0.25, 0.5, 1.0)  # of the training images
DRAWS = 5  # of each share below 1
C = 0.01  # of the logistic regression, the same for all sizes: nothing is chosen
FEWEST = 5  # images of a class in the smallest share
COLUMNS = ("share", "images", "draw", "id", "defect_score")


@dataclass(frozen=True)
class FittedBaseline:
    """A classical model and how it was chosen."""

    model: BaseEstimator
    chosen: dict[str, Any]
    cv_auc: float  # mean AUC over the folds of the training set
    temperature: float | None = None  # LDA's logits are divided by it; other models have none

    def defect_score(self, embeddings: np.ndarray) -> np.ndarray:
        """Return the probability of bad (N,) of embeddings (N, D).

        LDA's logits on fine-tuned features exceed 100: their probabilities would all be 1, and the
        order of the images would be lost. `temperature` brings those of the training images down to
        `LARGEST_LOGIT`.
        """
        if self.temperature:
            logits = self.model.decision_function(embeddings).astype(np.float64)
            return expit(logits / self.temperature)
        return np.clip(self.model.predict_proba(embeddings)[:, 1].astype(np.float64), 0, 1)


@dataclass(frozen=True)
class ScoredBaseline:
    """The scores of a classical model, and how it was chosen."""

    scores: pd.DataFrame  # id, split, defect_score of the rows "val" and "test"
    chosen: dict[str, Any]
    cv_auc: float
    seconds: float


def score_baseline(
    name: str, features: Features, table: pd.DataFrame, **options: int
) -> ScoredBaseline:
    """Fit a classical model on the rows `train` of a table, and score the others.

    `table` has `id`, `label`, `split`, and `group` if the folds inside should keep groups together;
    `options` are folds, trees, seed and cv_images of `fit_baseline`.
    """
    started = time.monotonic()
    train = table[table.split == "train"]
    fitted = fit_baseline(
        name,
        features.of(train.id),
        train.label.to_numpy(dtype=np.int64),
        groups=train.group.to_numpy() if "group" in table else None,
        **options,
    )
    scored = table.loc[table.split.isin(["val", "test"]), ["id", "split"]].reset_index(drop=True)
    scores = scored.assign(defect_score=fitted.defect_score(features.of(scored.id)))
    return ScoredBaseline(
        scores, fitted.chosen, round(fitted.cv_auc, 4), round(time.monotonic() - started, 1)
    )


def fitted_table(fitted: Mapping[Model, Sequence[ScoredBaseline]]) -> pd.DataFrame:
    """Return what each model chose, how good that was inside its training set, and the seconds.

    If folds have chosen differently, each choice is followed by the number of folds.
    """
    table = []
    for model, fits in fitted.items():
        chosen = Counter(
            ", ".join(f"{name} = {value}" for name, value in fit.chosen.items()) for fit in fits
        )
        several = "; ".join(f"{words} in {n}" for words, n in chosen.most_common())
        row = {
            "Model": model.title,
            "Chosen": f"{several} of {len(fits)} folds" if len(chosen) > 1 else next(iter(chosen)),
            "AUC inside training": f"{100 * np.mean([fit.cv_auc for fit in fits]):.1f}",
            "Seconds": f"{sum(fit.seconds for fit in fits):.1f}",
        }
        table.append(row)
    return pd.DataFrame(table)


def fit_baseline(
    name: str,
    embeddings: np.ndarray,
    labels: np.ndarray,
    folds: int,
    trees: int,
    seed: int,
    cv_images: int = 0,
    groups: np.ndarray | None = None,
) -> FittedBaseline:
    """Choose hyper-parameters by cross-validated AUC, then fit on all training rows.

    An SVM is fitted on at most `SVM_IMAGES`, stratified by class; `chosen` then says how many.
    Hyper-parameters are chosen on at most `cv_images` rows, stratified; 0: all. The folds are
    stratified, and keep `groups` (N,) together if they can. `name` is one of `NAMES`, `embeddings`
    are (N, D) float32, and label 1 is bad. Fewer than two rows of a class raise ValueError.
    """
    random_state = seeding.stream_seed(seed, f"baseline {name}") % 2**31
    limited = name == "SVM" and len(labels) > SVM_IMAGES
    if limited:
        kept = _sample(labels, SVM_IMAGES, folds, random_state)
        embeddings, labels = embeddings[kept], labels[kept]
        groups = None if groups is None else groups[kept]
    smallest = int(np.bincount(labels, minlength=2).min())
    if smallest < 2:
        raise ValueError(f"{name} needs two training images of each class; one has {smallest}")
    folds = min(folds, smallest)
    rows = _sample(labels, cv_images, folds, random_state)
    of_rows = None if groups is None else groups[rows]
    splitter = _inner_folds(labels[rows], folds, random_state, of_rows)
    pipeline, grid = pipeline_and_grid(name, trees, random_state)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # a grid's far ends may not converge
        search = GridSearchCV(pipeline, grid, scoring="roc_auc", cv=splitter, refit=False)
        search.fit(embeddings[rows], labels[rows])
        model = pipeline.set_params(**search.best_params_)
        if not hasattr(model, "predict_proba"):
            # Platt's sigmoid on out-of-fold margins turns the SVM's distances into probabilities.
            # On a large set two folds are enough: an SVM's time grows with the square.
            whole = len(rows) == len(labels)
            cv = splitter if whole else _inner_folds(labels, 2, random_state, groups)
            model = CalibratedClassifierCV(model, cv=cv, ensemble=False)
        model.fit(embeddings, labels)
    chosen = {key.split("__")[-1]: value for key, value in search.best_params_.items()}
    chosen |= {"images": len(labels)} if limited else {}
    temperature = None
    if name == "LDA":
        largest = float(np.abs(model.decision_function(embeddings)).max())
        temperature = max(1.0, largest / LARGEST_LOGIT)
    return FittedBaseline(model, chosen, float(search.best_score_), temperature)


def _inner_folds(
    labels: np.ndarray, folds: int, random_state: int, groups: np.ndarray | None
) -> PredefinedSplit:
    """Return folds that each have both classes: by groups, or if these are too few, by images."""
    fold = stratified_folds(labels, folds, random_state, groups)
    if any(len(np.unique(labels[fold == number])) < 2 for number in np.unique(fold)):
        fold = stratified_folds(labels, folds, random_state)
    return PredefinedSplit(fold)


def _sample(labels: np.ndarray, limit: int, folds: int, random_state: int) -> np.ndarray:
    """Return the rows of a sample of `limit`, each class in proportion, a row for each fold."""
    if not 0 < limit < len(labels):
        return np.arange(len(labels))
    order = np.random.default_rng(random_state).permutation(len(labels))
    kept = []
    for label in np.unique(labels):
        of_class = order[labels[order] == label]
        kept.append(of_class[: max(folds, round(limit * len(of_class) / len(labels)))])
    return np.sort(np.concatenate(kept))


def pipeline_and_grid(
    name: str, trees: int, random_state: int
) -> tuple[Pipeline, dict[str, list[Any]]]:
    """Return scaling and one of the `NAMES`, and the grid of hyper-parameters (`model__...`)."""
    grid: dict[str, list[Any]]
    if name == "LDA":
        # Shrinkage, since the embedding may have as many dimensions as a class has images.
        model = LinearDiscriminantAnalysis(solver="eigen")
        grid = {"shrinkage": [0.01, 0.1, 0.5, 0.9]}
    elif name == "RF":
        forest = _fastest("ensemble", "RandomForestClassifier")
        model = forest(trees, random_state=random_state)
        grid = {"min_samples_leaf": [1, 4]}
    elif name == "LR":
        regression = _fastest("linear_model", "LogisticRegression")
        model = regression(max_iter=2000, class_weight="balanced")
        grid = {"C": [1e-4, 1e-3, 1e-2, 1e-1]}
    else:
        machine = _fastest("svm", "SVC")
        # MB of kernel values kept: with the default of 200, 30,000 rows take 1.6 times as long
        model = machine(kernel="rbf", class_weight="balanced", cache_size=1000)
        grid = {"C": [0.1, 0.3, 1.0, 3.0, 10.0], "gamma": ["scale"]}
    pipeline = Pipeline([("scale", StandardScaler()), ("model", model)])
    return pipeline, {f"model__{key}": values for key, values in grid.items()}


def _fastest(module: str, name: str) -> type[BaseEstimator]:
    """Return a class of scikit-learn-intelex if it is installed, else scikit-learn's own."""
    try:
        return getattr(importlib.import_module(f"sklearnex.{module}"), name)
    except ImportError as error:
        if error.name != "sklearnex":  # installed, but it does not load
            print(f"scikit-learn-intelex does not load, {name} will be slow: {error}")
    return getattr(importlib.import_module(f"sklearn.{module}"), name)


def scores_by_size(features: Features, split: pd.DataFrame, seed: int = 0) -> pd.DataFrame:
    """Fit logistic regression on shares of the training images, and score the test images.

    A share is drawn `DRAWS` times: by class, or of whole groups if the split (`id`, `label`,
    `split`, perhaps `group`) keeps them apart. Training and validation images are both used to fit;
    if the test labels are hidden, only training images are, and validation images are scored.

    Returns:
        A row for each scored image, share and draw with `COLUMNS`; `images` is the number fitted
        on. Without rows if a class has too few images.
    """
    split = split[split.label.notna()]
    is_known = split[split.split == "test"].label.nunique() == 2
    fitted_on = split[split.split.isin(["train", "val"] if is_known else ["train"])]
    judged = split[split.split == ("test" if is_known else "val")]
    groups = None
    if keeps_groups_apart(split):  # a part without a group is one of its own
        groups = fitted_on.group.fillna("part " + fitted_on.id).to_numpy()
    x, y = features.of(fitted_on.id), fitted_on.label.to_numpy(dtype=np.int64)
    seen, rows = features.of(judged.id), []
    enough = np.bincount(y, minlength=2).min() * min(SHARES) >= FEWEST
    for share in SHARES if enough else ():
        for draw in range(DRAWS if share < 1 else 1):
            kept = _drawn(y, share, seed, draw, groups)
            model, _ = pipeline_and_grid("LR", 1, 0)
            model.set_params(model__C=C).fit(x[kept], y[kept])
            row = {"share": share, "images": len(kept), "draw": draw, "id": judged.id}
            rows.append(pd.DataFrame(row | {"defect_score": model.predict_proba(seen)[:, 1]}))
    return pd.concat(rows, ignore_index=True) if rows else pd.DataFrame(columns=COLUMNS)


def _drawn(
    labels: np.ndarray, share: float, seed: int, draw: int, groups: np.ndarray | None = None
) -> np.ndarray:
    """Return the rows of a share of each class, or of the groups.

    Smaller shares of a draw are parts of larger ones. Groups are added while a class has too few
    images.
    """
    if groups is not None:
        stream = seeding.numpy_stream(seed, f"training size, draw {draw}, groups")
        order = stream.permutation(np.unique(groups.astype(str)))
        n = max(1, round(share * len(order)))
        while True:
            rows = np.flatnonzero(np.isin(groups.astype(str), order[:n]))
            if n == len(order) or np.bincount(labels[rows], minlength=2).min() >= FEWEST:
                return rows
            n += 1
    kept = []
    for label in np.unique(labels):
        stream = seeding.numpy_stream(seed, f"training size, draw {draw}, class {label}")
        order = stream.permutation(np.flatnonzero(labels == label))
        kept.append(order[: round(share * len(order))])
    return np.sort(np.concatenate(kept))
