"""A full or read-only disk is named, and the same command continues once there is room."""

import errno
import json
import shutil
import subprocess
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import papermill
import pytest

from helpers import datasets
from helpers.commands import run
from helpers.core import files, paths, tensors
from helpers.datasets import cache
from helpers.datasets.settings import SplitSettings
from helpers.runs import stages
from tests.small_run import FINETUNING, OPTIONS, run_split, split_command, train


@pytest.fixture
def disk(tmp_path, monkeypatch):
    """A disk of 12 MB, home and all; skipped where it cannot be mounted."""
    place = tmp_path / "disk"
    place.mkdir()
    if shutil.which("mount") is None:
        pytest.skip("no mount here")
    _mount("-t", "tmpfs", "-o", "size=12m", "tmpfs", place)
    monkeypatch.setenv(paths.HOME_VARIABLE, str(place))
    yield place
    subprocess.run(["umount", "-l", place], check=True)


def _mount(*arguments) -> None:
    done = subprocess.run(["mount", *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"no small disk can be mounted here: {done.stderr.strip()}")


def fill(disk: Path, left: int = 0) -> Path:
    """A file that leaves so many bytes of the disk."""
    ballast = disk / "ballast"
    free = shutil.disk_usage(disk).free - left
    ballast.write_bytes(bytes(free))
    return ballast


def test_a_full_disk_is_named_and_the_old_file_stays(disk):
    path = disk / "run" / "a.npz"

    def write(path):
        files.save_arrays(path, x=np.zeros(30_000))

    write(path)
    before = path.read_bytes()
    ballast = fill(disk, left=8192)
    with pytest.raises(files.ArtifactError) as error:
        write(path)
    message = str(error.value)
    assert message.startswith(f"{path} cannot be written: the disk is full (0.0 MB free in {disk}")
    assert "Make room and run the same command again; finished work is kept" in message
    assert path.read_bytes() == before
    assert [p.name for p in path.parent.iterdir()] == [path.name]
    ballast.unlink()
    write(path)


def test_images_that_do_not_fit_on_the_disk_are_decoded_once_there_is_room(disk, finished_run):
    ballast = fill(disk, left=16_384)
    settings = SplitSettings(dataset=f"folder:{finished_run / 'parts'}")
    table = datasets.load(settings).table
    with pytest.raises(files.ArtifactError, match=r"-32 cannot be written: the disk is full"):
        cache.open_cache(table, 32, disk / "cache")
    assert not any(path.is_dir() for path in (disk / "cache").iterdir())
    ballast.unlink()
    assert len(cache.open_cache(table, 32, disk / "cache").table) == 80


def test_a_training_on_a_full_disk_goes_on_where_it_was_when_there_is_room(disk, finished_run):
    shutil.copytree(finished_run / "home", disk, dirs_exist_ok=True)
    expected = files.file_digest(disk / "data/runs/t/checkpoints/cnn/seed0.safetensors")
    (stage_file,) = disk.rglob("run.json")
    record = json.loads(stage_file.read_text())
    del record["steps"]["cnn, seed 0"]
    stage_file.write_text(json.dumps(record))
    ballast: list[Path] = []

    def fill_after_one(network, epoch):
        if epoch == 1 and not ballast:
            ballast.append(fill(disk, left=8192))

    stage = stages.begin(FINETUNING, OPTIONS)
    with pytest.raises(files.ArtifactError, match=r"\.resume.* the disk is full"):
        train(stage, before_epoch=fill_after_one)
    (resume,) = stage.paths.trainings("cnn").glob("*.resume")
    assert tensors.load_state(resume)["epoch"] == 1
    ballast[0].unlink()
    train(stages.begin(FINETUNING, OPTIONS))
    assert files.file_digest(stage.paths.checkpoint("cnn")) == expected


def test_images_on_a_read_only_disk_are_all_that_is_needed_of_it(disk, finished_run, tmp_path):
    shutil.copytree(finished_run / "parts", disk / "parts")
    _mount("-o", "remount,ro", disk)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(paths.HOME_VARIABLE, str(tmp_path / "home"))
        assert run_split(disk / "parts") == 0


def test_a_home_that_cannot_be_written_is_named_before_anything_runs(disk, finished_run, capsys):
    _mount("-o", "remount,ro", disk)
    assert run_split(finished_run / "parts") == 1
    error = capsys.readouterr().err
    assert f"{disk}/data/runs/t/.lock cannot be written: Read-only file system" in error


@pytest.mark.parametrize(("number", "free_mb"), [(errno.ENOSPC, 700.0), (errno.EDQUOT, 0.5)])
def test_a_disk_with_room_left_is_full_by_a_quota_or_by_its_files(
    tmp_path, monkeypatch, number, free_mb
):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=free_mb * 1e6))
    with pytest.raises(files.ArtifactError) as error, files.writing(tmp_path / "a.csv"):
        raise OSError(number, "No space left on device")
    said = f"disk is full ({free_mb} MB free in {tmp_path}; a quota or the number of files (inodes)"
    assert said in str(error.value)


def test_a_full_disk_under_the_executed_copy_is_named(run_copy, finished_run, monkeypatch, capsys):
    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(papermill, "execute_notebook", full)
    assert run.main(split_command(finished_run / "parts", "-p", "SEED=5")) == 1
    error = capsys.readouterr().err
    assert "01_data_split.ipynb cannot be written: No space left on device" in error
    assert "To continue once it is fixed: python -m helpers.run" in error
