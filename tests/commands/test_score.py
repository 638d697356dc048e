"""Scores of many images: those of the series, the same in shards and by Ray; what is refused."""

import itertools

import numpy as np
import pandas as pd
import pytest
import torch

from helpers.commands.score import command as score
from helpers.commands.score import engine
from helpers.commands.score.listing import Entry, open_list
from helpers.commands.score.progress import load_progress
from helpers.models import backbones, compiled
from tests.score_fixtures import CPU, by_the_series, command, folder, make_model, save, scores

__all__ = ["folder"]


@pytest.mark.parametrize("flips", [False, True])
def test_scores_are_those_that_the_series_predicts(folder, flips):
    assert score.main(command(folder, *["--flips"] * flips)) == 0
    found, expected = scores(folder).defect_score, by_the_series(folder, flips)
    assert found.index.tolist() == expected.index.tolist()
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_many_images_are_scored_by_the_compiled_network(folder, monkeypatch):
    pytest.importorskip("openvino", reason="networks are compiled by OpenVINO")
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


@pytest.mark.parametrize("channels", [1, 3])
def test_a_colour_image_among_gray_ones_is_scored_as_the_series_does(folder, channels):
    make_model(folder / "m.safetensors", in_channels=channels)
    save(folder / "parts" / "bad" / "colour.png", 30, 20, 3)
    assert score.main(command(folder)) == 0
    np.testing.assert_allclose(scores(folder).defect_score, by_the_series(folder), rtol=1e-6)


def test_images_of_ten_bits_are_scaled_as_the_series_does(folder):
    for i in range(3):
        save(folder / "parts" / "bad" / f"deep{i}.png", 20, 20, high=1024, dtype=np.uint16)
    assert score.main(command(folder)) == 0
    assert load_progress(folder / "scores.csv").key["bits"] == 10
    np.testing.assert_allclose(scores(folder).defect_score, by_the_series(folder), rtol=1e-6)


def test_deep_images_are_scaled_as_in_the_training_of_the_model_and_brighter_ones_are_named(folder):
    for i, high in enumerate((200, 1000, 5000)):  # dark ones alone would be taken for 8 bits
        save(folder / "parts" / "bad" / f"deep{i}.png", 20, 20, high=high, dtype=np.uint16)
    model = backbones.load_model(folder / "m.safetensors")
    backbones.save_model(folder / "m.safetensors", model, full_scale_bits=10)
    assert score.main(command(folder)) == 0
    assert load_progress(folder / "scores.csv").key["bits"] == 10
    table = pd.read_csv(folder / "scores.unreadable.csv", index_col="path")
    assert table.reason.to_dict() == {
        "bad/deep2.png": "it uses 14 bits, the scale is of 10: see --bits"
    }


def test_with_several_classes_all_but_good_are_bad(folder):
    make_model(folder / "m.safetensors", num_classes=4)
    assert score.main(command(folder)) == 0
    np.testing.assert_allclose(scores(folder).defect_score, by_the_series(folder), rtol=1e-6)


def test_files_that_cannot_be_read_are_listed_and_the_others_scored(folder, capsys):
    parts = folder / "parts"
    (parts / "bad" / "empty.png").write_bytes(b"")
    (parts / "good" / "text.bmp").write_text("no image")
    for i in range(20):  # a whole piece
        (parts / "bad" / f"c{i:02d}.png").write_text("no image")
    assert score.main(command(folder)) == 0
    assert "Scored: 120, unreadable: 22 (" in capsys.readouterr().out
    table = pd.read_csv(folder / "scores.unreadable.csv", index_col="path")
    assert len(table) == 22
    assert table.reason["bad/empty.png"] == "the file is empty (0 bytes)"
    assert table.reason["good/text.bmp"] == "not an image"
    assert len(scores(folder)) == 120
    assert score.main(command(folder, "--strict")) == 1


def test_a_file_of_a_csv_that_is_not_there_is_listed_too(folder):
    (folder / "list.csv").write_text("id,path\n7,parts/bad/bad00.png\n8,parts/gone.png\n")
    assert score.main(command(folder, images=str(folder / "list.csv"))) == 0
    assert scores(folder).id.tolist() == ["7"]
    table = pd.read_csv(folder / "scores.unreadable.csv")
    assert table.values.tolist() == [["parts/gone.png", "No such file or directory", 1]]


def test_memory_does_not_grow_with_the_list(folder):
    """A list without end is read no further than a piece and two batches ahead."""
    listed = 0

    def endless():
        """The same image again and again."""
        nonlocal listed
        for position in itertools.count():
            listed += 1
            yield Entry(position, "p", "p", str(folder / "parts" / "bad" / "bad00.png"), "")

    settings = engine.ScoreSettings(folder / "m.safetensors", "no", 8, batch_size=8)
    stream = engine.score_stream(backbones.load_model(settings.model), endless(), settings, CPU)
    for pieces in range(1, 4):
        assert len(next(stream)) == 16
        assert listed <= pieces * 16 + 2 * 8
    stream.close()


def test_two_shards_joined_are_what_one_process_writes(folder, capsys):
    (folder / "parts" / "bad" / "broken.png").write_text("no image")
    assert score.main(command(folder)) == 0
    alone = [(folder / f"scores{kind}.csv").read_text() for kind in ("", ".unreadable")]
    sharded = [*command(folder), "--out", str(folder / "s.csv"), "--shard"]
    assert score.main([*sharded, "0/2"]) == 0
    assert "s.csv is joined when all shards are whole; to do: 1/2" in capsys.readouterr().out
    assert not (folder / "s.csv").exists()
    assert score.main([*sharded, "1/2"]) == 0
    assert "All 2 shards are whole, joined in" in capsys.readouterr().out
    parts = [scores(folder, f"s.{i}of2.csv").index for i in range(2)]
    assert [len(part) for part in parts] == [60, 60]
    joined = scores(folder, "s.csv")
    assert joined.index.tolist() == scores(folder).index.tolist()
    # batches of other images: the same up to rounding
    np.testing.assert_allclose(joined.defect_score, scores(folder).defect_score, rtol=1e-6)
    assert (folder / "s.unreadable.csv").read_text() == alone[1]
    assert score.main(["--merge", str(folder / "s.csv")]) == 0


def test_a_launcher_s_processes_are_the_shards(folder, monkeypatch):
    class State:
        """As accelerate's PartialState says in the second of two processes."""

        process_index, num_processes, device = 1, 2, CPU

        def __init__(self, **_):
            pass

        def destroy_process_group(self):
            """Nothing was begun."""

    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setattr("accelerate.PartialState", State)
    assert score.main(command(folder)) == 0
    found, listed = scores(folder, "scores.1of2.csv"), open_list(str(folder / "parts")).entries()
    assert found.index.tolist() == [e.path for e in listed if e.position % 2]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--model", "no.safetensors"], "no.safetensors is missing"),
        (
            ["--model", "parts/bad/bad00.png"],
            "bad00.png is not a checkpoint of this series, such as data/runs/RUN/",
        ),
        (["--images", "nowhere"], "--images nowhere: no such folder or CSV, and no pattern with *"),
        (["--images", "empty"], "empty holds no image (.png, .jpg, .jpeg, .bmp, .tif, .tiff)"),
        (["--images", "parts/*.webp"], "*.webp holds no image (.png"),
        (["--images", "a.png", "b.png"], "put a pattern in quotes"),
        (["--out", "no/scores.csv"], "the folder no does not exist; create it first"),
        (["--out", "parts"], "--out parts is a folder; name a file in it, e.g. parts/scores.csv"),
        (["--out", "list.csv", "--images", "list.csv"], "--out list.csv is the list of images"),
        (["--out", "list.csv"], "give another --out, or overwrite it with --restart"),
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
    monkeypatch.setattr(engine, "decode", None)
    assert score.main([*command(folder), *arguments]) == 1
    assert message in capsys.readouterr().err
    assert not list(folder.glob("scores*"))


def test_a_score_that_is_no_number_stops_with_the_image_s_name(folder, capsys):
    model = backbones.load_model(folder / "m.safetensors")
    model.head.bias.data.fill_(torch.nan)
    backbones.save_model(folder / "m.safetensors", model)
    assert score.main(command(folder)) == 1
    assert "gives no number for bad/bad00.png; try --precision no" in capsys.readouterr().err


def test_ray_gives_the_same_scores_and_lists_the_same_files(folder, monkeypatch):
    ray = pytest.importorskip("ray", reason="Ray is optional: pip install .[ray]")
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    (folder / "parts" / "bad" / "broken.png").write_text("no image")
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
