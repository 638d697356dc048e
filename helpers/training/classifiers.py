"""Classical models on embeddings: any classifier of scikit-learn becomes a row of the table.

    calls = fittings(members, KNeighborsClassifier(), {"n_neighbors": [3, 10]}, vectors, split, 0)
    CLASSIFIERS["knn"] = (KNeighborsClassifier(), {"n_neighbors": [3, 10]})  # by name

The embeddings are standardised first. Hyper-parameters are chosen by cross-validation inside the
training set alone, so the validation numbers of the table choose nothing.
"""

import functools
import importlib
import time
import warnings
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import pandas as pd
from scipy.special import expit
from sklearn.base import BaseEstimator, clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import GridSearchCV, PredefinedSplit
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler

from helpers.core import seeding
from helpers.core.members import Member, sides, stratified_folds
from helpers.core.rules import Registry
from helpers.datasets.split_file import keeps_groups_apart
from helpers.models.record import Model
from helpers.training.inference import Features

Grid = Mapping[str, Sequence[Any]]  # parameter of the estimator -> values
LARGEST_LOGIT = 15.0  # a CSV's 9 digits tell scores apart up to about 20
CV_IMAGES = 5_000  # at most, to choose hyper-parameters
SVM_IMAGES = 50_000  # at most, to fit an SVM: its time grows with the square


def fastest(module: str, name: str) -> type[BaseEstimator]:
    """Return a class of scikit-learn-intelex if it is installed, else scikit-learn's own."""
    try:
        return getattr(importlib.import_module(f"sklearnex.{module}"), name)
    except ImportError as error:
        if error.name != "sklearnex":  # installed, but it does not load
            print(f"scikit-learn-intelex does not load, {name} will be slow: {error}")
    return getattr(importlib.import_module(f"sklearn.{module}"), name)


class TemperedLDA(LinearDiscriminantAnalysis):
    """LDA that keeps the order of images of which it is sure.

    Its logits on fine-tuned features exceed 100, where all probabilities are 1. They are divided by
    a temperature that brings those of the training images down to `LARGEST_LOGIT`.
    """

    def fit(self, x: np.ndarray, y: np.ndarray) -> Self:
        """Fit LDA and the temperature."""
        super().fit(x, y)
        largest = float(np.abs(self.decision_function(x)).max())
        self.temperature_ = max(1.0, largest / LARGEST_LOGIT)
        return self

    def predict_proba(self, x: np.ndarray) -> np.ndarray:
        """Return the probabilities of the two classes (N, 2)."""
        bad = expit(self.decision_function(x).astype(np.float64) / self.temperature_)
        return np.stack([1 - bad, bad], axis=1)


CLASSIFIERS = Registry(
    "classifier",
    {
        # shrinkage, since the embedding may have as many dimensions as a class has images
        "lda": (TemperedLDA(solver="eigen"), {"shrinkage": [0.01, 0.1, 0.5, 0.9]}),
        "rf": (fastest("ensemble", "RandomForestClassifier")(500), {"min_samples_leaf": [1, 4]}),
        "lr": (
            fastest("linear_model", "LogisticRegression")(max_iter=2000, class_weight="balanced"),
            {"C": [1e-4, 1e-3, 1e-2, 1e-1]},
        ),
        # MB of kernel values kept: with the default of 200, 30,000 rows take 1.6 times as long
        "svm": (
            fastest("svm", "SVC")(kernel="rbf", class_weight="balanced", cache_size=1000),
            {"C": [0.1, 0.3, 1.0, 3.0, 10.0], "gamma": ["scale"]},
        ),
    },
    keyed=False,  # estimator and grid are arguments of a fit
)


@dataclass(frozen=True)
class ScoredClassifier:
    """The scores of a classifier, and how it was chosen."""

    scores: pd.DataFrame  # id, split, defect_score of the rows "val" and "test"
    chosen: dict[str, Any]
    cv_auc: float
    seconds: float


def fittings(
    members: Iterable[Member],
    estimator: BaseEstimator,
    grid: Grid,
    features: Features | Mapping[int | None, Features],
    split: pd.DataFrame,
    seed: int,
    **options: Any,
) -> dict[Member, functools.partial[ScoredClassifier]]:
    """Return the call of `score_classifier` for each member: nothing is fitted yet.

    `features` may be those of each fold: of the network that has not seen this fold.
    """
    seen = ["id", "label", "split"] + (["group"] if keeps_groups_apart(split) else [])
    score, calls = functools.partial(score_classifier, estimator, grid), {}
    for member in members:
        own = features if isinstance(features, Features) else features[member.fold]
        table = sides(split, member.fold)[seen]
        calls[member] = functools.partial(score, own, table, seed, **options)
    return calls


def score_classifier(
    estimator: BaseEstimator,
    grid: Grid,
    features: Features,
    table: pd.DataFrame,
    seed: int,
    **options: Any,
) -> ScoredClassifier:
    """Fit a classifier on the rows `train` of a table, and score the others.

    The folds inside keep groups together if the table has a column `group`; `options` are folds
    and name of `fit_classifier`.
    """
    started = time.monotonic()
    train = table[table.split == "train"]
    labels = train.label.to_numpy(dtype=np.int64)
    options["groups"] = train.group.to_numpy() if "group" in table else None
    x = features.of(train.id)
    model, chosen, auc = fit_classifier(estimator, grid, x, labels, seed, **options)
    scored = table.loc[table.split.isin(["val", "test"]), ["id", "split"]].reset_index(drop=True)
    bad = model.predict_proba(features.of(scored.id))[:, 1].astype(np.float64)
    scores = scored.assign(defect_score=np.clip(bad, 0, 1))
    return ScoredClassifier(scores, chosen, round(auc, 4), round(time.monotonic() - started, 1))


def fit_classifier(
    estimator: BaseEstimator,
    grid: Grid,
    embeddings: np.ndarray,
    labels: np.ndarray,
    seed: int,
    *,
    folds: int = 5,
    groups: np.ndarray | None = None,
    name: str = "own",
) -> tuple[BaseEstimator, dict[str, Any], float]:
    """Choose hyper-parameters by cross-validated AUC, then fit on all training rows.

    A copy of `estimator` is fitted, an SVC on at most `SVM_IMAGES`; the parameters in `grid` are
    chosen on at most `CV_IMAGES` rows. The folds are stratified, and keep `groups` (N,)
    together if they can. `name` and `seed` set all random draws. Return the model, its parameters
    (and the images of a limited SVC), and the mean AUC of the folds.
    """
    random_state = seeding.stream_seed(seed, f"baseline {name.upper()}") % 2**31
    limited = type(estimator).__name__ == "SVC" and len(labels) > SVM_IMAGES
    if limited:
        kept = _sample(labels, SVM_IMAGES, folds, random_state)
        embeddings, labels = embeddings[kept], labels[kept]
        groups = None if groups is None else groups[kept]
    smallest = int(np.bincount(labels, minlength=2).min())
    if smallest < 2:
        raise ValueError(f"{name} needs two training images of each class; one has {smallest}")
    folds = min(folds, smallest)
    rows = _sample(labels, CV_IMAGES, folds, random_state)
    of_rows = None if groups is None else groups[rows]
    splitter = _inner_folds(labels[rows], folds, random_state, of_rows)
    model = clone(estimator)
    unset = [key for key, value in model.get_params(deep=True).items() if value is None]
    seeded = [key for key in unset if key == "random_state" or key.endswith("__random_state")]
    model.set_params(**dict.fromkeys(seeded, random_state))  # also of the steps of a pipeline
    pipeline = Pipeline([("scale", StandardScaler()), ("model", model)])
    steps = {f"model__{key}": list(values) for key, values in grid.items()}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # a grid's far ends may not converge
        search = GridSearchCV(pipeline, steps, scoring="roc_auc", cv=splitter, refit=False)
        search.fit(embeddings[rows], labels[rows])
        model = pipeline.set_params(**search.best_params_)
        if not hasattr(model, "predict_proba"):
            # Platt's sigmoid on out-of-fold margins turns an SVM's distances into probabilities.
            # On a large set two folds are enough: an SVM's time grows with the square.
            whole = len(rows) == len(labels)
            cv = splitter if whole else _inner_folds(labels, 2, random_state, groups)
            model = CalibratedClassifierCV(model, cv=cv, ensemble=False)
        model.fit(embeddings, labels)
    chosen = {key.removeprefix("model__"): value for key, value in search.best_params_.items()}
    chosen |= {"images": len(labels)} if limited else {}
    return model, chosen, float(search.best_score_)


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
    if limit >= len(labels):
        return np.arange(len(labels))
    order = np.random.default_rng(random_state).permutation(len(labels))
    kept = []
    for label in np.unique(labels):
        of_class = order[labels[order] == label]
        kept.append(of_class[: max(folds, round(limit * len(of_class) / len(labels)))])
    return np.sort(np.concatenate(kept))


def fitted_table(fitted: Mapping[Model, Collection[ScoredClassifier]]) -> pd.DataFrame:
    """Return what each model chose, how good that was inside its training set, and the seconds.

    If folds have chosen differently, each choice is followed by the number of folds.
    """
    rows = []
    for model, fits in fitted.items():
        aucs, seconds = zip(*((100 * fit.cv_auc, fit.seconds) for fit in fits), strict=True)
        counts = Counter(", ".join(f"{n} = {v}" for n, v in fit.chosen.items()) for fit in fits)
        chosen = "; ".join(f"{words} in {n}" for words, n in counts.most_common())
        chosen = f"{chosen} of {len(aucs)} folds" if len(counts) > 1 else next(iter(counts))
        rows.append((model.title, chosen, np.mean(aucs), sum(seconds)))
    columns = ["Model", "Chosen", "AUC inside training", "Seconds"]
    return pd.DataFrame(rows, columns=columns).round(1).astype(str)
