"""Runs in attached outputs: found where Kaggle mounts them, and brought here whole."""

import os
import shutil

import pandas as pd
import pytest

from helpers.commands import run
from helpers.core import files, paths
from helpers.runs import attached, settings, stages


@pytest.fixture
def inputs(tmp_path, home, monkeypatch):
    """A stand-in for /kaggle/input; what is written goes to another folder."""
    folder = tmp_path / "input"
    folder.mkdir()
    monkeypatch.setattr(paths, "KAGGLE_INPUT", folder)
    monkeypatch.setenv(paths.HOME_VARIABLE, str(tmp_path / "working"))
    return folder


def _output(folder, name="r", started="2026-01-01 10:00:00", preset="smoke"):
    """The output of a notebook that has done the first stage of a run."""
    root = folder / "data/runs" / name
    record = {
        "run": name,
        "preset": preset,
        "stages": {"01_data_split": {"status": "done", "started": started}},
    }
    files.save_json(root / "run.json", record)
    (root / "checkpoints/fbp").mkdir(parents=True)
    for file in ("seed0.safetensors", "0a1b2c.resume", ".seed1.safetensors.17.tmp"):
        (root / "checkpoints/fbp" / file).write_text(started)
    (root / ".01_data_split.lock").touch()
    (folder / "submissions").mkdir(exist_ok=True)
    (folder / f"submissions/{name}.csv").write_text("id,defect_score\n")
    return root


@pytest.mark.parametrize("mount", ["series", "notebooks/series", "notebooks/me/series"])
def test_a_run_is_brought_from_an_attached_output(inputs, mount, capsys):
    source = _output(inputs / mount)
    assert attached.adopt(here := paths.RunPaths("r"))
    assert capsys.readouterr().out == f"continuing run 'r' from {source}\n"
    copied = ["run.json", "checkpoints/fbp/0a1b2c.resume", "checkpoints/fbp/seed0.safetensors"]
    assert {file for file in here.root.rglob("*") if file.is_file()} == {
        here.root / name for name in copied
    }
    for name in copied:
        assert (here.root / name).read_bytes() == (source / name).read_bytes()
    assert here.submission.read_text() == "id,defect_score\n"
    assert [entry.name for entry in paths.runs_root().iterdir()] == ["r"]
    assert not attached.adopt(here)  # it is here now


def test_what_is_here_already_stays(inputs):
    _output(inputs / "series")
    here = paths.RunPaths("r")
    files.save_csv(here.split_csv, pd.DataFrame({"id": ["mine"]}))
    assert not attached.adopt(here)
    assert not here.run_json.exists()


@pytest.mark.parametrize("lock", [".lock", ".run.json.lock", ".01_data_split.lock"])
def test_a_lock_that_an_earlier_process_left_does_not_count_as_a_run(inputs, lock):
    _output(inputs / "series")
    (here := paths.RunPaths("r")).root.mkdir(parents=True)
    (here.root / lock).touch()
    assert attached.adopt(here) and here.run_json.is_file()


def test_the_latest_of_several_is_taken(inputs):
    _output(inputs / "a-later", started="2026-01-03 10:00:00")
    _output(inputs / "b-earlier", started="2026-01-02 10:00:00")
    attached.adopt(here := paths.RunPaths("r"))
    assert here.checkpoint("fbp").read_text() == "2026-01-03 10:00:00"


def test_read_only_files_become_files_that_can_be_written(inputs):
    source = _output(inputs / "series")
    for file in source.rglob("*"):
        file.chmod(0o555 if file.is_dir() else 0o444)
    attached.adopt(here := paths.RunPaths("r"))
    modes = {file.stat().st_mode & 0o200 for file in here.root.rglob("*")}
    assert modes == {0o200}


def test_a_copy_that_breaks_off_leaves_no_run(inputs, monkeypatch):
    _output(inputs / "series")

    def full(*_):
        raise OSError("No space left on device")

    monkeypatch.setattr(shutil, "copyfile", full)
    with pytest.raises(files.ArtifactError, match="r cannot be written: No space left"):
        attached.adopt(paths.RunPaths("r"))
    assert os.listdir(paths.runs_root()) == []


def test_other_runs_and_other_machines_are_left_alone(inputs, monkeypatch, tmp_path):
    _output(inputs / "series", name="other")
    assert not attached.adopt(paths.RunPaths("r"))
    _output(inputs / "series", name="r")
    monkeypatch.setattr(paths, "KAGGLE_INPUT", tmp_path / "nowhere")
    assert not attached.adopt(paths.RunPaths("r"))


def test_a_damaged_attached_run_is_named(inputs):
    root = _output(inputs / "series")
    (root / "run.json").write_text("{")
    with pytest.raises(files.ArtifactError, match=r"series/data/runs/r/run\.json is damaged"):
        attached.adopt(paths.RunPaths("r"))


def test_a_notebook_takes_the_preset_of_the_attached_run(inputs):
    _output(inputs / "series", preset="paper")
    stage = stages.open_stage("02_features_baselines", {"RUN": "r", "SEED": 1})
    assert (stage.paths.name, stage.preset, stage.settings.seed) == ("r", "paper", 1)


def test_the_runner_looks_at_the_attached_inputs_before_the_first_stage(inputs, monkeypatch):
    _output(inputs / "series")
    seen = []

    def is_current(stage, *given):
        seen.append((stage, stages.load_run(paths.RunPaths("r"))["preset"]))
        return True

    monkeypatch.setattr(stages, "is_current", is_current)
    assert run.main(["--name", "r", "--preset", "smoke"]) == 0
    assert seen == [(stage, "smoke") for stage in settings.STAGES]
