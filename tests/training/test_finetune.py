"""Training on images of a run: done once, done again when anything that matters changes."""

import dataclasses

import pytest

from helpers.core import files
from helpers.core.paths import RunPaths
from helpers.datasets.cache import open_cache
from helpers.models import backbones
from helpers.runs import settings as config
from helpers.runs import stages
from helpers.training import features, finetune, trained
from tests.conftest import split_of


@pytest.fixture
def problem(home, parts_folder):
    split = split_of(parts_folder)
    settings = config.FinetuneSettings(cnn_epochs=3, fbp_epochs=1, precision="no")
    stage = stages.Stage("03_finetuning", RunPaths("r"), "quick", settings, "key")
    files.save_csv(stage.paths.split_csv, split)
    return stage, split, open_cache(split, 32, home / "cache")


def test_the_two_layer_cnn_finds_the_bright_spot(problem):
    stage, split, cache = problem
    trained = finetune.train_cnn(stage, split, cache)
    assert trained.history[trained.best_epoch]["val_auc"] > 0.95
    frame = files.load_csv(stage.paths.predictions("cnn"), ("id", "split", "defect_score"))
    assert set(frame.split) == {"val", "test"} and len(frame) == 60
    assert not stage.paths.resume("cnn").exists()


def test_a_training_is_done_once_and_again_with_another_seed(problem):
    stage, split, cache = problem
    first = finetune.train_cnn(stage, split, cache)
    assert finetune.train_cnn(stage, split, cache) == first
    assert stage.notes["reused"] == ["cnn"]
    stage.settings = dataclasses.replace(stage.settings, seed=1)
    assert finetune.train_cnn(stage, split, cache).history != first.history


def test_other_pretrained_weights_train_all_layers_again(problem):
    stage, split, cache = problem
    weights = backbones.find_weights("efficientnet_lite0")
    (first,) = finetune.train_all_layers(stage, split, cache, weights)
    assert finetune.train_all_layers(stage, split, cache, weights) == [first]
    state = {name: value.clone() for name, value in weights.state.items()}
    state["conv_stem.weight"] *= 1.1
    other = dataclasses.replace(weights, state=state)
    assert finetune.train_all_layers(stage, split, cache, other)[0].history != first.history


def test_a_saved_model_predicts_what_its_predictions_file_says(problem):
    stage, split, cache = problem
    finetune.train_cnn(stage, split, cache)
    model = backbones.load_model(stage.paths.checkpoint("cnn"))
    scored = split[split.split.isin(["val", "test"])]
    batches = features.image_batches(cache, scored, model, 32)
    frame = files.load_csv(stage.paths.predictions("cnn"), ("defect_score",))
    found = finetune.predict(model, batches, "no")
    assert abs(found - frame.defect_score).max() < 1e-6


def test_several_seeds_of_all_layers_are_trained_each_into_a_file_of_its_own(problem):
    stage, split, cache = problem
    weights = backbones.find_weights("efficientnet_lite0")
    stage.settings = dataclasses.replace(stage.settings, seeds=2)
    first, second = finetune.train_all_layers(stage, split, cache, weights)
    assert (first.name, second.name) == ("fbp", "fbp_seed1")
    assert first.history != second.history
    assert trained.load_seeds(stage.paths, "fbp") == [first, second]
    scores = {
        name: files.load_csv(stage.paths.predictions(name), ("defect_score",)).defect_score
        for name in ("fbp", "fbp_seed1", "fbp_averaged")
    }
    assert abs(scores["fbp_averaged"] - (scores["fbp"] + scores["fbp_seed1"]) / 2).max() < 1e-6
    stage.settings = dataclasses.replace(stage.settings, seeds=1, seed=1)
    (alone,) = finetune.train_all_layers(stage, split, cache, weights)
    assert [r["val_auc"] for r in alone.history] == [r["val_auc"] for r in second.history]
    assert not stage.paths.predictions("fbp_seed1").exists()  # it would count in the mean
    assert not stage.paths.predictions("fbp_averaged").exists()
    assert trained.load_seeds(stage.paths, "fbp") == [alone]


def test_a_users_own_files_that_look_like_seeds_stay(problem):
    stage, split, cache = problem
    weights = backbones.find_weights("efficientnet_lite0")
    own = [stage.paths.predictions(name) for name in ("fbp_seedling", "fbp_seed7", "fbp_averaged")]
    for path in own:
        files.write_bytes(path, b"mine")
    finetune.train_all_layers(stage, split, cache, weights)
    assert [path.read_bytes() for path in own] == [b"mine"] * 3


def test_seeds_of_other_settings_are_gone_before_the_first_is_trained_anew(problem, monkeypatch):
    stage, split, cache = problem
    weights = backbones.find_weights("efficientnet_lite0")
    stage.settings = dataclasses.replace(stage.settings, seeds=2)
    finetune.train_all_layers(stage, split, cache, weights)
    further = [stage.paths.predictions(name) for name in ("fbp_seed1", "fbp_averaged")]
    finetune.train_all_layers(stage, split, cache, weights)
    assert all(path.exists() for path in further)  # the same settings: nothing is lost

    def killed(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(trained.training, "fit", killed)
    stage.settings = dataclasses.replace(stage.settings, fbp_epochs=2)
    with pytest.raises(KeyboardInterrupt):
        finetune.train_all_layers(stage, split, cache, weights)
    assert not any(path.exists() for path in further)
