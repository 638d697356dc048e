"""Whatever a file holds, its reader returns a valid result or raises an error that names the file.

HYPOTHESIS_PROFILE=thorough runs 500 examples of each instead of 60.
"""

import csv
import io
import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from PIL import Image

from helpers.core import files
from helpers.core.errors import UserError
from helpers.core.rules import SettingsError
from helpers.darts import genotypes, named
from helpers.datasets import DataError, Source, sources, splits
from helpers.datasets import cache as images
from helpers.datasets.settings import SplitSettings
from helpers.datasets.split_file import read_split
from helpers.deploy import description
from helpers.models import backbones
from helpers.results import predictions, submission
from helpers.runs import settings
from tests.datasets.test_cache import TURNED
from tests.deploy_run import CONTENT

WORDS = ["", " ", "NaN", "NA", "-inf", "1e999", "0x1p-2", "1_0", "0,5", "٣", "\ufeff", "9" * 40]
WORDS += ["p00", "p01 ", "train", "Test", "val\n", "\x00", '"', "=1"]
ODD = st.text(max_size=6) | st.floats().map(repr) | st.sampled_from(WORDS)
PLAIN = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
JSON = PLAIN | st.lists(PLAIN, max_size=3) | st.dictionaries(st.text(max_size=5), PLAIN)


@st.composite
def damaged(draw, whole: bytes) -> bytes:
    """Draw the bytes of a file with a piece replaced, cut off or added, or something else."""
    start = draw(st.integers(0, len(whole) - 1))
    end = draw(st.sampled_from([start, start + 1, start + draw(st.integers(0, 64)), len(whole)]))
    zeros = bytes(max(0, min(end, len(whole)) - start))  # a block that never reached the disk
    piece = draw(st.binary(max_size=20) | st.just(zeros) | st.just(whole[start:end] * 2))
    return draw(st.sampled_from([whole[:start] + piece + whole[end:]] * 9 + [piece]))


@st.composite
def csv_files(draw, table: dict[str, list]) -> bytes:
    """Draw a table as people and programs deliver it: odd cells, rows, separators, encodings."""
    rows = [list(table), *([*map(str, row)] for row in zip(*table.values(), strict=True))]
    for row in draw(st.lists(st.sampled_from(range(len(rows))), max_size=3)):
        place, more = draw(st.integers(0, len(table) - 1)), draw(st.sampled_from([[], [], ["x"]]))
        rows[row] = [*rows[row][:place], draw(ODD), *rows[row][place + 1 :], *more]
    rows = draw(st.sampled_from([rows] * 4 + [rows[:-1], rows + rows[-1:], rows[:1], []]))
    text, end = io.StringIO(), draw(st.sampled_from(["\n", "\r\n", "\x00\n"]))
    csv.writer(text, delimiter=draw(st.sampled_from(",,,;")), lineterminator=end).writerows(rows)
    encoding = draw(st.sampled_from(["utf-8"] * 5 + ["utf-8-sig", "utf-16", "cp1252"]))
    return text.getvalue().encode(encoding, "replace")


@st.composite
def json_files(draw, content) -> bytes:
    """Draw a JSON file with bytes damaged, or with one value in it replaced or removed."""
    node = copy = json.loads(json.dumps(content))
    while True:
        key = draw(st.sampled_from([*(node if isinstance(node, dict) else range(len(node)))]))
        if not isinstance(node[key], dict | list) or not node[key] or draw(st.booleans()):
            break
        node = node[key]
    if draw(st.booleans()):
        node[key] = draw(JSON)
    else:
        del node[key]
    return draw(st.just(json.dumps(copy).encode()) | damaged(json.dumps(content).encode()))


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """Return one folder for all examples of the module."""
    return tmp_path_factory.mktemp("fuzz")


def is_read(path: Path, content: bytes, read) -> bool:
    """Return True if a file with this content is read; an error has to name the file."""
    files.write_bytes(path, content)
    try:
        read(path)
    except UserError as error:
        assert path.name in str(error), error
        return False
    return True


# --- tables and JSON -------------------------------------------------------------------------

IDS, LABELS = [f"p{i:02d}" for i in range(24)], [0, 1] * 12
SIDES = [("train", "train", "val", "test")[i // 2 % 4] for i in range(24)]
SPLIT = {"id": IDS, "path": [f"/data/{i}.png" for i in IDS], "label": LABELS, "split": SIDES}
SUBMITTED = {"id": IDS, "defect_score": [round(i / 30, 3) for i in range(24)]}
SCORED = pd.DataFrame(SUBMITTED).assign(split=SIDES).query("split != 'train'").to_dict("list")
CELL = {"genotype": genotypes.to_json(genotypes.PUBLISHED["DARTS_V2"])}
CELL["provenance"] = {"method": "DARTS", "seconds": 3.5, "device": "CPU"}


def read_split_of_run(path: Path) -> None:
    split = read_split(path)
    assert set(split.split) <= {"train", "val", "test", "excluded"} and split.id.is_unique
    assert split.label.dropna().isin([0, 1]).all() and split.id.notna().all()


def read_split_of_user(path: Path) -> None:
    table = pd.DataFrame(SPLIT).drop(columns="split").assign(official_split="")
    source = Source("toy", table.astype({"label": "Int64"}), "bad = 1")
    try:
        found = splits.make_split(source, pd.Series(IDS), SplitSettings(split_csv=str(path)))
    except DataError as error:  # an error of the sides names the class and the side instead
        assert path.name in str(error) or "the split leaves no" in str(error)
    else:
        assert found.table.id.tolist() == IDS


def read_scores(path: Path) -> None:
    scored = predictions.read_predictions(path, pd.DataFrame(SPLIT))
    for side, frame in (("val", scored.val), ("test", scored.test)):
        assert frame.id.tolist() == [i for i, s in zip(IDS, SIDES, strict=True) if s == side]
        assert frame.defect_score.between(0, 1).all()


def read_submission(path: Path) -> None:
    sample = path.with_name("sample_submission.csv")  # its name has that of `path` in it
    files.save_csv(sample, pd.DataFrame(SUBMITTED))
    found = submission.validate_submission(path, sample)
    assert sorted(found.id) == IDS and found.defect_score.between(0, 1).all()
    submission.validate_submission(sample, path)


def read_cell(path: Path) -> None:
    (found,) = named.named_cells([str(path)], {}, 0)
    assert genotypes.from_json(genotypes.to_json(found.genotype)) == found.genotype
    assert (found.search_seconds or 0) >= 0


def read_description(path: Path) -> None:
    own = description.read_description(path.parent)
    assert set(own.verdicts([0, 0.5, 1])) <= set(description.VERDICTS) and own.promise


READERS = {
    "split.csv": (csv_files, SPLIT, read_split_of_run),
    "user.csv": (csv_files, {"id": IDS, "split": SIDES}, read_split_of_user),
    "paths.csv": (csv_files, {"path": SPLIT["path"], "split": SIDES}, read_split_of_user),
    "mine.csv": (csv_files, SCORED, read_scores),
    "submission.csv": (csv_files, SUBMITTED, read_submission),
    "cell.json": (json_files, CELL, read_cell),
    description.NAME: (json_files, CONTENT, read_description),
}


@pytest.mark.parametrize("name", READERS)
@given(data=st.data())
def test_any_file_is_read_whole_or_refused_by_its_name(place, name, data):
    drawn, content, read = READERS[name]
    whole = files.csv_bytes(pd.DataFrame(content)) if drawn == csv_files else json.dumps(content)
    assert is_read(place / name, whole if isinstance(whole, bytes) else whole.encode(), read)
    is_read(place / name, data.draw(drawn(content)), read)


FIELDS = [(stage, name) for stage, kind in settings.STAGES.items() for name in vars(kind())]


@given(field=st.sampled_from(FIELDS), value=JSON | ODD)
def test_any_parameter_gives_settings_or_an_error_that_names_it(field, value):
    stage, name = field
    try:
        settings.resolve(stage, "smoke", {name: value})
    except SettingsError as error:
        assert name.upper() in str(error) and "\n" not in str(error)


# --- checkpoints and images ------------------------------------------------------------------


@given(data=st.data())
def test_any_checkpoint_holds_the_model_or_is_refused(place, data):
    whole = place / "whole.safetensors"
    if not whole.exists():
        backbones.save_model(whole, backbones.build(backbones.spec_of("cnn", 2, 16)))

    def read(path: Path) -> None:  # if anything was damaged, it held nothing
        expected, found = (backbones.load_model(p).state_dict() for p in (whole, path))
        torch.testing.assert_close(dict(found), dict(expected), rtol=0, atol=0)

    is_read(place / "model.safetensors", data.draw(damaged(whole.read_bytes())), read)


def encoded(kind: str, pixels: np.ndarray, **options) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind, **options)
    return buffer.getvalue()


NOISE = np.random.default_rng(0).integers(0, 256, (12, 10, 3), dtype=np.uint8)
GRAY, FRAMES = NOISE[..., 0], {"save_all": True, "append_images": [Image.fromarray(NOISE // 2)]}
GOOD = encoded("PNG", GRAY)
WHOLE = {"a.png": GOOD, "b.png": encoded("PNG", GRAY.astype(np.uint16) * 16, exif=TURNED)}
WHOLE |= {"c.png": encoded("PNG", np.dstack([NOISE, GRAY])), "d.bmp": encoded("BMP", NOISE)}
WHOLE |= {"e.jpg": encoded("JPEG", NOISE, exif=TURNED), "f.png": encoded("PNG", NOISE, **FRAMES)}
WHOLE |= {"g.tif": encoded("TIFF", GRAY.astype(np.float32)), "h.tif": encoded("TIFF", NOISE)}
WHOLE |= {"i.tif": encoded("TIFF", NOISE, compression="tiff_lzw", **FRAMES)}


@pytest.mark.filterwarnings("ignore")
@given(data=st.data(), name=st.sampled_from(sorted(WHOLE)))
def test_any_image_is_decoded_or_named(place, data, name):
    shutil.rmtree(place / "images", ignore_errors=True)
    good, path = place / "images" / "good.png", place / "images" / f"x{Path(name).suffix}"
    files.write_bytes(good, GOOD)
    table = pd.DataFrame({"id": ["good", "x"], "path": [str(good), str(path)]})
    strict = lambda _: images.open_cache(table, 8, place / "images")  # noqa: E731
    known = is_read(path, data.draw(damaged(WHOLE[name])), strict)
    cache = images.open_cache(table, 8, place / "images", skip_unreadable=True)
    assert cache.table.id.tolist() == (["good", "x"] if known else ["good"])
    assert len(cache.unreadable) == 1 - known and cache.pixels.shape[1:3] == (8, 8)


@given(data=st.data(), name=st.sampled_from(["cache.json", "images.csv", "images.u8"]))
def test_a_damaged_cache_gives_the_same_pixels_again(place, data, name):
    path, kept = place / "kept.png", place / "kept"
    table = pd.DataFrame({"id": ["a"], "path": [str(path)]})
    if not kept.exists():  # a cache that is built again notes another speed
        files.write_bytes(path, GOOD)
        images.open_cache(table, 8, kept)
    before = images.open_cache(table, 8, kept)
    shutil.copytree(kept, place / "cache", dirs_exist_ok=True)
    (file,) = (place / "cache").rglob(name)
    file.write_bytes(data.draw(damaged(file.read_bytes())))
    again = images.open_cache(table, 8, place / "cache")
    np.testing.assert_array_equal(again.pixels, before.pixels)
    assert again.digest == before.digest and again.unreadable == before.unreadable


NAMES = st.text(st.characters(exclude_characters="/\x00", exclude_categories=()), min_size=1)
NAMES = NAMES.filter(lambda name: name.strip("."))
TOPS = st.sampled_from(["good", "bad", "ok", "NG", "test", "not ok", "0", "class1"]) | NAMES
ENDS = st.sampled_from([".png", ".BMP", ".tif", ".txt", ""])
KINDS = st.sampled_from(["file", "file", "file", "folder", "good", "nothing", "itself"])


@given(tree=st.lists(st.tuples(TOPS, st.lists(NAMES, max_size=1), NAMES, ENDS, KINDS), max_size=6))
def test_any_folder_gives_a_table_or_is_refused(place, tree):
    shutil.rmtree(place / "tree", ignore_errors=True)
    root = place / "tree" / "parts"
    for folder in ("good", "bad"):
        files.write_bytes(root / folder / f"whole_{folder}.png", GOOD)
    for top, deeper, stem, suffix, kind in tree:
        path = root.joinpath(top, *deeper, stem + suffix)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            if kind == "file":
                path.write_bytes(GOOD)
            elif kind == "folder":
                path.mkdir()
            else:
                path.symlink_to(path if kind == "itself" else root / kind)
        except (OSError, UnicodeEncodeError):
            assume(False)
    try:
        source = sources.load(SplitSettings(dataset=f"folder:{root}"))
        cache = images.open_cache(source.table, 8, place / "trees")
    except DataError as error:
        assert str(root) in str(error) or repr(str(root))[1:-1] in str(error), error
    else:
        files.save_csv(place / "table.csv", source.table)  # odd names survive a CSV
        assert files.load_csv(place / "table.csv", ["id"]).id.tolist() == cache.table.id.tolist()
        assert source.table.id.is_unique
