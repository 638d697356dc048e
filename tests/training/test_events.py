"""TensorBoard's event files: each epoch once, also if a training is continued."""

import dataclasses
import importlib.util

import numpy as np
import pytest
from torch import nn

from helpers.core.paths import RunPaths
from helpers.core.rules import SettingsError
from helpers.runs import settings as config
from helpers.training.batches import EmbeddingBatches
from helpers.training.loop import Training
from helpers.training.settings import TrainSettings

needs_tensorboard = pytest.mark.skipif(
    importlib.util.find_spec("tensorboard") is None, reason="an optional package"
)


def read(folder):
    """The numbers in a folder: name -> [(epoch, value), ...]."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    found = EventAccumulator(str(folder)).Reload()
    names = found.Tags()["scalars"]
    return {name: [(event.step, event.value) for event in found.Scalars(name)] for name in names}


def training(folder, resume):
    rng = np.random.default_rng(0)
    x, labels = rng.normal(size=(32, 4)).astype(np.float32), np.arange(32) % 2
    batches = EmbeddingBatches(x, labels, labels.astype(str), 8)
    settings = TrainSettings(epochs=4, precision="no")
    options = {"seed": 0, "name": "toy", "resume": resume, "events": folder}
    return Training(nn.Linear(4, 2), batches, batches, settings, **options)


@needs_tensorboard
def test_a_training_that_is_killed_and_continued_writes_each_epoch_once(tmp_path):
    folder, resume = tmp_path / "events", tmp_path / "resume"
    killed = training(folder, resume)
    for _ in killed.epochs():
        if killed.epoch == 2:
            break
        for batch in killed.batches():
            killed.step(*batch)
    assert [epoch for epoch, _ in read(folder)["val_auc"]] == [1, 2]  # to be watched meanwhile
    history = training(folder, resume).run().history
    found = read(folder)
    assert {"train_loss", "val_loss", "val_auc", "lr"} <= set(found)
    assert "epoch" not in found
    for name in ("val_auc", "lr"):
        assert [epoch for epoch, _ in found[name]] == [1, 2, 3, 4]
        values = [value for _, value in found[name]]
        assert values == pytest.approx([record[name] for record in history])


def test_each_training_has_a_folder_of_its_own(home):
    paths = RunPaths("r")
    folders = {paths.events(*own) for own in (("fbp",), ("fbp", 0, 1), ("fbp", 1), ("cnn",))}
    assert len(folders) == 4 and all(paths.root / "tensorboard" in own.parents for own in folders)


@pytest.mark.parametrize("stage", ["03_finetuning", "04_darts_search", "05_genotype_retraining"])
def test_without_the_package_it_is_refused_before_any_work(stage, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert config.resolve(stage, "quick", {"tensorboard": False}).tensorboard is False
    message = r"^TENSORBOARD=True needs the package tensorboard: pip install tensorboard$"
    with pytest.raises(SettingsError, match=message):
        config.resolve(stage, "quick", {"tensorboard": True})
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: True)
    shown = config.resolve(stage, "quick", {"tensorboard": True})
    assert config.decisive(shown) == config.decisive(dataclasses.replace(shown, tensorboard=False))
