"""The command that answers for a few images: its table, its maps, and what it says on errors."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import helpers
from helpers import datasets
from helpers.commands import cli
from helpers.core import paths
from helpers.datasets.settings import SplitSettings
from helpers.deploy.description import NAME
from helpers.runs.parts import DEMO_FOLDER


@pytest.fixture
def parts(described_run, described):
    return [str(described_run / "parts" / name) for name in ("bad/bad00.png", "good/good00.png")]


def test_it_prints_a_line_for_each_image_and_the_promise(parts, capsys):
    assert cli.start("predict", [*parts, "--model", "t"]) == 0
    out = capsys.readouterr().out.splitlines()
    model = helpers.load_model("t")
    expected = model.predict(parts)
    assert out[0].split() == ["file", "score", "probability", "verdict"]
    for line, row in zip(out[1:3], expected.itertuples(), strict=True):
        numbers = [f"{row.score:.4f}", f"{row.probability:.4f}"]
        assert line.split(maxsplit=3) == [row.file, *numbers, row.verdict]
    assert out[3] == model.description.promise
    assert "the numbers mean nothing" in out[4]  # of a smoke run


def test_a_folder_stands_for_its_images_and_what_cannot_be_read_is_named(parts, tmp_path, capsys):
    folder = tmp_path / "mine"
    folder.mkdir()
    for number, part in enumerate(parts):
        Image.open(part).save(folder / f"{number}.png")
    Image.open(parts[0]).rotate(90).save(folder / f"2{'long' * 50}.png")
    (folder / "part.webp").touch()
    assert cli.start("predict", [str(folder), parts[0], "--model", "t"]) == 0
    out = capsys.readouterr().out
    assert all(str(folder / f"{number}.png") in out for number in range(2))
    assert f"{folder}/2longl" in out and "...longlonglonglong.png" in out and "long" * 17 not in out
    assert "left out: other files and links to folders: 1 (.webp)\n" in out
    assert cli.start("predict", [parts[0], "gone.png", parts[1], "--model", "t"]) == 1
    said = capsys.readouterr()
    assert said.err.startswith("error: gone.png") and said.err.count("\n") == 1
    assert all(part in said.out for part in parts) and "gone" not in said.out
    (tmp_path / "empty").mkdir()
    assert cli.start("predict", [str(tmp_path / "empty"), parts[0], "--model", "t"]) == 1
    assert f"error: {tmp_path / 'empty'}" in capsys.readouterr().err
    assert cli.start("predict", [parts[0], "--model", "t", "--maps", parts[1]]) == 1
    assert f"--maps {parts[1]} is a file" in capsys.readouterr().err


def test_a_name_that_is_not_in_utf8_is_refused_in_one_line(parts, tmp_path, capsys):
    odd = tmp_path / "own" / b"caf\xe9.png".decode("utf-8", "surrogateescape")
    odd.parent.mkdir()
    Image.open(parts[0]).save(odd)
    for given in (odd, odd.parent):
        assert cli.start("predict", [parts[0], str(given), "--model", "t"]) == 1
        said = capsys.readouterr()
        assert said.out == ""
        assert said.err.endswith("caf\\udce9.png': the name is not in UTF-8; rename it\n")


def test_without_thresholds_there_are_scores_and_a_remark(described, parts, capsys):
    (described.trainings("net") / NAME).unlink()
    assert cli.start("predict", [*parts, "--model", "t/net"]) == 0
    out = capsys.readouterr().out
    assert "no verdicts: " in out and "nan" not in out.lower()
    assert f"{helpers.load_model('t').predict(parts).score[0]:.4f}" in out


def test_the_demo_comes_with_a_network_images_and_a_licence(capsys):
    assert sum(file.stat().st_size for file in DEMO_FOLDER.iterdir()) < 1e6
    assert cli.start("predict", ["--model", "demo"]) == 0
    *lines, labels, promise = capsys.readouterr().out.splitlines()
    cells = [line.split(maxsplit=3) for line in lines[1:]]
    verdicts = [(Path(file).stem, verdict) for file, _, _, verdict in cells]
    assert verdicts == [("cell0502", "reject"), ("cell1572", "look again"), ("cell2156", "pass")]
    readme = (paths.project_root() / "README.md").read_text(encoding="utf-8")
    for line in lines:
        assert line.split() in map(str.split, readme.splitlines())
    assert "bad, good, good" in labels and "CC BY-NC-SA 4.0" in labels
    assert "at most 0.67 % of the bad parts pass" in promise  # thresholds as they were sealed
    label = datasets.load(SplitSettings()).table.set_index("id").label
    assert label[["cell0502", "cell1572", "cell2156"]].tolist() == [1, 0, 0]


def test_only_the_demo_has_images_of_its_own_and_a_run_may_have_its_name(described, capsys):
    assert cli.start("predict", ["--model", "t"]) == 1
    assert "name the images" in capsys.readouterr().err
    described.root.rename(described.root.with_name("demo"))
    assert cli.start("predict", ["--model", "demo"]) == 1
    assert "name the images" in capsys.readouterr().err


def test_maps_are_written_for_each_image_that_can_be_read(parts, tmp_path, capsys):
    same, priced = tmp_path / "bad00.png", tmp_path / "$1_$.png"
    for path in (same, priced):
        Image.open(parts[0]).rotate(90).save(path)
    maps = tmp_path / "maps"
    images = [*parts, "gone.png", str(same), str(priced)]
    command = [*images, "--model", "t", "--maps", str(maps)]
    assert cli.start("predict", command) == 1
    names = ["000_bad00.png", "001_good00.png", "002_bad00.png", "003_$1_$.png"]
    assert sorted(path.name for path in maps.iterdir()) == names
    pictures = [np.asarray(Image.open(maps / name).convert("RGB")) for name in names]
    assert all(picture.std() > 10 for picture in pictures)
    assert f"4 map(s) in {maps}" in capsys.readouterr().out
