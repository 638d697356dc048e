"""The contest's layouts, on toy images."""

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from helpers import datasets
from helpers.core import paths
from helpers.core.files import ArtifactError
from helpers.datasets import chips
from helpers.datasets.settings import SplitSettings

SLUG = "semi-conductor-image-classification-first"
FIRST = ("train/good_0", "train/bad_1", "test/all_tests")
NESTED = ("train/good_0/good_0", "train/bad_1/bad_1", "test/all_tests/all_tests")
SECOND = (
    "train/train_contest/good_all",
    "train/train_contest/defect",
    "test/test_contest/test",
)


def _write(root, layout=FIRST, suffix="bmp"):
    for side, folder in zip(("g", "b", "t"), layout, strict=True):
        (root / folder).mkdir(parents=True)
        for i in range(4):
            pixels = np.full((8, 8), 10 * i, np.uint8)
            Image.fromarray(pixels).save(root / folder / f"{side}{i}.{suffix}")


def _load(root):
    return datasets.load(SplitSettings(dataset=f"nexperia:{root}"))


def _write_sample(root, ids, name="sample_submission.csv"):
    pd.DataFrame({"id": ids, "defect_score": 0.5}).to_csv(root / name, index=False)


@pytest.mark.parametrize(("layout", "suffix"), [(FIRST, "bmp"), (NESTED, "png"), (SECOND, "jpg")])
def test_both_stages_are_read_nested_or_not(tmp_path, layout, suffix):
    _write(tmp_path, layout, suffix)
    table = _load(tmp_path).table.set_index("id")
    assert sorted(table.index) == [f"{s}{i}" for s in "bgt" for i in range(4)]
    assert table.loc["b0", "label"] == 1 and table.loc["g3", "label"] == 0
    assert table.loc[["t0", "t3"], "label"].isna().all()
    assert (table.official_split == "test").sum() == 4
    assert "8 and 4" in _load(tmp_path).caveats


def test_test_images_come_in_the_order_of_the_sample_submission(tmp_path):
    _write(tmp_path)
    order = ["t2", "t0", "t3", "t1"]
    _write_sample(tmp_path, order, "submission_sample.csv")
    table = _load(tmp_path).table
    assert table.id[table.official_split == "test"].tolist() == order


def test_a_sample_that_differs_and_two_test_images_of_one_name_are_refused(tmp_path):
    _write(tmp_path)
    _write_sample(tmp_path, ["t0", "t1", "t2", "zz"])
    with pytest.raises(datasets.DataError, match="'t3'"):
        _load(tmp_path)
    (tmp_path / "test/all_tests/more").mkdir()
    (tmp_path / "test/all_tests/more/t0.bmp").hardlink_to(tmp_path / "test/all_tests/t0.bmp")
    _write_sample(tmp_path, ["t0", "t1", "t2", "t3"])
    with pytest.raises(datasets.DataError, match="'t0'"):
        _load(tmp_path)


def test_hidden_folders_are_skipped_and_images_of_no_class_are_listed(tmp_path):
    _write(tmp_path, SECOND)
    for name in ("train/.old/good_all", "train/train_contest/defect/.thumbnails", "train/other"):
        (tmp_path / name).mkdir(parents=True)
        Image.fromarray(np.zeros((8, 8), np.uint8)).save(tmp_path / name / "x.bmp")
    source = _load(tmp_path)
    assert len(source.table) == 12
    assert source.left_out == ("images in no class folder: 1",)


def test_images_that_are_not_there_name_the_command_that_fetches_them(home, tmp_path):
    for place in ("", f":{tmp_path}"):
        with pytest.raises(datasets.DataError, match=r"python -m helpers\.kaggle download"):
            datasets.load(SplitSettings(dataset=f"nexperia{place}"))


def test_the_downloaded_folder_is_found_by_itself(home):
    _write(home / "data/raw/semi-conductor-image-classification-first")
    assert len(datasets.load(SplitSettings(dataset="nexperia")).table) == 12
    assert len(_load(home / "data/raw").table) == 12  # one folder above it


def test_a_missing_class_is_named(tmp_path):
    _write(tmp_path)
    for file in (tmp_path / "train/bad_1").iterdir():
        file.unlink()
    with pytest.raises(datasets.DataError, match="no image labelled bad"):
        _load(tmp_path)


@pytest.mark.parametrize("content", [b"", b"id,defect_score\n\xff\xfe,0.5\n", b"name\nt0\n"])
def test_a_damaged_sample_is_named(tmp_path, content):
    _write(tmp_path)
    (tmp_path / "nested").mkdir()
    (tmp_path / "nested" / "sample_submission.csv").write_bytes(content)
    with pytest.raises(ArtifactError, match=r"sample_submission\.csv"):
        _load(tmp_path)


def test_synthetic_chips_are_drawn_once_and_called_synthetic(home, monkeypatch):
    monkeypatch.setattr(chips, "DEFAULT_COUNTS", (20, 5))
    for _ in range(2):
        source = datasets.load(SplitSettings(dataset="chips"))
        assert source.name == "chips" and "synthetic" in source.attribution
        assert len(source.table) == 25
        monkeypatch.setattr(chips, "write_dataset", None)


def test_chips_that_were_not_finished_are_refused(tmp_path):
    _write(tmp_path)
    (tmp_path / "chips.json").write_text('{"state": "writing"}')
    with pytest.raises(datasets.DataError, match="is incomplete: run"):
        _load(tmp_path)


@pytest.mark.parametrize(
    "mount",
    [
        "competitions/semi-conductor-image-classification-first",
        "semi-conductor-image-classification-first",
        "datasets/somebody/semi-conductor-image-classification-first",
        "datasets/somebody/semi-conductor-image-classification-second-stage/data",
        "semi-conductor-image-classification-first/semi-conductor-image-classification-first",
    ],
)
def test_kaggle_s_mounts_are_found_by_themselves(home, tmp_path, monkeypatch, mount):
    monkeypatch.setattr(paths, "KAGGLE_INPUT", tmp_path / "input")
    _write(tmp_path / "input" / mount)
    table = datasets.load(SplitSettings(dataset="nexperia")).table
    assert len(table) == 12 and all(str(tmp_path / "input" / mount) in p for p in table.path)
