"""A full or read-only disk is named, and the same command continues once there is room."""

import errno
import os
import shutil
from types import SimpleNamespace

import numpy as np
import pytest

from helpers.core import files, tensors
from helpers.runs import stages
from tests.small_run import FINETUNING, OPTIONS, train


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="Linux has a device that is full")
def test_a_full_disk_is_named_and_the_old_file_stays(tmp_path):
    path = tmp_path / "run" / "a.npz"
    files.save_arrays(path, x=np.zeros(9))
    before = path.read_bytes()
    temporary = path.with_name(f".a.npz.{os.getpid()}.tmp")
    temporary.symlink_to("/dev/full")
    with pytest.raises(files.ArtifactError, match=r"a\.npz .* the disk is full"):
        files.save_arrays(path, x=np.ones(9))
    assert path.read_bytes() == before
    assert [p.name for p in path.parent.iterdir()] == [path.name]
    files.save_arrays(path, x=np.ones(9))
    assert path.read_bytes() != before


@pytest.mark.parametrize(
    ("number", "free_mb", "reason"),
    [
        (errno.ENOSPC, 0.2, "0.2 MB free"),
        (errno.ENOSPC, 700.0, "inodes"),
        (errno.EDQUOT, 0.5, "quota"),
        (errno.EROFS, 700.0, "Read-only"),
        (errno.EACCES, 700.0, "denied"),
    ],
)
def test_why_a_file_cannot_be_written_is_told(tmp_path, monkeypatch, number, free_mb, reason):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=free_mb * 1e6))
    with pytest.raises(files.ArtifactError) as error, files.writing(tmp_path / "a.csv"):
        raise OSError(number, os.strerror(number))
    assert str(tmp_path / "a.csv") in str(error.value) and reason in str(error.value)


def test_a_training_on_a_full_disk_continues_where_it_was_when_there_is_room(
    run_copy, monkeypatch, capsys
):
    options, replace = OPTIONS | {"CNN_EPOCHS": 3}, os.replace

    def full(source, target):
        if str(target).endswith(".resume") and os.path.exists(target):
            raise OSError(errno.ENOSPC, "No space left on device")
        replace(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", full)
        with pytest.raises(files.ArtifactError, match=r"\.resume.* the disk is full"):
            train(stages.begin(FINETUNING, options))
    (resume,) = run_copy.rglob("*.resume")
    assert tensors.load_state(resume)["epoch"] == 1
    assert len(train(stages.begin(FINETUNING, options)).history) == 3
    assert "continuing after epoch 1 of 3" in capsys.readouterr().out
