"""Training on the images of a run: done once, and again if anything that matters changes."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.metrics import roc_auc_score

from helpers.core import files
from helpers.core.members import Member
from helpers.core.paths import RunPaths
from helpers.models import backbones, names
from helpers.runs import stages
from helpers.training import features, finetune, trained
from helpers.training.augment import augmentation
from helpers.training.inference import predict
from helpers.training.settings import FinetuneSettings
from tests.conftest import split_of


@pytest.fixture
def stage(home, parts_folder):
    """An opened stage 03 with small images."""
    settings = FinetuneSettings(
        cnn_epochs=3, fbp_epochs=1, precision="no", image_size_px=32, cnn_image_size_px=32
    )
    stage = stages.Stage("03_finetuning", RunPaths("r"), "quick", settings, "key")
    files.save_csv(stage.paths.split_csv, split_of(parts_folder))
    return stage


@pytest.fixture
def weights():
    return backbones.find_weights("efficientnet_lite0")


def _scores(stage, model="fbp"):
    return files.load_csv(stage.paths.predictions(model), ("id", "split", "defect_score"))


def _sides(frame):
    return [frame[frame.split == side] for side in ("val", "test")]


def test_the_two_layer_cnn_finds_the_bright_spot(stage):
    cnn = finetune.train_cnn(stage)
    assert cnn.history[cnn.best_epoch]["val_auc"] > 0.95
    frame = _scores(stage, "cnn")
    assert set(frame.split) == {"val", "test"} and len(frame) == 60
    assert "seed" not in frame
    assert not list(stage.paths.trainings("cnn").glob("*.resume"))


def test_a_training_is_done_once_and_again_with_another_seed(stage):
    first = finetune.train_cnn(stage)
    assert finetune.train_cnn(stage) == first
    assert stage.notes["reused"] == ["cnn, seed 0", "cnn"]
    stage.settings = dataclasses.replace(stage.settings, seed=1)
    second = finetune.train_cnn(stage)
    assert second.history != first.history and (first.seed, second.seed) == (0, 1)


def test_other_pretrained_weights_train_all_layers_again(stage, weights):
    (first,) = finetune.train_all_layers(stage, weights)
    assert finetune.train_all_layers(stage, weights) == [first]
    state = {name: value.clone() for name, value in weights.state.items()}
    state["conv_stem.weight"] *= 1.1
    other = dataclasses.replace(weights, state=state)
    assert finetune.train_all_layers(stage, other)[0].history != first.history


@pytest.mark.parametrize("fit", ["squash", "pad"])
def test_a_saved_model_says_how_its_images_were_read(stage, fit):
    files.save_json(stage.paths.run_json, {"stages": {"01_data_split": {"fit": fit}}})
    stage.settings = dataclasses.replace(stage.settings, cnn_epochs=1)
    finetune.train_cnn(stage)
    facts = backbones.facts_of(stage.paths.checkpoint("cnn"))
    assert (facts.full_scale_bits, facts.fit, facts.views, facts.precision) == (0, fit, 1, "no")


def test_the_last_layer_learns_on_train_is_judged_on_val_and_scores_val_and_test(stage, weights):
    split = stage.split
    planted = np.random.default_rng(0).normal(0, 0.05, (len(split), 1280)).astype(np.float32)
    sign = split.split.map({"train": 3, "val": 3, "test": -3})  # test shows the opposite label
    planted[:, 0] += sign * (2 * split.label.astype(int) - 1)
    stored = features.Features(split.id.to_numpy(dtype=str), planted)
    features.save_features(stage.paths.features(weights.backbone), stored)
    (last_layer,) = finetune.train_last_layer(stage, weights)
    assert last_layer.parameters == 1280 * 2 + 2
    model = backbones.load_model(stage.paths.checkpoint("ll"))
    assert all((model.trunk.state_dict()[k] == v).all() for k, v in weights.state.items())
    frame = _scores(stage, "ll").merge(split[["id", "label"]], on="id")
    with torch.no_grad():
        expected = model.head(torch.from_numpy(stored.of(frame.id))).softmax(dim=1)[:, 1]
    np.testing.assert_allclose(frame.defect_score, expected, atol=1e-6)
    val, test = (roc_auc_score(own.label, own.defect_score) for own in _sides(frame))
    assert val > 0.9 and test < 0.1
    assert last_layer.history[last_layer.best_epoch]["val_auc"] == pytest.approx(val)


def test_each_seed_of_all_layers_has_its_rows_and_its_checkpoint(stage, weights):
    stage.settings = dataclasses.replace(stage.settings, seeds=2)
    first, second = finetune.train_all_layers(stage, weights)
    assert (first.seed, second.seed) == (0, 1) and first.history != second.history
    assert trained.load_trained(stage.paths, "fbp") == [first, second]
    frame = _scores(stage)
    assert frame.groupby("seed").size().tolist() == [60, 60]
    assert all(stage.paths.checkpoint("fbp", seed).is_file() for seed in (0, 1))
    by_seed = [rows.defect_score.to_numpy() for _, rows in frame.groupby("seed")]
    assert (by_seed[0] != by_seed[1]).any()
    stage.settings = dataclasses.replace(stage.settings, seeds=1, seed=1)
    assert finetune.train_all_layers(stage, weights) == [second]  # not trained again
    assert "seed" not in _scores(stage)
    assert (_scores(stage).defect_score.to_numpy() == by_seed[1]).all()


def test_each_of_several_backbones_has_its_features_its_rows_and_its_checkpoints(stage):
    chosen = ("test_vit", "mobilenetv3_small_050")
    stage.settings = dataclasses.replace(
        stage.settings, backbone=chosen, weights="random", image_size_px=32, ll_epochs=1, trees=5
    )
    found = features.weights_of(stage)
    assert stage.notes["backbone"] == "test_vit, mobilenetv3_small_050"
    assert stage.notes["weights"] == "random weights, random weights"
    sizes = []
    for weights in found:
        embedded = features.pretrained_features(stage, weights)
        sizes.append(embedded.embeddings.shape[1])
        assert embedded.embeddings.std(axis=0).max() > 0
        finetune.train_last_layer(stage, weights)
        finetune.train_all_layers(stage, weights)
        suffix = names.backbone_suffix(weights.backbone, chosen)
        finetune.finetuned_features(stage, Member(0), f"fbp{suffix}")
    assert sizes == [64, 1024]
    assert suffix == "_mobilenetv3_small_050"
    assert sorted(path.stem for path in stage.paths.predictions_root.glob("*.csv")) == [
        "fbp",
        f"fbp{suffix}",
        "ll",
        f"ll{suffix}",
    ]
    for end, weights in zip(("", suffix), found, strict=True):
        model = backbones.load_model(stage.paths.checkpoint(f"fbp{end}"))
        assert model.spec.kind == weights.backbone and model.spec.image_size_px == 32
        stored = features.load_features(stage.paths.features(f"fbp{end}"))
        table = stage.split.iloc[:2]
        fresh = features.embed(model, stage.images(32), table, 2, "no")
        np.testing.assert_allclose(stored.of(table.id), fresh.embeddings, rtol=0.02, atol=0.02)
    assert (_scores(stage).defect_score != _scores(stage, f"fbp{suffix}").defect_score).any()


def test_predictions_stay_whole_until_all_seeds_of_other_settings_are_trained(
    stage, weights, monkeypatch
):
    def killed(*_, **__):
        raise KeyboardInterrupt

    stage.settings = dataclasses.replace(stage.settings, seeds=2)
    finetune.train_all_layers(stage, weights)
    before = stage.paths.predictions("fbp").read_bytes()
    stage.settings = dataclasses.replace(stage.settings, fbp_lr=0.01)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(trained, "predict", killed)
        finetune.train_all_layers(stage, weights)
    assert stage.paths.predictions("fbp").read_bytes() == before
    finetune.train_all_layers(stage, weights)
    assert stage.paths.predictions("fbp").read_bytes() != before


def test_the_options_of_all_layers_reach_their_training_alone_and_the_checkpoint(stage, weights):
    options = {"fbp_augment": "flips", "fbp_ema_decay": 0.9, "test_views": 8}
    stage.settings = dataclasses.replace(stage.settings, **options)
    fbp, cnn, ll = stage.settings.fbp, stage.settings.cnn, stage.settings.ll
    assert (fbp.augment, fbp.ema_decay) == ("flips", 0.9)
    assert (cnn.augment, ll.augment) == ("full", "none") and cnn.ema_decay == ll.ema_decay == 0
    finetune.train_all_layers(stage, weights)
    model = backbones.load_model(stage.paths.checkpoint("fbp"))
    scored = stage.split[stage.split.split.isin(["val", "test"])]
    batches = features.image_batches(stage.images(32), scored, model, 32)
    np.testing.assert_allclose(predict(model, batches, "no", 8), _scores(stage).defect_score, 1e-5)
    assert abs(predict(model, batches, "no") - _scores(stage).defect_score).max() > 1e-4


def test_the_learning_rates_of_all_layers_are_tried_once(stage, weights, monkeypatch):
    calls = []

    def lr_range_test(model, batches, training, seed):
        assert str(batches.augment) == str(augmentation("full"))
        calls.append((len(batches), training.lr, seed))
        return pd.DataFrame({"lr": [1e-6, 1e-3], "loss": [0.7, 0.6], "smoothed": [0.7, 0.65]})

    monkeypatch.setattr(finetune, "lr_range_test", lr_range_test)
    found = finetune.try_learning_rates(stage, weights)
    assert found.equals(finetune.try_learning_rates(stage, weights))
    train = int((stage.split.split == "train").sum())
    assert calls == [(train, stage.settings.fbp_lr, 0)]
    stage.settings = dataclasses.replace(stage.settings, fbp_lr=0.1)
    finetune.try_learning_rates(stage, weights)
    assert calls[1][1] == 0.1


def test_shown_views_are_the_first_training_images_augmented_and_the_same_again(stage):
    views = finetune.augmented_views(stage, images=4, views=2)
    assert views.shape == (3, 4, 32, 32, 1)
    cache, train = stage.images(32), stage.split[stage.split.split == "train"]
    first = train.id.iloc[finetune.epoch_order(len(train), 0, 0)[:4]]
    np.testing.assert_allclose(views[0], cache.take(cache.rows(first)) / 255, atol=1e-6)
    assert not np.allclose(views[1], views[0]) and not np.allclose(views[1], views[2])
    np.testing.assert_array_equal(views, finetune.augmented_views(stage, images=4, views=2))
