"""Scores of many images: those of the series, the same by Ray; what is refused."""

import dataclasses
import os
import re
import shutil
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from helpers.commands.score import command as score
from helpers.commands.score.engine import PartScorer
from helpers.commands.score.listing import open_list
from helpers.commands.score.parts import load_job
from helpers.core import files
from helpers.deploy.description import NAME, read_description
from helpers.deploy.predictor import TrainedModel
from helpers.models import backbones, compiled
from helpers.runs.run_models import read_all_predictions
from tests import deploy_run
from tests.score_fixtures import by_the_series, command, folder, make_model, save, scores

__all__ = ["folder"]


@pytest.mark.parametrize(
    ("words", "views"), [([], 1), (["--views", "4"], 4), (["--views", "8"], 8)]
)
def test_scores_are_those_that_the_series_predicts(folder, words, views):
    assert score.main(command(folder, *words)) == 0
    found, expected = scores(folder).defect_score, by_the_series(folder, views)
    assert found.index.tolist() == expected.index.tolist()
    np.testing.assert_allclose(found, expected, rtol=1e-6)


@pytest.mark.skipif(not find_spec("openvino"), reason="networks are compiled by OpenVINO")
def test_many_images_are_scored_by_the_compiled_network(folder, monkeypatch):
    expected = by_the_series(folder)
    calls = []
    plain = compiled.CompiledNetwork._compile
    monkeypatch.setattr(
        compiled.CompiledNetwork, "_compile", lambda *given: calls.append(1) or plain(*given)
    )
    monkeypatch.setattr(compiled, "WORTH_IT_FROM", 120)
    assert score.main(command(folder, "--device", "cpu")) == 0
    assert len(calls) == 1
    np.testing.assert_allclose(scores(folder).defect_score, expected, rtol=1e-5)


@pytest.mark.parametrize(("channels", "classes"), [(1, 2), (3, 4)])
def test_images_are_scored_as_the_series_does_with_colour_and_several_classes(
    folder, channels, classes
):
    make_model(folder / "m.safetensors", in_channels=channels, num_classes=classes)
    save(folder / "parts" / "bad" / "colour.png", 30, 20, 3)
    assert score.main(command(folder)) == 0
    np.testing.assert_allclose(scores(folder).defect_score, by_the_series(folder), rtol=1e-6)


def test_images_of_ten_bits_are_scaled_as_the_series_does(folder):
    for i in range(3):
        save(folder / "parts" / "bad" / f"deep{i}.png", 20, 20, high=1024, dtype=np.uint16)
    assert score.main(command(folder)) == 0
    assert load_job(folder / "scores.csv").settings.bits == 10
    np.testing.assert_allclose(scores(folder).defect_score, by_the_series(folder), rtol=1e-6)


def test_deep_images_are_scaled_as_in_the_training_of_the_model_and_brighter_ones_are_named(folder):
    for i, high in enumerate((200, 1000, 5000)):  # dark ones alone would be taken for 8 bits
        save(folder / "parts" / "bad" / f"deep{i}.png", 20, 20, high=high, dtype=np.uint16)
    model = backbones.load_model(folder / "m.safetensors")
    backbones.save_model(folder / "m.safetensors", model, full_scale_bits=10)
    assert score.main(command(folder)) == 0
    assert load_job(folder / "scores.csv").settings.bits == 10
    table = pd.read_csv(folder / "scores.unreadable.csv", index_col="path")
    assert table.reason.to_dict() == {
        "bad/deep2.png": "it uses 14 bits, more than the 10 that images are read with "
        "(helpers.score has --bits)"
    }


def test_images_are_padded_if_they_were_in_the_training_of_the_model(folder):
    save(folder / "parts" / "bad" / "wide.png", 20, 60)
    assert score.main(command(folder)) == 0
    squashed = scores(folder).defect_score
    model = backbones.load_model(folder / "m.safetensors")
    backbones.save_model(folder / "m.safetensors", model, fit="pad")
    assert score.main(command(folder, "--restart")) == 0
    padded = scores(folder).defect_score
    np.testing.assert_allclose(padded, by_the_series(folder, fit="pad"), rtol=1e-6)
    assert padded["bad/wide.png"] != squashed["bad/wide.png"]
    assert padded["bad/bad00.png"] == squashed["bad/bad00.png"]


def test_files_of_several_frames_are_counted_once_and_one_is_named(folder, capsys):
    frames = [Image.fromarray(np.full((40, 40), value, np.uint8)) for value in (10, 200)]
    for place in ("bad/two", "good/two"):
        path = folder / "parts" / f"{place}.tif"
        frames[0].save(path, save_all=True, append_images=frames[1:])
    assert score.main(command(folder)) == 0
    line = "2 file(s) have several pages or frames, e.g. bad/two.tif; only the first is read\n"
    assert capsys.readouterr().out.count(line) == 1
    np.testing.assert_allclose(scores(folder).defect_score, by_the_series(folder), rtol=1e-6)


@pytest.mark.parametrize("images", ["parts", "parts/**/*.png", "list.csv"])
def test_a_pipe_is_listed_as_unreadable_and_does_not_hang(folder, images):
    os.mkfifo(folder / "parts" / "pipe.png")
    (folder / "parts" / "link.png").symlink_to("pipe.png")
    lines = ["path", "parts/bad/bad00.png", "parts/pipe.png", "parts/link.png"]
    (folder / "list.csv").write_text("\n".join(lines))
    assert score.main(command(folder, images=str(folder / images))) == 0
    table = pd.read_csv(folder / "scores.unreadable.csv")
    assert sorted(Path(path).name for path in table.path) == ["link.png", "pipe.png"]
    assert set(table.reason) == {"not a file"}


def test_files_that_cannot_be_read_are_listed_and_the_others_scored(folder, capsys):
    parts = folder / "parts"
    (parts / "bad" / "empty.png").write_bytes(b"")
    (parts / "good" / "text.bmp").write_text("not an image")
    for i in range(20):  # a whole part
        (parts / "bad" / f"c{i:02d}.png").write_text("not an image")
    assert score.main(command(folder)) == 0
    assert "scores.csv: scored 120, unreadable 22 (" in capsys.readouterr().out
    table = pd.read_csv(folder / "scores.unreadable.csv", index_col="path")
    assert len(table) == 22
    assert table.reason["bad/empty.png"] == "the file is empty (0 bytes)"
    assert table.reason["good/text.bmp"] == "not an image"
    assert len(scores(folder)) == 120
    assert score.main(command(folder, "--strict")) == 1


def test_names_like_formulas_are_written_so_that_a_spreadsheet_does_not_run_them(folder, capsys):
    parts = folder / "parts"
    for name in ("=1+1.png", "-12.png", "@a.png"):
        shutil.copy(parts / "bad" / "bad00.png", parts / name)
    (parts / "+broken.png").write_text("not an image")
    assert score.main(command(folder)) == 0
    lines = (folder / "scores.csv").read_text().splitlines()
    assert [line.split(",")[:2] for line in lines[1:4]] == [
        ["'-12.png", "-12"],  # the number is harmless
        ["'=1+1.png", "'=1+1"],
        ["'@a.png", "'@a"],
    ]
    unreadable = (folder / "scores.unreadable.csv").read_text().splitlines()
    assert unreadable[1] == "'+broken.png,not an image,0"
    assert {"-12.png", "=1+1.png", "@a.png"} < set(scores(folder).index)
    for part in (folder / "scores.csv.parts").glob("*.csv"):
        assert not re.search(r"(?m)^[=+@]|,[=+@]", part.read_text())
    assert score.main(command(folder)) == 0  # the parts are read back as they were
    assert "nothing to do" in capsys.readouterr().out
    # the scores name the images of another scoring
    shutil.copy(folder / "scores.csv", parts / "list.csv")
    again = [*command(folder, images=str(parts / "list.csv")), "--out", str(folder / "b.csv")]
    assert score.main(again) == 0
    first, second = (pd.read_csv(folder / name) for name in ("scores.csv", "b.csv"))
    assert second[["path", "id"]].equals(first[["path", "id"]])
    # without the broken file the images are in other batches, which add up in another order
    np.testing.assert_allclose(second.defect_score, first.defect_score, atol=1e-6)


def test_what_a_folder_holds_beside_the_images_to_score_is_listed(folder, capsys):
    parts = folder / "parts"
    (parts / "good" / ".thumbnails").mkdir()
    (parts / "notes.txt").touch()
    (parts / "bad" / "more").symlink_to(folder)
    assert score.main(command(folder)) == 0
    assert capsys.readouterr().out.splitlines()[-3:] == [
        "left out: 1 hidden folder(s) or image(s) (good/.thumbnails)",
        "left out: 1 link(s) to a folder (bad/more)",
        "left out: 1 file(s) with other suffixes (.txt)",
    ]


def test_a_folder_that_may_not_be_read_is_one_line(folder, capsys, monkeypatch):
    def refused(top):
        raise PermissionError(13, "Permission denied", str(top))

    monkeypatch.setattr(os, "scandir", refused)
    assert score.main(command(folder)) == 1
    expected = f"error: {folder / 'parts'} cannot be read: Permission denied\n"
    assert capsys.readouterr().err == expected


def test_a_file_of_a_csv_that_is_not_there_is_listed_too(folder):
    (folder / "list.csv").write_text("id,path\n7,parts/bad/bad00.png\n8,parts/gone.png\n")
    assert score.main(command(folder, images=str(folder / "list.csv"))) == 0
    assert scores(folder).id.tolist() == ["7"]
    table = pd.read_csv(folder / "scores.unreadable.csv")
    assert table.values.tolist() == [["parts/gone.png", "No such file or directory", 1]]


def test_images_are_read_one_part_at_a_time(folder, monkeypatch):
    """A longer list takes no more memory: a part is scored before the next one is read."""
    decoded, plain = [], TrainedModel.read
    monkeypatch.setattr(
        TrainedModel, "read", lambda self, file: decoded.append(file) or plain(self, file)
    )
    scored, whole = [], PartScorer.score

    def score_part(self, entries):
        assert sorted(decoded) == sorted(scored)
        scored.extend(entry.file for entry in entries)
        return whole(self, entries)

    monkeypatch.setattr(PartScorer, "score", score_part)
    assert score.main(command(folder)) == 0
    assert len(scored) == 120


@pytest.fixture
def several(folder):
    """A model's folder with the trainings of two folds and of a seed of an earlier call."""
    models = folder / "checkpoints" / "cnn"
    for number, name in enumerate(("seed2_fold0", "seed2_fold1", "seed10")):
        make_model(models / f"{name}.safetensors", seed=number)
    (models / "seed2_fold0.json").touch()
    return models


def _record(folder, *members):
    records = [{"seed": seed, "fold": fold} for seed, fold in members]
    files.save_json(folder / "metrics" / "cnn_history.json", {"seeds": records})


@pytest.mark.parametrize("views", [1, 8])
def test_a_folder_stands_for_the_average_of_its_trainings(folder, several, views):
    each = []
    for path in sorted(several.glob("*.safetensors")):
        shutil.copy(path, folder / "m.safetensors")
        each.append(by_the_series(folder, views))
    arguments = [*command(folder), "--model", str(several), "--views", str(views)]
    assert score.main(arguments) == 0
    np.testing.assert_allclose(scores(folder).defect_score, np.mean(each, axis=0), rtol=1e-6)
    named = load_job(folder / "scores.csv").settings.model.split(", ")
    assert [name.split()[0] for name in named] == [
        "seed2_fold0.safetensors",
        "seed2_fold1.safetensors",
        "seed10.safetensors",
    ]


def test_the_learning_curves_name_the_trainings_that_a_folder_stands_for(folder, several):
    _record(folder, (2, 0), (2, 1))
    assert score.main([*command(folder), "--model", str(several)]) == 0
    named = load_job(folder / "scores.csv").settings.model
    assert "seed2_fold1.safetensors" in named and "seed10" not in named


def test_parts_are_refused_if_one_of_several_trainings_has_changed(folder, several, capsys):
    arguments = [*command(folder), "--model", str(several)]
    assert score.main([*arguments, "--shard", "0/2"]) == 0
    make_model(several / "seed2_fold1.safetensors", seed=7)
    assert score.main([*arguments, "--shard", "1/2"]) == 1
    assert "was started with other settings: model was seed2_fold0" in capsys.readouterr().err


def test_a_folder_without_checkpoints_or_with_one_missing_or_of_another_model_is_refused(
    folder, several, capsys
):
    def refused(model):
        assert score.main([*command(folder), "--model", str(model)]) == 1
        assert not (folder / "scores.csv").exists()
        return capsys.readouterr().err

    text = "parts: the folder has no checkpoint such as seed0.safetensors"
    assert text in refused(folder / "parts")
    _record(folder, (2, 0), (2, 1), (2, 2))
    assert "seed2_fold2.safetensors is missing" in refused(several)
    make_model(several / "seed2_fold2.safetensors", in_channels=1)
    text = "seed2_fold2.safetensors and seed2_fold0.safetensors are not trainings of one model"
    assert text in refused(several)


def test_a_launcher_s_processes_are_the_shards(folder, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "1")
    assert score.main(command(folder, "--device", "cpu")) == 0
    found = sorted(path.name for path in (folder / "scores.csv.parts").glob("*.csv"))
    assert found == ["000001.csv", "000003.csv", "000005.csv", "000007.csv"]
    assert not (folder / "scores.csv").exists()
    monkeypatch.setenv("RANK", "0")
    assert score.main(command(folder, "--device", "cpu")) == 0
    listed = open_list(str(folder / "parts")).entries()
    assert scores(folder).index.tolist() == [entry.path for entry in listed]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--model", "no.safetensors"], "no.safetensors is missing"),
        (
            ["--model", "parts/bad/bad00.png"],
            "bad00.png is not a checkpoint of this series, such as data/runs/RUN/",
        ),
        (["--images", "nowhere"], "--images nowhere: there is no such folder or CSV"),
        (["--images", "empty"], "empty has no image (.png, .jpg, .jpeg, .bmp, .tif, .tiff)"),
        (["--images", "parts/*.webp"], "*.webp has no image (.png"),
        (["--out", "parts"], "--out parts is a folder; name a file in it, e.g. parts/scores.csv"),
        (["--out", "list.csv", "--images", "list.csv"], "--out list.csv is the list of images"),
        (["--out", "list.csv"], "list.csv exists without list.csv.parts/list.json, so it may"),
        (["--shard", "2/2"], "--shard 2/2: write i/n with i from 0 to n - 1, e.g. 0/2 and 1/2"),
        (["--shard", "half"], "--shard half: write i/n"),
        (["--batch-size", "0"], "--batch-size 0 must be 1 or more"),
        (["--device", "tpu9"], "--device tpu9 cannot be used: "),
    ],
)
def test_what_cannot_work_is_said_before_anything_is_scored(
    folder, monkeypatch, capsys, arguments, message
):
    monkeypatch.chdir(folder)
    (folder / "empty").mkdir()
    (folder / "list.csv").write_text("path\nparts/bad/bad00.png\n")
    monkeypatch.setattr(TrainedModel, "read", None)
    assert score.main([*command(folder), *arguments]) == 1
    assert message in capsys.readouterr().err
    assert not list(folder.glob("scores*"))


def test_a_pattern_without_quotes_is_refused_and_the_usage_shows_one_place(folder, capsys):
    with pytest.raises(SystemExit) as stop:
        score.main(command(folder, "--images", "a.png", "b.png"))
    said = capsys.readouterr().err
    assert stop.value.code == 2 and said.endswith("arguments: b.png (put a pattern in quotes)\n")
    assert "--images IMAGES --out" in " ".join(said.split())


def _score_run(described_run, out, *more):
    """Score the images of the described run by its model "net"."""
    images = ["--images", str(described_run / "parts"), "--out", str(out)]
    assert score.main(["--model", "t/net", *images, *more]) == 0
    return pd.read_csv(out, keep_default_na=False)


def test_a_described_model_is_scored_as_in_its_run_and_gives_verdicts(
    described_run, described, tmp_path, capsys
):
    found = _score_run(described_run, tmp_path / "scores.csv")
    assert found.columns.tolist() == ["path", "id", "defect_score", "probability", "verdict"]
    test = read_all_predictions(described)["net"].test
    by_name = found.set_index(found.id.map(os.path.basename))
    own = by_name.loc[test.id.map(os.path.basename)]
    np.testing.assert_allclose(own.defect_score, test.defect_score, rtol=0, atol=1e-6)
    description = read_description(described.trainings("net"))
    assert found.verdict.tolist() == description.verdicts(found.defect_score).tolist()
    logit = np.log(found.defect_score / (1 - found.defect_score)) / description.temperature
    np.testing.assert_allclose(found.probability, 1 / (1 + np.exp(-logit)), rtol=1e-4)
    assert found.verdict.nunique() > 1
    assert description.promise in capsys.readouterr().out
    # other thresholds change the verdicts, and nothing is scored again
    path = described.trainings("net") / NAME
    files.save_json(path, files.load_json(path) | {"pass_below": 0.9, "reject_from": 0.9})
    again = _score_run(described_run, tmp_path / "scores.csv")
    assert "nothing to do" in capsys.readouterr().out
    assert set(again.verdict) == {"pass"} and again.defect_score.equals(found.defect_score)


@pytest.mark.parametrize("option", [["--views", "1"], ["--precision", "bf16"], ["--bits", "12"]])
def test_scores_that_are_not_those_of_the_run_get_no_verdict(
    described_run, described, tmp_path, capsys, option
):
    for path in described.trainings("net").glob("*.safetensors"):
        facts = dataclasses.replace(backbones.facts_of(path), full_scale_bits=10)
        backbones.save_model(path, backbones.load_model(path), **dataclasses.asdict(facts))
    deploy_run.describe()
    assert "verdict" in _score_run(described_run, tmp_path / "whole.csv")
    found = _score_run(described_run, tmp_path / "scores.csv", *option)
    assert "verdict" not in found
    said = f"no verdicts: the thresholds are not for scores with this {option[0]}"
    assert said in capsys.readouterr().out


def test_deep_images_get_no_verdict_by_a_model_that_was_trained_without_any(
    described_run, described, tmp_path, capsys
):
    for path in described.trainings("net").glob("*.safetensors"):
        facts = dataclasses.replace(backbones.facts_of(path), full_scale_bits=0)
        backbones.save_model(path, backbones.load_model(path), **dataclasses.asdict(facts))
    deploy_run.describe()
    (tmp_path / "deep").mkdir()
    save(tmp_path / "deep" / "a.png", 20, 20, high=1024, dtype=np.uint16)
    out = tmp_path / "scores.csv"
    command = ["--model", "t/net", "--images", str(tmp_path / "deep"), "--out", str(out)]
    assert score.main(command) == 0
    assert "verdict" not in pd.read_csv(out)
    assert "no verdicts: the thresholds are not for scores with this --bits" in (
        capsys.readouterr().out
    )


def test_without_ray_its_package_is_named(folder, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "ray", None)
    assert score.main(command(folder, "--engine", "ray")) == 1
    message = "error: --engine ray needs Ray: pip install ray, or use --engine plain"
    assert message in capsys.readouterr().err


def test_ray_gives_the_same_scores_and_lists_the_same_files(folder, monkeypatch):
    ray = pytest.importorskip("ray", reason="Ray is optional: pip install ray")
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    (folder / "parts" / "bad" / "broken.png").write_text("not an image")
    assert score.main(command(folder)) == 0
    ray.init(num_cpus=1, include_dashboard=False, log_to_driver=False)
    try:
        by_ray = ["--out", str(folder / "ray.csv"), "--engine", "ray"]
        assert score.main([*command(folder), *by_ray]) == 0
    finally:
        ray.shutdown()
    for kind in ("", ".unreadable"):
        expected = (folder / f"scores{kind}.csv").read_text()
        assert (folder / f"ray{kind}.csv").read_text() == expected
