"""Runs in attached outputs: found where Kaggle mounts them, brought here whole, images found."""

import os
import shutil
from dataclasses import asdict

import pandas as pd
import pytest

from helpers import datasets
from helpers.commands import run
from helpers.core import files, paths
from helpers.datasets.settings import SplitSettings
from helpers.runs import attached, stages


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


def test_what_is_here_already_stays_but_a_lock_does_not_count(inputs):
    _output(inputs / "series")
    here = paths.RunPaths("r")
    files.save_csv(here.split_csv, pd.DataFrame({"id": ["mine"]}))
    assert not attached.adopt(here)
    here.split_csv.rename(here.root / ".01_data_split.lock")
    assert attached.adopt(here) and here.run_json.is_file()


def test_the_latest_of_several_is_taken_and_can_be_written_but_no_other_run(inputs):
    _output(inputs / "a-later", started="2026-01-03 10:00:00")
    _output(inputs / "b-earlier", started="2026-01-02 10:00:00")
    assert not attached.adopt(paths.RunPaths("other"))
    for file in inputs.rglob("*"):
        file.chmod(0o555 if file.is_dir() else 0o444)
    attached.adopt(here := paths.RunPaths("r"))
    assert (here.trainings("fbp") / "seed0.safetensors").read_text() == "2026-01-03 10:00:00"
    assert {file.stat().st_mode & 0o200 for file in here.root.rglob("*")} == {0o200}


def test_a_damaged_run_is_named_and_a_copy_that_breaks_off_leaves_none(inputs, monkeypatch):
    root = _output(inputs / "series")

    def full(*_):
        raise OSError("No space left on device")

    monkeypatch.setattr(shutil, "copyfile", full)
    with pytest.raises(files.ArtifactError, match="r cannot be written"):
        attached.adopt(paths.RunPaths("r"))
    assert os.listdir(paths.runs_root()) == []
    (root / "run.json").write_text("{")
    with pytest.raises(files.ArtifactError, match=r"series/data/runs/r/run\.json"):
        attached.adopt(paths.RunPaths("r"))


def test_a_notebook_and_the_runner_look_at_the_attached_inputs_first(inputs, monkeypatch):
    _output(inputs / "series", preset="paper")
    stage = stages.open_stage("02_features_baselines", {"RUN": "r", "SEED": 1})
    assert (stage.paths.name, stage.preset, stage.settings.seed) == ("r", "paper", 1)
    _output(inputs / "series", name="other", preset="paper")
    monkeypatch.setattr(stages, "is_current", lambda *_: True)
    assert run.main(["--name", "other", "--preset", "paper"]) == 0
    assert stages.load_run(paths.RunPaths("other"))["preset"] == "paper"


def test_images_are_found_where_this_machine_has_them():
    settings = SplitSettings()
    table = datasets.load(settings).table[["id", "path"]].sample(frac=1, random_state=0)
    assert attached.located(table, asdict(settings)) is table
    older = table.path.str.replace(".*/elpv_dataset/", "/python3.10/elpv_dataset/", regex=True)
    lost = pd.DataFrame({"id": ["gone"], "path": ["/python3.10/gone.png"]})
    moved = pd.concat([lost, table.assign(path=older)], ignore_index=True)
    found = attached.located(moved, asdict(settings))
    assert found.path.tolist() == ["/python3.10/gone.png", *table.path]
    here = paths.RunPaths("r")
    files.save_csv(here.split_csv, moved.assign(label=0, split="train"))
    record = {"run": "r", "stages": {"01_data_split": {"settings": asdict(settings)}}}
    files.save_json(here.run_json, record)
    assert stages.split_of(here).path.equals(found.path)
    away = asdict(settings) | {"dataset": "folder:/not/here", "good": ["fine"]}
    assert attached.located(moved, away).equals(moved)  # the images may have been decoded before
