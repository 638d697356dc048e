"""The results table reads predictions files, and the cost of a training from its records."""

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import accuracy_score, f1_score, roc_auc_score

from helpers.core import files, metrics
from helpers.core.rules import SettingsError
from helpers.datasets.split_file import read_split
from helpers.results import predictions, results_table
from helpers.runs import stages
from helpers.runs.run_models import read_all_predictions
from tests import planted


@pytest.fixture
def run(home):
    return planted.make_run(n=60)


@pytest.fixture
def costly(home):
    """Models whose trainings are on record, and one of the user's own."""
    run_paths = planted.make_run()
    for seed, (name, quality) in enumerate([("svm", 1.0), ("fbp", 2.0), ("mine", 1.0)]):
        planted.plant(run_paths, name, quality, seed)
    one = {"seed": 0, "seconds": 964.3, "parameters": 3373570}
    files.save_json(run_paths.metrics("fbp_history"), {"seeds": [one]})
    files.save_json(run_paths.metrics("fit_svm"), {"model": "SVM", "seconds": 2.4})
    record = stages.load_run(run_paths)
    record["stages"]["03_finetuning"] = {
        "device": "CPU, 2 threads",
        "precision": "bf16",
        "outputs": {"predictions/fbp.csv": "digest"},
    }
    files.save_json(run_paths.run_json, record)
    return run_paths


def test_the_numbers_of_a_row_are_those_of_scikit_learn(run):
    planted.plant(run, "svm", 1, 0)
    table = results_table.results_table(run)
    assert not [c for c in table if c in ("members", "averaged") or c.endswith(("_mean", "_std"))]
    row = table.iloc[0]
    frame = files.load_csv(run.predictions("svm"), ("id",)).merge(
        read_split(run.split_csv)[["id", "label"]], on="id"
    )
    test = frame[frame.split == "test"].astype({"label": int})
    called = test.defect_score >= row.threshold
    assert row.test_auc == pytest.approx(roc_auc_score(test.label, test.defect_score))
    assert row.test_accuracy == pytest.approx(accuracy_score(test.label, called))
    assert row.test_f1 == pytest.approx(f1_score(test.label, called))
    assert row.test_auc_low <= row.test_auc <= row.test_auc_high


def test_rows_come_in_the_order_of_the_report_with_the_majority_last(run):
    for name in ("fbp", "my_model", "svm", "lda", "svm_on_fbp", "random_cell_1"):
        planted.plant(run, name, 1, 0)
    names = results_table.results_table(run).model.tolist()
    expected = ["lda", "svm", "svm_on_fbp", "fbp", "random_cell_1", "my_model", "majority"]
    assert names == expected


def test_a_model_with_several_seeds_is_the_mean_of_their_scores(run):
    planted.plant(run, "fbp", 1.0, 0, 1, 2)
    seeds = read_all_predictions(run)["fbp"].members
    scores = np.mean([one.test.defect_score for one in seeds], axis=0)
    labels = seeds[0].labels_scores("test")[0]
    row = results_table.results_table(run).iloc[0]
    assert row.test_auc == pytest.approx(roc_auc_score(labels, scores))
    assert row.test_auc_low < row.test_auc < row.test_auc_high
    aucs = [roc_auc_score(*one.labels_scores("test")) for one in seeds]
    assert row.test_auc > max(aucs)  # their errors are independent
    assert (row.members, row.averaged) == (3, "3 seeds")
    assert row.test_auc_mean == pytest.approx(np.mean(aucs))
    assert row.test_auc_std == pytest.approx(np.std(aucs, ddof=1))
    bad_rate = results_table.training_bad_rate(read_split(run.split_csv))
    own = [results_table.evaluate_model(one, bad_rate)["test_f1"] for one in seeds]
    assert row.test_f1_mean == pytest.approx(np.mean(own))  # each at its own threshold


def test_a_cross_fitted_model_is_judged_out_of_fold_and_its_trainings_in_their_own_folds(run):
    planted.add_folds(run, 4)
    planted.plant(run, "fbp", 1.0, 0)
    split, frame = read_split(run.split_csv), files.load_csv(run.predictions("fbp"), ("id",))
    row = results_table.results_table(run).iloc[0]
    assert (row.members, row.averaged) == (4, "4 folds")
    label = split.set_index("id").label
    held_out, test = (frame[frame.split == side] for side in ("val", "test"))
    assert len(held_out) == 120
    every = roc_auc_score(label[held_out.id].astype(int), held_out.defect_score)
    assert row.val_auc == pytest.approx(every)
    own = [
        roc_auc_score(label[f.id].astype(int), f.defect_score) for _, f in held_out.groupby("fold")
    ]
    assert row.val_auc_mean == pytest.approx(np.mean(own))
    assert row.val_auc_std == pytest.approx(np.std(own, ddof=1))
    mean = test.groupby("id").defect_score.mean()
    assert row.test_auc == pytest.approx(roc_auc_score(label[mean.index].astype(int), mean))


def test_the_best_model_is_chosen_by_validation_and_not_by_test(run):
    split = read_split(run.split_csv)
    label = split.label.astype(float).to_numpy()
    right_on_val = np.where(split.split == "val", label, 1 - label)
    predictions.save_predictions(run.predictions("a_val"), split, right_on_val)
    predictions.save_predictions(run.predictions("b_test"), split, 1 - right_on_val)
    assert results_table.best_model(results_table.results_table(run)) == "a_val"


def test_a_model_can_be_asked_for_by_name_and_a_wrong_name_is_refused(run):
    planted.plant(run, "svm", 0.1, 0)
    planted.plant(run, "fbp", 3, 0, 1)
    table = results_table.results_table(run)
    assert results_table.chosen_model(table) == "fbp"
    assert results_table.chosen_model(table, "svm") == "svm"
    assert results_table.chosen_model(table, "FBP") == "fbp"
    assert results_table.chosen_model(table, "FBP, 2 seeds averaged") == "fbp"
    with pytest.raises(SettingsError, match="MODEL='lda' is not one of svm, fbp"):
        results_table.chosen_model(table, "lda")


def test_the_rate_of_bad_parts_counts_those_that_a_balanced_validation_set_took_from_training():
    sides = ["train"] * 90 + ["val"] * 10 + ["test"] * 10
    labels = [1] * 20 + [0] * 70 + [1] * 5 + [0] * 5 + [1] * 10
    assert results_table.training_bad_rate(pd.DataFrame({"split": sides, "label": labels})) == 0.25


def test_a_row_says_what_its_training_cost_and_a_user_s_own_says_nothing(costly):
    table = results_table.whole_table(costly).set_index("model")
    assert table.loc["fbp", ["parameters", "seconds", "device"]].tolist() == [
        3373570,
        964.3,
        "CPU, 2 threads, bf16",
    ]
    assert table.seconds["svm"] == 2.4
    assert table.loc["mine", ["parameters", "seconds", "device"]].isna().all()
    assert table.loc["majority", ["parameters", "seconds", "p_value"]].isna().all()


def test_the_cost_of_several_seeds_is_their_sum(costly):
    seeds = [
        {"seed": k, "seconds": seconds, "parameters": 7, "device": "a GPU"}
        for k, seconds in enumerate((964.3, 900.0, 1000.7))
    ]
    files.save_json(costly.metrics("fbp_history"), {"seeds": seeds})
    row = results_table.whole_table(costly).set_index("model").loc["fbp"]
    assert row.seconds == pytest.approx(2865.0)
    assert (row.parameters, row.device) == (7, "a GPU")


@pytest.mark.parametrize("content", [[], {"seeds": 3}, {"seeds": ["x"]}])
def test_a_damaged_record_of_a_training_is_named(costly, content):
    files.save_json(costly.metrics("fbp_history"), content)
    with pytest.raises(files.ArtifactError, match=r"fbp_history\.json is damaged"):
        results_table.whole_table(costly)


def test_p_values_compare_test_scores_with_the_best_row_by_validation(costly):
    table = results_table.whole_table(costly).set_index("model")
    scored = read_all_predictions(costly)
    labels, best = scored["fbp"].labels_scores("test")
    expected = metrics.auc_difference(labels, scored["svm"].labels_scores("test")[1], best)
    assert table.p_value["svm"] == expected.p_value
    assert pd.isna(table.p_value["fbp"])


def test_a_notebook_run_again_shows_no_model_of_a_later_one_but_the_user_s_own(costly):
    record = stages.load_run(costly)
    step = {"key": "k", "stage": "03_finetuning", "outputs": {"predictions/fbp.csv": "digest"}}
    record["steps"] = {"fbp": step}
    files.save_json(costly.run_json, record)
    early = results_table.results_table(costly, until="02_features_baselines")
    assert early.model.tolist() == ["svm", "mine", "majority"]
    assert "fbp" in set(results_table.results_table(costly, until="03_finetuning").model)
