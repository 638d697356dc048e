"""The report's four classifiers by name, each with the grid of its hyper-parameters.

    CLASSIFIERS["knn"] = (KNeighborsClassifier(), {"n_neighbors": [3, 10, 30]})

They are scikit-learn's; scikit-learn-intelex makes them faster if it is installed.
"""

from __future__ import annotations

import importlib

from sklearn.base import BaseEstimator
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

from helpers.core.registry import Registry


def fastest(module: str, name: str) -> type[BaseEstimator]:
    """Return a class of scikit-learn-intelex if it is installed, else scikit-learn's own."""
    try:
        return getattr(importlib.import_module(f"sklearnex.{module}"), name)
    except ImportError as error:
        if error.name != "sklearnex":  # installed, but it does not load
            print(f"scikit-learn-intelex does not load, {name} will be slow: {error}")
    return getattr(importlib.import_module(f"sklearn.{module}"), name)


CLASSIFIERS = Registry(
    "classifier",
    {
        # shrinkage, since the embedding may have as many dimensions as a class has images
        "lda": (
            LinearDiscriminantAnalysis(solver="eigen"),
            {"shrinkage": [0.01, 0.1, 0.5, 0.9]},
        ),
        "rf": (
            fastest("ensemble", "RandomForestClassifier")(500),
            {"min_samples_leaf": [1, 4]},
        ),
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
