"""TensorBoard's event files: each epoch once, also if a training is continued."""

import dataclasses
import importlib.util

import numpy as np
import pytest
from torch import nn

from helpers.core import files
from helpers.core.paths import RunPaths
from helpers.core.rules import SettingsError
from helpers.darts import search
from helpers.darts.settings import SearchSettings
from helpers.runs import settings as config
from helpers.runs import stages
from helpers.training import finetune
from helpers.training.batches import EmbeddingBatches
from helpers.training.loop import Hooks, Training
from helpers.training.settings import FinetuneSettings, TrainSettings
from tests.conftest import split_of

needs_tensorboard = pytest.mark.skipif(
    importlib.util.find_spec("tensorboard") is None, reason="an optional package"
)


def read(folder):
    """The numbers in a folder: name -> [(epoch, value), ...]."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    found = EventAccumulator(str(folder)).Reload()
    names = found.Tags()["scalars"]
    return {name: [(event.step, event.value) for event in found.Scalars(name)] for name in names}


class StopAfterTwo(Hooks):
    def epoch_starts(self, epoch, epochs):
        if epoch == 2:
            raise KeyboardInterrupt


def fit(folder, resume, hooks=None):
    rng = np.random.default_rng(0)
    x, labels = rng.normal(size=(32, 4)).astype(np.float32), np.arange(32) % 2
    batches = EmbeddingBatches(x, labels, labels.astype(str), 8)
    settings = TrainSettings(epochs=4, precision="no")
    options = {"seed": 0, "name": "toy", "hooks": hooks, "resume": resume, "events": folder}
    return Training(nn.Linear(4, 2), batches, batches, settings, **options).run()


@needs_tensorboard
def test_a_training_that_is_killed_and_continued_writes_each_epoch_once(tmp_path):
    folder, resume = tmp_path / "events", tmp_path / "resume"
    with pytest.raises(KeyboardInterrupt):
        fit(folder, resume, StopAfterTwo())
    assert [epoch for epoch, _ in read(folder)["val_auc"]] == [1, 2]  # to be watched meanwhile
    history = fit(folder, resume).history
    found = read(folder)
    assert {"train_loss", "val_loss", "val_auc", "lr"} <= set(found)
    assert not {"epoch", "stopped"} & set(found)
    for name in ("val_auc", "lr"):
        assert [epoch for epoch, _ in found[name]] == [1, 2, 3, 4]
        values = [value for _, value in found[name]]
        assert values == pytest.approx([record[name] for record in history])


@needs_tensorboard
def test_the_trainings_of_a_run_leave_their_files(home, parts_folder):
    small = {"cnn_epochs": 2, "cnn_image_size_px": 16, "precision": "no"}
    own = FinetuneSettings(**small, tensorboard=True)
    stage = stages.Stage("03_finetuning", RunPaths("r"), "quick", own, "key")
    files.save_csv(stage.paths.split_csv, split_of(parts_folder))
    history = finetune.train_cnn(stage).history
    found = read(stage.paths.events("cnn"))["val_auc"]
    assert found == [(r["epoch"], pytest.approx(r["val_auc"])) for r in history]


@needs_tensorboard
def test_the_search_leaves_its_file(home, parts_folder):
    tiny = {"image_size_px": 16, "channels": 2, "layers": 3, "epochs": 1}
    own = SearchSettings(**tiny, batch_size=30, tensorboard=True)
    stage = stages.Stage("04_darts_search", RunPaths("r"), "quick", own, "key")
    files.save_csv(stage.paths.split_csv, split_of(parts_folder))
    history = search.search_genotype(stage).history
    found = read(stage.paths.events("supernet"))
    assert found["alpha_loss"] == [(1, pytest.approx(history[0]["alpha_loss"]))]


def test_each_training_has_a_folder_of_its_own(home):
    paths = RunPaths("r")
    folders = {paths.events(*own) for own in (("fbp",), ("fbp", 0, 1), ("fbp", 1), ("cnn",))}
    assert len(folders) == 4 and all(paths.root / "tensorboard" in own.parents for own in folders)


@pytest.mark.parametrize("stage", ["03_finetuning", "04_darts_search", "05_genotype_retraining"])
def test_without_the_package_it_is_refused_before_any_work(stage, monkeypatch):
    monkeypatch.setattr(config.importlib.util, "find_spec", lambda name: None)
    assert config.resolve(stage, "quick", {"tensorboard": False}).tensorboard is False
    message = r"^TENSORBOARD=True needs the package tensorboard: pip install tensorboard$"
    with pytest.raises(SettingsError, match=message):
        config.resolve(stage, "quick", {"tensorboard": True})
    monkeypatch.setattr(config.importlib.util, "find_spec", lambda name: True)
    shown = config.resolve(stage, "quick", {"tensorboard": True})
    assert config.decisive(shown) == config.decisive(dataclasses.replace(shown, tensorboard=False))
