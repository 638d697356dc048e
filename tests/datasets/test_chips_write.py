"""The synthetic data set on the disk: layout, names, refusals, contact sheet, command line."""

import errno
import json
import re
import signal
import subprocess
import sys
import time

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from helpers.commands import chips_score
from helpers.core.files import ArtifactError
from helpers.datasets import DataError
from helpers.datasets.chips import write
from helpers.datasets.nexperia import is_done

SMALL = {"size_px": 64}


def content(folder):
    return {p.relative_to(folder): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    return write.write_dataset(
        tmp_path_factory.mktemp("set") / "chips", 230, 70, seed=3, workers=1, **SMALL
    )


def test_layout_and_class_ratio_are_the_contests(written):
    names = ("train/good_0", "train/bad_1", "test/all_tests", "masks/train", "masks/test")
    assert [len(list((written / name).iterdir())) for name in names] == [207, 23, 70, 23, 7]
    assert {p.suffix for p in (written / "train").rglob("*.*")} == {".bmp"}
    assert "SYNTHETIC" in (written / "README.txt").read_text()
    assert not list(written.rglob("*.tmp"))


def test_sample_submission_and_hidden_labels_list_exactly_the_test_images(written):
    names = sorted(p.stem for p in (written / "test/all_tests").iterdir())
    sample = pd.read_csv(written / "sample_submission.csv")
    assert list(sample) == ["id", "defect_score"] and sample.id.tolist() == names
    labels = pd.read_csv(written / "hidden_test_labels.csv")
    assert list(labels) == ["id", "label"] and labels.id.tolist() == names
    bad = set(labels.id[labels.label == 1])
    assert bad == {p.stem for p in (written / "masks/test").iterdir()}


def test_files_hold_the_rendered_images_and_masks(written):
    items = write.list_items(write.Settings(230, 70, seed=3, size_px=64))
    for item in [i for i in items if i.label][:5] + items[:5]:
        image, mask, _ = write.render_part(3, item.split, item.index, item.label, 64)
        with Image.open(written / item.image_path) as file:
            assert (file.format, file.mode) == ("BMP", "L")
            np.testing.assert_array_equal(np.asarray(file), image)
        if item.label:
            np.testing.assert_array_equal(np.asarray(Image.open(written / item.mask_path)), mask)


def test_part_info_tells_defect_and_difficulty_of_the_bad_parts_only(written):
    rows = pd.read_csv(written / "hidden_part_info.csv")
    assert len(rows) == 300
    assert (rows.defect.notna() == (rows.label == 1)).all()
    assert (rows.difficulty.notna() == (rows.label == 1)).all()


def test_ids_are_unique_and_tell_neither_label_nor_split():
    items = write.list_items(write.Settings(3000, 1000))
    assert len({item.id for item in items}) == 4000
    rank = np.argsort(np.argsort([item.id for item in items])) / 4000
    tests = np.array([item.split == "test" for item in items])
    labels = np.array([item.label for item in items], bool)
    # Mean rank of shuffled names: 0.5, with a standard error of 0.029 for the 100 bad tests.
    for group in (tests, labels & tests, labels & ~tests):
        assert rank[group].mean() == pytest.approx(0.5, abs=0.09)


def test_the_files_are_the_same_with_one_process_and_with_two(written, tmp_path):
    other = write.write_dataset(tmp_path / "two", 230, 70, seed=3, workers=2, **SMALL)
    assert content(other) == content(written)


def test_a_set_that_was_interrupted_is_not_done_and_is_drawn_again(written, tmp_path, monkeypatch):
    out, render_part, calls = tmp_path / "cut", write.render_part, []

    def render_some(*arguments):
        calls.append(arguments)
        if len(calls) > 40:
            raise KeyboardInterrupt
        return render_part(*arguments)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(write, "render_part", render_some)
        write.write_dataset(out, 230, 70, seed=3, workers=1, **SMALL)
    assert not is_done(out)
    assert json.loads((out / "chips.json").read_text())["state"] == "writing"
    images = sorted(out.rglob("*.bmp"))
    assert len(images) == 40
    images[0].write_bytes(images[0].read_bytes()[:500])

    write.write_dataset(out, 230, 70, seed=3, workers=1, **SMALL)
    assert is_done(out)
    assert content(out) == content(written)


def test_a_full_disk_is_named(tmp_path, monkeypatch):
    def full(*given, **options):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(write, "_write_chunk", full)
    with pytest.raises(ArtifactError, match=r"set cannot be written: the disk is full"):
        write.write_dataset(tmp_path / "set", 20, 10, workers=1, **SMALL)


def test_a_killed_command_leaves_no_process_behind_and_no_set_taken_for_whole(tmp_path):
    out = tmp_path / "killed"
    command = [sys.executable, "-m", "helpers.datasets.chips", "--out", str(out)]
    command += ["--train", "20000", "--test", "10", "--size-px", "64", "--workers", "2"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    while process.poll() is None and not any(out.rglob("*.bmp")):
        time.sleep(0.05)
    process.kill()
    # Regression: workers waited for ever. The pipe closes when the last of them has ended.
    process.communicate(timeout=30)
    assert process.returncode == -signal.SIGKILL
    assert any(out.rglob("*.bmp")) and not is_done(out)


def test_a_finished_set_is_not_drawn_again(written, monkeypatch):
    before = content(written)
    monkeypatch.setattr(write, "render_part", None)
    write.write_dataset(written, 230, 70, seed=3, workers=1, **SMALL)
    assert content(written) == before


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"train": 0}, "train must be 1 or more, got 0"),
        ({"bad_fraction": 1.1}, "bad_fraction must be in 0...1, got 1.1"),
        ({"size_px": 481}, "size_px must be in 64...480, got 481"),
    ],
)
def test_a_setting_out_of_range_is_named_and_nothing_is_written(change, message, tmp_path):
    arguments = {"train": 10, "test": 10, **SMALL, **change}
    with pytest.raises(DataError, match=re.escape(message)):
        write.write_dataset(tmp_path / "set", **arguments)
    assert not (tmp_path / "set").exists()


def test_a_folder_with_other_settings_is_refused_and_left_alone(written):
    before = content(written)
    message = "has other settings: train 230 (asked: 231), seed 3 (asked: 4); delete it, or"
    with pytest.raises(DataError, match=re.escape(message)):
        write.write_dataset(written, 231, 70, seed=4, **SMALL)
    assert content(written) == before


def test_a_folder_with_other_files_a_file_and_a_broken_marker_are_refused(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(DataError, match=r"holds other files and no chips\.json"):
        write.write_dataset(tmp_path, 20, 10, **SMALL)
    with pytest.raises(DataError, match=r"notes\.txt is a file; choose another folder"):
        write.write_dataset(tmp_path / "notes.txt", 20, 10, **SMALL)
    for broken in ("{", "[]", '{"settings": 1}'):
        (tmp_path / "chips.json").write_text(broken)
        with pytest.raises(DataError, match=r"chips\.json is damaged: delete .*, or choose"):
            write.write_dataset(tmp_path, 20, 10, **SMALL)


def test_a_contact_sheet_has_a_tile_per_part_and_marks_the_bad_ones_red():
    sheet = np.asarray(write.contact_sheet(4, 2, seed=0, columns=4))
    assert sheet.shape == (26 + 2 * 170, 4 * 154, 3)
    red = (sheet[..., 0] > 200) & (sheet[..., 1] < 80)
    assert red[196 + 150 :, :308].any() and not red[:196].any() and not red[:, 308:].any()


def test_the_command_line_writes_a_set_and_names_an_error(tmp_path, capsys):
    arguments = ["--train", "12", "--test", "8", "--out", str(tmp_path / "set")]
    arguments += ["--size-px", "64", "--workers", "1"]
    assert write.main([*arguments, "--sheet", str(tmp_path / "sheet.png")]) == 0
    assert (tmp_path / "sheet.png").is_file()
    assert "12 + 8 synthetic images in" in capsys.readouterr().out
    assert write.main([*arguments, "--seed", "-2"]) == 1
    assert capsys.readouterr().err.endswith("error: seed must be 0 or more, got -2\n")


def test_a_submission_is_scored_against_the_hidden_labels(tmp_path, capsys):
    write.write_dataset(tmp_path, 12, 40, size_px=64, workers=1)
    hidden = pd.read_csv(tmp_path / "hidden_test_labels.csv", dtype={"id": str})
    sent = tmp_path / "sent.csv"
    table = hidden.assign(defect_score=0.25 + hidden.label / 2).sample(frac=1, random_state=0)
    table[["id", "defect_score"]].to_csv(sent, index=False)
    assert chips_score.main([str(sent), "--data", str(tmp_path)]) == 0
    assert capsys.readouterr().out.startswith("AUC 1.0000 [")
    table[["id", "defect_score"]].iloc[1:].to_csv(sent, index=False)
    assert chips_score.main([str(sent), "--data", str(tmp_path)]) == 1
    assert "sent.csv" in capsys.readouterr().err
    assert chips_score.main([str(sent), "--data", str(tmp_path / "none")]) == 1
    assert "only sets drawn by helpers.datasets.chips can be scored" in capsys.readouterr().err
