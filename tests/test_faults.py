"""Kills, and two at once: finished work is never lost."""

import os
import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from helpers import runs
from helpers.core import files, paths
from helpers.datasets import cache as images
from helpers.runs.record import RunError, edit_run, load_run, lock_file
from tests import small_run
from tests.small_run import CONTEXT, FINETUNING, OPTIONS, run_split, train

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
    small_run.write_images(tmp_path / "parts")
    command = ["--dataset", f"folder:{tmp_path / 'parts'}", "--preset", "smoke", "--name", "t"]
    command += [f"-p{name}={value}" for name, value in small_run.SMALL.items()]
    homes = [tmp_path / name for name in ("whole", "killed")]
    for home in homes:
        home.mkdir()
    for after in KILLS:
        code, said = small_run.run_in_child(homes[1], command, *after)
        assert code == -signal.SIGKILL, said
    for home in homes:
        code, said = small_run.run_in_child(home, command)
        assert code == 0, said
    assert "Two-layer CNN: continuing after epoch 2 of 3" in said
    whole, killed = map(contents, homes)
    assert len(whole) > 25 and whole.keys() == killed.keys()
    assert [name for name in whole if whole[name] != killed[name]] == []


def test_a_split_killed_while_it_replaces_another_takes_no_prediction_of_that_along(
    described, described_run
):
    # the old predictions were removed after the new split was written: a kill in between left
    # them, and every later notebook refused them
    assert described.predictions("net").exists()
    with small_run.interrupted("split.csv", before=True), pytest.raises(KeyboardInterrupt):
        run_split(described_run / "parts", "-p", "SEED=1")
    assert not described.predictions("net").exists()
    assert run_split(described_run / "parts", "-p", "SEED=1") == 0
    with pytest.raises(files.ArtifactError, match="holds no predictions"):
        runs.open(FINETUNING, OPTIONS).models()


def test_a_finished_step_leaves_the_epochs_of_another_setting_to_continue_from(described, capsys):
    # the resume file was removed by whatever training of that name was found done
    longer = OPTIONS | {"CNN_EPOCHS": 3}
    train(runs.open(FINETUNING, OPTIONS))
    with small_run.interrupted("*.resume"), pytest.raises(KeyboardInterrupt):
        train(runs.open(FINETUNING, longer))
    run = runs.open(FINETUNING, OPTIONS)
    assert len(train(run).history) == 2 and run.reused == ["checkpoints/cnn/seed0"]
    assert len(train(runs.open(FINETUNING, longer)).history) == 3
    assert "Two-layer CNN: continuing after epoch 1 of 3" in capsys.readouterr().out
    assert not list(run.paths.trainings("cnn").glob("*.resume"))


def test_notebooks_of_one_run_that_write_run_json_at_once_lose_nothing(home):
    def note(name: str) -> None:
        for number in range(20):
            with edit_run(paths.RunPaths("r")) as content:
                content[f"{name}{number}"] = number

    with ThreadPoolExecutor() as pool:
        assert [*pool.map(note, "abc")] == [None] * 3
    assert len(load_run(paths.RunPaths("r"))) == 60 + 1  # and the name of the run
    assert not list((home / "data/runs/r").glob(".*.tmp"))


def test_two_that_need_the_same_cache_decode_it_once(split, tmp_path, monkeypatch):
    read, decode = [], images.decode
    monkeypatch.setattr(images, "decode", lambda *given: read.append(given) or decode(*given))
    with ThreadPoolExecutor(2) as pool:
        found = [*pool.map(lambda _: images.open_cache(split, 8, tmp_path / "cache"), range(2))]
    assert len(read) == 120
    np.testing.assert_array_equal(found[0].pixels, found[1].pixels)


def hold(lock: Path, pipe) -> None:
    with files.held(lock):
        pipe.send("held")
        pipe.recv()


def test_a_notebook_that_another_process_has_open_is_refused_until_that_ends(described):
    # two notebooks of one run with other settings took each other's files for their own
    run_paths, (here, there) = paths.RunPaths("t"), CONTEXT.Pipe()
    other = CONTEXT.Process(target=hold, args=(lock_file(run_paths, FINETUNING), there))
    other.start()
    assert here.poll(60) and here.recv() == "held"
    before = load_run(run_paths)
    with pytest.raises(RunError, match="run 't'"):
        runs.open(FINETUNING, OPTIONS | {"CNN_LR": 0.5})
    assert load_run(run_paths) == before
    runs.open("02_features_baselines", {"RUN": "t"}).finish()  # another notebook is free
    other.kill()
    other.join()
    runs.open(FINETUNING, OPTIONS).finish()


def test_a_notebook_s_first_cells_may_be_run_again(described):
    lock = lock_file(paths.RunPaths("t"), FINETUNING)

    def is_held() -> bool:
        try:
            with files.held(lock, wait=False):
                return False
        except files.LockedError:
            return True

    first, _again = (runs.open(FINETUNING, OPTIONS) for _ in range(2))
    assert is_held()
    lock.unlink()
    third = runs.open(FINETUNING, OPTIONS)  # a lock whose file was removed is taken again
    assert is_held()
    third.finish()
    assert not is_held()
    first.finish()  # nothing is left to free
