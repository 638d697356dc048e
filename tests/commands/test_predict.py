"""The command that answers for a few images or any number: the same bytes after a kill."""

import functools
import json
import os
import signal
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

import helpers
from helpers.commands import cli
from helpers.commands.predict import NOT_PASSED, UNREADABLE
from helpers.core import files, paths
from helpers.decisions import lot_offset
from helpers.decisions.lot_offset import LotModel
from helpers.deploy import answer_log, known_parts
from helpers.deploy.answer_log import AnswerLog, Entry
from helpers.deploy.description import NAME, VERDICTS, read_description, sealed
from helpers.deploy.predictor import TrainedModel
from helpers.models.backbones import save_model
from helpers.runs.opened import DEMO_FOLDER, open_model
from tests import small_run
from tests.datasets.test_cache import noise, save

start = functools.partial(cli.start, "predict")


@pytest.fixture
def parts(described_run, described):
    return [str(described_run / "parts" / name) for name in ("bad/bad00.png", "good/good00.png")]


def test_a_folder_stands_for_its_images_and_what_cannot_be_read_is_named(parts, tmp_path, capsys):
    folder = tmp_path / "mine"
    folder.mkdir()
    for number, part in enumerate(parts):
        Image.open(part).save(folder / f"{number}.png")
    (folder / "part.webp").touch()
    assert start([str(folder), parts[0], "--model", "t"]) == NOT_PASSED
    out = capsys.readouterr().out
    assert all(str(folder / f"{number}.png") in out for number in range(2))
    assert helpers.load_model("t").description.promise in out
    assert "the numbers mean nothing" in out  # of a smoke run
    assert "left out: other files and links to folders: 1 (.webp)\n" in out
    assert start([parts[0], "gone.png", parts[1], "--model", "t"]) == UNREADABLE
    said = capsys.readouterr()
    assert said.err.startswith("error: gone.png") and said.err.count("\n") == 1
    assert all(part in said.out for part in parts) and "gone" not in said.out
    (folder / "empty").mkdir()
    odd = str(tmp_path / b"caf\xe9.png".decode("utf-8", "surrogateescape"))
    for given, culprit in (
        ([str(folder / "empty"), parts[0]], f"error: {folder / 'empty'}"),
        ([parts[0], "--maps", parts[1]], f"--maps {parts[1]} is a file"),
        ([parts[0], odd], "caf\\udce9.png': the name is not in UTF-8; rename it\n"),
        ([], "name the images"),
        ([parts[0], "--model", "t/gone"], "the model 't/gone' is missing"),
        ([parts[0], "--model", ""], "there are: t"),
    ):
        assert start(["--model", "t", *given]) == 1
        assert culprit in capsys.readouterr().err


def test_the_demo_comes_with_a_network_images_and_a_licence(capsys):
    assert sum(file.stat().st_size for file in DEMO_FOLDER.iterdir()) < 1e6
    assert start(["--model", "demo"]) == NOT_PASSED
    *lines, labels, promise = capsys.readouterr().out.splitlines()
    cells = [line.split(maxsplit=3) for line in lines[1:]]
    verdicts = [(Path(file).stem, verdict) for file, _, _, verdict in cells]
    assert verdicts == [("cell0502", "reject"), ("cell1572", "look again"), ("cell2156", "pass")]
    readme = (paths.project_root() / "README.md").read_text(encoding="utf-8")
    for line in lines:
        assert line.split() in map(str.split, readme.splitlines())
    assert "bad, good, good" in labels and "CC BY-NC-SA 4.0" in labels
    assert "at most 0.67 % of the bad parts pass" in promise  # thresholds as they were sealed
    assert start(["--model", "demo", "--bits", "12"]) == NOT_PASSED  # without verdicts
    out = capsys.readouterr().out
    assert "bad, good, good" in out and "no verdicts" in out
    assert start(["--model", "demo", "--bits", "8"]) == NOT_PASSED  # what the model reads anyway
    assert "reject" in capsys.readouterr().out


def test_json_and_csv_have_the_same_facts_and_what_is_not_like_the_training_is_named(
    parts, described, tmp_path, capsys
):
    dark, out = str(tmp_path / "dark.png"), tmp_path / "scores.csv"
    Image.open(parts[1]).point(lambda value: 0.5 * value).save(dark)
    asked, about = [*parts, dark, "gone.png"], read_description(described.trainings("net"))
    assert start([*asked, "--model", "t", "--json", "--out", str(out)]) == UNREADABLE
    said = capsys.readouterr()
    counted = "1 of 3 images are not like the training images: darker (1), "
    assert counted in said.err and about.promise in said.err
    listed, expected = json.loads(said.out), helpers.load_model("t").predict(asked)
    assert expected.warning[2].startswith("darker, ") and not any(expected.warning[:2])
    for row, answer in zip(listed, expected.itertuples(), strict=True):
        assert (row["path"], row["verdict"]) == (answer.file, answer.verdict)
        assert row["warnings"] == [word for word in answer.warning.split(", ") if word]
        assert (row["pass_below"], row["reject_from"]) == (about.pass_below, about.reject_from)
        assert (row["model"], row["seal"]) == ("t/net", about.seal)
    assert listed[2]["score"] == pytest.approx(expected.score[2], abs=1e-6)
    assert listed[3]["score"] is listed[3]["probability"] is None
    table = pd.read_csv(out, keep_default_na=False)
    assert {*table.columns} - {"warning"} == {*listed[0]} - {"warnings"}
    assert table.warning.tolist() == expected.warning.tolist()
    start([*asked, "--model", "t"])
    head, *_, last = capsys.readouterr().out.splitlines()
    assert head.endswith("warning") and last.startswith(counted)


def test_nothing_but_parts_that_pass_returns_zero_and_what_is_unlike_is_not_passed(
    described, parts, tmp_path
):
    path = described.trainings("net") / NAME
    for limit, code in ((1.0, 0), (0.0, NOT_PASSED)):
        about = replace(read_description(path.parent), pass_below=limit, reject_from=1.0)
        files.save_json(path, asdict(sealed(about)))
        assert start([*parts, "--model", "t"]) == code
        pixel = tmp_path / "pixel.png"
        Image.new("L", (1, 1)).save(pixel)
        assert start([str(pixel), "--model", "t", "--json"]) == NOT_PASSED
        (answer,) = helpers.load_model("t").predict([pixel]).itertuples()
        assert "narrower" in answer.warning and answer.verdict == VERDICTS[1]


def test_labels_of_some_parts_move_their_lot_alone_and_are_not_judged_again(
    described, parts, tmp_path, capsys
):
    lots = {}
    for lot in "ab":
        (tmp_path / lot).mkdir()
        for number, part in enumerate(parts * 2):
            lots[lot, number] = tmp_path / lot / f"{number}.png"
            picture = Image.open(part).point(lambda value, n=number: min(255, value + 3 * n))
            picture.save(lots[lot, number])
    asked, known = [*map(str, lots.values())], tmp_path / "known.csv"
    pd.DataFrame({"path": asked[:3], "judgement": ["good", "unsure", "bad"]}).to_csv(known)
    given = [*asked, "--model", "t", "--known", str(known)]
    assert start(given) == 1  # this run has no lots
    assert "--known cannot be used with this model" in capsys.readouterr().err
    folder = described.trainings("net")
    model = LotModel(-0.4, 1.5, 1.2)
    about = replace(read_description(folder), lot_model=model, pass_below=0.3, reject_from=0.6)
    files.save_json(folder / NAME, asdict(sealed(about)))
    before = helpers.load_model("t").predict(asked)
    assert start([*given, "--json"]) == NOT_PASSED
    said = capsys.readouterr()
    rows = pd.DataFrame(json.loads(said.out))
    shift = lot_offset.offset(model, [0, 1], before.score[[0, 2]]).shift
    assert shift != 0 and "2 labelled parts (1 bad) move the logits of the 2 other" in said.err
    assert rows.verdict[[0, 2]].tolist() == ["known good", "known bad"]
    expected = lot_offset.moved(before.score, [0, shift, 0, shift] + [0] * 4)
    assert rows.score.to_numpy() == pytest.approx(expected, abs=1e-6)
    pd.DataFrame({"path": asked[:1], "label": ["gut"]}).to_csv(known)
    assert start(given) == 1 and "'gut' is unknown" in capsys.readouterr().err


def test_a_lot_is_a_folder_also_below_those_of_its_classes(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "lot7")
    names = {"lot7/1.png": "lot7", "link/1.png": "link", "good/lot7/1.png": "lot7"}
    for name, lot in (names | {"bad/lot7/2.png": "lot7"}).items():
        assert known_parts.lot_of(str(tmp_path / name)) == os.path.relpath(tmp_path / lot)


def test_maps_are_written_for_each_image_that_can_be_read(parts, tmp_path):
    maps, priced = tmp_path / "maps", tmp_path / "$1_$.png"
    Image.open(parts[0]).rotate(90).save(priced)
    images = [parts[0], "gone.png", parts[0], str(priced)]
    assert start([*images, "--model", "t", "--maps", str(maps)]) == UNREADABLE
    names = ["000_bad00.png", "001_bad00.png", "002_$1_$.png"]
    assert sorted(path.name for path in maps.iterdir()) == names
    assert all(np.asarray(Image.open(maps / name).convert("L")).std() > 10 for name in names)


def command(folder: Path, *more: str, out: str = "scores.csv", of: str = "parts") -> list[str]:
    """Return the arguments that score the images `of` a folder into `folder`/scores.csv."""
    given = [str(folder / of), "--model", str(folder / "m.safetensors")]
    return [*given, "--out", str(folder / out), *more]


def scores(folder: Path) -> pd.DataFrame:
    """Return the answers by the path below the folder of images."""
    frame = pd.read_csv(folder / "scores.csv", keep_default_na=False)
    return frame.set_index(frame.path.str.removeprefix(f"{folder}/parts/"))


def untimed(path: Path) -> list[bytes]:
    """Return the lines of a CSV of answers without the last columns, which are times."""
    return [line.rsplit(b",", 2)[0] for line in path.read_bytes().splitlines()]


@pytest.fixture
def many(tmp_path, parts_folder, monkeypatch) -> Path:
    """120 images and a model; 16 are answered together."""
    monkeypatch.setattr(answer_log, "TOGETHER", 16)
    save_model(tmp_path / "m.safetensors", small_run.small_cnn(3, 0), precision="no")
    return tmp_path


@pytest.fixture
def counted(monkeypatch):
    """How many images were scored by each call."""
    counts, plain = [], TrainedModel.answers

    def answers(self, images):
        counts.append(len(images := [*images]))
        return plain(self, images)

    monkeypatch.setattr(TrainedModel, "answers", answers)
    return counts


def test_a_csv_of_answers_is_that_of_the_package_and_names_what_cannot_be_read(many, capsys):
    root = many / "parts"
    (root / "bad" / "empty.png").write_bytes(b"")
    os.mkfifo(root / "pipe.png")  # reading it would never end
    frames = [Image.fromarray(np.full((40, 40), value, np.uint8)) for value in (10, 200)]
    frames[0].save(root / "two.tif", save_all=True, append_images=frames[1:])
    assert start(command(many)) == UNREADABLE
    said = capsys.readouterr()
    assert "121 scored, 2 unreadable" in said.out and "1 file(s) have several pages" in said.out
    found = scores(many)
    assert set(found.verdict) == set(found.pass_below) == {""}  # no thresholds
    assert found.id["bad/bad00.png"] == "bad/bad00"
    assert found.reason["bad/empty.png"] == "the file is empty (0 bytes)"
    assert found.reason["pipe.png"] == "not a file"
    readable = found[found.reason == ""]
    expected = helpers.load_model(many / "m.safetensors").predict(readable.path.tolist())
    np.testing.assert_allclose(readable.score.astype(float), expected.score, rtol=1e-6)


def test_a_csv_lists_images_by_id_also_the_answers_of_another_call(many, capsys):
    lines = f"7,parts/bad/bad00.png\n008,{many}/parts/good/good00.png\n9,gone.png\n"
    (many / "list.csv").write_text(f"id,path\n{lines}", encoding="utf-8-sig")
    given = command(many)[1:3]
    assert start([str(many / "list.csv"), *given, "--out", str(many / "a.csv")]) == UNREADABLE
    table = pd.read_csv(many / "a.csv", dtype=str, keep_default_na=False)
    assert table.id.tolist() == ["7", "008", "9"]
    assert table.reason.tolist() == ["", "", "No such file or directory"]
    again = [str(many / "a.csv"), *given, "--out", str(many / "b.csv")]
    assert start(again) == UNREADABLE
    assert untimed(many / "b.csv") == untimed(many / "a.csv")
    for line, culprit in (
        (",x.png", "line 2: id is missing"),
        ("1,a\\b.png", "write / instead of"),
    ):
        (many / "list.csv").write_text(f"id,path\n{line}\n")
        assert start([str(many / "list.csv"), *given]) == 1
        assert culprit in capsys.readouterr().err


def test_a_killed_call_continues_to_the_bytes_of_a_call_left_alone(many, counted, monkeypatch):
    (many / "parts" / "bad" / "broken.png").write_text("not an image")
    write = AnswerLog._write

    def killed_at_the_fifth(self, *given):
        if len(counted) == 4:
            raise KeyboardInterrupt
        write(self, *given)

    monkeypatch.setattr(AnswerLog, "_write", killed_at_the_fifth)
    assert start(command(many)) == 130
    monkeypatch.setattr(AnswerLog, "_write", write)
    with (many / "scores.csv").open("ab") as log:
        log.write(b'x.png,"a line of which a power failure left ha')
    counted.clear()
    assert start(command(many)) == UNREADABLE and sum(counted) == 121 - 4 * 16
    assert start(command(many, out="whole.csv")) == UNREADABLE
    assert untimed(many / "scores.csv") == untimed(many / "whole.csv")
    assert len(scores(many)) == 121 and scores(many).index.is_unique


def test_new_and_replaced_images_alone_are_judged_by_a_second_call(many, counted):
    def paint(gray):
        image = many / "parts" / "bad" / "bad00.png"
        Image.fromarray(np.full((40, 40), gray, np.uint8)).save(image, compress_level=0)
        os.utime(image, (1, 1))  # all have equal size and time

    paint(10)
    assert start(command(many)) == NOT_PASSED
    before = scores(many).score
    counted.clear()
    assert start(command(many)) == NOT_PASSED and counted == []
    paint(240)
    save(many / "parts" / "new.png", noise(1, 20, 20))
    assert start(command(many)) == NOT_PASSED and counted == [2]
    after = scores(many).score
    assert after["bad/bad00.png"].size == 2 and after.index.nunique() == 121
    assert (after.drop(["bad/bad00.png", "new.png"]) == before.drop("bad/bad00.png")).all()


def test_scores_of_another_model_and_other_files_stay(many, capsys, monkeypatch):
    assert start(command(many)) == NOT_PASSED
    before = (many / "scores.csv").read_bytes()
    (many / "own.csv").write_text("precious")
    for given, culprit in (
        (command(many, "--precision", "bf16"), "scores.csv has scores of another model"),
        (command(many, out="own.csv"), "own.csv exists already"),
        (command(many, out="parts"), "parts exists already"),
    ):
        assert start(given) == 1
        assert culprit in capsys.readouterr().err
    with monkeypatch.context() as patch:
        patch.setattr(helpers, "__version__", "9.9")
        assert start(command(many)) == 1
    save_model(many / "m.safetensors", small_run.small_cnn(3, 1), precision="no")
    assert start(command(many)) == 1
    assert (many / "scores.csv").read_bytes() == before
    assert (many / "own.csv").read_text() == "precious"


def watch(arguments: list[str], pause_s: float) -> None:
    """Watch a folder in this process, which a test kills; 16 lines take `pause_s` longer."""
    signal.signal(signal.SIGINT, signal.default_int_handler)  # the tests may run behind an &
    answer_log.TOGETHER = 16
    fsync = os.fsync
    os.fsync = lambda handle: [fsync(handle), time.sleep(pause_s)]
    sys.exit(start(arguments))


def test_a_watched_folder_is_judged_once_also_after_a_kill(many, capsys):
    log, late = many / "log.csv", many / "parts" / "good" / "late.png"
    given = ["--watch", str(late.parent), *command(many, out="log.csv")[1:]]

    end_s = time.monotonic() + 300  # seconds if nothing else runs

    def started(pause_s: float, lines: int):
        child = small_run.CONTEXT.Process(target=watch, args=(given, pause_s), daemon=True)
        child.start()
        wait_for(child, lines)
        return child

    def wait_for(child, lines: int) -> None:
        while not log.exists() or log.read_bytes().count(b"\n") <= lines:
            assert child.is_alive() and time.monotonic() < end_s
            time.sleep(0.01)

    child = started(0.5, 3)
    child.kill(), child.join()
    before = log.read_bytes()
    assert 3 <= before.count(b"\n") - 1 < 60
    log.write_bytes(before + b'x.png,"a line of which a power failure left ha')
    save(late, noise(0, 20, 20))
    child = started(0.0, 61)
    assert start(given) == 1 and "held by another process" in capsys.readouterr().err
    save(late, noise(1, 20, 20))
    wait_for(child, 62)
    os.kill(child.pid, signal.SIGINT)
    child.join()
    assert child.exitcode == 0 and log.read_bytes().startswith(before)
    table = pd.read_csv(log, keep_default_na=False)
    assert len(table) == 62 and set(table.reason) == {""}
    assert table.path[table.path.duplicated()].tolist() == [str(late)]
    expected = helpers.load_model(many / "m.safetensors").predict(table.path[:61].tolist())
    np.testing.assert_allclose(table.score[:60], expected.score[:60], rtol=1e-4)
    log.write_text("precious")
    assert start(given) == 1 and log.read_text() == "precious"
    assert start([*given, "--json"]) == 1 and "--watch" in capsys.readouterr().err


def test_a_watched_file_is_waited_for_until_it_does_not_change(many):
    entry = Entry("a", "a", str(many / "m.safetensors"))
    opened = open_model(entry.file)
    log = AnswerLog(None, TrainedModel(opened), opened, "m")
    changed_ns = int(entry.state[1])
    assert log.lacks(entry, changed_ns + 1) and not log.lacks(entry, changed_ns)
    assert not log.lacks(entry._replace(file="gone"), changed_ns + 1)
