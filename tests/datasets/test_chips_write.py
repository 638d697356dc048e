"""The synthetic data set on the disk: layout, names, refusals, command line."""

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from helpers.datasets import DataError
from helpers.datasets.chips import write
from helpers.datasets.chips.__main__ import main

SMALL = {"seed": 3, "size_px": 64}


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    return write.write_dataset(tmp_path_factory.mktemp("set") / "chips", 230, 70, **SMALL)


def test_layout_class_ratio_and_csv_files_are_the_contests_and_bad_parts_have_masks(written):
    names = ("train/good_0", "train/bad_1", "test/all_tests", "masks/train", "masks/test")
    assert [len(list((written / name).iterdir())) for name in names] == [207, 23, 70, 23, 7]
    assert {p.suffix for p in (written / "train").rglob("*.*")} == {".bmp"}
    assert "SYNTHETIC" in (written / "README.txt").read_text()
    names = sorted(p.stem for p in (written / "test/all_tests").iterdir())
    sample = pd.read_csv(written / "sample_submission.csv")
    assert list(sample) == ["id", "defect_score"] and sample.id.tolist() == names
    labels = pd.read_csv(written / "hidden_test_labels.csv")
    assert list(labels) == ["id", "label"] and labels.id.tolist() == names
    assert set(labels.id[labels.label == 1]) == {p.stem for p in (written / "masks/test").iterdir()}
    parts = pd.read_csv(written / "hidden_part_info.csv")
    assert len(parts) == 300 and (parts.defect.notna() == (parts.label == 1)).all()


def test_files_hold_the_rendered_images_and_masks(written):
    parts = write.list_parts({"train": 230, "test": 70, "seed": 3, "bad_fraction": 0.1})
    for part in (*parts[parts.label == 1][:5].itertuples(), *parts[:5].itertuples()):
        image, mask, _ = write.render_part(3, part.split, part[2], part.label, 64)
        (path,) = written.glob(f"{part.split}/*/{part.id}.bmp")
        with Image.open(path) as file:
            assert (file.format, file.mode) == ("BMP", "L")
            np.testing.assert_array_equal(np.asarray(file), image)
        if part.label:
            saved = Image.open(written / "masks" / part.split / f"{part.id}.png")
            np.testing.assert_array_equal(np.asarray(saved), mask)


def test_ids_are_unique_and_tell_neither_label_nor_split():
    parts = write.list_parts({"train": 3000, "test": 1000, "seed": 0, "bad_fraction": 0.1})
    assert parts.id.is_unique and len(parts) == 4000
    rank = parts.id.rank() / 4000
    tests, bad = parts.split == "test", parts.label == 1
    # Mean rank of shuffled names: 0.5, with a standard error of 0.029 for the 100 bad tests.
    for rows in (tests, bad & tests, bad & ~tests):
        assert rank[rows].mean() == pytest.approx(0.5, abs=0.09)


def test_a_set_that_is_interrupted_leaves_nothing(tmp_path, monkeypatch):
    out, render_part, calls = tmp_path / "cut", write.render_part, []

    def render_some(*arguments):
        calls.append(arguments)
        if len(calls) > 40:
            raise KeyboardInterrupt
        return render_part(*arguments)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(write, "render_part", render_some)
        write.write_dataset(out, 230, 70, **SMALL)
    assert calls and not list(tmp_path.iterdir())


def test_a_finished_set_is_not_drawn_again_and_other_settings_are_refused(written, monkeypatch):
    monkeypatch.setattr(write, "render_part", None)
    write.write_dataset(written, 230, 70, **SMALL)
    with pytest.raises(DataError, match=str(written)):
        write.write_dataset(written, 231, 70, **SMALL)


@pytest.mark.parametrize("change", [{"train": 0}, {"bad_fraction": 1.1}, {"size_px": 63}])
def test_a_setting_out_of_range_is_named_and_nothing_is_written(change, tmp_path, capsys):
    ((name, value),) = change.items()
    arguments = ["--out", str(tmp_path / "set"), "--train", "10", "--test", "10"]
    assert main([*arguments, f"--{name.replace('_', '-')}", str(value)]) == 1
    said = capsys.readouterr().err
    assert name in said and str(value) in said and not (tmp_path / "set").exists()


def test_a_folder_with_other_files_and_a_file_are_refused(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    for place in (tmp_path, tmp_path / "notes.txt"):
        with pytest.raises(DataError, match=str(place)):
            write.write_dataset(place, 20, 10, **SMALL)


def test_the_command_says_where_the_set_is(tmp_path, capsys):
    arguments = ["--train", "12", "--test", "40", "--out", str(tmp_path), "--size-px", "64"]
    assert main(arguments) == 0
    assert str(tmp_path) in capsys.readouterr().out
    assert len(pd.read_csv(tmp_path / "hidden_test_labels.csv", dtype={"id": str})) == 40
