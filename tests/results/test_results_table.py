"""The results table is made of scores, and shown in the report's shape."""

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import accuracy_score, roc_auc_score

from helpers.core import files
from helpers.datasets.split_file import read_split
from helpers.models.record import Model
from helpers.results import comparison, predictions, results_table
from helpers.runs.record import read_models
from tests import planted

COSTS = {"fbp": {"parameters": 3373570, "seconds": 964.3}, "svm": {"seconds": 2.4}}


@pytest.fixture
def run(home):
    return planted.make_run(n=60)


@pytest.fixture
def whole(home):
    on_fbp, brightness = Model("svm", features="fbp"), Model("lr", features="brightness")
    return planted.run_of({"svm": 1.0, on_fbp: 2.5, "fbp": 2.0, "mine": 1.0, brightness: 0.2})


def table_of(run_paths):
    scored, split = read_models(run_paths), read_split(run_paths.split_csv)
    return results_table.results_table(scored, split)


def with_tests(run_paths):
    scored = read_models(run_paths)
    return results_table.with_tests(table_of(run_paths), scored, COSTS)


def test_the_numbers_of_a_row_are_those_of_scikit_learn(run):
    planted.plant(run, "svm", 1, 2)
    table = table_of(run)
    assert not [c for c in table if c in ("averaged",) or c.endswith(("_mean", "_std"))]
    row = table.iloc[0]
    labels = read_split(run.split_csv)[["id", "label"]]
    frame = files.load_csv(run.predictions("svm"), ("id",)).merge(labels, on="id")
    val, test = (frame[frame.split == s].astype({"label": int}) for s in ("val", "test"))
    called = test.defect_score >= row.threshold
    assert row.val_auc == pytest.approx(roc_auc_score(val.label, val.defect_score))
    cuts = [accuracy_score(val.label, val.defect_score >= cut) for cut in [*val.defect_score, 2]]
    assert row.val_accuracy == pytest.approx(max(cuts))
    assert row.test_auc == pytest.approx(roc_auc_score(test.label, test.defect_score))
    assert row.test_accuracy == pytest.approx(accuracy_score(test.label, called))
    assert row.test_auc_low <= row.test_auc <= row.test_auc_high


def test_a_cross_fitted_model_is_judged_out_of_fold_and_its_trainings_in_their_own_folds(run):
    planted.add_folds(run, 4)
    planted.plant(run, "fbp", 1.0, 0)
    split, frame = read_split(run.split_csv), files.load_csv(run.predictions("fbp"), ("id",))
    row = table_of(run).iloc[0]
    assert row.averaged == "4 folds"
    label = split.set_index("id").label
    held_out, test = (frame[frame.split == side] for side in ("val", "test"))
    every = roc_auc_score(label[held_out.id].astype(int), held_out.defect_score)
    assert row.val_auc == pytest.approx(every)
    for side, rows in (("val", held_out), ("test", test)):
        own = [
            roc_auc_score(label[f.id].astype(int), f.defect_score) for _, f in rows.groupby("fold")
        ]
        assert row[f"{side}_auc_mean"] == pytest.approx(np.mean(own))
        assert row[f"{side}_auc_std"] == pytest.approx(np.std(own, ddof=1))
    mean = test.groupby("id").defect_score.mean()
    assert row.test_auc == pytest.approx(roc_auc_score(label[mean.index].astype(int), mean))


def test_the_best_model_is_chosen_by_validation_and_not_by_test(run):
    split = read_split(run.split_csv)
    label = split.label.astype(float).to_numpy()
    right_on_val = np.where(split.split == "val", label, 1 - label)
    for name, scores in (("a_val", right_on_val), ("b_test", 1 - right_on_val)):
        content = predictions.predictions_frame(split, scores)
        files.save_csv(run.predictions(name), content)
    table = table_of(run)
    assert results_table.best_model(table) == "a_val"
    reference = table.assign(kind=["reference", "own", "reference"])
    assert results_table.best_model(reference) == "b_test"
    assert results_table.best_model(table.assign(kind="reference")) == "a_val"


def test_the_rate_of_bad_parts_counts_those_that_a_balanced_validation_set_took_from_training():
    sides = ["train"] * 90 + ["val"] * 10 + ["test"] * 10
    labels = [1] * 20 + [0] * 70 + [1] * 5 + [0] * 5 + [1] * 10
    assert results_table.training_bad_rate(pd.DataFrame({"split": sides, "label": labels})) == 0.25


def test_p_values_compare_test_scores_with_the_best_row_and_costs_are_beside(whole):
    table = with_tests(whole).set_index("model")
    compared = comparison.compare_with(read_models(whole), "svm_on_fbp")
    columns = ["difference", "p_value", "p_holm"]
    assert table.loc["svm", columns].equals(compared.set_index("model").loc["svm", columns])
    assert pd.isna(table.p_value["svm_on_fbp"]) and table.seconds["svm"] == 2.4
    assert table.loc["mine", ["parameters", "seconds"]].isna().all()
    assert table.loc["majority", ["parameters", "seconds", "p_value"]].isna().all()


def test_the_table_for_the_eye_has_at_most_eight_columns_the_best_on_validation_first(whole):
    shape = results_table.paper_table(with_tests(whole))
    assert (
        shape.Model.iloc[0] == "SVM on FBP features \N{LEFTWARDS ARROW} chosen on held-out images"
    )
    names = ["Brightness alone (reference)", "Majority (reference)"]
    assert shape.Model.iloc[-2:].tolist() == names
    assert len(shape.columns) <= 8
    shape = shape.set_index("Model")
    assert shape.loc["FBP", ["Parameters", "Time"]].tolist() == ["3.4 M", "16 min"]
    assert shape.loc["SVM", ["p", "Parameters", "Time"]].tolist() == ["<.001", "-", "2.4 s"]
    html = results_table.shown(with_tests(whole), "All models.").data
    assert "All models. Per cent" in html and "against the best row" in html


def test_the_table_for_the_eye_tells_means_stars_the_first_fold_and_does_without_test_labels(whole):
    planted.add_folds(whole)
    planted.plant(whole, "fbp", 2.0, 0)
    planted.plant(whole, "svm", 4.0, 0, once=True)
    shape = results_table.paper_table(table_of(whole)).set_index("Model")
    assert shape["Valid AUC"]["SVM"].endswith("*")
    fbp = "FBP, mean of 5 folds \N{LEFTWARDS ARROW} chosen on held-out images"
    assert not shape["Valid AUC"][fbp].endswith("*")
    planted.hide_test_labels(whole)
    shape = results_table.paper_table(table_of(whole))
    assert shape.columns.tolist() == ["Model", "Valid AUC", "Valid Acc"]
    assert "[" in shape["Valid AUC"].iloc[0]
    assert len(read_models(whole)["fbp"].labels_scores("test")[0]) == 0


def test_without_a_test_set_the_columns_are_those_out_of_fold(home):
    run_paths = planted.make_run_without_test("folds", by_groups=False)
    for seed, name in enumerate(("svm", "fbp")):
        planted.plant(run_paths, name, 1.0 + seed, seed)
    table = with_tests(run_paths)
    shape = results_table.paper_table(table)
    heads = ["Model", "AUC out of fold", "Acc out of fold", "inside seen groups"]
    assert shape.columns[:4].tolist() == heads
    of_all = read_split(run_paths.split_csv).label.mean()  # of all folds; most are of one class
    assert table.set_index("model").val_accuracy["majority"] == max(of_all, 1 - of_all)
    apart = planted.make_run_without_test("apart", by_groups=True)
    planted.plant(apart, "svm", 1.0, 0)
    assert "inside unseen groups" in results_table.paper_table(table_of(apart))
    # no mean of five folds
    assert shape.Model[0] == "FBP \N{LEFTWARDS ARROW} chosen on held-out images"
    html = results_table.shown(table).data
    assert "sorted by out-of-fold AUC" in html and "a little too good" in html


def test_facts_name_images_split_backbone_seeds_and_device():
    first = {"backbone": "resnet18", "settings": {"split": "groups", "seed": 3}}
    stages = {"02": first, "03": {"settings": {"seed": 5, "seeds": 2}, "device": "H100"}}
    split = pd.DataFrame({"split": ["train"] * 3 + ["test"] * 2, "label": [0, 0, 1, 1, None]})
    rows = results_table.facts(stages, split).set_index("Fact").Value
    assert rows["Images, training"] == "2 good, 1 bad"
    assert rows["Images, test"] == "1 bad, 1 unlabelled"
    assert (rows["Split"], rows["Split, seed"], rows["Device"]) == ("groups", "3", "H100")
    assert rows["Training seeds, 03"] == "2 from 5" and "Caveats" not in rows
