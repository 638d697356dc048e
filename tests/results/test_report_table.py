"""The table in the report's shape, with the report's numbers marked as the report's."""

import numpy as np
import pandas as pd
import pytest

from helpers.core import files
from helpers.results import report_table, results_table
from helpers.runs.names import display_name
from tests import planted


@pytest.fixture
def run(home):
    run_paths = planted.make_run()
    for seed, (name, quality) in enumerate(
        [("svm", 1.0), ("svm_finetuned", 2.5), ("fbp", 2.0), ("mine", 1.0)]
    ):
        planted.plant(run_paths, name, quality, seed)
    _record(run_paths, "fbp", seconds=964.3, parameters=3373570)
    files.save_json(run_paths.metrics("fit_svm"), {"model": "SVM", "seconds": 2.4})
    return run_paths


def _record(run_paths, name, *, seeds=1, **facts):
    records = [{"seed": k, **facts} for k in range(seeds)]
    files.save_json(run_paths.metrics(f"{name}_history"), {"seeds": records})


def _shape(run_paths):
    table = results_table.whole_table(run_paths)
    return report_table.report_shape(table).set_index("Model")


def test_the_paper_table_has_a_row_per_model_the_best_on_validation_first(run):
    planted.plant(run, "svm_finetuned", np.inf, 1)
    planted.plant(run, "lr_brightness", 0.2, 5)
    table = results_table.results_table(run)
    shape = report_table.paper_table(table, "submitted")
    assert shape.Model.iloc[0] == "SVM on FBP features \N{LEFTWARDS ARROW} submitted"
    assert shape.Model.iloc[-2:].tolist() == [
        "brightness alone (reference)",
        "majority (reference)",
    ]
    assert shape["Test AUC"].iloc[0] == "100.0 [100.0, 100.0]"
    auc = table.sort_values("val_auc", ascending=False).val_auc
    assert shape["Valid AUC"].tolist() == [f"{100 * value:.1f}" for value in auc]
    assert "Trainings" not in shape and "within groups" not in shape


def test_the_paper_table_tells_a_mean_of_trainings_from_one_and_stars_the_first_fold(run):
    planted.add_folds(run)
    planted.plant(run, "fbp", 2.0, 0)
    planted.plant(run, "svm", 4.0, 0, once=True)
    table = results_table.results_table(run)
    shape = report_table.paper_table(table).set_index("Model")
    row = table.set_index("model").loc["fbp"]
    fbp = shape.loc["FBP \N{LEFTWARDS ARROW} best on validation"]
    assert fbp.Trainings == "5 folds" and shape.loc["SVM", "Trainings"] == "-"
    assert fbp["one training"] == f"{100 * row.test_auc_mean:.1f} ± {100 * row.test_auc_std:.1f}"
    assert shape.loc["SVM", "Valid AUC"].endswith("*") and not fbp["Valid AUC"].endswith("*")
    assert "first fold alone" in report_table.table_legend(table)
    html = report_table.shown(table, "Run toy.").to_html()
    assert "Run toy. Per cent" in html and "font-weight: bold" in html


def test_the_paper_table_of_hidden_test_labels_shows_validation_alone(run):
    planted.hide_test_labels(run)
    shape = report_table.paper_table(results_table.results_table(run))
    assert shape.columns.tolist() == ["Model", "Valid AUC", "Valid Acc"]
    assert "[" in shape["Valid AUC"].iloc[0]


def test_the_shape_has_the_reports_numbers_in_columns_of_their_own(run):
    shape = _shape(run)
    assert shape.columns[-2:].tolist() == ["Report: Valid Acc", "Report: Test AUC"]
    assert shape.loc["SVM", "Report: Valid Acc"] == "57.0 (95.6)"
    assert shape.loc["FBP", "Report: Test AUC"] == "98.30"
    assert shape.loc["mine"].tolist()[-2:] == ["-", "-"]
    assert shape.loc["FBP", "Parameters"] == "3,373,570"
    assert shape.loc["SVM", "p"].endswith("(best)")
    assert shape.loc["SVM", "Seconds"] == "2.4 (-)"


def test_rows_of_the_report_that_the_run_lacks_show_the_reports_numbers_alone(run):
    shape = _shape(run)
    row = shape.loc["DARTS ImageNet (not in this run)"]
    assert row[["Report: Valid Acc", "Report: Test AUC"]].tolist() == ["95.33", "99.06"]
    assert (row.drop(["Report: Valid Acc", "Report: Test AUC"]) == "-").all()
    assert "DARTS Nexperia (not in this run)" in shape.index
    planted.plant(run, "darts_imagenet", 2, 11)
    shape = _shape(run)
    assert shape.loc["DARTS ImageNet", "Report: Test AUC"] == "99.06"
    assert shape.loc["DARTS ImageNet", "Valid Acc"] != "-"


def test_a_model_with_several_seeds_has_a_line_for_their_mean_and_one_for_a_single_one(run):
    planted.plant(run, "fbp", 1.0, 0, 1, 2)
    _record(run, "fbp", seeds=3, seconds=900.0, parameters=1000)
    table = results_table.whole_table(run)
    row, shape = table.set_index("model").loc["fbp"], _shape(run)
    mean, one = shape.loc["FBP, 3 seeds averaged"], shape.loc["FBP, one model"]
    for title, column in (("Test AUC", "test_auc"), ("Valid Acc", "val_accuracy")):
        low, high = row[f"{column}_low"], row[f"{column}_high"]
        assert mean[title] == f"{100 * row[column]:.1f} [{100 * low:.1f}, {100 * high:.1f}]"
        spread = f"{100 * row[f'{column}_mean']:.1f} ± {100 * row[f'{column}_std']:.1f}"
        assert one[title] == spread
    assert mean["Test F1"] == f"{100 * row.test_f1:.1f}"
    assert mean[["Parameters", "Seconds"]].tolist() == ["3 x 1,000", "2700"]
    assert one[["p", "Parameters", "Seconds"]].tolist() == ["-", "1,000", "900"]
    assert (mean["Report: Test AUC"], one["Report: Test AUC"]) == ("98.30", "-")
    assert shape.index.tolist().index("FBP, one model") == 2
    assert "mean of their scores" in report_table.table_notes(table)


def test_a_cross_fitted_classical_model_has_both_features_on_both_of_its_lines(run):
    planted.add_folds(run)
    for seed, name in enumerate(("svm", "svm_finetuned")):
        planted.plant(run, name, 1.0 + seed, seed)
    table = results_table.whole_table(run)
    row, shape = table.set_index("model").test_auc_mean, _shape(run)
    one = shape.loc["SVM, one model", "Test AUC"]
    assert one.startswith(f"{100 * row['svm']:.1f} ± ")
    assert f" ({100 * row['svm_finetuned']:.1f} ± " in one
    assert "SVM, 5 folds averaged" in shape.index and "FBP" in shape.index
    assert shape.loc["SVM, one model", "Seconds"] == "0.5 (-)"  # of 2.4 for all folds


def test_a_users_own_finetuned_name_without_a_twin_is_a_row(run):
    planted.plant(run, "mynet_finetuned", 3.0, 9)
    assert display_name("mynet_finetuned") in _shape(run).index


def test_the_report_s_table_is_complete():
    published = """
        lda 58.0 (96.0) -; rf 54.0 (95.6) -; lr 55.3 (95.6) -; svm 57.0 (95.6) -; ll 60.67 -;
        cnn 77.0 -; fbp 97.33 98.30; darts_imagenet 95.33 99.06; darts_searched 95.67 98.57
    """
    rows = [row.split() for row in published.split(";")]
    assert {name: (" ".join(valid), auc) for name, *valid, auc in rows} == report_table.REPORT


def test_hidden_test_labels_are_said_and_validation_is_compared(run):
    planted.hide_test_labels(run)
    table = results_table.whole_table(run)
    assert "test_auc" not in table and table.p_value.notna().sum() == 3
    notes = report_table.table_notes(table)
    assert "of the validation (test labels are hidden) AUC" in notes and "trainings" not in notes
    shape = report_table.report_shape(table)
    assert (shape["Test AUC"] == "-").all()
    assert "Valid AUC" not in report_table.report_shape(table.assign(test_auc=0.5))
    auc = table.set_index("model").val_auc["fbp"]
    assert shape.set_index("Model").loc["FBP", "Valid AUC"].startswith(f"{100 * auc:.1f} [")


def test_the_device_is_a_column_only_where_devices_differ(run):
    assert "Device" not in _shape(run)
    _record(run, "mine", seconds=5, device="NVIDIA H100")
    _record(run, "fbp", seconds=5, device="a CPU")
    shape = _shape(run)
    assert shape.loc["mine", "Device"] == "NVIDIA H100" and shape.loc["majority", "Device"] == "-"


@pytest.mark.parametrize(
    ("row", "text"),
    [
        ({"x": 0.5}, "50.0 %"),
        ({"x": 0.5, "x_low": 0.4, "x_high": 0.6, "x_spread": 0.1}, "50.0 % [40.0, 60.0]"),
        ({"x": 0.5, "x_spread": 0.1}, "50.0 % ± 10.0"),
        ({"x": np.nan, "x_low": 0.4}, "-"),
        ({}, "-"),
    ],
)
def test_a_fraction_is_written_with_its_interval_or_its_spread(row, text):
    assert report_table.per_cent(pd.Series(row, dtype=float), "x", " %") == text
