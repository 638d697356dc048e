"""The contest's layouts, on toy images."""

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from helpers import datasets
from helpers.core import paths
from helpers.datasets import chips, settings
from helpers.datasets.chips import write

FIRST = ("train/good_0", "train/bad_1", "test/all_tests")
NESTED = ("train/good_0/good_0", "train/bad_1/bad_1", "test/all_tests/all_tests")
SECOND = (
    "train/train_contest/good_all",
    "train/train_contest/defect",
    "test/test_contest/test",
)


def _write(root, layout, suffix="bmp"):
    for side, folder in zip(("g", "b", "t"), layout, strict=True):
        (root / folder).mkdir(parents=True)
        for i in range(4):
            pixels = np.full((8, 8), 10 * i, np.uint8)
            Image.fromarray(pixels).save(root / folder / f"{side}{i}.{suffix}")


def _load(root):
    return datasets.load(settings.SplitSettings(dataset=f"nexperia:{root}"))


@pytest.mark.parametrize("layout", [FIRST, NESTED, SECOND])
@pytest.mark.parametrize("suffix", ["bmp", "png", "jpg"])
def test_both_stages_are_read_nested_or_not(tmp_path, layout, suffix):
    _write(tmp_path, layout, suffix)
    table = _load(tmp_path).table.set_index("id")
    assert sorted(table.index) == [f"{s}{i}" for s in "bgt" for i in range(4)]
    assert table.loc["b0", "label"] == 1 and table.loc["g3", "label"] == 0
    assert table.loc[["t0", "t3"], "label"].isna().all()
    assert (table.official_split == "test").sum() == 4


def test_test_images_come_in_the_order_of_the_sample_submission(tmp_path):
    _write(tmp_path, FIRST)
    order = ["t2", "t0", "t3", "t1"]
    pd.DataFrame({"id": order, "defect_score": 0.5}).to_csv(
        tmp_path / "submission_sample.csv", index=False
    )
    table = _load(tmp_path).table
    assert table.id[table.official_split == "test"].tolist() == order


def test_a_sample_that_differs_from_the_test_folder_is_an_error(tmp_path):
    _write(tmp_path, FIRST)
    pd.DataFrame({"id": ["t0", "t1", "t2", "zz"], "defect_score": 0.5}).to_csv(
        tmp_path / "sample_submission.csv", index=False
    )
    with pytest.raises(datasets.DataError, match=r"differ in 2 id\(s\), e\.g\. 't3'"):
        _load(tmp_path)


def test_counts_are_compared_with_the_contest_s(tmp_path):
    _write(tmp_path, FIRST)
    assert _load(tmp_path).caveats == (
        "8 training and 4 test images; the contest's first stage has 30,000 and 3,000."
    )


def test_images_that_are_not_there_name_the_command_that_fetches_them(home):
    with pytest.raises(datasets.DataError, match=r"python -m helpers\.kaggle download -c semi-con"):
        datasets.load(settings.SplitSettings(dataset="nexperia"))


def test_the_downloaded_folder_is_found_by_itself(home):
    _write(home / "data/raw/semi-conductor-image-classification-first", FIRST)
    assert len(datasets.load(settings.SplitSettings(dataset="nexperia")).table) == 12


def test_a_missing_class_is_named(tmp_path):
    _write(tmp_path, FIRST)
    for file in (tmp_path / "train/bad_1").iterdir():
        file.unlink()
    with pytest.raises(datasets.DataError, match="no images in a folder bad_1 or defect"):
        _load(tmp_path)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is not a readable CSV"),
        (b"id,defect_score\n\xff\xfe,0.5\n", "is not a readable CSV"),
        (b"name,score\nt0,0.5\n", "lacks the column(s) id"),
        (b"id,defect_score\nt0,0\nt0,0\nt1,0\nt2,0\nt3,0\n", "names the id 't0' twice"),
    ],
)
def test_a_sample_that_is_none_is_named(tmp_path, content, words):
    _write(tmp_path, FIRST)
    (tmp_path / "nested").mkdir()
    (tmp_path / "nested" / "sample_submission.csv").write_bytes(content)
    with pytest.raises(datasets.DataError) as error:
        _load(tmp_path)
    assert words in str(error.value) and "sample_submission.csv" in str(error.value)


def test_a_named_folder_may_hold_the_files_one_folder_deeper(tmp_path):
    _write(tmp_path / "outer", FIRST)
    assert len(_load(tmp_path).table) == 12


def test_synthetic_chips_are_drawn_once_and_called_synthetic(home, monkeypatch):
    monkeypatch.setattr(chips, "DEFAULT_COUNTS", (20, 5))
    for _ in range(2):
        source = datasets.load(settings.SplitSettings(dataset="chips"))
        assert source.name == "chips" and "synthetic" in source.attribution
        assert len(source.table) == 25
        monkeypatch.setattr(write, "write_dataset", None)


def test_chips_that_were_not_written_to_the_end_are_refused(tmp_path):
    _write(tmp_path, FIRST)
    (tmp_path / "chips.json").write_text('{"state": "writing"}')
    with pytest.raises(datasets.DataError, match="was not written to its end"):
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
    _write(tmp_path / "input" / mount, FIRST)
    table = datasets.load(settings.SplitSettings(dataset="nexperia")).table
    assert len(table) == 12 and all(str(tmp_path / "input" / mount) in p for p in table.path)
