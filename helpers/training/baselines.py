"""The report's four classical models on embeddings: LDA, random forest, logistic regression, SVM.

They are scikit-learn pipelines; scikit-learn-intelex makes them faster if it is installed.
Hyper-parameters are chosen by cross-validation inside the training set alone, so nothing is chosen
by the validation numbers of the table. If the split has folds, each model is fitted once for each
of them, on the images of the other folds.
"""

from __future__ import annotations

import importlib
import time
import warnings
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
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
from tqdm.auto import tqdm

from helpers.core import files, seeding
from helpers.core.folds import stratified_folds
from helpers.core.members import cross_fitted, sides
from helpers.datasets.cache import ImageCache
from helpers.datasets.split_file import keeps_groups_apart
from helpers.models import libraries
from helpers.models.names import display_name
from helpers.results.predictions import save_predictions
from helpers.runs.stages import Stage
from helpers.training.features import Features

NAMES = ("LDA", "RF", "LR", "SVM")
MOST_SVM_IMAGES = 50_000  # its time grows with the square
LARGEST_LOGIT = 15.0  # of LDA on training images; a CSV's 9 digits tell scores apart up to about 20


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


def fit_all(
    stage: Stage,
    features: Features | Callable[[int | None], Features],
    origin: str,
    suffix: str = "",
    names: Sequence[str] = (),
) -> list[dict[str, Any]]:
    """Fit the classical models on embeddings and write their predictions, each of them once.

    Args:
        stage: its settings give folds, trees and seed; its split gives the sides, and the folds
            that the models are cross-fitted over.
        features: embeddings of all images of the split; if they come from networks that were
            trained on its labels, a function from each fold (None if there are none) to the
            embeddings by the network that has not seen this fold.
        origin: where the embeddings come from, for the record.
        suffix: of the predictions files' names.
        names: of the models to fit; default: all four.

    Returns:
        One row per model: what was chosen (for each fold), the cross-validated AUC (the mean over
        the folds), and the seconds.
    """
    settings, split = stage.settings, stage.split
    members = cross_fitted(split, [settings.seed])
    embedded = features if callable(features) else lambda fold: features
    own = {name: getattr(settings, name) for name in ("folds", "trees", "seed", "cv_images")}
    digests = [embedded(fold).digest for _, fold in members]
    seen = [column for column in ("id", "label", "split", "fold") if column in split]
    inputs = {
        "features": digests if len(members) > 1 else digests[0],
        "split": files.fingerprint(split[seen].astype(str).to_numpy()),
        **own,
    }
    if apart := keeps_groups_apart(split):
        inputs["groups"] = files.fingerprint(split.group.astype(str).tolist())
    rows = []
    for name in tqdm(names or NAMES, desc="classical models", leave=False):

        def fit(predictions: Path, record: Path, name: str = name) -> None:
            started = time.monotonic()
            scores, fitted = {}, []
            for member in tqdm(members, desc=name, leave=False, disable=len(members) == 1):
                table, vectors = sides(split, member.fold), embedded(member.fold)
                train = table[table.split == "train"]
                x, y = vectors.of(train.id), train.label.to_numpy(dtype=np.int64)
                groups = train.group.to_numpy() if apart else None
                fitted.append(fit_baseline(name, x, y, groups=groups, **own))
                scored = table.split.isin(["val", "test"]).to_numpy()
                scores[member] = np.full(len(table), np.nan)
                scores[member][scored] = fitted[-1].defect_score(vectors.of(table.id[scored]))
            save_predictions(predictions, split, scores)
            chosen = [one.chosen for one in fitted]
            row = {
                "model": name,
                "features": origin,
                "chosen": chosen[0] if len(chosen) == 1 else chosen,
                "cv_auc": round(float(np.mean([one.cv_auc for one in fitted])), 4),
                "seconds": round(time.monotonic() - started, 1),
            }
            files.save_json(record, row)

        model = name.lower() + suffix
        sizes = ("trees", "cv_images") if name == "RF" else ("cv_images",)
        predictions, record = stage.paths.predictions(model), stage.paths.metrics(f"fit_{model}")
        stage.once(model, inputs, fit, sizes=sizes, predictions=predictions, record=record)
        rows.append(files.load_json(record))
    return rows


def fitted_table(rows: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """Return the rows of `fit_all` for the eye: what was chosen, and how good it was inside.

    If folds have chosen differently, each value is followed by the number of folds. Only an SVM of
    some folds may have been fitted on fewer "images" than "all".
    """
    table = []
    for row in rows:
        folds = row["chosen"] if isinstance(row["chosen"], list) else [row["chosen"]]
        chosen = []
        for name in dict.fromkeys(name for own in folds for name in own):
            counts = Counter(own.get(name, "all") for own in folds).most_common()
            several = ", ".join(f"{value} in {n}" for value, n in counts)
            shown = f"{several} of {len(folds)} folds" if len(counts) > 1 else str(counts[0][0])
            chosen.append(f"{name} = {shown}")
        table.append(
            {
                "Model": row["model"],
                "Features": display_name(libraries.title(row["features"])),
                "Chosen": "; ".join(chosen),
                "AUC inside training": f"{100 * row['cv_auc']:.1f}",
                "Seconds": f"{row['seconds']:.{0 if row['seconds'] >= 10 else 1}f}",
            }
        )
    return pd.DataFrame(table)


def brightness(split: pd.DataFrame, cache: ImageCache) -> Features:
    """Return the mean gray value of each image as its only feature, (N, 1).

    A classifier on it says how much of a result the brightness alone explains.
    """
    means = cache.table["mean"].to_numpy(dtype=np.float32)[cache.rows(split.id)]
    return Features(split.id.to_numpy(dtype=str), means[:, None])


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

    Args:
        name: one of `NAMES`.
        embeddings: (N, D) float32, of the training set.
        labels: (N,) 0 good, 1 bad.
        folds: of the stratified cross-validation.
        trees: of the random forest.
        seed: of the folds and the forest.
        cv_images: hyper-parameters are chosen on at most so many rows, drawn by class; 0: all.
        groups: (N,) that the folds keep together if each fold then has both classes.

    An SVM is fitted on at most `MOST_SVM_IMAGES` rows, drawn by class; if there are more, `chosen`
    says so.
    """
    random_state = seeding.stream_seed(seed, f"baseline {name}") % 2**31
    smallest = int(np.bincount(labels, minlength=2).min())
    if smallest < 2:
        raise ValueError(f"{name} needs two training images of each class; one has {smallest}")
    folds = min(folds, smallest)
    limited = name == "SVM" and len(labels) > MOST_SVM_IMAGES
    if limited:
        drawn = _sample(labels, MOST_SVM_IMAGES, folds, random_state)
        embeddings, labels = embeddings[drawn], labels[drawn]
        groups = None if groups is None else groups[drawn]
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
            # On a large set the margins of two folds do: an SVM's time grows with the square.
            whole = len(rows) == len(labels)
            cv = splitter if whole else _inner_folds(labels, 2, random_state, groups)
            model = CalibratedClassifierCV(model, cv=cv, ensemble=False)
        model.fit(embeddings, labels)
    chosen = {key.split("__")[-1]: value for key, value in search.best_params_.items()}
    if limited:
        chosen["images"] = len(labels)
    temperature = None
    if name == "LDA":
        largest = float(np.abs(model.decision_function(embeddings)).max())
        temperature = max(1.0, largest / LARGEST_LOGIT)
    return FittedBaseline(model, chosen, float(search.best_score_), temperature)


def _inner_folds(
    labels: np.ndarray, folds: int, random_state: int, groups: np.ndarray | None
) -> PredefinedSplit:
    """Return folds that each have both classes: by groups, or if these are too few, by images."""
    found = stratified_folds(labels, folds, random_state, groups)
    if any(len(np.unique(labels[found == fold])) < 2 for fold in np.unique(found)):
        found = stratified_folds(labels, folds, random_state)
    return PredefinedSplit(found)


def _sample(labels: np.ndarray, limit: int, folds: int, random_state: int) -> np.ndarray:
    """Return the rows of a sample of `limit`, each class in proportion, a row for each fold."""
    if not 0 < limit < len(labels):
        return np.arange(len(labels))
    order = np.random.default_rng(random_state).permutation(len(labels))
    kept = []
    for label in np.unique(labels):
        own = order[labels[order] == label]
        kept.append(own[: max(folds, round(limit * len(own) / len(labels)))])
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
        model = forest(trees, n_jobs=-1, random_state=random_state)
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
