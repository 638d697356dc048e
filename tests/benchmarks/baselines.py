"""Fits of SVM (RBF kernel) and random forest on embeddings: ours against stock scikit-learn.

One fit each with fixed hyper-parameters, the same on both sides, without the search for them and
without the calibration of the SVM's scores. Stock means its defaults, the kernel cache of 200 MB
included; ours is 1,000 MB.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import numpy as np
from sklearn.ensemble import RandomForestClassifier
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from helpers.training import baselines
from tests.benchmarks import made_up, measure
from tests.benchmarks.measure import Measured, Timed
from tests.benchmarks.report import Case, Options

SIZES = {"embeddings": 27_000, "dimensions": made_up.DIMENSIONS, "trees": 500}
SMALL = {"embeddings": 300, "dimensions": made_up.DIMENSIONS, "trees": 5}
TEST_ROWS = 1_000  # for the AUC alone
CHOSEN = {"SVM": {"C": 1.0, "gamma": "scale"}, "RF": {"min_samples_leaf": 1}}


def our_pipeline(name: str, trees: int) -> Pipeline:
    """Return the project's pipeline with the chosen hyper-parameters."""
    pipeline, _ = baselines.pipeline_and_grid(name, trees, random_state=0)
    return pipeline.set_params(**{f"model__{key}": value for key, value in CHOSEN[name].items()})


def plain_pipeline(name: str, trees: int) -> Pipeline:
    """Return scikit-learn's own classes with the same settings."""
    if name == "SVM":
        model = SVC(kernel="rbf", class_weight="balanced", **CHOSEN[name])
    else:
        model = RandomForestClassifier(trees, n_jobs=-1, random_state=0, **CHOSEN[name])
    return make_pipeline(StandardScaler(), model)


def fit(make, name: str, rows: int, trees: int) -> Timed:
    """Fit on `rows` made-up embeddings; the AUC on others is a fact beside the seconds."""
    x, labels = made_up.labelled_embeddings(rows + TEST_ROWS)
    model = make(name, trees)
    seconds = measure.seconds_of(lambda: model.fit(x[:rows], labels[:rows]))
    scores = model.decision_function(x[rows:]) if name == "SVM" else model.predict_proba(x[rows:])
    auc = roc_auc_score(labels[rows:], scores if np.ndim(scores) == 1 else scores[:, 1])
    return Timed(seconds, facts={"auc": round(float(auc), 4)})


def together(parts: list[Measured]) -> Measured:
    """Return the seconds of all, one after another, and the largest memory."""
    peaks = {
        name: max(getattr(part, name) for part in parts)
        for name in ("peak_mib", "above_imports_mib", "workers_mib")
    }
    seconds = sum(part.seconds for part in parts)
    return dataclasses.replace(parts[0], seconds=seconds, facts={}, all_seconds=(seconds,), **peaks)


def cases(sizes: dict[str, Any], options: Options) -> Iterator[Case]:
    """Yield the SVM, the forest, and both together."""
    done, rows = [], sizes["embeddings"]
    for name in CHOSEN:
        sides = [
            options.measure(fit, make, name, rows, sizes["trees"])
            for make in (our_pipeline, plain_pipeline)
        ]
        remark = "AUC {} and {}".format(*(side.facts["auc"] for side in sides))
        done.append(sides)
        yield Case(f"{name}, {rows:,} x {sizes['dimensions']}", *sides, "s", remark)
    yield Case("together", *(together(list(side)) for side in zip(*done, strict=True)))
