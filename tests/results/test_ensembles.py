"""Ensembles are rows like any other, kept by validation, and never see a test label."""

import numpy as np
import pandas as pd
import pytest
from scipy import special, stats
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from helpers.core import files, metrics
from helpers.core.metrics import roc_auc
from helpers.datasets.split_file import read_split
from helpers.models import names
from helpers.models.names import ENSEMBLES
from helpers.results import decision, ensembles, predictions, results_table
from helpers.results.settings import AnalysisSettings
from helpers.runs import stages
from helpers.runs.run_models import read_all_predictions
from tests import planted


def made_up(n=300, seed=0, shifts=(1.5, 1.4, 1.3)):
    """Labels and models with independent errors, each sure of itself in its own way."""
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.arange(n) % 3 == 0).astype(int)
    scores = {
        f"model_{i}": special.expit((i + 1) * (rng.normal(size=n) + shift * (labels - 0.5)))
        for i, shift in enumerate(shifts)
    }
    return labels, scores


@pytest.fixture
def run(home):
    """Three models with independent errors: joining them is worth it."""
    run_paths = planted.make_run()
    for seed, name in enumerate(("svm", "cnn", "fbp")):
        planted.plant(run_paths, name, 1.5 - 0.1 * seed, seed)
    return run_paths


def _build(val_scores, val_labels, test_scores):
    folds = ensembles.stratified_folds(val_labels, 5, 0)
    return ensembles.build_ensembles(val_scores, val_labels, test_scores, folds)


def _write(run_paths):
    return ensembles.write_ensembles(planted.analysis_stage(run_paths))


def _files(run_paths):
    return {p.stem: p.read_bytes() for p in run_paths.predictions_root.glob("*.csv")}


# --- fitting and judging -------------------------------------------------------------------------


def test_models_with_independent_errors_are_joined_kept_and_better_on_test():
    val_labels, val = made_up(seed=1)
    test_labels, test = made_up(seed=2)
    best = max(roc_auc(test_labels, own) for own in test.values())
    rows = _build(val, val_labels, test)
    assert list(rows) == ["rank_average", "stacking"]
    single = {name: roc_auc(val_labels, own) for name, own in val.items()}
    first = max(single, key=single.get)
    for row in rows.values():
        assert row.kept
        gain = metrics.auc_difference(val_labels, row.val_scores, val[first])
        standard_error = (gain.high - gain.low) / 2 / stats.norm.ppf(0.975)
        assert (row.best, row.gain) == (first, gain.difference)
        assert row.error == pytest.approx(standard_error)
        assert roc_auc(test_labels, row.test_scores) > best + 0.02


def test_an_ensemble_of_three_copies_of_one_model_is_not_kept():
    labels, scores = made_up(shifts=(1.5,))
    copies = {name: scores["model_0"] ** power for name, power in [("a", 1), ("b", 2), ("c", 3)]}
    rows = _build(copies, labels, copies)
    assert not rows["rank_average"].kept
    assert not rows["stacking"].kept
    assert rows["stacking"].gain <= rows["stacking"].error


def test_a_planted_random_model_gets_no_vote_and_spoils_nothing():
    val_labels, val = made_up(seed=1)
    test_labels, test = made_up(seed=2)
    clean = _build(val, val_labels, test)
    random = np.random.default_rng(9).random(len(val_labels))
    rows = _build(val | {"random": random}, val_labels, test | {"random": random})
    assert rows["rank_average"].weights["random"] == 0
    assert rows["stacking"].weights["random"] < 0.05
    for name, row in rows.items():
        assert row.kept
        without = roc_auc(test_labels, clean[name].test_scores)
        assert roc_auc(test_labels, row.test_scores) == pytest.approx(without, abs=0.005)


def test_out_of_fold_scores_ignore_the_label_of_the_part_itself():
    class Memory:
        """Knows every label that it was fitted on by the part's score."""

        def __init__(self, scores, labels):
            self.known = dict(zip(scores["a"].tolist(), labels, strict=True))
            sizes.append(len(labels))

        def predict(self, scores):
            return np.array([self.known.get(s, 0.5) for s in scores["a"].tolist()])

    labels, _ = made_up(n=60)
    scores, sizes = {"a": np.linspace(0, 1, 60)}, []
    folds = ensembles.stratified_folds(labels, 5, 0)
    by_fold, out_of_fold = ensembles.fit_without_each_fold(Memory, scores, labels, folds)
    assert (out_of_fold == 0.5).all()
    assert sizes == [48] * 5 == [len(own.known) for own in by_fold.values()]


@pytest.mark.parametrize("sharpness", [1, 5])
def test_stacking_agrees_with_scikit_learn_where_no_weight_is_negative(sharpness):
    labels, scores = made_up()
    scores = {k: special.expit(sharpness * special.logit(own)) for k, own in scores.items()}
    fitted = ensembles.Stacking(scores, labels)
    z = special.logit(np.clip(np.stack(list(scores.values()), axis=1), 1e-6, 1 - 1e-6))
    assert (fitted.slope > 1) == (sharpness == 1)
    oracle = LogisticRegression(C=1.0, tol=1e-8).fit(z, labels)
    assert oracle.coef_.min() > 0
    expected = oracle.predict_proba(z)[:, 1]
    np.testing.assert_allclose(fitted.predict(scores), expected, rtol=0, atol=1e-4)
    backwards = dict(reversed(scores.items()))  # the names decide, not the order
    np.testing.assert_array_equal(fitted.predict(backwards), fitted.predict(scores))
    expected = oracle.coef_[0] / oracle.coef_.sum()
    np.testing.assert_allclose(list(fitted.weights.values()), expected, atol=1e-4)


def test_stacking_weights_are_never_negative_and_sum_to_one():
    labels, scores = made_up()
    scores["upside_down"] = 1 - scores["model_0"]
    weights = ensembles.Stacking(scores, labels).weights
    assert weights["upside_down"] == 0
    assert min(weights.values()) == 0
    assert sum(weights.values()) == pytest.approx(1)


def test_models_worse_than_chance_stack_to_a_constant():
    labels, scores = made_up()
    upside_down = {name: 1 - own for name, own in scores.items()}
    fitted = ensembles.Stacking(upside_down, labels)
    assert fitted.slope == 0 and list(fitted.weights.values()) == [1 / 3] * 3
    assert fitted.predict(upside_down) == pytest.approx(labels.mean(), abs=1e-3)


@pytest.mark.parametrize(
    ("third", "weights"),
    [
        ({"helps": [0.5, 0.1, 0.6, 0.7]}, {"best": 0, "harms": 0, "helps": 1}),
        ({"mends": [0.2, 0.1, 0.3, 0.15]}, {"best": 0.5, "harms": 0, "mends": 0.5}),
    ],
)
def test_rank_average_takes_in_only_models_that_raise_the_auc(third, weights):
    scores = {"best": [0.2, 0.6, 0.5, 0.9], "harms": [1, 0.9, 0, 0], **third}
    assert ensembles.RankAverage(scores, np.array([0, 0, 1, 1])).weights == weights


def test_rank_average_by_hand():
    scores = {"a": np.array([0.1, 0.5, 0.5, 0.9]), "b": np.array([0.2, 0.4, 0.6, 0.8])}
    fitted = ensembles.RankAverage(scores, [0, 0, 1, 1])
    fitted.weights = {"a": 0.5, "b": 0.5}
    # Among a's scores 0.5 is in the middle (4/8) and 0.1 lowest (1/8); b's 0.6 is third (5/8).
    got = fitted.predict({"a": np.array([0.5, 0.1]), "b": np.array([0.6, 0.8])})
    assert got == pytest.approx([(4 / 8 + 5 / 8) / 2, (1 / 8 + 7 / 8) / 2])


def test_rank_average_keeps_the_order_of_parts_beyond_the_validation_scores():
    fitted = ensembles.RankAverage({"a": np.array([0.4, 0.5])}, [0, 1])
    scores = np.linspace(0, 1, 21)
    ranks = fitted.predict({"a": scores})
    assert (stats.rankdata(ranks) == stats.rankdata(scores)).all()
    assert (ranks.min() >= 0) and (ranks.max() <= 1)


# --- the files -----------------------------------------------------------------------------------


def test_kept_ensembles_become_predictions_files_that_the_table_reads(run):
    report = _write(run)
    assert report.kept.all() and report.ensemble.tolist() == list(ENSEMBLES)
    single = read_all_predictions(run).values()
    val = {own.name: own.val.defect_score.to_numpy() for own in single}
    labels = next(iter(single)).labels_scores("val")[0]
    in_five_folds = _build(val, labels, val).values()
    assert report.val_auc.tolist() == [roc_auc(labels, row.val_scores) for row in in_five_folds]
    for row, text in zip(in_five_folds, report.weights, strict=True):
        weights = dict(part.rsplit(" ", 1) for part in text.split(", "))
        expected = {names.display_name(name): weight for name, weight in row.weights.items()}
        assert {k: float(v) for k, v in weights.items()} == pytest.approx(expected, abs=0.005)
        assert sorted(weights.values(), reverse=True) == list(weights.values())
    table = results_table.whole_table(run).set_index("model")
    assert set(ENSEMBLES) <= set(table.index)
    assert table.test_auc["stacking"] > table.test_auc[["svm", "cnn", "fbp"]].max()
    assert results_table.best_model(table.reset_index()) in ENSEMBLES
    written = read_all_predictions(run, ensembles=True)["stacking"]
    labels, scores = written.labels_scores("val")
    expected = report.set_index("ensemble").val_auc["stacking"]
    assert roc_auc_score(labels, scores) == pytest.approx(expected)
    # they are not joined again, nor shown by earlier notebooks
    assert _write(run).equals(report)
    assert not set(ENSEMBLES) & set(results_table.results_table(run).model)


def test_the_mean_over_a_model_s_seeds_is_what_is_joined(run):
    def stacked():
        _write(run)
        return read_all_predictions(run, ensembles=True)["stacking"].test.defect_score

    planted.plant(run, "fbp", 1.3, 2, 3, 4)
    mean, split = read_all_predictions(run)["fbp"], read_split(run.split_csv)
    joined, by_id = stacked(), pd.concat([mean.val, mean.test]).set_index("id").defect_score
    scores = split.id.map(by_id).to_numpy()
    predictions.save_predictions(run.predictions("fbp"), split, scores)
    np.testing.assert_allclose(stacked(), joined, atol=1e-6)


def test_ensembles_of_cross_fitted_models_are_cross_fitted_over_the_same_folds(run, monkeypatch):
    planted.add_folds(run)
    for seed, name in enumerate(("svm", "cnn", "fbp")):
        planted.plant(run, name, 1.5 - 0.1 * seed, seed)
    planted.plant(run, "ll", 3.0, 9, once=True)  # fewer validation images: not joined
    fitted = []
    plain = ensembles.Stacking.__init__
    monkeypatch.setattr(
        ensembles.Stacking,
        "__init__",
        lambda self, scores, labels: fitted.append(scores) or plain(self, scores, labels),
    )
    report = _write(run).set_index("ensemble")
    assert report.kept.all() and "LL" not in report.weights["stacking"]
    scored, split = read_all_predictions(run, True), read_split(run.split_csv)
    joined = scored["stacking"]
    assert joined.model.averaged == "5 folds" and len(joined.val) == 400
    assert roc_auc(*joined.labels_scores("val")) == pytest.approx(report.val_auc["stacking"])
    everything, *without = fitted
    assert set(everything) == {"svm", "cnn", "fbp"} and len(without) == 5
    known = scored["svm"].val.set_index("id").defect_score
    for fold, scores in enumerate(without):
        others = split.id[(split.fold != fold).fillna(False)]
        assert scores["svm"].tolist() == known[others].tolist()


def test_one_cross_fitted_model_is_joined_with_the_others_on_what_all_have_scored(run):
    planted.add_folds(run)
    planted.plant(run, "fbp", 1.3, 2)
    for seed, name in enumerate(("svm", "cnn")):
        planted.plant(run, name, 1.5, seed, once=True)
    report = _write(run)
    assert report.kept.all() and "FBP" in report.weights[1]
    joined = read_all_predictions(run, True)["stacking"]
    assert joined.members == () and len(joined.val) == 200


@pytest.mark.parametrize("change", [planted.shuffle_test_labels, planted.hide_test_labels])
def test_other_or_hidden_test_labels_leave_the_fitted_ensembles_unchanged(run, change):
    report = _write(run)
    before = _files(run)
    assert set(ENSEMBLES) <= set(before)
    change(run)
    assert _write(run).equals(report)
    assert _files(run) == before


def test_shuffled_test_labels_change_no_threshold_temperature_or_choice(run):
    def chosen():
        scored = read_all_predictions(run)
        points = decision.operating_table(scored, AnalysisSettings(), 0.3)
        temperatures = decision.calibration_table(scored, 0.3).temperature[:-1]
        table = results_table.results_table(run)
        found = [*points.threshold, *temperatures, *table.threshold[:-1]]
        return found, results_table.best_model(table)

    before, test_auc = chosen(), results_table.results_table(run).test_auc[0]
    planted.shuffle_test_labels(run)
    assert chosen() == before
    shuffled_auc = results_table.results_table(run).test_auc[0]
    assert shuffled_auc < test_auc - 0.1  # the leak detector has teeth


def test_a_planted_perfect_and_a_planted_random_model_come_out_as_they_must(run):
    planted.plant(run, "perfect", np.inf, seed=8)
    planted.plant(run, "random", 0, seed=9)
    report = _write(run).set_index("ensemble")

    assert not report.kept.any()
    assert report.weights["rank_average"] == "perfect 1.00"
    assert set(report.best) == {"perfect"} and (report.gain <= 0).all()
    assert not any(run.predictions(name).exists() for name in ENSEMBLES)

    table = results_table.whole_table(run).set_index("model")
    assert results_table.best_model(table.reset_index()) == "perfect"
    assert table.loc["perfect", ["val_accuracy", "val_auc", "test_auc", "test_f1"]].eq(1).all()
    assert 0.9 < table.loc["perfect", "test_auc_low"] < table.loc["perfect", "test_auc_high"] == 1
    assert table.loc["random", "test_auc"] == pytest.approx(0.5, abs=0.1)
    assert table.test_auc_low["random"] < 0.5 < table.test_auc_high["random"]
    assert np.isnan(table.p_holm["perfect"])
    assert (table.p_holm.drop(["perfect", "majority"]) < 0.001).all()
    assert table.difference["random"] == pytest.approx(table.test_auc["random"] - 1)

    scored = read_all_predictions(run, ensembles=True)
    points = decision.operating_table(scored, AnalysisSettings(review_share=0), 0.3)
    points = points[points.rule == "expected"].set_index("model")
    assert points.loc["perfect", ["test_escapes", "test_overkilled"]].tolist() == [0, 0]
    assert points.loc["random", "test_overkill_rate"] > 0.9
    assert points.loc["svm", "test_overkill_rate"] < points.loc["random", "test_overkill_rate"]


def test_an_ensemble_that_is_not_kept_any_more_is_removed(run):
    _write(run)
    assert run.predictions("stacking").exists()
    planted.plant(run, "perfect", np.inf, seed=8)
    _write(run)
    assert not run.predictions("stacking").exists()
    assert "stacking" not in read_all_predictions(run, ensembles=True)


def test_an_ensemble_is_written_again_with_another_seed(run):
    _write(run)
    before = _files(run)
    ensembles.write_ensembles(planted.analysis_stage(run), seed=1)
    assert all(_files(run)[name] != before[name] for name in ENSEMBLES)


def test_a_file_of_the_user_s_with_an_ensemble_s_name_is_refused_and_left_alone(run):
    planted.plant(run, "stacking", 1, seed=4)
    before = _files(run)
    with pytest.raises(files.ArtifactError, match=r"stacking.csv has the name of an ensemble"):
        _write(run)
    assert _files(run) == before


def test_a_file_that_a_killed_stage_has_written_but_not_recorded_is_taken_for_its_own(run):
    first = _write(run)
    record = stages.load_run(run)
    del record["steps"]["stacking"]
    files.save_json(run.run_json, record)
    assert _write(run).equals(first)
    assert "stacking" in stages.load_run(run)["steps"]


def test_parts_are_drawn_one_by_one_into_folds_if_all_bad_ones_are_of_one_lot(run):
    split = read_split(run.split_csv)
    lot = np.where(split.label == 1, "bad", split.id.str[-1])
    files.save_csv(run.split_csv, split.assign(group=split.split + lot))
    report = _write(run)
    assert len(report) == 2 and (report.val_auc > 0.8).all()
    assert not report.kept.any()  # the error over lots is unknown


def test_one_model_or_a_tiny_validation_set_gives_no_ensemble(home):
    run_paths = planted.make_run()
    planted.plant(run_paths, "svm", 1, seed=0)
    assert _write(run_paths).empty
    tiny = planted.make_run(n=6, name="tiny")
    for seed, name in enumerate(("svm", "fbp")):
        planted.plant(tiny, name, 1, seed)
    assert _write(tiny).empty
    small = planted.make_run(n=8, name="small")  # four of each label in val: two folds
    for seed, name in enumerate(("svm", "fbp")):
        planted.plant(small, name, 1, seed)
    assert len(_write(small)) == 2


def test_the_stage_is_done_again_when_a_model_comes_or_changes_but_not_for_its_own_ensembles(run):
    def key():
        record = stages.load_run(run)
        return stages.stage_key("06_analysis", AnalysisSettings(), record)

    first = key()
    _write(run)
    assert key() == first
    planted.plant(run, "my_model", 1, seed=7)
    second = key()
    assert second != first
    planted.plant(run, "my_model", 1, seed=8)
    assert key() not in (first, second)
    run.predictions("my_model").unlink()
    assert key() == first


def test_ensembles_are_said_in_words():
    row = {"ensemble": "rank_average", "val_auc": 0.96, "best": "fbp", "gain": 0.004}
    row |= {"error": 0.001, "kept": True, "weights": "FBP 0.60, LL 0.40"}
    shape = ensembles.ensembles_shape(pd.DataFrame([row]))
    assert shape.iloc[0].tolist() == [
        "Rank average",
        "96.00",
        "+0.40 ± 0.10 (FBP)",
        "yes",
        "FBP 0.60, LL 0.40",
    ]
