"""Classical models: the report's four, and an estimator of a cell."""

import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import make_classification
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import RidgeClassifier
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler

from helpers.core.members import cross_fitted
from helpers.training import classifiers
from helpers.training.classifiers import CLASSIFIERS, fit_classifier, fittings, score_classifier
from helpers.training.inference import Features
from tests.conftest import aucs, folded_split


@pytest.fixture(scope="module")
def problem():
    x, y = make_classification(300, 12, n_informative=6, class_sep=1.2, random_state=0)
    return x[:200].astype(np.float32), y[:200], x[200:].astype(np.float32), y[200:]


@pytest.mark.parametrize("name", ["lda", "rf", "lr", "svm"])
def test_each_model_learns_and_gives_probabilities_of_bad_the_same_for_a_seed(problem, name):
    x, y, x_new, y_new = problem
    model, chosen, auc = fit_classifier(*CLASSIFIERS[name], x, y, 0, folds=3, name=name)
    scores = model.predict_proba(x_new)
    np.testing.assert_allclose(scores.sum(axis=1), 1, rtol=1e-6)
    assert roc_auc_score(y_new, scores[:, 1]) > 0.8 and auc > 0.8 and chosen
    assert name != "svm" or model.cv.get_n_splits() == 3
    again, *_ = fit_classifier(*CLASSIFIERS[name], x, y, 0, folds=3, name=name)
    np.testing.assert_allclose(again.predict_proba(x_new), scores, atol=1e-12)


def test_the_steps_of_a_pipeline_are_seeded_unless_they_have_a_seed(problem):
    x, y, x_new, _ = problem
    scores = []
    for seed in (None, None, 7):
        own = make_pipeline(MinMaxScaler(), RandomForestClassifier(5, random_state=seed))
        model, *_ = fit_classifier(own, {}, x, y, 0, folds=3)
        scores.append(model.predict_proba(x_new).tobytes())
    assert scores[0] == scores[1]
    assert model.get_params()["model__randomforestclassifier__random_state"] == 7


@pytest.fixture
def opposite():
    """Features and a table; val shows the opposite label, and more clearly than train and test."""
    sides = np.repeat(["train", "val", "test"], 40)
    labels = np.arange(120) % 2
    factor = pd.Series(sides).map({"train": 1, "val": -2, "test": 2}).to_numpy()
    x = (factor * (2 * labels - 1) + np.random.default_rng(0).normal(size=120) / 4)[:, None]
    ids = np.array([f"{i:03d}" for i in range(120)])
    table = pd.DataFrame({"id": ids, "label": labels, "split": sides})
    return Features(ids, x.astype(np.float32)), table


def test_models_are_fitted_on_train_alone_and_score_val_and_test(opposite):
    for entry in (*CLASSIFIERS.values(), (RidgeClassifier(), {"alpha": [1.0]})):
        found = score_classifier(*entry, *opposite, 0)
        assert aucs(found.scores, opposite[1]) == {"val": 0, "test": 1}, entry


def test_the_folds_inside_keep_groups_together_if_the_table_names_them(monkeypatch):
    seen, plain = [], classifiers.stratified_folds
    monkeypatch.setattr(
        classifiers, "stratified_folds", lambda *given: seen.append(given[3:]) or plain(*given)
    )
    ids, labels = np.arange(40).astype(str), np.arange(40) % 2
    table = pd.DataFrame({"id": ids, "label": labels, "split": ["train"] * 36 + ["test"] * 4})
    planted = Features(ids, labels[:, None].astype(np.float32))
    for given in (table, table.assign(group=[f"g{i // 4}" for i in range(40)])):
        score_classifier(*CLASSIFIERS["lr"], planted, given, 0, folds=2)
    assert seen[0] == (None,) and seen[1][0].tolist() == [f"g{i // 4}" for i in range(36)]


def test_lda_keeps_the_order_of_images_of_which_it_is_sure():
    rng, labels = np.random.default_rng(0), np.arange(200) % 2
    x = (rng.normal(size=(200, 4)) + 12 * labels[:, None]).astype(np.float32)
    model, *_ = fit_classifier(*CLASSIFIERS["lda"], x, labels, 0, folds=3)
    logits, scores = model.decision_function(x), model.predict_proba(x)[:, 1]
    assert np.abs(logits).max() > 100 and scores.min() >= 0 and scores.max() <= 1
    written = np.array([float(f"{score:.9g}") for score in scores])  # as in a CSV
    assert (np.diff(written[logits.argsort()]) >= 0).all()
    assert len(set(written)) > 190


def test_hyper_parameters_of_a_large_set_are_chosen_on_a_sample_and_fitted_on_all(monkeypatch):
    labels = np.repeat([0, 1], [950, 50])
    rows = classifiers._sample(labels, 200, folds=5, random_state=0)
    assert np.bincount(labels[rows]).tolist() == [190, 10] and len(set(rows)) == 200
    assert np.bincount(labels[classifiers._sample(labels, 20, 5, 0)]).tolist() == [19, 5]
    searched, search = [], classifiers.GridSearchCV.fit
    monkeypatch.setattr(classifiers, "CV_IMAGES", 200)
    monkeypatch.setattr(
        classifiers.GridSearchCV,
        "fit",
        lambda self, x, y: searched.append((len(x), self.cv.get_n_splits())) or search(self, x, y),
    )
    x = np.random.default_rng(0).normal(size=(1000, 3)).astype(np.float32)
    model, *_ = fit_classifier(*CLASSIFIERS["lr"], x, labels, 0, folds=3)
    assert searched == [(200, 3)] and model.named_steps["scale"].n_samples_seen_ == 1000


def test_an_svm_is_fitted_on_a_sample_of_a_very_large_set_and_says_so(problem, monkeypatch):
    x, y, *_ = problem
    monkeypatch.setattr(classifiers, "SVM_IMAGES", 80)
    given = {"folds": 3, "groups": np.arange(len(y)) // 4}
    svm, chosen, _ = fit_classifier(*CLASSIFIERS["svm"], x, y, 0, **given)
    _, of_lr, _ = fit_classifier(*CLASSIFIERS["lr"], x, y, 0, **given)
    assert chosen["images"] == 80 and "images" not in of_lr
    (fitted,) = svm.calibrated_classifiers_
    assert fitted.estimator.named_steps["scale"].n_samples_seen_ == 80


@pytest.mark.parametrize("name", ["lda", "lr", "svm"])
def test_a_label_that_only_a_leaking_fold_could_know_changes_no_own_score(name, parts_folder):
    """The image's features are unique: a model fitted on it would know its label by heart."""
    split = folded_split(parts_folder)
    x = np.random.default_rng(0).normal(size=(len(split), 6)).astype(np.float32)
    x[:, 1] += split.label
    row = int(np.flatnonzero((split.fold == 1).fillna(False))[3])
    x[row, 0] = 1e3
    by_fold = dict.fromkeys(range(3), Features(split.id.to_numpy(dtype=str), x))
    other = split.copy()
    other.loc[row, "label"] = 1 - other.label[row]
    scores = []
    for table in (split, other):
        calls = fittings(cross_fitted(table, [0]), *CLASSIFIERS[name], by_fold, table, 0, folds=2)
        scores.append({m.fold: call().scores.defect_score for m, call in calls.items()})
    assert scores[0][1].equals(scores[1][1])  # bit for bit
    assert not scores[0][2].equals(scores[1][2])  # this fold was fitted with the label
