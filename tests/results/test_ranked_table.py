"""The page's tables are rounded and hold no internal names."""

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
    costly = ranked_table.operating_rows(points.assign(val_cost=9.87, test_cost=1234.56), "fbp")
    assert costly["Cost per 1,000"].groupby(costly.On).unique().to_dict() == {
        "validation": ["9.9"],
        "test": ["1,234.6"],
    }
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
