"""Synthetic chip images: parts, defects and masks, and the data set on the disk."""

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from helpers.datasets import DataError, chips, sources
from helpers.datasets.chips import DEFECTS, render_part, write_dataset
from helpers.datasets.settings import SplitSettings

SMALL = {"seed": 3, "size_px": 64}


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    return write_dataset(tmp_path_factory.mktemp("set") / "chips", 230, 70, **SMALL)


def test_the_mask_is_where_the_same_part_with_and_without_defect_differs():
    for index in range(25):
        good, empty, lot = render_part(7, "test", index, 0, 112)
        bad, mask, same = render_part(7, "test", index, 1, 112)
        np.testing.assert_array_equal(mask, good != bad)
        assert mask.any() and not empty.any() and lot == same
        assert (bad.shape, bad.dtype, mask.dtype) == ((112, 112), np.uint8, bool)
    for other in ((8, "test", 24), (7, "train", 24), (7, "test", 23)):  # streams of their own
        assert (render_part(*other, 0, 112)[0] != good).mean() > 0.5


@pytest.mark.parametrize("kind", DEFECTS)
def test_a_weak_defect_is_visible_and_a_strong_one_more(kind):
    def photograph(part):
        scene = chips.draw_scene(part, 112)
        return chips.expose(scene, part, np.random.default_rng(0)).astype(int)

    changed = {0.0: [], 1.0: []}  # by the strength: pixels of 112 x 112
    for seed in range(12):
        part = chips.draw_parameters(np.random.default_rng(seed))
        for strength, pixels in changed.items():
            bad = DEFECTS[kind](part, np.random.default_rng(seed), strength)
            pixels.append((abs(photograph(bad) - photograph(part)) > 12).sum())
    assert min(changed[0.0]) >= 4 and sum(changed[1.0]) > 1.3 * sum(changed[0.0])


def test_layout_class_ratio_and_csv_files_are_the_contests_and_bad_parts_have_masks(written):
    names = ("train/good_0", "train/bad_1", "test/all_tests", "masks/train", "masks/test")
    assert [len(list((written / name).iterdir())) for name in names] == [207, 23, 70, 23, 7]
    names = sorted(p.stem for p in (written / "test/all_tests").iterdir())
    sample = pd.read_csv(written / "sample_submission.csv")
    assert list(sample) == ["id", "defect_score"] and sample.id.tolist() == names
    labels = pd.read_csv(written / chips.HIDDEN_LABELS)
    assert set(labels.id[labels.label == 1]) == {p.stem for p in (written / "masks/test").iterdir()}
    parts = chips.list_parts(230, 70, 3, 0.1)
    ranks = parts.id.rank().groupby([parts.split, parts.label]).mean() / 300
    assert parts.id.is_unique and ranks["train"].sub(0.5).abs().max() < 0.18  # of 23, chance: 0.06
    for part in parts.iloc[::50].itertuples():
        image, mask, _ = render_part(3, part.split, part[2], part.label, 64)
        (path,) = written.glob(f"{part.split}/*/{part.id}.bmp")
        np.testing.assert_array_equal(np.asarray(Image.open(path)), image)
        masks = [np.asarray(Image.open(p)) for p in written.glob(f"masks/*/{part.id}.png")]
        assert len(masks) == part.label and all((found == mask).all() for found in masks)


def test_a_finished_set_stays_and_other_settings_and_files_are_refused(
    written, monkeypatch, tmp_path
):
    monkeypatch.setattr(chips, "render_part", None)
    write_dataset(written, 230, 70, **SMALL)
    with pytest.raises(DataError, match=str(written)):
        write_dataset(written, 231, 70, **SMALL)
    (tmp_path / "notes.txt").write_text("mine")
    for place in (tmp_path, tmp_path / "notes.txt"):
        with pytest.raises(SystemExit, match=str(place)):
            chips.main(["--out", str(place), "--train", "20"])


def test_chips_are_drawn_once_and_called_synthetic_and_have_lots(home, monkeypatch):
    monkeypatch.setattr(chips, "DEFAULT_COUNTS", (20, 5))
    for _ in range(2):
        source = sources.load(SplitSettings(dataset="chips"))
        assert source.name == "chips" and "synthetic" in source.attribution
        assert len(source.table) == 25 and source.table.group.notna().all()
        monkeypatch.setattr(chips, "write_dataset", None)
