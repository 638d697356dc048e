"""The four classical models."""

import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import make_classification
from sklearn.metrics import roc_auc_score

from helpers.core import files
from helpers.core.paths import RunPaths
from helpers.runs import stages
from helpers.training import baselines
from helpers.training.features import Features
from helpers.training.settings import BaselineSettings


@pytest.fixture(scope="module")
def problem():
    x, y = make_classification(300, 12, n_informative=6, class_sep=1.2, random_state=0)
    return x[:200].astype(np.float32), y[:200], x[200:].astype(np.float32), y[200:]


@pytest.mark.parametrize("name", baselines.NAMES)
def test_each_model_learns_and_gives_probabilities_of_bad(problem, name):
    x, y, x_new, y_new = problem
    fitted = baselines.fit_baseline(name, x, y, folds=3, trees=60, seed=0)
    scores = fitted.defect_score(x_new)
    assert scores.shape == (100,) and scores.min() >= 0 and scores.max() <= 1
    assert roc_auc_score(y_new, scores) > 0.8
    assert fitted.cv_auc > 0.8 and fitted.chosen
    assert name != "SVM" or fitted.model.cv.get_n_splits() == 3


def test_models_are_fitted_on_train_alone_and_score_val_and_test(home):
    # val shows the opposite label, and more clearly: a model that saw it would follow it
    sides = np.repeat(["train", "val", "test"], 40)
    labels = np.arange(120) % 2
    factor = pd.Series(sides).map({"train": 1, "val": -2, "test": 2}).to_numpy()
    x = (factor * (2 * labels - 1) + np.random.default_rng(0).normal(size=120) / 4)[:, None]
    ids = np.array([f"{i:03d}" for i in range(120)])
    stage = stages.Stage(
        "02_features_baselines", RunPaths("r"), "quick", BaselineSettings(trees=9), "key"
    )
    split = pd.DataFrame({"id": ids, "path": "x.png", "label": labels, "split": sides})
    files.save_csv(stage.paths.split_csv, split)
    baselines.fit_all(stage, Features(ids, x.astype(np.float32)), "planted")
    for name in baselines.NAMES:
        frame = files.load_csv(stage.paths.predictions(name.lower()), ("id", "split"))
        for side, auc in (("val", 0), ("test", 1)):
            own = frame[frame.split == side].defect_score
            assert roc_auc_score(labels[sides == side], own) == auc, (name, side)


def test_lda_keeps_the_order_of_images_of_which_it_is_sure():
    rng, labels = np.random.default_rng(0), np.arange(200) % 2
    x = (rng.normal(size=(200, 4)) + 12 * labels[:, None]).astype(np.float32)
    fitted = baselines.fit_baseline("LDA", x, labels, folds=3, trees=60, seed=0)
    logits, scores = fitted.model.decision_function(x), fitted.defect_score(x)
    assert np.abs(logits).max() > 100 and scores.min() >= 0 and scores.max() <= 1
    written = np.array([float(f"{score:.9g}") for score in scores])  # as in a CSV
    assert (np.diff(written[logits.argsort()]) >= 0).all()
    assert len(set(written)) > 190


@pytest.mark.parametrize("name", baselines.NAMES)
def test_the_same_seed_gives_the_same_scores(problem, name):
    x, y, x_new, _ = problem
    first, second = (
        baselines.fit_baseline(name, x, y, folds=2, trees=20, seed=4).defect_score(x_new)
        for _ in range(2)
    )
    np.testing.assert_allclose(first, second, atol=1e-12)


def test_hyper_parameters_of_a_large_set_are_chosen_on_a_sample_and_fitted_on_all(monkeypatch):
    labels = np.repeat([0, 1], [950, 50])
    rows = baselines._sample(labels, 200, folds=5, random_state=0)
    assert np.bincount(labels[rows]).tolist() == [190, 10] and len(set(rows)) == 200
    assert np.bincount(labels[baselines._sample(labels, 20, 5, 0)]).tolist() == [19, 5]
    assert baselines._sample(labels, 0, 5, 0).tolist() == list(range(1000))
    searched = []
    search = baselines.GridSearchCV.fit
    monkeypatch.setattr(
        baselines.GridSearchCV,
        "fit",
        lambda self, x, y: searched.append((len(x), self.cv.get_n_splits())) or search(self, x, y),
    )
    x = np.random.default_rng(0).normal(size=(1000, 3)).astype(np.float32)
    fitted = baselines.fit_baseline("LR", x, labels, 3, 10, 0, cv_images=200)
    assert searched == [(200, 3)] and fitted.model.named_steps["scale"].n_samples_seen_ == 1000


def test_an_svm_of_a_very_large_set_is_fitted_on_a_sample_and_says_so(problem, monkeypatch):
    x, y, x_new, y_new = problem
    monkeypatch.setattr(baselines, "MOST_SVM_IMAGES", 120)
    fitted = baselines.fit_baseline("SVM", x, y, folds=3, trees=60, seed=0)
    assert fitted.chosen["images"] == 120
    assert fitted.model.calibrated_classifiers_[0].estimator["scale"].n_samples_seen_ == 120
    assert roc_auc_score(y_new, fitted.defect_score(x_new)) > 0.8
    assert "images" not in baselines.fit_baseline("LDA", x, y, folds=3, trees=60, seed=0).chosen


def test_the_table_of_fits_counts_what_the_folds_have_chosen():
    row = {"model": "LR", "features": "efficientnet_lite0", "cv_auc": 0.8956, "seconds": 53.2}
    folds = [{"C": 0.01, "gamma": "scale"}, {"C": 0.1, "gamma": "scale"}]
    rows = [row | {"chosen": [*folds, folds[0]]}, row | {"chosen": {"C": 1}}]
    table = baselines.fitted_table(rows)
    assert table.Chosen.tolist() == ["C = 0.01 in 2, 0.1 in 1 of 3 folds; gamma = scale", "C = 1"]
    sampled = row | {"chosen": [{"C": 1}, {"C": 1, "images": 50_000}]}
    assert (
        baselines.fitted_table([sampled]).Chosen[0]
        == "C = 1; images = all in 1, 50000 in 1 of 2 folds"
    )
    assert table.Features[0] == "EfficientNet-Lite0" and table["AUC inside training"][0] == "89.6"
