"""Table 2 complete: cost, comparison, and the report's numbers marked as the report's."""

import pandas as pd
import pytest

from helpers.core import files
from helpers.results import metrics, table2
from helpers.runs import predictions, stages
from helpers.runs.names import display_name
from tests import planted


@pytest.fixture
def run(home):
    run_paths = planted.make_run()
    for seed, (name, quality) in enumerate(
        [("svm", 1.0), ("svm_finetuned", 2.5), ("fbp", 2.0), ("mine", 1.0)]
    ):
        planted.plant(run_paths, name, quality, seed)
    files.save_json(run_paths.metrics("fbp_history"), {"seconds": 964.3, "parameters": 3373570})
    files.save_json(run_paths.metrics("fit_svm"), {"model": "SVM", "seconds": 2.4})
    record = stages.load_run(run_paths)
    record["stages"]["03_finetuning"] = {
        "device": "CPU, 2 threads",
        "precision": "bf16",
        "outputs": {"predictions/fbp.csv": "digest"},
    }
    files.save_json(run_paths.run_json, record)
    return run_paths


def test_a_row_says_what_its_training_cost_and_a_user_s_own_says_nothing(run):
    table = table2.whole_table(run).set_index("model")
    assert table.loc["fbp", ["parameters", "seconds", "device"]].tolist() == [
        3373570,
        964.3,
        "CPU, 2 threads, bf16",
    ]
    assert table.seconds["svm"] == 2.4
    assert table.loc["mine", ["parameters", "seconds", "device"]].isna().all()
    assert table.loc["majority", ["parameters", "seconds", "p_value"]].isna().all()


def test_a_row_of_several_seeds_and_their_average_say_what_all_of_them_cost(run):
    for seed, seconds in ((1, 900.0), (2, 1000.7)):
        planted.plant(run, f"fbp_seed{seed}", 2.0, seed)
        record = {"seconds": seconds, "device": "a GPU"}
        files.save_json(run.metrics(f"fbp_seed{seed}_history"), record)
    planted.plant(run, "fbp_averaged", 2.0, 3)
    first = {"seconds": 964.3, "parameters": 7, "device": "a GPU"}
    files.save_json(run.metrics("fbp_history"), first)
    table = table2.whole_table(run).set_index("model")
    assert table.seconds[["fbp", "fbp_averaged"]].tolist() == pytest.approx([2865.0] * 2)
    assert table.device[["fbp", "fbp_averaged"]].tolist() == ["a GPU"] * 2
    assert pd.isna(table.parameters["fbp_averaged"])


def test_p_values_compare_test_scores_with_the_best_row_by_validation(run):
    table = table2.whole_table(run).set_index("model")
    scored = predictions.read_all_predictions(run)
    labels, best = scored["svm_finetuned"].labels_scores("test")
    expected = metrics.delong_test(labels, scored["fbp"].labels_scores("test")[1], best)
    assert table.p_value["fbp"] == expected.p_value
    assert pd.isna(table.p_value["svm_finetuned"])


def test_the_shape_has_the_reports_numbers_in_columns_of_their_own(run):
    shape = table2.report_shape(table2.whole_table(run)).set_index("Model")
    assert shape.columns[-2:].tolist() == ["Report: Valid Acc", "Report: Test AUC"]
    assert shape.loc["SVM", "Report: Valid Acc"] == "57.0 (95.6)"
    assert shape.loc["FBP", "Report: Test AUC"] == "98.30"
    assert shape.loc["mine"].tolist()[-2:] == ["-", "-"]
    assert shape.loc["FBP", "Parameters"] == "3,373,570"
    assert shape.loc["SVM", "p"].endswith("(best)")
    assert shape.loc["SVM", "Seconds"] == "2.4 (-)"


def test_rows_of_the_report_that_the_run_lacks_show_the_reports_numbers_alone(run):
    shape = table2.report_shape(table2.whole_table(run)).set_index("Model")
    row = shape.loc["DARTS ImageNet (not in this run)"]
    assert row[["Report: Valid Acc", "Report: Test AUC"]].tolist() == ["95.33", "99.06"]
    assert (row.drop(["Report: Valid Acc", "Report: Test AUC"]) == "-").all()
    assert "DARTS Nexperia (not in this run)" in shape.index
    planted.plant(run, "darts_imagenet", 2, seed=11)
    shape = table2.report_shape(table2.whole_table(run)).set_index("Model")
    assert shape.loc["DARTS ImageNet", "Report: Test AUC"] == "99.06"
    assert shape.loc["DARTS ImageNet", "Valid Acc"] != "-"


def test_a_users_own_finetuned_name_without_a_twin_is_a_row(run):
    planted.plant(run, "mynet_finetuned", 3.0, 9)
    shape = table2.report_shape(table2.whole_table(run))
    assert display_name("mynet_finetuned") in set(shape.Model)


def test_the_baselines_name_is_refused_for_a_predictions_file(run):
    planted.plant(run, "majority", 1.0, 9)
    with pytest.raises(files.ArtifactError, match="give the file another name"):
        table2.whole_table(run)


def test_the_report_s_table_is_complete():
    published = """
        lda 58.0 (96.0) -; rf 54.0 (95.6) -; lr 55.3 (95.6) -; svm 57.0 (95.6) -; ll 60.67 -;
        cnn 77.0 -; fbp 97.33 98.30; darts_imagenet 95.33 99.06; darts_searched 95.67 98.57
    """
    rows = [row.split() for row in published.split(";")]
    assert {name: (" ".join(valid), auc) for name, *valid, auc in rows} == table2.REPORT


def test_hidden_test_labels_are_said_and_validation_is_compared(run):
    planted.hide_test_labels(run)
    table = table2.whole_table(run)
    assert "test_auc" not in table and table.p_value.notna().sum() == 3
    assert "of the validation (test labels are hidden) AUC" in table2.table_notes(table)
    shape = table2.report_shape(table)
    assert (shape["Test AUC"] == "-").all()
    assert "Valid AUC" not in table2.report_shape(table.assign(test_auc=0.5))
    assert (
        shape.set_index("Model")
        .loc["FBP", "Valid AUC"]
        .startswith(f"{100 * table.set_index('model').val_auc['fbp']:.1f} [")
    )


def test_the_device_is_a_column_only_where_devices_differ(run):
    assert "Device" not in table2.report_shape(table2.whole_table(run))
    files.save_json(run.metrics("mine_history"), {"seconds": 5, "device": "NVIDIA H100"})
    shape = table2.report_shape(table2.whole_table(run)).set_index("Model")
    assert shape.loc["mine", "Device"] == "NVIDIA H100"
