"""The four classical models."""

import itertools

import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import make_classification
from sklearn.metrics import roc_auc_score

from helpers.models.record import Model
from helpers.results.comparison import size_table
from helpers.training import baselines
from helpers.training.features import Features


@pytest.fixture(scope="module")
def problem():
    x, y = make_classification(300, 12, n_informative=6, class_sep=1.2, random_state=0)
    return x[:200].astype(np.float32), y[:200], x[200:].astype(np.float32), y[200:]


@pytest.mark.parametrize("name", baselines.NAMES)
def test_each_model_learns_and_gives_probabilities_of_bad_the_same_for_a_seed(problem, name):
    x, y, x_new, y_new = problem
    fitted = baselines.fit_baseline(name, x, y, folds=3, trees=60, seed=0)
    scores = fitted.defect_score(x_new)
    assert scores.shape == (100,) and scores.min() >= 0 and scores.max() <= 1
    assert roc_auc_score(y_new, scores) > 0.8
    assert fitted.cv_auc > 0.8 and fitted.chosen
    assert name != "SVM" or fitted.model.cv.get_n_splits() == 3
    again = baselines.fit_baseline(name, x, y, folds=3, trees=60, seed=0)
    np.testing.assert_allclose(again.defect_score(x_new), scores, atol=1e-12)


def test_models_are_fitted_on_train_alone_and_score_val_and_test():
    # val shows the opposite label, and more clearly: a model that saw it would follow it
    sides = np.repeat(["train", "val", "test"], 40)
    labels = np.arange(120) % 2
    factor = pd.Series(sides).map({"train": 1, "val": -2, "test": 2}).to_numpy()
    x = (factor * (2 * labels - 1) + np.random.default_rng(0).normal(size=120) / 4)[:, None]
    ids = np.array([f"{i:03d}" for i in range(120)])
    table = pd.DataFrame({"id": ids, "label": labels, "split": sides})
    planted = Features(ids, x.astype(np.float32))
    for name in baselines.NAMES:
        found = baselines.score_baseline(name, planted, table, folds=5, trees=9, seed=0)
        for side, auc in (("val", 0), ("test", 1)):
            own = found.scores[found.scores.split == side].defect_score
            assert roc_auc_score(labels[sides == side], own) == auc, (name, side)


def test_the_folds_inside_keep_groups_together_if_the_table_names_them(monkeypatch):
    seen, plain = [], baselines.fit_baseline
    monkeypatch.setattr(
        baselines, "fit_baseline", lambda *a, **k: seen.append(k["groups"]) or plain(*a, **k)
    )
    ids, labels = np.arange(40).astype(str), np.arange(40) % 2
    table = pd.DataFrame({"id": ids, "label": labels, "split": ["train"] * 36 + ["test"] * 4})
    planted = Features(ids, labels[:, None].astype(np.float32))
    for given in (table, table.assign(group=[f"g{i // 4}" for i in range(40)])):
        baselines.score_baseline("LR", planted, given, folds=2, trees=9, seed=0)
    assert seen[0] is None and seen[1].tolist() == [f"g{i // 4}" for i in range(36)]


def test_the_table_says_what_folds_have_chosen_differently():
    scores = pd.DataFrame({"id": ["a"], "split": ["val"], "defect_score": [0.5]})
    fits = [
        baselines.ScoredBaseline(scores, chosen, auc, 1.0)
        for chosen, auc in (({"C": 1}, 0.8), ({"C": 1}, 0.9), ({"C": 3}, 1.0))
    ]
    several, alone = baselines.fitted_table({Model("svm"): fits, Model("lr"): fits[:1]}).values
    expected = "C = 1 in 2; C = 3 in 1 of 3 folds"
    assert several.tolist() == ["SVM", expected, "90.0", "3.0"]
    assert alone.tolist() == ["LR", "C = 1", "80.0", "1.0"]


def test_lda_keeps_the_order_of_images_of_which_it_is_sure():
    rng, labels = np.random.default_rng(0), np.arange(200) % 2
    x = (rng.normal(size=(200, 4)) + 12 * labels[:, None]).astype(np.float32)
    fitted = baselines.fit_baseline("LDA", x, labels, folds=3, trees=60, seed=0)
    logits, scores = fitted.model.decision_function(x), fitted.defect_score(x)
    assert np.abs(logits).max() > 100 and scores.min() >= 0 and scores.max() <= 1
    written = np.array([float(f"{score:.9g}") for score in scores])  # as in a CSV
    assert (np.diff(written[logits.argsort()]) >= 0).all()
    assert len(set(written)) > 190


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


def test_an_svm_is_fitted_on_a_sample_of_a_very_large_set_and_says_so(problem, monkeypatch):
    x, y, *_ = problem
    monkeypatch.setattr(baselines, "SVM_IMAGES", 80)
    groups = np.arange(len(y)) // 4
    svm, lr = (baselines.fit_baseline(name, x, y, 3, 9, 0, groups=groups) for name in ("SVM", "LR"))
    assert svm.chosen["images"] == 80 and "images" not in lr.chosen
    (fitted,) = svm.model.calibrated_classifiers_
    assert fitted.estimator.named_steps["scale"].n_samples_seen_ == 80


@pytest.fixture
def split():
    """120 good and bad images on each side, without groups."""
    sides = np.repeat(["train", "val", "test"], 120)
    ids = [f"i{i:03d}" for i in range(360)]
    return pd.DataFrame({"id": ids, "label": np.arange(360) % 2, "split": sides})


def _features(split):
    label = split.label.fillna(0).to_numpy(dtype=np.float32)
    noise = np.random.default_rng(0).normal(size=(len(label), 60)).astype(np.float32)
    noise[:, 0] += 1.5 * label
    return Features(split.id.to_numpy(dtype=str), noise)


def test_more_images_give_a_better_auc_on_the_same_test_images(split):
    scores = baselines.scores_by_size(_features(split), split)
    assert scores.groupby("images").draw.nunique().tolist() == [5, 5, 1]
    assert scores.images.unique().tolist() == [60, 120, 240]  # of training and validation
    test = split.id[split.split == "test"].tolist()
    assert all(own.id.tolist() == test for _, own in scores.groupby(["images", "draw"]))
    table = size_table(scores, split)
    assert table.auc.iloc[-1] > table.auc.iloc[0]


def test_hidden_test_labels_leave_validation_to_judge_and_training_to_fit(split):
    hidden = split.assign(label=split.label.where(split.split != "test"))
    scores = baselines.scores_by_size(_features(split), hidden)
    assert scores.images.max() == 120 and scores.share.max() == 1
    assert set(scores.id) == set(split.id[split.split == "val"])


def test_a_class_with_few_images_gives_no_rows(split):
    few = split.groupby("split").head(12)
    assert baselines.scores_by_size(_features(split), few).empty


def test_draws_are_nested_and_of_whole_groups_where_the_split_keeps_them_apart():
    labels = np.repeat([0, 1], 20)
    small, large = (set(baselines._drawn(labels, share, 0, 1)) for share in (0.25, 0.5))
    assert small < large and len(small) == 10
    groups = np.repeat([f"g{k:02d}" for k in range(12)], 10)
    labels = np.tile([0, 1], 60)
    labels[groups == "g05"] = 0  # the first that is drawn
    draws = [baselines._drawn(labels, share, 0, 1, groups) for share in (0.05, 0.25, 0.5, 1)]
    assert all(set(smaller) < set(larger) for smaller, larger in itertools.pairwise(draws))
    assert [len(rows) for rows in draws] == [20, 30, 60, 120]
    assert all(len(rows) == 10 * len(set(groups[rows])) for rows in draws)
    assert np.bincount(labels[draws[0]]).min() >= baselines.FEWEST


def test_a_part_without_a_group_is_drawn_alone(split):
    group = pd.Series(None, split.index, dtype=object)
    group[:6], group[120:126] = "a", "b"  # of training and validation
    scores = baselines.scores_by_size(_features(split), split.assign(group=group))
    # of 230 units, two of them with six parts
    units = {0.25: 58, 0.5: 115, 1.0: 230}
    more = scores.images - scores.share.map(units)
    assert set(more) <= {0, 5, 10} and scores.images.max() == 240
