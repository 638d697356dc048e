"""Resume files: what is no damage is not called so, and nobody removes another training's."""

import errno

import pytest
import torch
from torch import nn

from helpers.core import files, memory, processes, tensors
from helpers.runs.settings import TrainSettings
from helpers.training import resume
from helpers.training.loop import Hooks, Loop

KEY = resume.key_of(TrainSettings(), 0, {"images": "a"})


def loop(fp16: bool = False) -> Loop:
    """A training that has not begun."""
    model = nn.Linear(2, 2)
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    scheduler = torch.optim.lr_scheduler.ConstantLR(optimizer)
    scaler = torch.amp.GradScaler("cpu", enabled=fp16)
    return Loop(model, optimizer, scheduler, scaler, None, Hooks())


@pytest.fixture
def path(tmp_path):
    """The resume file of a training."""
    tensors.save_state(tmp_path / "resume", {"key": KEY, "loop": loop().state()})
    return tmp_path / "resume"


OTHER = resume.key_of(TrainSettings(lr=0.5), 0, {"images": "a"})


def test_a_resume_file_is_taken_up_and_removed_by_the_same_training_only(path):
    assert not resume.take_up(loop(), path, OTHER)
    resume.remove(path, OTHER)
    assert resume.take_up(loop(), path, KEY)
    resume.remove(path, KEY)
    assert not path.exists() and not resume.take_up(loop(), path, KEY)
    resume.remove(path, KEY)  # is gone already


def test_trainings_in_turn_each_find_their_own_epochs(path):
    # the file of a long training was overwritten by a trial with other settings
    for epoch in (1, 2):
        for key in (OTHER, KEY):
            taken = loop()
            assert resume.take_up(taken, path, key) == (key == KEY or epoch == 2)
            taken.epoch += 1
            tensors.save_state(path, {"key": key, "loop": taken.state()})
    for key in (OTHER, KEY):
        taken = loop()
        assert resume.take_up(taken, path, key) and taken.epoch == 2


def test_a_finished_training_removes_its_file_from_where_it_waits(path):
    resume.take_up(loop(), path, OTHER)  # moves it aside
    tensors.save_state(path, {"key": OTHER, "loop": loop().state()})
    assert len(list(path.parent.iterdir())) == 2
    resume.remove(path, KEY)
    assert list(path.parent.iterdir()) == [path] and resume.take_up(loop(), path, OTHER)


def test_a_resume_file_that_cannot_be_moved_aside_is_not_overwritten(path, monkeypatch):
    def refuse(*_):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(type(path), "replace", refuse)
    message = rf"resume\.{KEY} cannot be written: Permission denied"
    with pytest.raises(files.ArtifactError, match=message):
        resume.take_up(loop(), path, OTHER)
    assert resume.take_up(loop(), path, KEY)


def test_a_training_goes_on_where_its_losses_are_scaled_and_were_not_before_and_back(path):
    # begun with bf16 and taken up by a GPU that has fp16 alone, the file was called damaged
    scaled = loop(fp16=True)
    assert resume.take_up(scaled, path, KEY) and scaled.scaler.get_scale() == 2.0**16
    tensors.save_state(path, {"key": KEY, "loop": scaled.state()})
    assert resume.take_up(loop(), path, KEY)


def test_a_file_of_another_network_and_one_without_a_training_are_damaged(path):
    larger = loop()
    larger.model = nn.Linear(3, 2)
    with pytest.raises(files.ArtifactError, match=r"resume is damaged \(Error\(s\) in loading"):
        resume.take_up(larger, path, KEY)
    tensors.save_state(path, {"key": KEY})
    with pytest.raises(files.ArtifactError, match=r"is damaged \(it holds no training\)"):
        resume.take_up(loop(), path, KEY)


@pytest.mark.parametrize(
    "error",
    [torch.OutOfMemoryError("CUDA out of memory"), RuntimeError("can't allocate memory: 3 GB")],
)
def test_full_memory_while_a_training_is_taken_up_damages_no_file(path, monkeypatch, error):
    def full(*_):
        raise error

    monkeypatch.setattr(Loop, "load", full)
    with (
        pytest.raises(memory.MemoryFullError, match="the memory is full; lower BATCH_SIZE"),
        memory.enough_for("cnn", TrainSettings()),
    ):
        resume.take_up(loop(), path, KEY)
    assert path.exists()


def test_a_lost_process_damages_no_file(path, monkeypatch):
    def lost(*_):
        raise RuntimeError("Connection closed by peer [127.0.0.1]:12345")

    monkeypatch.setattr(processes, "from_main", lost)
    with pytest.raises(RuntimeError, match=r"^Connection closed by peer"):
        resume.take_up(loop(), path, KEY)


@pytest.mark.parametrize("number", [errno.EIO, errno.EACCES])
def test_a_resume_file_that_cannot_be_read_is_not_called_damaged(path, monkeypatch, number):
    def refuse(*_, **__):
        raise OSError(number, "says the system")

    monkeypatch.setattr("pathlib.Path.read_bytes", refuse)
    with pytest.raises(files.ArtifactError) as error:
        resume.take_up(loop(), path, KEY)
    assert str(error.value) == f"{path} cannot be read: says the system"
    resume.remove(path, KEY)  # nothing is known of it
    assert path.exists()
