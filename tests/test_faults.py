"""Kills, two at once, clocks that go wrong: finished work is never lost."""

import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from helpers import runs
from helpers.core import files, paths
from helpers.datasets import cache as images
from helpers.datasets import sources
from helpers.datasets.settings import SplitSettings
from helpers.runs.record import edit_run, load_run
from tests import faults
from tests.small_run import FINETUNING, OPTIONS, run_split, train

# after which file, written how many times: the split without its record, the second of three
# epochs, and the weights of a network without their record
KILLS = (("split.csv", 1), ("cnn/*.resume", 2), ("darts_v2/seed0.safetensors", 1))
KEPT = ("split.csv", "predictions/*.csv", "features/*.npz")  # a genotype names its seconds
KEPT += ("checkpoints/**/*.safetensors", "checkpoints/**/*.csv", "../../../submissions/*.csv")


def contents(home: Path) -> dict[str, bytes]:
    """Return the files of a run, except those that hold times."""
    root = home / "data/runs/t"
    found = [file for pattern in KEPT for file in root.glob(pattern)]
    return {os.path.relpath(file, home): file.read_bytes() for file in found}


def test_a_run_that_is_killed_three_times_ends_with_the_same_bytes(tmp_path):
    faults.write_images(tmp_path / "parts")
    command = ["--dataset", f"folder:{tmp_path / 'parts'}", "--preset", "smoke", "--name", "t"]
    command += [f"-p{name}={value}" for name, value in faults.SMALL.items()]
    homes = [tmp_path / name for name in ("whole", "killed")]
    for home in homes:
        home.mkdir()
    for after in KILLS:
        code, said = faults.run_in_child(homes[1], command, *after)
        assert code == -signal.SIGKILL, said
    for home in homes:
        code, said = faults.run_in_child(home, command)
        assert code == 0, said
    assert "Two-layer CNN: continuing after epoch 2 of 3" in said
    whole, killed = map(contents, homes)
    assert len(whole) > 25 and whole.keys() == killed.keys()
    assert [name for name in whole if whole[name] != killed[name]] == []


def test_a_split_killed_while_it_replaces_another_takes_no_prediction_of_that_along(
    run_copy, finished_run
):
    # the old predictions were removed after the new split was written: a kill in between left
    # them, and every later notebook refused them
    with faults.interrupted("split.csv", before=True), pytest.raises(KeyboardInterrupt):
        run_split(finished_run / "parts", "-p", "SEED=1")
    assert not (run_copy / "data/runs/t/predictions/cnn.csv").exists()
    assert run_split(finished_run / "parts", "-p", "SEED=1") == 0
    with pytest.raises(files.ArtifactError, match="holds no predictions"):
        runs.open(FINETUNING, OPTIONS).models()


def test_a_finished_step_leaves_the_epochs_of_another_setting_to_continue_from(run_copy, capsys):
    # the resume file was removed by whatever training of that name was found done
    longer = OPTIONS | {"CNN_EPOCHS": 3}
    with faults.interrupted("*.resume"), pytest.raises(KeyboardInterrupt):
        train(runs.open(FINETUNING, longer))
    run = runs.open(FINETUNING, OPTIONS)
    assert len(train(run).history) == 2 and run.reused == ["checkpoints/cnn/seed0"]
    assert len(train(runs.open(FINETUNING, longer)).history) == 3
    assert "Two-layer CNN: continuing after epoch 1 of 3" in capsys.readouterr().out
    assert not list(run.paths.trainings("cnn").glob("*.resume"))


def test_leftovers_of_killed_writes_are_removed_once_they_are_old(run_copy):
    folder = run_copy / "data/runs/t/checkpoints"
    dead = 2**22 + 1  # above the highest number that Linux gives a process
    young, old = (folder / f".cnn.safetensors.{number}.tmp" for number in (dead, dead + 1))
    written = folder / f".cnn.safetensors.{os.getpid()}.tmp"  # by a process that is still there
    for file in (young, old, written):
        file.write_bytes(b"half")
    for file in (old, written):
        os.utime(file, (time.time() - 2 * files.LEFTOVER_AGE_S,) * 2)
    runs.open(FINETUNING, OPTIONS)
    assert [f for f in (young, old, written) if f.exists()] == [young, written]


def test_notebooks_of_one_run_that_write_run_json_at_once_lose_nothing(home):
    def note(name: str) -> None:
        for number in range(20):
            with edit_run(paths.RunPaths("r")) as content:
                content[f"{name}{number}"] = number

    with ThreadPoolExecutor() as pool:
        assert [*pool.map(note, "abc")] == [None] * 3
    assert len(load_run(paths.RunPaths("r"))) == 60 + 1  # and the name of the run
    assert not list((home / "data/runs/r").glob(".*.tmp"))


def test_two_that_need_the_same_cache_decode_it_once(finished_run, tmp_path, monkeypatch):
    decoded, decode = [], images.decode
    monkeypatch.setattr(images, "decode", lambda p, *a: decoded.append(p) or decode(p, *a))
    table = sources.load(SplitSettings(dataset=f"folder:{finished_run / 'parts'}")).table
    with ThreadPoolExecutor(2) as pool:
        found = [*pool.map(lambda _: images.open_cache(table, 8, tmp_path / "cache"), range(2))]
    assert len(decoded) == 80
    np.testing.assert_array_equal(found[0].pixels, found[1].pixels)
