"""The trainings of a run: a row for each model, once for each member, and found again."""

import functools

import pandas as pd
import pytest

from helpers.core.members import Member, cross_fitted
from helpers.models.record import Model
from helpers.results import predictions
from helpers.runs import classical, networks
from helpers.runs.networks import Job
from helpers.training.settings import FinetuneSettings, TrainSettings
from tests.conftest import folded_split
from tests.small_run import open_run, small_cnn

FIRST_SEED = (Member(0),)
ONE_EPOCH = TrainSettings(epochs=1, precision="no", augment="none")


@pytest.fixture
def run(home, parts_folder):
    """A run with small images whose split has three folds."""
    small = {"image_size_px": 32, "cnn_image_size_px": 16, "cnn_epochs": 1, "ll_epochs": 1}
    small |= {"fbp_epochs": 1, "precision": "no", "folds": 2, "trees": 5, "weights": "random"}
    settings = FinetuneSettings(**small, backbone=("test_vit", "test_resnet"))
    return open_run("03_finetuning", settings, folded_split(parts_folder))


def job(run, members=FIRST_SEED, base="fbp"):
    build = functools.partial(small_cnn, 1)
    return Job(Model(base), members, build, run.images(16), ONE_EPOCH)


def test_each_member_of_a_model_is_trained_once_and_all_are_one_row(run):
    members = cross_fitted(run.split, [0])
    first = networks.train(run, [job(run, members)])["fbp"]
    assert [len(one.history) for one in first] == [1, 1, 1]
    scored = run.models()["fbp"]
    assert scored.model == Model("fbp", members=tuple(members))
    assert scored.model.averaged == "3 folds"
    assert {*scored.val.id} == {*run.split.id[run.split.split != "test"]}
    again = networks.train(run, [job(run, members)])["fbp"]
    assert run.notes["reused"] == [networks.place(Model("fbp"), member) for member in members]
    for one, other in zip(first, again, strict=True):
        assert one.history == other.history and one.scores.equals(other.scores)
    found = networks.load(run, "fbp")
    assert list(found) == members and found[members[1]].scores.equals(first[1].scores)


def test_a_training_keeps_its_best_epoch_and_one_without_a_fold_its_last(run):
    keeps = {
        fold: networks.training(run.split, job(run), Member(0, fold)).args[3].keep
        for fold in (None, 0, 1)
    }
    assert keeps == {None: "best", 0: "last", 1: "last"}


def test_notebook_03_trains_the_cnn_once_and_the_others_on_each_backbone_and_fold(run):
    found = networks.weights_of(run)
    assert run.notes["backbone"] == "test_vit, test_resnet"
    jobs = [*networks.fine_tuning_jobs(run, found), *networks.small_jobs(run, found)]
    assert [(one.model.slug, len(one.members)) for one in jobs] == [
        ("fbp", 3), ("fbp_test_resnet", 3), ("cnn", 1), ("ll", 3), ("ll_test_resnet", 3),
    ]  # fmt: skip
    trained = networks.train(run, [jobs[0], jobs[3]])
    assert trained["fbp"][0].network.spec.kind == "test_vit"
    assert trained["ll"][0].parameters < trained["fbp"][0].parameters
    by_fold = classical.fine_tuned(run, Model("fbp"))
    assert (by_fold[1].embeddings != by_fold[2].embeddings).any()
    once = networks.train(run, [jobs[2]])["cnn"]
    (kept,) = networks.load(run, "cnn").values()  # one file, one training
    assert kept.history == once[0].history
    curves = networks.curves(trained)
    assert curves.groupby("model").size().to_dict() == {"fbp": 3, "ll": 3}


def test_networks_of_one_architecture_share_a_measurement_of_what_they_cost(run):
    jobs = [job(run, base=base) for base in ("fbp", "darts_v2", "cnn")]
    trained = networks.train(run, jobs)
    costs = networks.costs(run, trained)
    assert costs["fbp"] == costs["darts_v2"] == costs["cnn"] and costs["fbp"]["ms_single"] > 0
    table = pd.DataFrame({"model": ["fbp", "cnn", "lda"], "val_auc": [0.9, 0.8, 0.7]})
    table["judged_by"] = "out-of-fold"
    summary = networks.network_costs.summary(table, trained, costs, {"cnn": 50.0})
    assert summary.model.tolist() == ["fbp", "cnn"]
    assert summary.search_s[1] == 50 and pd.isna(summary.search_s[0])
    seconds = [round(trained[name][0].seconds, 2) for name in ("fbp", "cnn")]
    assert summary.training_s.tolist() == seconds
    words = networks.network_costs.cost_table(summary, [Model("fbp"), Model("cnn")])
    assert words["Out-of-fold AUC, one training"].tolist() == ["90.0", "80.0"]
    assert words.Model.tolist() == ["FBP", "Two-layer CNN"]
    assert predictions.read_predictions(run.paths.predictions("cnn"), run.split).name == "cnn"
