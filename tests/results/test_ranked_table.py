"""The page's tables are sorted by merit, mark the submitted row and hold no internal names."""

import pandas as pd
import pytest

from helpers.core import files
from helpers.results import decision, ranked_table, results_table
from helpers.runs import predictions, settings
from tests import planted


@pytest.fixture
def run(home):
    run_paths = planted.make_run()
    for seed, (name, quality) in enumerate(
        [("svm", 1.0), ("svm_finetuned", 2.5), ("fbp", 2.0), ("random_cell_0", 1.0)]
    ):
        planted.plant(run_paths, name, quality, seed)
    record = {"seeds": [{"seed": 0, "seconds": 964.3, "parameters": 3373570}]}
    files.save_json(run_paths.metrics("fbp_history"), record)
    return run_paths


def _rows(styler):
    return styler.data.set_index("Model")


def test_the_whole_table_is_sorted_marks_the_submitted_row_and_rounds(run):
    table = results_table.whole_table(run)
    style = ranked_table.whole(table, "svm_finetuned", "test", "All models.", smoke=False)
    shape = _rows(style)
    names = ["SVM on FBP features (submitted)", "FBP", "SVM", "Random cell 0", "majority"]
    assert sorted(shape.index) == sorted(names) and shape.index[-1] == "majority"
    areas = [float(text.split("\N{NO-BREAK SPACE}")[0]) for text in shape["Test AUC"][:-1]]
    assert areas == sorted(areas, reverse=True)
    assert shape.loc["FBP", ["Parameters", "Time"]].tolist() == ["3.4 M", "16 min"]
    assert shape.loc["SVM on FBP features (submitted)", "p"] == "-"
    assert "sorted by test AUC" in style.caption and "All models." in style.caption


def test_the_best_number_of_each_column_is_bold_and_the_submitted_row_has_a_colour(run):
    table = results_table.whole_table(run)
    html = ranked_table.whole(table, "svm_finetuned", "test", "", smoke=False).to_html()
    assert f"<b>{100 * table.test_accuracy.max():.1f}</b>" in html and "background-color" in html


def test_hidden_test_labels_leave_validation_columns_alone(run):
    planted.hide_test_labels(run)
    table = results_table.whole_table(run)
    shape = _rows(ranked_table.whole(table, "svm_finetuned", "val", "", smoke=True))
    assert "Valid AUC" in shape and not any(title.startswith("Test") for title in shape)


def test_a_model_of_several_trainings_shows_the_spread_of_one(run):
    planted.plant(run, "fbp", 2.0, 0, 1, 2)
    table = results_table.whole_table(run)
    shape = _rows(ranked_table.whole(table, "svm_finetuned", "test", "", smoke=False))
    assert "±" in shape.loc["FBP, 3 seeds averaged", "one training"]
    assert shape.loc["SVM", "one training"] == "-"


def test_the_report_s_rows_stand_beside_ours_with_fine_tuned_features_in_parentheses(run):
    shape = ranked_table.beside_report(results_table.whole_table(run)).set_index("Model")
    assert shape.loc["FBP", "Test AUC, report"] == "98.30"
    assert shape.loc["LDA", "Test AUC, this run"] == "-"
    assert shape.loc["SVM", "Test AUC, this run"].count("(") == 1


def test_operating_points_have_a_row_per_side_and_equal_thresholds_are_joined(run):
    scored = predictions.read_all_predictions(run)
    points = decision.operating_table(scored, settings.AnalysisSettings(), 0.3)
    own = ranked_table.operating_rows(points, "fbp")
    assert set(own.On) == {"validation", "test"} and "Model" not in own
    assert own["Passes"].str.fullmatch(r"\d+\.\d %").all()
    twin = points[points.rule == "expected"].assign(rule="cheapest")  # the same thresholds
    rest = points[points.rule == "expected"]
    joined = ranked_table.operating_rows(pd.concat([rest, twin]), "fbp")
    assert len(joined) == len(ranked_table.operating_rows(rest, "fbp")) == 2
    assert joined["Threshold chosen by"].str.endswith("; and cheapest").all()


def test_ensembles_are_said_in_words():
    row = {"ensemble": "rank_average", "val_auc": 0.96, "best": "fbp", "gain": 0.004}
    row |= {"error": 0.001, "kept": True, "weights": "FBP 0.60, LL 0.40"}
    shape = ranked_table.ensembles_shape(pd.DataFrame([row]))
    assert shape.iloc[0].tolist() == [
        "rank average",
        "96.00",
        "+0.40 ± 0.10 (FBP)",
        "yes",
        "FBP 0.60, LL 0.40",
    ]
