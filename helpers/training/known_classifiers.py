"""The report's four classifiers by name, each with the grid of its hyper-parameters.

    CLASSIFIERS["knn"] = (KNeighborsClassifier(), {"n_neighbors": [3, 10, 30]})

They are scikit-learn's; scikit-learn-intelex makes them faster if it is installed.
"""

from __future__ import annotations

import importlib

import numpy as np
from scipy.special import expit
from sklearn.base import BaseEstimator
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

from helpers.core.rules import Registry

LARGEST_LOGIT = 15.0  # a CSV's 9 digits tell scores apart up to about 20


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

    def fit(self, x: np.ndarray, y: np.ndarray) -> TemperedLDA:
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
)
