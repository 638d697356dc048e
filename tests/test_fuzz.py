"""Whatever a file holds, its reader returns a valid result or raises an error that names the file.

HYPOTHESIS_PROFILE=thorough runs 500 examples of each instead of 60.
"""

import csv
import io
import json
import shutil
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from PIL import Image

from helpers import datasets
from helpers.core import files, tensors
from helpers.core.errors import UserError
from helpers.core.members import Member
from helpers.core.paths import HOME_VARIABLE, RunPaths
from helpers.core.rules import SettingsError
from helpers.darts import genotypes, named, network
from helpers.darts.settings import NetworkSettings
from helpers.datasets import DataError, Source, splits
from helpers.datasets import cache as images
from helpers.datasets.settings import SplitSettings
from helpers.datasets.split_file import read_split
from helpers.deploy import description
from helpers.models import backbones
from helpers.models.record import Model
from helpers.results import predictions, submission
from helpers.runs import record, settings, stages
from helpers.training.settings import FinetuneSettings
from tests.datasets.test_cache import TURNED
from tests.deploy_run import CONTENT

ODD = st.one_of(
    st.sampled_from(["", " ", "NaN", "NA", "-inf", "1e999", "0x1p-2", "1_0", "0,5", "1.5", "٣"]),
    st.sampled_from(
        ["\ufeff", "9" * 40, "p00", "p01 ", "train", "Test", "val\n", "\x00", '"', "=1"]
    ),
    st.text(max_size=6),
    st.floats().map(repr),
    st.integers().map(str),
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=6,
)


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
    for _ in range(draw(st.integers(0, 3))):
        place = draw(st.integers(0, len(rows) - 1))
        row = rows[place]
        kind = draw(st.sampled_from(["cell", "cell", "cell", "twice", "drop", "long", "short"]))
        if kind == "cell" and row:
            row[draw(st.integers(0, len(row) - 1))] = draw(ODD)
        elif kind == "twice":
            rows.insert(place, list(row))
        elif kind == "drop" and len(rows) > 1:
            del rows[place]
        elif kind == "long":
            for each in rows[1:] if draw(st.booleans()) else [row]:
                each.append(draw(ODD))
        elif kind == "short" and row:
            row.pop()
    text = io.StringIO()
    separator, end = draw(st.sampled_from(",,,;")), draw(st.sampled_from(["\n", "\r\n"]))
    quoting = draw(st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]))
    csv.writer(text, delimiter=separator, lineterminator=end, quoting=quoting).writerows(rows)
    tail = draw(st.sampled_from(["", "\x00", "\x1a"]))
    encoding = draw(st.sampled_from(["utf-8"] * 5 + ["utf-8-sig", "utf-16", "cp1252"]))
    return (text.getvalue() + tail).encode(encoding, "replace")


@st.composite
def json_files(draw, content) -> bytes:
    """Draw a JSON file with bytes damaged, or with one value in it replaced or removed."""
    if draw(st.booleans()):
        return draw(damaged(json.dumps(content).encode()))
    node = copy = json.loads(json.dumps(content))
    while True:
        keys = list(node) if isinstance(node, dict) else list(range(len(node)))
        key = draw(st.sampled_from(keys))
        inner = node[key]
        if not isinstance(inner, dict | list) or not inner or draw(st.booleans()):
            break
        node = inner
    if draw(st.booleans()):
        node[key] = draw(JSON)
    else:
        del node[key]
    return json.dumps(copy).encode()


SIDES = ("train", "val", "test")
IDS = [f"p{i:02d}" for i in range(24)]
LABELS = np.arange(24) % 2
SPLIT_OF = [("train", "train", "val", "test")[i // 2 % 4] for i in range(24)]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """One folder for all examples of the module, as home too."""
    folder = tmp_path_factory.mktemp("fuzz")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(HOME_VARIABLE, str(folder / "home"))
        yield folder


def outcome(read, path: Path):
    """Return what a reader gives, or None after an error that names the file."""
    try:
        return read()
    except UserError as error:
        assert path.name in str(error), error
        return None


# --- tables ----------------------------------------------------------------------------------

SPLIT = {"id": IDS, "path": [f"/data/{i}.png" for i in IDS], "label": LABELS, "split": SPLIT_OF}
SCORED = [i for i, side in enumerate(SPLIT_OF) if side != "train"]
PREDICTIONS = {
    "id": [IDS[i] for i in SCORED],
    "split": [SPLIT_OF[i] for i in SCORED],
    "defect_score": [round(i / 30, 3) for i in SCORED],
}


@given(data=st.data())
def test_any_split_csv_of_a_run_is_whole_or_refused(place, data):
    paths = RunPaths("split")
    content = data.draw(csv_files(SPLIT))
    files.write_bytes(paths.split_csv, content)
    split = outcome(lambda: read_split(paths.split_csv), paths.split_csv)
    if split is not None:
        assert set(split.split) <= {*SIDES, "excluded"}
        assert split.label.dropna().isin([0, 1]).all()
        assert split.id.notna().all() and split.id.is_unique


@given(data=st.data())
def test_any_predictions_file_fits_the_split_or_is_refused(place, data):
    path = place / "mine.csv"
    path.write_bytes(data.draw(csv_files(PREDICTIONS)))
    split = pd.DataFrame(SPLIT)
    scored = outcome(lambda: predictions.read_predictions(path, split), path)
    if scored is not None:
        for side, frame in (("val", scored.val), ("test", scored.test)):
            assert frame.id.tolist() == split.id[split.split == side].tolist()
            assert frame.defect_score.between(0, 1).all()
            assert frame.defect_score.dtype == np.float64


@given(data=st.data(), by=st.sampled_from(["id", "path"]))
def test_any_split_csv_of_a_user_divides_the_images_or_is_refused(place, data, by):
    path = place / "user.csv"
    path.write_bytes(data.draw(csv_files({by: SPLIT[by], "split": SPLIT_OF})))
    table = pd.DataFrame(SPLIT).drop(columns="split").assign(official_split="")
    source = Source("toy", table.astype({"label": "Int64"}), "bad = 1")
    digests = pd.Series(IDS)
    try:
        found = splits.make_split(source, digests, SplitSettings(split_csv=str(path)))
    except UserError as error:
        # an error of the split that the file asks for names the class and the side instead
        assert path.name in str(error) or "the split leaves no" in str(error)
    else:
        assert set(found.table.split) <= {*SIDES, "excluded"}
        assert found.table.id.tolist() == IDS


@given(data=st.data())
def test_any_submission_passes_whole_or_is_refused(place, data):
    path, sample = place / "sub.csv", place / "sample.csv"
    whole = {"id": IDS, "defect_score": [round(i / 30, 3) for i in range(24)]}
    path.write_bytes(data.draw(csv_files(whole)))
    sample.write_text(pd.DataFrame(whole).to_csv(index=False), encoding="utf-8")
    found = outcome(lambda: submission.validate_submission(path, sample), path)
    if found is not None:
        assert sorted(found.id) == IDS and found.defect_score.between(0, 1).all()
    sample.write_bytes(path.read_bytes())
    path.write_text(pd.DataFrame(whole).to_csv(index=False), encoding="utf-8")
    outcome(lambda: submission.validate_submission(path, sample), place)


# --- JSON ------------------------------------------------------------------------------------


@given(data=st.data())
def test_any_genotype_file_holds_a_cell_or_is_refused(place, data):
    path = place / "cell.json"
    cell = genotypes.PUBLISHED["DARTS_V2"]
    about = {"method": "DARTS", "seconds": 3.5, "device": "CPU"}
    whole = {"genotype": genotypes.to_json(cell), "provenance": about}
    path.write_bytes(data.draw(json_files(whole)))
    found = outcome(lambda: named.named_cells([str(path)], place, 0), path)
    if found is not None:
        assert genotypes.from_json(genotypes.to_json(found[0].genotype)) == found[0].genotype
        assert (found[0].search_seconds or 0) >= 0


@pytest.fixture(scope="module")
def run_record(place):
    """Return run.json of a run with a split, finished work and a model; its files are there."""
    paths = RunPaths("broken")
    files.save_csv(paths.split_csv, pd.DataFrame(SPLIT))
    run = stages.Run("03_finetuning", paths, "smoke", FinetuneSettings(), "k")
    run.once("cnn", files.fingerprint, "work")
    run.add_model(Model("cnn", members=(Member(0),)), pd.DataFrame(PREDICTIONS), seconds=1.0)
    done = {"status": "done", "key": "a", "seconds": 3.5, "settings": {"seed": 0}}
    done["outputs"] = record.digests_of(paths, [paths.split_csv])
    header = {"preset": "smoke", "dataset": "folder:x", "stages": {"01_data_split": done}}
    return record.load_run(paths) | header


@given(data=st.data())
def test_any_run_json_opens_the_next_stage_or_is_refused(run_record, data):
    paths = RunPaths("broken")
    files.write_bytes(paths.run_json, data.draw(json_files(run_record)))
    try:  # what notebooks do with the record
        run = stages.begin("02_features_baselines", {"RUN": "broken"})
        assert run.once("cnn", files.fingerprint, "work") == files.fingerprint("work")
        assert run.models()["cnn"].model.base
        stages.is_current("02_features_baselines", run.settings, paths)
        run.finish()
        stages.open_stage("06_analysis", {"RUN": "broken"})
    except SettingsError as error:
        assert "PRESET" in str(error)
    except stages.StageError as error:
        assert "needs the split" in str(error)
    except UserError as error:
        assert str(paths.root) in str(error)


# --- images ----------------------------------------------------------------------------------


def _encoded(kind: str, pixels: np.ndarray, **options) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind, **options)
    return buffer.getvalue()


_NOISE = np.random.default_rng(0).integers(0, 256, (12, 10, 3), dtype=np.uint8)
WHOLE = {
    "a.png": _encoded("PNG", _NOISE[..., 0]),
    "b.png": _encoded("PNG", _NOISE[..., 0].astype(np.uint16) * 16),
    "c.bmp": _encoded("BMP", _NOISE[..., 0]),
    "d.jpg": _encoded("JPEG", _NOISE),
    "e.tif": _encoded("TIFF", _NOISE, compression="tiff_lzw"),
    "f.tiff": _encoded("TIFF", _NOISE[..., 0].astype(np.float32) / 255),
    "g.bmp": _encoded("BMP", _NOISE),
    "h.png": _encoded("PNG", np.dstack([_NOISE, _NOISE[..., 0]])),  # with transparency
    "i.png": _encoded("PNG", _NOISE[..., 0], transparency=7),
    "j.jpg": _encoded("JPEG", _NOISE, exif=TURNED),
    "k.png": _encoded("PNG", _NOISE[..., 0].astype(np.uint16) * 16, exif=TURNED),
    "l.tif": _encoded("TIFF", _NOISE, save_all=True, append_images=[Image.fromarray(_NOISE)]),
    "m.png": _encoded("PNG", _NOISE, save_all=True, append_images=[Image.fromarray(_NOISE // 2)]),
}


@pytest.mark.filterwarnings("ignore")
@given(data=st.data(), name=st.sampled_from(sorted(WHOLE)))
def test_any_image_is_decoded_or_named(place, data, name):
    folder = place / "images"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    (folder / "good.png").write_bytes(WHOLE["a.png"])
    path = folder / f"x{Path(name).suffix}"
    path.write_bytes(data.draw(damaged(WHOLE[name])))
    table = pd.DataFrame({"id": ["good", "x"], "path": [str(folder / "good.png"), str(path)]})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        cache = images.open_cache(table, 8, folder / "cache", skip_unreadable=True)
        assert cache.pixels.shape[1:3] == (8, 8)
        assert len(cache.table) + len(cache.unreadable) == 2
        assert "good" in set(cache.table.id)
        strict = outcome(lambda: images.open_cache(table, 8, folder / "cache"), path)
    assert (strict is None) == bool(cache.unreadable)


NAMES = st.text(
    st.characters(blacklist_characters="/\x00", blacklist_categories=()), min_size=1, max_size=8
).filter(lambda name: name not in (".", ".."))
FOLDERS = st.sampled_from(["good", "bad", "ok", "NG", "test", "not ok", "0", "class1"])


@given(
    tree=st.lists(
        st.tuples(
            FOLDERS | NAMES,
            st.lists(NAMES, max_size=1),
            NAMES,
            st.sampled_from([".png", ".BMP", ".tif", ".txt", ""]),
            st.sampled_from(["file", "file", "file", "link", "dangling", "loop", "folder"]),
        ),
        max_size=6,
    )
)
def test_any_folder_gives_a_table_or_is_refused(place, tree):
    root = place / "tree"
    shutil.rmtree(root, ignore_errors=True)
    for folder in ("good", "bad"):
        (root / folder).mkdir(parents=True)
        (root / folder / f"whole_{folder}.png").write_bytes(WHOLE["a.png"])
    for top, deeper, stem, suffix, kind in tree:
        path = root.joinpath(top, *deeper, stem + suffix)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            if kind == "file":
                path.write_bytes(WHOLE["a.png"])
            elif kind == "folder":
                path.mkdir()
            else:
                targets = {"link": root / "good", "dangling": root / "nothing", "loop": path}
                path.symlink_to(targets[kind])
        except (OSError, UnicodeEncodeError):
            assume(False)
    try:
        source = datasets.load(SplitSettings(dataset=f"folder:{root}"))
        cache = images.open_cache(source.table, 8, place / "cache")
    except DataError as error:
        assert str(root) in str(error) or repr(str(root))[1:-1] in str(error), error
    else:
        assert source.table.id.is_unique
        files.save_csv(place / "table.csv", source.table)
        again = files.load_csv(place / "table.csv", ("id", "path"))
        assert again.id.tolist() == cache.table.id.tolist() == source.table.id.tolist()


@given(data=st.data(), name=st.sampled_from(["cache.json", "images.csv", "images.u8"]))
def test_a_damaged_cache_gives_the_same_pixels_again(place, data, name):
    folder = place / "whole"
    paths = [folder / file for file in ("a.png", "c.bmp")]
    table = pd.DataFrame({"id": ["a", "c"], "path": [str(path) for path in paths]})
    if not folder.exists():  # a cache that is built again notes another speed
        for path in paths:
            files.write_bytes(path, WHOLE[path.name])
        images.open_cache(table, 8, folder / "kept")
    before = images.open_cache(table, 8, folder / "kept")
    shutil.rmtree(folder / "cache", ignore_errors=True)
    shutil.copytree(folder / "kept", folder / "cache")
    (file,) = (folder / "cache").rglob(name)
    file.write_bytes(data.draw(damaged(file.read_bytes())))
    again = images.open_cache(table, 8, folder / "cache")
    np.testing.assert_array_equal(again.pixels, before.pixels)
    pd.testing.assert_frame_equal(again.table, before.table)
    assert again.digest == before.digest and again.unreadable == before.unreadable


# --- tensors ---------------------------------------------------------------------------------


@given(data=st.data())
def test_any_checkpoint_holds_the_model_or_is_refused(place, data):
    path, whole = place / "model.safetensors", place / "whole.safetensors"
    if not whole.exists():
        cell = genotypes.PUBLISHED["DARTS_V2"]
        spec = network.network_spec(cell, NetworkSettings(2, 1, "cifar"), 8, 1)
        backbones.save_model(whole, backbones.build(spec))
    path.write_bytes(data.draw(damaged(whole.read_bytes())))
    model = outcome(lambda: backbones.load_model(path), path)
    if model is not None:  # what was damaged held nothing
        expected, _ = tensors.load_tensors(whole)
        torch.testing.assert_close(dict(model.state_dict()), expected, rtol=0, atol=0)


@given(data=st.data())
def test_any_description_of_a_model_gives_verdicts_or_is_refused(place, data):
    path = place / "described" / description.NAME
    files.write_bytes(path, data.draw(json_files(CONTENT)))
    own = outcome(lambda: description.read_description(path.parent), path)
    if own is not None:
        assert set(own.verdicts([0, 0.5, 1])) <= set(description.VERDICTS) and own.promise


# --- parameters ------------------------------------------------------------------------------

FIELDS = [(stage, name) for stage, kind in settings.STAGES.items() for name in vars(kind())]


@given(field=st.sampled_from(FIELDS), value=JSON | ODD)
def test_any_parameter_gives_settings_or_an_error_that_names_it(field, value):
    stage, name = field
    try:
        settings.resolve(stage, "smoke", {name: value})
    except SettingsError as error:
        assert name.upper() in str(error) and "\n" not in str(error)
