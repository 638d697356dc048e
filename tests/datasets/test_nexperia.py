"""The contest's layouts, on toy images."""

import pytest

from helpers import datasets
from helpers.core import paths
from helpers.datasets import chips
from helpers.datasets.settings import SplitSettings
from tests.datasets.test_folder import fill

FIRST = ("train/good_0", "train/bad_1", "test/all_tests")
NESTED = ("train/good_0/good_0", "train/bad_1/bad_1", "test/all_tests/all_tests")
SECOND = ("train/train_contest/good_all", "train/train_contest/defect", "test/test_contest/test")


def _write(root, layout=FIRST, suffix="bmp"):
    for side, folder in zip(("g", "b", "t"), layout, strict=True):
        fill(root / folder, *(f"{side}{i}.{suffix}" for i in range(4)))


def _load(root):
    return datasets.load(SplitSettings(dataset=f"nexperia:{root}"))


@pytest.mark.parametrize(("layout", "suffix"), [(FIRST, "bmp"), (NESTED, "png"), (SECOND, "jpg")])
def test_both_stages_are_read_nested_or_not(tmp_path, layout, suffix):
    _write(tmp_path, layout, suffix)
    table = _load(tmp_path).table.set_index("id")
    assert sorted(table.index) == [f"{s}{i}" for s in "bgt" for i in range(4)]
    assert table.loc["b0", "label"] == 1 and table.loc["g3", "label"] == 0
    assert table.loc[["t0", "t3"], "label"].isna().all()
    assert (table.official_split == "test").sum() == 4
    assert "8 and 4" in _load(tmp_path).caveats


def test_hidden_folders_are_skipped_and_images_of_no_class_are_listed(tmp_path):
    _write(tmp_path, SECOND)
    for name in ("train/.old/good_all", "train/train_contest/defect/.thumbnails", "train/other"):
        fill(tmp_path / name, "x.bmp")
    source = _load(tmp_path)
    assert len(source.table) == 12
    assert source.left_out == ("images in no class folder: 1",)


def test_images_that_are_not_there_name_the_command_that_fetches_them(home, tmp_path):
    for place in ("", f":{tmp_path}"):
        with pytest.raises(datasets.DataError, match="kaggle competitions download"):
            datasets.load(SplitSettings(dataset=f"nexperia{place}"))


def test_the_downloaded_folder_is_found_by_itself(home):
    _write(home / "data/raw/semi-conductor-image-classification-first")
    assert len(datasets.load(SplitSettings(dataset="nexperia")).table) == 12
    assert len(_load(home / "data/raw").table) == 12  # one folder above it


def test_a_missing_class_is_named(tmp_path):
    _write(tmp_path)
    for file in (tmp_path / "train/good_0").iterdir():
        file.unlink()
    with pytest.raises(datasets.DataError, match="no image labelled good"):
        _load(tmp_path)


def test_synthetic_chips_are_drawn_once_and_called_synthetic(home, monkeypatch):
    monkeypatch.setattr(chips, "DEFAULT_COUNTS", (20, 5))
    for _ in range(2):
        source = datasets.load(SplitSettings(dataset="chips"))
        assert source.name == "chips" and "synthetic" in source.attribution
        assert len(source.table) == 25
        monkeypatch.setattr(chips, "write_dataset", None)


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
