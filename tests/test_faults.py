"""Kills, two at once, clocks that go wrong, NaN: finished work is never lost."""

import itertools
import os
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from helpers import datasets
from helpers.core import files, paths, tensors
from helpers.datasets import cache as images
from helpers.datasets.settings import SplitSettings
from helpers.runs import stages
from helpers.runs.memo import read_all_predictions
from helpers.training.loop import TrainingError
from helpers.training.settings import FinetuneSettings
from tests import faults
from tests.small_run import FINETUNING, OPTIONS, change_a_byte, run_split, train


def test_each_stage_killed_within_and_after_its_work_continues_and_ends_as_if_left_alone():
    # killed at random moments, the trainings had mostly not begun
    command = [sys.executable, "-m", "tests.faults", "--events"]
    threads = {f"{name}_NUM_THREADS": "1" for name in ("OMP", "MKL", "OPENBLAS")}
    environment = {"env": os.environ | threads, "cwd": paths.project_root()}
    done = subprocess.run(command, **environment, capture_output=True, text=True, check=False)
    rows = [line for line in done.stdout.splitlines() if line.startswith("| 0")]
    assert done.returncode == 0, done.stdout + done.stderr[-3000:]
    assert len(rows) == len(faults.EVENTS) and all(row.endswith("| equal |") for row in rows)


def test_a_split_killed_while_it_replaces_another_takes_no_prediction_of_that_along(
    run_copy, finished_run, monkeypatch
):
    # the old predictions were removed after the new split was written: a kill in between left
    # them, and every later notebook refused them
    write_bytes = files.write_bytes

    def killed_at_split_csv(path: Path, content: bytes) -> None:
        if path.name == "split.csv":
            raise KeyboardInterrupt
        write_bytes(path, content)

    with monkeypatch.context() as patch:
        patch.setattr(files, "write_bytes", killed_at_split_csv)
        with pytest.raises(KeyboardInterrupt):
            run_split(finished_run / "parts", "-p", "SEED=1")
    assert not (run_copy / "data/runs/t/predictions/cnn.csv").exists()
    assert run_split(finished_run / "parts", "-p", "SEED=1") == 0
    with pytest.raises(files.ArtifactError, match="holds no predictions"):
        read_all_predictions(paths.RunPaths("t"))


def test_a_damaged_split_is_refused_by_hand_and_made_again_by_the_series(run_copy, finished_run):
    run_paths = paths.RunPaths("t")
    kept = {p: p.read_bytes() for p in (run_paths.split_csv, run_paths.predictions("cnn"))}
    change_a_byte(run_paths.split_csv)
    with pytest.raises(files.ArtifactError, match=r"split\.csv is not as it was written"):
        stages.begin(FINETUNING, OPTIONS)
    assert run_split(finished_run / "parts") == 0
    assert {path: path.read_bytes() for path in kept} == kept  # nothing else is lost


def resume_files(stage):
    return list(stage.paths.trainings("cnn").glob("*.resume"))


def test_a_finished_step_leaves_the_epochs_of_another_setting_to_continue_from(run_copy, capsys):
    # the resume file was removed by whatever training of that name was found done
    def killed(network, epoch):
        if epoch == 1:
            raise KeyboardInterrupt

    longer = OPTIONS | {"CNN_EPOCHS": 3}
    with pytest.raises(KeyboardInterrupt):
        train(stages.begin(FINETUNING, longer), before_epoch=killed)
    stage = stages.begin(FINETUNING, OPTIONS)
    assert len(train(stage).history) == 2 and stage.notes["reused"] == ["checkpoints/cnn/seed0"]
    assert len(train(stages.begin(FINETUNING, longer)).history) == 3
    assert "Two-layer CNN: continuing after epoch 1 of 3" in capsys.readouterr().out
    assert not resume_files(stage)


def test_leftovers_of_killed_writes_are_removed_once_they_are_old(run_copy):
    folder = run_copy / "data/runs/t/checkpoints"
    dead = 2**22 + 1  # above the highest number that Linux gives a process
    young, old = (folder / f".cnn.safetensors.{number}.tmp" for number in (dead, dead + 1))
    written = folder / f".cnn.safetensors.{os.getpid()}.tmp"  # by a process that is still there
    submission = run_copy / "submissions" / f".t.csv.{dead}.tmp"
    submission.parent.mkdir(exist_ok=True)
    for file in (young, old, written, submission):
        file.write_bytes(b"half")
    for file in (old, written, submission):
        os.utime(file, (time.time() - 2 * files.LEFTOVER_AGE_S,) * 2)
    stages.begin(FINETUNING, OPTIONS)
    assert [f for f in (young, old, written, submission) if f.exists()] == [young, written]


def together(*calls) -> None:
    """Call all at the same time, each in a thread of its own, and raise what one raised."""
    with ThreadPoolExecutor(len(calls)) as pool:
        for done in [pool.submit(call) for call in calls]:
            done.result()


def test_notebooks_of_one_run_that_write_run_json_at_once_lose_nothing(home):
    def note(name: str) -> None:
        run = stages.Run(FINETUNING, paths.RunPaths("r"), "smoke", FinetuneSettings(), "k")
        for number in range(20):
            run.once(f"{name}{number}", files.fingerprint, number)

    together(*(lambda n=name: note(n) for name in ("a", "b", "c")))
    steps = stages.load_run(paths.RunPaths("r"))["steps"]
    assert len(steps) == 60
    assert not list((home / "data/runs/r").glob(".*.tmp"))


def test_two_that_need_the_same_cache_decode_it_once(finished_run, tmp_path, monkeypatch):
    decoded, decode = [], images.decode
    monkeypatch.setattr(images, "decode", lambda p, *a: decoded.append(p) or decode(p, *a))
    table = datasets.load(SplitSettings(dataset=f"folder:{finished_run / 'parts'}")).table
    found = []
    together(*[lambda: found.append(images.open_cache(table, 8, tmp_path / "cache"))] * 2)
    assert len(decoded) == 80
    np.testing.assert_array_equal(found[0].pixels, found[1].pixels)


def test_a_clock_that_goes_backwards_and_files_of_tomorrow_change_nothing(
    run_copy, finished_run, tmp_path, monkeypatch, capsys
):
    parts = tmp_path / "parts"
    shutil.copytree(finished_run / "parts", parts)
    tomorrow = time.time() + 86_400
    for file in parts.rglob("*.png"):
        os.utime(file, (tomorrow, tomorrow))
    backwards = itertools.count(2_000_000_000, -3600)
    monkeypatch.setattr(time, "time", lambda: float(next(backwards)))
    assert run_split(parts) == 0 and run_split(parts) == 0
    assert capsys.readouterr().out.count("up to date") == 1
    train(stages.begin(FINETUNING, OPTIONS))
    seconds = stages.load_run(paths.RunPaths("t"))["steps"]["checkpoints/cnn/seed0"]["seconds"]
    assert 0 <= seconds < 100


@pytest.mark.parametrize("at_the_end", [False, True], ids=["loss", "validation"])
def test_a_loss_that_is_nan_keeps_the_epochs_before_and_the_way_back(run_copy, capsys, at_the_end):
    def poison(network, epoch):  # one batch is an epoch
        parameter = next(network.parameters())
        if epoch == 1 and not at_the_end:
            parameter.data.fill_(float("nan"))
        elif epoch == 1:  # the loss is finite still, the gradient is not
            parameter.register_hook(lambda gradient: gradient * float("nan"))

    options = OPTIONS | {"CNN_EPOCHS": 3, "PRECISION": "no"}
    stage = stages.begin(FINETUNING, options)
    with pytest.raises(TrainingError, match=r"Two-layer CNN: .* epoch 2.*\(now 0\.001\)"):
        train(stage, before_epoch=poison)
    assert tensors.load_state(resume_files(stage)[0])["epoch"] == 1
    found = train(stages.begin(FINETUNING, options))
    assert "Two-layer CNN: continuing after epoch 1 of 3" in capsys.readouterr().out
    again = train(stages.begin(FINETUNING, options | {"CNN_LR": 1e-4}), seed=1)
    assert len(found.history) == len(again.history) == 3
    assert not resume_files(stage)
