"""Scores of many images: those of the series, the same bytes after a kill and by Ray."""

import functools
import multiprocessing
import os
import shutil
import signal
import sys
import time
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from helpers.commands import cli, score
from helpers.core import devices, files
from helpers.datasets import cache
from helpers.deploy.description import read_description
from helpers.deploy.predictor import TrainedModel
from helpers.models import backbones, compiled
from helpers.runs import workers
from helpers.runs.memo import read_all_predictions
from helpers.training import inference
from helpers.training.batches import image_batches
from tests.datasets.test_cache import noise, save

SIZE_PX = 16
start = functools.partial(cli.start, "score")


def make_model(path: Path, seed: int = 0, **options) -> Path:
    """Save an untrained two-layer CNN."""
    torch.manual_seed(seed)
    spec = backbones.spec_of("cnn", options.pop("num_classes", 2), SIZE_PX, **options)
    backbones.save_model(path, backbones.build(spec), precision="no")
    return path


def command(folder: Path, *more: str, images: str = "parts") -> list[str]:
    """Return the arguments that score `folder`/parts into `folder`/scores.csv."""
    images = str(folder / images)
    model, out = str(folder / "m.safetensors"), str(folder / "scores.csv")
    return ["--model", model, "--images", images, "--out", out, *more]


def scores(folder: Path, name: str = "scores.csv") -> pd.DataFrame:
    """Return the scores by path."""
    frame = files.load_csv(folder / name, ("path", "id", "defect_score"))
    return frame.set_index("path")


def both(folder: Path, name: str = "scores") -> list[bytes]:
    """Return the bytes of the scores and of the list of unreadable files."""
    return [(folder / f"{name}{kind}.csv").read_bytes() for kind in ("", ".unreadable")]


def by_the_series(folder: Path, views: int = 1) -> pd.Series:
    """Return what the series itself predicts, by path below `folder`/parts."""
    root = folder / "parts"
    found = sorted(p for p in root.rglob("*") if p.is_file())
    table = pd.DataFrame({"id": [p.relative_to(root).as_posix() for p in found], "path": found})
    cached = cache.open_cache(table, SIZE_PX, folder / "cache", True)
    table = table[table.id.isin(cached.table.id)].assign(label=0)
    model = backbones.load_model(folder / "m.safetensors").to(devices.default_device())
    batches = image_batches(cached, table, model, 8)
    return pd.Series(inference.predict(model, batches, "no", views), index=table.id)


@pytest.fixture
def folder(tmp_path, parts_folder, monkeypatch) -> Path:
    """120 images and a model; parts of 16 images."""
    monkeypatch.setattr(score, "PART_IMAGES", 16)
    make_model(tmp_path / "m.safetensors")
    return tmp_path


@pytest.mark.parametrize("views", [1, 8])
def test_scores_are_those_that_the_series_predicts(folder, views):
    assert start(command(folder, "--views", str(views))) == 0
    found, expected = scores(folder).defect_score, by_the_series(folder, views)
    assert found.index.tolist() == expected.index.tolist()
    np.testing.assert_allclose(found, expected, rtol=1e-6)


@pytest.mark.skipif(not find_spec("openvino"), reason="networks are compiled by OpenVINO")
def test_many_images_are_scored_by_the_compiled_network(folder, monkeypatch):
    expected, calls, plain = by_the_series(folder), [], compiled.CompiledNetwork._compile
    monkeypatch.setattr(
        compiled.CompiledNetwork, "_compile", lambda *given: calls.append(1) or plain(*given)
    )
    monkeypatch.setattr(compiled, "WORTH_IT_FROM", 120)
    assert start(command(folder)) == 0 and len(calls) == 1
    np.testing.assert_allclose(scores(folder).defect_score, expected, rtol=1e-5)


@pytest.mark.parametrize(("channels", "classes"), [(1, 2), (3, 4)])
def test_colour_deep_and_wide_images_are_read_as_in_the_training(folder, channels, classes):
    make_model(folder / "m.safetensors", in_channels=channels, num_classes=classes)
    save(folder / "parts" / "bad" / "colour.png", noise(1, 30, 20, 3))
    deep = noise(1, 20, 20, high=1024, dtype=np.uint16)
    save(folder / "parts" / "bad" / "deep.png", deep)
    assert start(command(folder, "--bits", "10")) == 0
    np.testing.assert_allclose(scores(folder).defect_score, by_the_series(folder), rtol=1e-6)


def test_what_cannot_be_read_is_listed_with_its_reason_and_the_rest_is_scored(folder, capsys):
    parts = folder / "parts"
    (parts / "bad" / "empty.png").write_bytes(b"")
    os.mkfifo(parts / "pipe.png")  # reading it would never end
    for i in range(20):  # a whole part
        (parts / "bad" / f"c{i:02d}.png").write_text("not an image")
    frames = [Image.fromarray(np.full((40, 40), value, np.uint8)) for value in (10, 200)]
    frames[0].save(parts / "two.tif", save_all=True, append_images=frames[1:])
    (parts / "notes.txt").touch()
    assert start(command(folder)) == 0
    out = capsys.readouterr().out
    assert "scored 121, unreadable 22" in out and "1 file(s) have several pages" in out
    assert "left out: other files and links to folders: 1 (.txt)" in out
    table = pd.read_csv(folder / "scores.unreadable.csv", index_col="path")
    assert table.reason["bad/empty.png"] == "the file is empty (0 bytes)"
    assert table.reason["pipe.png"] == "not a file"
    assert start(command(folder, "--strict")) == 1


def test_a_csv_lists_images_by_id_and_one_that_is_not_there_is_named(folder):
    lines = f"7,parts/bad/bad00.png\n008,{folder}/parts/good/good00.png\n9,gone.png\n"
    (folder / "list.csv").write_text(f"id,path\n{lines}", encoding="utf-8-sig")
    assert start(command(folder, images="list.csv")) == 0
    table = pd.read_csv(folder / "scores.csv", dtype=str)
    assert table.id.tolist() == ["7", "008"]
    unread = pd.read_csv(folder / "scores.unreadable.csv")
    assert unread.values.tolist() == [["gone.png", "No such file or directory"]]
    # the scores name the images of another scoring
    shutil.copy(folder / "scores.csv", folder / "b.csv")
    assert start([*command(folder, images="b.csv"), "--out", str(folder / "c.csv")]) == 0
    assert (folder / "c.csv").read_bytes() == (folder / "scores.csv").read_bytes()


def test_a_part_is_scored_before_the_next_one_is_read(folder, monkeypatch):
    decoded, scored, plain, whole = [], [], TrainedModel.read, score.PartScorer.work
    monkeypatch.setattr(
        TrainedModel, "read", lambda self, file: decoded.append(file) or plain(self, file)
    )

    def score_part(self, path, part):
        assert sorted(decoded) == sorted(scored)
        scored.extend(entry.file for entry in part)
        return whole(self, path, part)

    monkeypatch.setattr(score.PartScorer, "work", score_part)
    assert start(command(folder)) == 0 and len(scored) == 120


def _slow_run(arguments: list[str]) -> None:
    """A process that is slow enough to be killed in between: 1 ms more for each image."""
    signal.signal(signal.SIGINT, signal.default_int_handler)  # the tests may run behind an &
    score.PART_IMAGES, plain = 16, TrainedModel.read
    TrainedModel.read = lambda *given: (time.sleep(0.001), plain(*given))[1]
    raise SystemExit(start(arguments))


def test_killed_three_times_it_ends_with_the_bytes_of_a_run_left_alone(folder):
    (folder / "parts" / "bad" / "broken.png").write_text("not an image")
    arguments, parts = command(folder), folder / "scores.csv.parts"
    processes = multiprocessing.get_context("forkserver")  # torch is imported once
    processes.set_forkserver_preload([__name__])
    for kill in (signal.SIGKILL, signal.SIGINT, signal.SIGKILL):
        before = sorted(parts.glob("*.csv"))
        process = processes.Process(target=_slow_run, args=(arguments,))
        process.start()
        while process.is_alive() and sorted(parts.glob("*.csv")) == before:
            time.sleep(0.002)
        os.kill(process.pid, kill)
        process.join()
        assert process.exitcode == (130 if kill == signal.SIGINT else -kill)
        assert not (folder / "scores.csv").exists()
    assert start(arguments) == 0
    assert start([*arguments, "--out", str(folder / "whole.csv")]) == 0
    assert both(folder) == both(folder, "whole")
    assert len(scores(folder)) == 120 and scores(folder).index.is_unique


def test_only_the_parts_of_replaced_images_are_scored_again_and_all_by_another_model(
    folder, capsys
):
    assert start(command(folder)) == 0
    before = scores(folder).defect_score
    assert start(command(folder)) == 0
    assert "scores.csv: 0 new images" in capsys.readouterr().out
    save(folder / "parts" / "bad" / "bad00.png", noise(1, 40, 40))
    assert start(command(folder)) == 0
    assert "scores.csv: 16 new images" in capsys.readouterr().out
    changed = scores(folder).defect_score != before
    assert changed[changed].index.tolist() == ["bad/bad00.png"]
    make_model(folder / "m.safetensors", seed=1)
    for more in ([], ["--views", "8"]):
        assert start(command(folder, *more)) == 0
        assert "scores.csv: 120 new images" in capsys.readouterr().out
    assert len(list((folder / "scores.csv.parts").glob("*.csv"))) == 8  # others are removed
    part = next((folder / "scores.csv.parts").glob("000002_*"))
    part.write_bytes(b"")
    assert start(command(folder, "--views", "8")) == 1
    assert f"{part} is" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "culprit"),
    [
        (["--model", "no.safetensors"], "no.safetensors"),
        (["--model", "parts/bad/bad00.png"], "bad00.png"),
        (["--model", "parts"], "parts"),
        (["--images", "nowhere"], "nowhere"),
        (["--images", "empty"], "empty"),
        (["--images", "other.csv"], "other.csv, line 2: path"),
        (["--images", "semicolons.csv"], "commas must separate the columns"),
        (["--images", "windows.csv"], "windows.csv, line 3: bad\\1.png is not there: write / "),
        (["--images", "parts/bad/bad00.png"], "bad00.png is neither a folder of images nor a CSV"),
        (["--out", "parts"], "--out parts"),
        (["--out", "list.csv", "--images", "list.csv"], "--out list.csv"),
        (["--out", "before.csv"], "before.csv has scores of /another/lot"),
    ],
)
def test_what_cannot_work_is_named_before_anything_is_scored(
    folder, monkeypatch, capsys, arguments, culprit
):
    monkeypatch.chdir(folder)
    (folder / "empty").mkdir()
    (folder / "list.csv").write_text("path\nparts/bad/bad00.png\n")
    (folder / "other.csv").write_text("file\nparts/bad/bad00.png\n")
    (folder / "semicolons.csv").write_text("path;id\nparts/bad/bad00.png;1\n")
    (folder / "windows.csv").write_text("path\ngone.png\nbad\\1.png\n")
    files.save_json(folder / "before.csv.parts" / "images.json", "/another/lot")
    monkeypatch.setattr(TrainedModel, "read", None)
    assert start([*command(folder), *arguments]) == 1
    said = capsys.readouterr().err
    assert said.startswith("error: ") and culprit in said
    assert not list(folder.glob("scores*"))


def test_a_described_model_gives_verdicts_unless_the_options_change_its_scores(
    described_run, described, tmp_path, capsys
):
    def scored(*more):
        images = ["--images", str(described_run / "parts"), "--out", str(tmp_path / "scores.csv")]
        assert start(["--model", "t/net", *images, *more]) == 0
        return pd.read_csv(tmp_path / "scores.csv", keep_default_na=False)

    found = scored()
    assert found.columns.tolist() == ["path", "id", "defect_score", "probability", "verdict"]
    test = read_all_predictions(described)["net"].test
    by_name = found.set_index(found.id.map(os.path.basename)).defect_score
    np.testing.assert_allclose(
        by_name[test.id.map(os.path.basename)], test.defect_score, rtol=0, atol=1e-6
    )
    description = read_description(described.trainings("net"))
    assert found.verdict.tolist() == description.verdicts(found.defect_score).tolist()
    np.testing.assert_allclose(
        found.probability, description.probabilities(found.defect_score), rtol=1e-6
    )
    assert found.verdict.nunique() > 1 and description.promise in capsys.readouterr().out
    for option in (["--views", "1"], ["--bits", "12"]):
        assert "verdict" not in scored(*option)
        assert "no verdicts" in capsys.readouterr().out


def test_without_ray_its_package_is_named(folder, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "ray", None)
    assert start(command(folder, "--engine", "ray")) == 1
    assert "pip install ray" in capsys.readouterr().err


def test_two_workers_of_ray_write_the_same_bytes(folder, monkeypatch):
    ray = pytest.importorskip("ray", reason="Ray is optional: pip install ray")
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    (folder / "parts" / "bad" / "broken.png").write_text("not an image")
    with workers.one_thread():  # as Ray's workers have it: torch's sums depend on the number
        assert start(command(folder)) == 0
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    try:
        by_ray = ["--out", str(folder / "ray.csv"), "--engine", "ray"]
        assert start([*command(folder), *by_ray]) == 0
        jobs = [("a", functools.partial(int, "x"), 0, None, None, "")]
        with pytest.raises(ValueError, match="'x'"):  # what a job has raised, as itself
            list(workers.on_cluster(workers._Caller, (), jobs))
    finally:
        ray.shutdown()
    assert both(folder, "ray") == both(folder)
