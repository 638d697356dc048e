import numpy as np
import pytest
from scipy import special, stats
from sklearn.linear_model import LogisticRegression

from helpers.results import ensembles
from helpers.results.metrics import roc_auc


def made_up(n=300, seed=0, shifts=(1.5, 1.4, 1.3)):
    """Labels and models with independent errors, each sure of itself in its own way."""
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.arange(n) % 3 == 0).astype(int)
    scores = {
        f"model_{i}": special.expit((i + 1) * (rng.normal(size=n) + shift * (labels - 0.5)))
        for i, shift in enumerate(shifts)
    }
    return labels, scores


def with_planted(kind, labels, scores, seed=9):
    rng = np.random.default_rng(seed)
    planted = {"perfect": labels.astype(float), "random": rng.random(len(labels))}[kind]
    return scores | {kind: planted}


def test_models_with_independent_errors_are_joined_kept_and_better_on_test():
    val_labels, val = made_up(seed=1)
    test_labels, test = made_up(seed=2)
    best = max(roc_auc(test_labels, own) for own in test.values())
    rows = ensembles.build_ensembles(val, val_labels, test)
    assert list(rows) == ["rank_average", "stacking"]
    for row in rows.values():
        assert row.kept
        assert "more than one standard error" in row.reason
        assert roc_auc(test_labels, row.test_scores) > best + 0.02


def test_one_model_in_three_copies_is_no_ensemble_worth_keeping():
    labels, scores = made_up(shifts=(1.5,))
    copies = {name: scores["model_0"] ** power for name, power in [("a", 1), ("b", 2), ("c", 3)]}
    rows = ensembles.build_ensembles(copies, labels, copies)
    assert not rows["rank_average"].kept
    assert not rows["stacking"].kept
    assert "not more than one standard error" in rows["stacking"].reason


def test_beside_a_planted_perfect_model_no_ensemble_is_kept():
    labels, scores = made_up()
    val = with_planted("perfect", labels, scores)
    rows = ensembles.build_ensembles(val, labels, val)
    assert not rows["rank_average"].kept
    assert not rows["stacking"].kept
    assert "1.0000 of perfect" in rows["stacking"].reason
    assert rows["rank_average"].weights["perfect"] == 1
    assert rows["stacking"].weights["perfect"] > 0.75
    assert roc_auc(labels, rows["stacking"].test_scores) == 1


def test_a_planted_random_model_gets_no_vote_and_spoils_nothing():
    val_labels, val = made_up(seed=1)
    test_labels, test = made_up(seed=2)
    clean = ensembles.build_ensembles(val, val_labels, test)
    rows = ensembles.build_ensembles(
        with_planted("random", val_labels, val),
        val_labels,
        with_planted("random", test_labels, test),
    )
    assert rows["rank_average"].weights["random"] == 0
    assert rows["stacking"].weights["random"] < 0.05
    for name, row in rows.items():
        assert row.kept
        without = roc_auc(test_labels, clean[name].test_scores)
        assert roc_auc(test_labels, row.test_scores) == pytest.approx(without, abs=0.005)


def test_test_scores_leave_the_fit_alone():
    labels, scores = made_up()
    other = {name: np.random.default_rng(3).random(50) for name in scores}
    for name, row in ensembles.build_ensembles(scores, labels, scores).items():
        again = ensembles.build_ensembles(scores, labels, other)[name]
        assert again.weights == row.weights
        assert again.kept == row.kept
        np.testing.assert_array_equal(again.val_scores, row.val_scores)


def test_on_shuffled_validation_labels_no_ensemble_is_kept():
    labels, scores = made_up()
    for seed in range(5):
        shuffled = np.random.default_rng(seed).permutation(labels)
        rows = ensembles.build_ensembles(scores, shuffled, scores)
        assert roc_auc(shuffled, rows["stacking"].val_scores) < 0.6
        assert not rows["stacking"].kept


def test_out_of_fold_scores_ignore_the_label_of_the_part_itself():
    class Memory:
        """Knows every label that it was fitted on by the part's score."""

        def __init__(self, scores, labels):
            self.known = dict(zip(np.asarray(scores["a"]).tolist(), labels, strict=True))

        def predict(self, scores):
            return np.array([self.known.get(s, 0.5) for s in np.asarray(scores["a"]).tolist()])

    labels, _ = made_up(n=60)
    scores = {"a": np.linspace(0, 1, 60)}
    assert (ensembles.cross_validated_scores(Memory, scores, labels) == 0.5).all()


def test_stacking_agrees_with_scikit_learn_where_no_weight_is_negative():
    labels, scores = made_up()
    fitted = ensembles.fit_stacking(scores, labels)
    z = special.logit(np.stack(list(scores.values()), axis=1))
    oracle = LogisticRegression(C=1.0, tol=1e-8).fit(z, labels)
    assert oracle.coef_.min() > 0
    np.testing.assert_allclose(
        fitted.predict(scores), oracle.predict_proba(z)[:, 1], rtol=0, atol=1e-4
    )
    expected = oracle.coef_[0] / oracle.coef_.sum()
    np.testing.assert_allclose(list(fitted.weights.values()), expected, atol=1e-4)


def test_stacking_weights_are_never_negative_and_sum_to_one():
    labels, scores = made_up()
    scores["upside_down"] = 1 - scores["model_0"]
    weights = ensembles.fit_stacking(scores, labels).weights
    assert weights["upside_down"] == 0
    assert min(weights.values()) == 0
    assert sum(weights.values()) == pytest.approx(1)


def test_models_worse_than_chance_stack_to_a_constant():
    labels, scores = made_up()
    upside_down = {name: 1 - own for name, own in scores.items()}
    fitted = ensembles.fit_stacking(upside_down, labels)
    assert fitted.slope == 0
    assert fitted.predict(upside_down) == pytest.approx(labels.mean(), abs=1e-3)


def test_rank_average_takes_in_only_models_that_raise_the_auc():
    labels = np.array([0, 0, 1, 1])
    scores = {"best": [0.2, 0.6, 0.5, 0.9], "helps": [0.5, 0.1, 0.6, 0.7], "harms": [1, 0.9, 0, 0]}
    assert ensembles.fit_rank_average(scores, labels).weights == {
        "best": 0,
        "helps": 1,
        "harms": 0,
    }
    del scores["helps"]
    scores["mends"] = [0.2, 0.1, 0.3, 0.15]
    assert ensembles.fit_rank_average(scores, labels).weights == {
        "best": 0.5,
        "harms": 0,
        "mends": 0.5,
    }


def test_rank_average_by_hand():
    fitted = ensembles.RankAverage(
        {"a": 0.5, "b": 0.5},
        {"a": np.array([0.1, 0.5, 0.5, 0.9]), "b": np.array([0.2, 0.4, 0.6, 0.8])},
    )
    # Among a's scores 0.5 is in the middle (4/8) and 0.1 lowest (1/8); b's 0.6 is third (5/8).
    got = fitted.predict({"a": np.array([0.5, 0.1]), "b": np.array([0.6, 0.8])})
    assert got == pytest.approx([(4 / 8 + 5 / 8) / 2, (1 / 8 + 7 / 8) / 2])


def test_rank_average_keeps_the_order_of_parts_beyond_the_validation_scores():
    fitted = ensembles.RankAverage({"a": 1.0}, {"a": np.array([0.4, 0.5])})
    scores = np.linspace(0, 1, 21)
    ranks = fitted.predict({"a": scores})
    assert (stats.rankdata(ranks) == stats.rankdata(scores)).all()
    assert (ranks.min() >= 0) and (ranks.max() <= 1)


def test_the_order_of_the_models_on_test_does_not_matter():
    labels, scores = made_up()
    fitted = ensembles.fit_stacking(scores, labels)
    backwards = dict(reversed(scores.items()))
    np.testing.assert_array_equal(fitted.predict(backwards), fitted.predict(scores))


def test_wrong_predictions_are_named():
    labels, scores = made_up(n=60)
    cases = [
        ({"a": scores["model_0"]}, labels, scores, r"needs two models or more, got \['a'\]"),
        (scores, labels, {"model_0": [0.5]}, r"no scores of \['model_1', 'model_2'\] for these"),
        (scores | {"odd": [0.5]}, labels, scores, "odd scores 1 parts, model_0 60"),
        (scores | {"svm": scores["model_0"] * 9}, labels, scores, "scores of svm are not all frac"),
    ]
    for val, val_labels, test, message in cases:
        with pytest.raises(ValueError, match=message):
            ensembles.build_ensembles(val, val_labels, test)
    few = {name: own[:12] for name, own in scores.items()}
    with pytest.raises(ValueError, match="5 folds need 10 parts of each class on validation, got"):
        ensembles.build_ensembles(few, labels[:12], few)
