"""The table in the report's shape, with the report's numbers marked as the report's."""

import numpy as np
import pandas as pd
import pytest

from helpers.core import files
from helpers.results import report_table, results_table
from tests import planted


@pytest.fixture
def run(home):
    run_paths = planted.make_run()
    for seed, (name, quality) in enumerate(
        [("svm", 1.0), ("svm_on_fbp", 2.5), ("fbp", 2.0), ("mine", 1.0)]
    ):
        planted.plant(run_paths, name, quality, seed)
    _record(run_paths, "fbp", seconds=964.3, parameters=3373570)
    files.save_json(run_paths.metrics("fit_svm"), {"model": "SVM", "seconds": 2.4})
    return run_paths


def _record(run_paths, name, *, seeds=1, **facts):
    records = [{"seed": k, **facts} for k in range(seeds)]
    files.save_json(run_paths.metrics(f"{name}_history"), {"seeds": records})


def test_the_paper_table_has_a_row_per_model_the_best_on_validation_first(run):
    planted.plant(run, "svm_on_fbp", np.inf, 1)
    planted.plant(run, "lr_on_brightness", 0.2, 5)
    table = results_table.results_table(run)
    shape = report_table.paper_table(table, "submitted")
    assert shape.Model.iloc[0] == "SVM on FBP features \N{LEFTWARDS ARROW} submitted"
    assert shape.Model.iloc[-2:].tolist() == [
        "Brightness alone (reference)",
        "Majority (reference)",
    ]
    assert shape["Test AUC"].iloc[0] == "100.0 [94.0, 100.0]"
    auc = table.sort_values("val_auc", ascending=False).val_auc
    assert shape["Valid AUC"].tolist() == [f"{100 * value:.1f}" for value in auc]
    assert "Trainings" not in shape and "Test AUC within groups" not in shape


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
    assert "Run toy. Per cent" in html and html.count("<b>") > 1


def test_the_whole_table_has_p_values_and_costs_that_are_never_bold(run):
    table = results_table.whole_table(run)
    shape = report_table.paper_table(table, "submitted").set_index("Model")
    assert shape.loc["FBP", ["Parameters", "Time"]].tolist() == ["3.4 M", "16 min"]
    assert shape.loc["SVM", ["p", "Parameters", "Time"]].tolist() == ["<.001", "-", "2.4 s"]
    assert shape.p["SVM on FBP features \N{LEFTWARDS ARROW} submitted"] == "-"
    same = table.assign(p_holm=table.p_holm.where(table.model != "svm", 1.0))
    html = report_table.shown(same, "All models.", chosen="submitted").to_html()
    assert ">1.000<" in html
    assert f"<b>{100 * table.test_accuracy.max():.1f}</b>" in html
    assert "p: paired test against the submitted row" in html
    assert "<b>3.4 M</b>" not in html and "<b>2.4 s</b>" not in html
    planted.plant(run, "fbp", 0.5, 0, 1, 2)
    shape = report_table.paper_table(results_table.whole_table(run)).set_index("Model")
    assert shape.loc["FBP", ["Trainings", "Parameters"]].tolist() == ["3 seeds", "3 x 3.4 M"]


def test_the_paper_table_of_hidden_test_labels_shows_validation_alone(run):
    planted.hide_test_labels(run)
    shape = report_table.paper_table(results_table.results_table(run))
    assert shape.columns.tolist() == ["Model", "Valid AUC", "Valid Acc"]
    assert "[" in shape["Valid AUC"].iloc[0]


def test_the_report_s_table_is_complete():
    published = """
        lda 58.0 (96.0) -; rf 54.0 (95.6) -; lr 55.3 (95.6) -; svm 57.0 (95.6) -; ll 60.67 -;
        cnn 77.0 -; fbp 97.33 98.30; darts_imagenet 95.33 99.06; darts_searched 95.67 98.57
    """
    rows = [row.split() for row in published.split(";")]
    assert {name: (" ".join(valid), auc) for name, *valid, auc in rows} == report_table.REPORT


@pytest.mark.parametrize(
    ("row", "text"),
    [
        ({"x": 0.5}, "50.0 %"),
        ({"x": 0.5, "x_low": 0.4, "x_high": 0.6}, "50.0 % [40.0, 60.0]"),
        ({"x": np.nan, "x_low": 0.4}, "-"),
        ({}, "-"),
    ],
)
def test_a_fraction_is_written_with_its_interval_if_it_has_one(row, text):
    assert report_table.per_cent(pd.Series(row, dtype=float), "x", " %") == text


def test_the_report_s_rows_stand_beside_ours_with_fine_tuned_features_in_parentheses(run):
    shape = report_table.beside_report(results_table.whole_table(run)).set_index("Model")
    assert shape.loc["FBP", "Test AUC, report"] == "98.30"
    assert shape.loc["LDA", "Test AUC, this run"] == "-"
    assert shape.loc["SVM", "Test AUC, this run"].count("(") == 1
