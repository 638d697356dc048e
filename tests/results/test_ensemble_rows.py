"""Ensembles are rows like any other, kept by validation, and never see a test label."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from helpers.core import files
from helpers.results import decision, ensemble_rows, table2
from helpers.results import table as results_table
from helpers.runs import predictions, settings, stages
from tests import planted


@pytest.fixture
def run(home):
    """Three models with independent errors: joining them is worth it."""
    run_paths = planted.make_run()
    for seed, name in enumerate(("svm", "cnn", "fbp")):
        planted.plant(run_paths, name, 1.5 - 0.1 * seed, seed)
    return run_paths


def _files(run):
    return {p.stem: p.read_bytes() for p in run.predictions_root.glob("*.csv")}


def test_kept_ensembles_become_predictions_files_that_the_table_reads(run):
    report = ensemble_rows.write_ensembles(planted.analysis_stage(run))
    assert report.kept.all() and report.ensemble.tolist() == list(settings.ENSEMBLES)
    table = table2.whole_table(run).set_index("model")
    assert set(settings.ENSEMBLES) <= set(table.index)
    assert table.test_auc["stacking"] > table.test_auc[["svm", "cnn", "fbp"]].max()
    assert results_table.best_model(table.reset_index()) in settings.ENSEMBLES
    written = predictions.read_all_predictions(run, ensembles=True)["stacking"]
    labels, scores = written.labels_scores("val")
    expected = report.set_index("ensemble").val_auc["stacking"]
    assert roc_auc_score(labels, scores) == pytest.approx(expected)


def test_shuffled_test_labels_leave_the_fitted_ensembles_unchanged(run):
    report = ensemble_rows.write_ensembles(planted.analysis_stage(run))
    before = _files(run)
    assert set(settings.ENSEMBLES) <= set(before)
    planted.shuffle_test_labels(run)
    again = ensemble_rows.write_ensembles(planted.analysis_stage(run))
    assert _files(run) == before
    assert again.equals(report)


def test_shuffled_test_labels_change_no_threshold_temperature_or_choice(run):
    def chosen():
        scored = predictions.read_all_predictions(run)
        points = decision.operating_table(scored, settings.AnalysisSettings(), 0.3)
        temperatures = decision.calibration_table(scored, 0.3).temperature
        table = results_table.results_table(run)
        return [
            *points.threshold,
            *temperatures[:-1],
            *table.threshold[:-1],
        ], results_table.best_model(table)

    before, test_auc = chosen(), results_table.results_table(run).test_auc[0]
    planted.shuffle_test_labels(run)
    assert chosen() == before
    assert (
        results_table.results_table(run).test_auc[0] < test_auc - 0.1
    )  # the leak detector has teeth


def test_hidden_test_labels_make_the_same_ensembles(run):
    ensemble_rows.write_ensembles(planted.analysis_stage(run))
    before = _files(run)
    planted.hide_test_labels(run)
    ensemble_rows.write_ensembles(planted.analysis_stage(run))
    assert _files(run) == before


def test_the_labels_for_fitting_are_those_of_validation(run):
    data = ensemble_rows.fitting_data(predictions.read_all_predictions(run))
    split = predictions.read_split(run)
    expected = split.label[split.split == "val"].astype(int)
    np.testing.assert_array_equal(data.val_labels, expected)


def test_a_planted_perfect_and_a_planted_random_model_come_out_as_they_must(run):
    planted.plant(run, "perfect", np.inf, seed=8)
    planted.plant(run, "random", 0, seed=9)
    report = ensemble_rows.write_ensembles(planted.analysis_stage(run)).set_index("ensemble")

    assert not report.kept.any()
    assert report.weights["rank_average"] == "perfect 1.00"
    assert not any(run.predictions(name).exists() for name in settings.ENSEMBLES)

    table = table2.whole_table(run).set_index("model")
    assert results_table.best_model(table.reset_index()) == "perfect"
    assert table.loc["perfect", ["val_accuracy", "val_auc", "test_auc", "test_f1"]].eq(1).all()
    assert table.loc["perfect", ["test_auc_low", "test_auc_high"]].tolist() == [1, 1]
    assert table.loc["random", "test_auc"] == pytest.approx(0.5, abs=0.1)
    assert table.test_auc_low["random"] < 0.5 < table.test_auc_high["random"]
    assert np.isnan(table.p_holm["perfect"])
    assert (table.p_holm.drop(["perfect", "majority"]) < 0.001).all()
    assert table.difference["random"] == pytest.approx(table.test_auc["random"] - 1)

    scored = predictions.read_all_predictions(run, ensembles=True)
    points = decision.operating_table(scored, settings.AnalysisSettings(), 0.3)
    points = points[points.rule == "escapes <= 1 %"].set_index("model")
    assert points.loc["perfect", ["test_escapes", "test_overkilled"]].tolist() == [0, 0]
    assert points.loc["random", "test_overkill_rate"] > 0.9
    assert points.loc["svm", "test_overkill_rate"] < points.loc["random", "test_overkill_rate"]


def test_an_ensemble_that_is_not_kept_any_more_is_removed(run):
    ensemble_rows.write_ensembles(planted.analysis_stage(run))
    assert run.predictions("stacking").exists()
    planted.plant(run, "perfect", np.inf, seed=8)
    ensemble_rows.write_ensembles(planted.analysis_stage(run))
    assert not run.predictions("stacking").exists()
    assert "stacking" not in predictions.read_all_predictions(run, ensembles=True)


def test_ensembles_are_not_joined_again_nor_shown_by_earlier_notebooks(run):
    first = ensemble_rows.write_ensembles(planted.analysis_stage(run))
    second = ensemble_rows.write_ensembles(planted.analysis_stage(run))
    assert second.equals(first)
    assert not set(settings.ENSEMBLES) & set(results_table.results_table(run).model)


def test_a_file_of_the_user_s_with_an_ensemble_s_name_is_refused_and_left_alone(run):
    planted.plant(run, "stacking", 1, seed=4)
    before = run.predictions("stacking").read_bytes()
    with pytest.raises(files.ArtifactError, match=r"stacking.csv has the name of an ensemble"):
        ensemble_rows.write_ensembles(planted.analysis_stage(run))
    assert run.predictions("stacking").read_bytes() == before


def test_a_file_that_a_killed_stage_has_written_but_not_recorded_is_taken_for_its_own(run):
    first = ensemble_rows.write_ensembles(planted.analysis_stage(run))
    record = stages.load_run(run)
    del record["steps"]["stacking"]
    files.save_json(run.run_json, record)
    assert ensemble_rows.write_ensembles(planted.analysis_stage(run)).equals(first)
    assert "stacking" in stages.load_run(run)["steps"]


def test_one_model_or_a_tiny_validation_set_gives_no_ensemble(home):
    run_paths = planted.make_run()
    planted.plant(run_paths, "svm", 1, seed=0)
    assert ensemble_rows.write_ensembles(planted.analysis_stage(run_paths)).empty
    tiny = planted.make_run(n=6, name="tiny")
    for seed, name in enumerate(("svm", "fbp")):
        planted.plant(tiny, name, 1, seed)
    assert ensemble_rows.write_ensembles(planted.analysis_stage(tiny)).empty


def test_the_stage_is_done_again_when_a_model_comes_or_changes_but_not_for_its_own_ensembles(run):
    def key():
        record = stages.load_run(run)
        return stages.stage_key("06_analysis", settings.AnalysisSettings(), record)

    first = key()
    ensemble_rows.write_ensembles(planted.analysis_stage(run))
    assert key() == first
    planted.plant(run, "my_model", 1, seed=7)
    second = key()
    assert second != first
    planted.plant(run, "my_model", 1, seed=8)
    assert key() not in (first, second)
    run.predictions("my_model").unlink()
    assert key() == first
