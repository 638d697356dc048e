"""One training for each seed: what it is given, what it leaves behind, what is read again."""

import dataclasses
from unittest.mock import Mock

import numpy as np
import pytest
import torch

from helpers.core import files, seeding, tensors
from helpers.core.members import Member
from helpers.core.paths import RunPaths
from helpers.models import backbones
from helpers.runs import stages
from helpers.training import inference, trained
from helpers.training.augment import augmentation
from helpers.training.batches import EmbeddingBatches, ImageBatches
from helpers.training.loop import Hooks, resume_file
from helpers.training.settings import FinetuneSettings, TrainSettings
from tests.conftest import split_of

SETTINGS = TrainSettings(epochs=2, batch_size=20, epoch_images=40, precision="no")


@pytest.fixture
def stage(home, parts_folder, monkeypatch):
    """An opened stage 03; mocks keep what steps, trainings and predictions are given."""
    own = FinetuneSettings(time_budget_min=5)
    stage = stages.Stage("03_finetuning", RunPaths("r"), "quick", own, "key")
    files.save_csv(stage.paths.split_csv, split_of(parts_folder))
    stage.once = Mock(wraps=stage.once)
    for name in ("Training", "predict"):
        monkeypatch.setattr(trained, name, Mock(wraps=getattr(trained, name)))
    return stage


def _cnn(seed):
    spec = backbones.spec_of("cnn", 2, 16, 1)
    with seeding.torch_stream(seed, "weights"):
        return backbones.TwoLayerCNN(spec, hidden=20)


def _ids(stage, *sides):
    return stage.split.id[stage.split.split.isin(sides)].tolist()


def test_each_seed_is_trained_on_train_judged_on_val_and_scored_on_val_and_test(stage):
    cache, columns, built = stage.images(16), ["id", "label", "split"], []

    def build(seed):
        built.append(seed)
        return _cnn(seed)

    recipe = trained.Recipe("net", build, SETTINGS, {"x": 1}, views=8, sizes=("batch_size",))
    found = trained.train_model(stage, recipe, cache, [Member(3), Member(4)])
    inputs = {
        "images": cache.content,
        "split": files.fingerprint(stage.split[columns].astype(str).to_numpy()),
        "settings": dataclasses.asdict(SETTINGS),
        "views": 8,
        "x": 1,
    }
    folder = stage.paths.trainings("net")
    for seed, one, training, prediction, step in zip(
        (3, 4),
        found,
        trained.Training.call_args_list,
        trained.predict.call_args_list,
        stage.once.call_args_list[:2],
        strict=True,
    ):
        (network, train, val, own), options = training
        assert own == SETTINGS and isinstance(train, ImageBatches)
        assert train.ids.tolist() == _ids(stage, "train") and val.ids.tolist() == _ids(stage, "val")
        assert (train.epoch_images, train.batch_size) == (40, 20)
        assert (val.epoch_images, val.batch_size) == (0, 20)
        assert str(train.augment) == str(augmentation("full")) and str(val.augment) == "Identity()"
        resume = resume_file(folder, SETTINGS, seed, inputs | {"seed": seed})
        expected = {"seed": seed, "name": f"net, seed {seed}", "hooks": None, "resume": resume}
        expected |= {"deadline_s": stage.deadline_s, "events": None, "loss": None}
        assert options == expected and not resume.exists()
        (judged, scored, *others), _ = prediction
        assert judged is network and others == ["no", 8]
        assert scored.ids.tolist() == _ids(stage, "val", "test")
        (name, used, _), once = step
        assert name == f"net, seed {seed}" and used == inputs | {"seed": seed}
        assert once["everywhere"] and once["sizes"] == ("batch_size",)
        state, info = tensors.load_tensors(stage.paths.checkpoint("net", seed))
        assert torch.equal(state["head.bias"], network.head.bias)
        assert info["full_scale_bits"] == cache.bits
        assert one.seed == seed and one.device.endswith(", float32")
        assert one.parameters == sum(p.numel() for p in network.parameters())
        assert one.seconds == round(sum(record["total_seconds"] for record in one.history), 2)
    assert built == [3, 4]
    (joined, parts, _), _ = stage.once.call_args
    assert joined == "net" and parts == {
        name: files.file_digest(folder / name)
        for name in ("seed3.json", "seed4.json", "seed3.csv", "seed4.csv")
    }
    frame = files.load_csv(stage.paths.predictions("net"), ("id", "split", "seed"))
    assert frame.groupby("seed").size().to_dict() == {3: 60, 4: 60}
    for (_, own), call in zip(frame.groupby("seed"), trained.predict.call_args_list, strict=True):
        np.testing.assert_allclose(own.defect_score, inference.predict(*call.args), atol=1e-6)
    assert [one.model for one in found] == ["net", "net"]
    assert trained.train_model(stage, recipe, cache, [Member(3), Member(4)]) == found and built == [
        3,
        4,
    ]


def test_a_part_of_a_network_is_trained_on_batches_and_with_hooks_of_its_own(stage):
    split, hooks = stage.split, Hooks()
    x = np.random.default_rng(0).normal(size=(len(split), 20)).astype(np.float32)

    def batches(rows):
        labels, ids = rows.label.to_numpy(dtype=np.int64), rows.id.to_numpy(dtype=str)
        return EmbeddingBatches(x[rows.index], labels, ids, 20)

    recipe = trained.Recipe(
        "part",
        _cnn,
        SETTINGS,
        {},
        hooks=lambda model: hooks if isinstance(model, backbones.TwoLayerCNN) else None,
        facts={"kind": "part"},
        part=lambda model: model.head,
        batches=batches,
    )
    (found,) = trained.train_model(stage, recipe, stage.images(16), [Member(0)])
    (network, train, val, _), options = trained.Training.call_args
    assert type(network) is torch.nn.Linear and found.parameters == 42
    assert train.ids.tolist() == _ids(stage, "train") and val.ids.tolist() == _ids(stage, "val")
    assert options["hooks"] is hooks and options["name"] == "part"
    assert found.facts == {"test_views": 1, "kind": "part"}
    assert "seed" not in files.load_csv(stage.paths.predictions("part"), ("id",))


def _one(**changes):
    record = {"epoch": 1, "val_auc": 0.5}
    one = {"seed": 0, "history": [record], "best_epoch": 0, "seconds": 0.0, "parameters": 0}
    return one | {"device": "CPU", "facts": {}} | changes


def _save(run_paths, *trainings):
    files.save_json(run_paths.metrics("net_history"), {"seeds": list(trainings)})
    files.write_bytes(run_paths.predictions("net"), b"")


def test_a_curve_says_of_which_training_it_is():
    one = trained.Trained(model="net", **_one(seed=7))
    assert one.curve.to_dict("records") == [
        {"epoch": 1, "val_auc": 0.5, "model": "net", "seed": 7, "fold": None}
    ]


def test_a_model_without_curves_or_predictions_was_not_trained(home):
    run_paths = RunPaths("r")
    assert trained.load_trained(run_paths, "net") == []
    _save(run_paths, _one(), _one(seed=1))
    assert [one.seed for one in trained.load_trained(run_paths, "net")] == [0, 1]
    run_paths.predictions("net").unlink()
    assert trained.load_trained(run_paths, "net") == []


@pytest.mark.parametrize(
    "change",
    [
        {"seconds": -0.1},
        {"device": 3},
        {"facts": None},
        {"history": [{"val_auc": "high"}]},
        {"history": [{"epoch": 1}]},
    ],
)
def test_damaged_curves_are_refused(home, change):
    _save(RunPaths("r"), _one(**change))
    with pytest.raises(files.ArtifactError, match=r"net_history\.json is damaged"):
        trained.load_trained(RunPaths("r"), "net")
