"""The four classical models."""

import numpy as np
import pytest
from sklearn.datasets import make_classification
from sklearn.metrics import roc_auc_score

from helpers import baselines


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


@pytest.mark.parametrize("name", baselines.NAMES)
def test_the_same_seed_gives_the_same_scores(problem, name):
    x, y, x_new, _ = problem
    first, second = (
        baselines.fit_baseline(name, x, y, folds=2, trees=20, seed=4).defect_score(x_new)
        for _ in range(2)
    )
    np.testing.assert_allclose(first, second, atol=1e-12)


def test_an_unknown_model_is_named():
    with pytest.raises(ValueError, match="no baseline 'KNN'; there are LDA, RF, LR, SVM"):
        baselines.fit_baseline("KNN", np.zeros((4, 2)), np.array([0, 1, 0, 1]), 2, 5, 0)
