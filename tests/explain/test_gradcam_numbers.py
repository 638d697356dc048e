"""Numbers behind the maps: drawn fairly, computed rightly, and found where they should be."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from scipy import stats

from helpers.datasets.chips.write import write_dataset
from helpers.explain import numbers as gradcam_numbers
from helpers.explain import shown as explain
from tests.explain_run import write_masks, write_run


@pytest.fixture
def shown(home, parts_folder):
    write_masks(parts_folder)
    return explain.open_model(write_run(parts_folder), "cnn")


def test_a_sample_is_half_called_good_and_half_called_bad_and_seeded():
    scores = np.linspace(0, 1, 100)
    parts = pd.DataFrame({"id": [f"p{i}" for i in range(100)], "label": 0, "defect_score": scores})
    sample = gradcam_numbers.draw_sample(parts, 0.8, 16, seed=0)
    assert sample.called.value_counts().to_dict() == {0: 8, 1: 8}
    assert sample.id.is_unique and (sample.called == (sample.defect_score >= 0.8)).all()
    again, other = (gradcam_numbers.draw_sample(parts, 0.8, 16, seed=s) for s in (0, 1))
    assert again.id.tolist() == sample.id.tolist() != other.id.tolist()
    # 20 are called bad: all of them, and the others fill up
    large = gradcam_numbers.draw_sample(parts, 0.8, 60, seed=0)
    assert large.called.value_counts().to_dict() == {0: 40, 1: 20}
    assert len(gradcam_numbers.draw_sample(parts, 0.8, 1000, seed=0)) == 100


def test_the_table_holds_means_chance_and_intervals_over_the_parts(shown):
    numbers = gradcam_numbers.measure(shown, 20)
    table = numbers.table.set_index(["measure", "parts"])
    assert len(table) == 7
    found = numbers.curves[1]
    for kind, sign in (("insertion", 1), ("deletion", -1)):
        own, other = (getattr(x, f"{kind}_area").numpy() for x in (found.maps, found.random))
        row = table.loc[(f"{kind} area", "called bad")]
        assert row.maps == pytest.approx(own.mean()) and row.chance == pytest.approx(other.mean())
        gains = sign * (own - other)
        assert row.gain == pytest.approx(gains.mean(), abs=1e-6)
        interval = stats.ttest_1samp(gains, 0).confidence_interval(0.95)
        assert (row.low, row.high) == pytest.approx(tuple(interval), abs=1e-5)
    row = table.loc[("energy in mask", "bad")]
    covered = numbers.masks.masks.float().mean((1, 2)).numpy()
    gains = numbers.masks.energy.values.numpy() - covered
    interval = stats.ttest_1samp(gains, 0).confidence_interval(0.95)
    assert (row.low, row.high) == pytest.approx(tuple(interval), abs=1e-5)
    assert row.chance == pytest.approx(covered.mean())
    row = table.loc[("rank correlation, random weights", "all")]
    assert row.maps == pytest.approx(numbers.correlation.mean()) and np.isnan(row.gain)


def test_a_network_that_has_learned_the_defect_points_at_it(shown):
    table = gradcam_numbers.measure(shown, 20).table.set_index(["measure", "parts"])
    pointing, energy = table.loc[("pointing game", "bad")], table.loc[("energy in mask", "bad")]
    assert pointing.maps > 0.9 and pointing.low > 0
    assert energy.maps > 3 * energy.chance
    assert table.loc[("insertion area", "called bad")].low > 0
    assert abs(table.loc[("rank correlation, random weights", "all")].maps) < 0.5


def test_a_class_that_no_part_was_called_has_no_curves(shown):
    nobody = gradcam_numbers.draw_sample(shown.parts, 2.0, 8, seed=0)
    assert set(nobody.called) == {0}
    object.__setattr__(shown, "threshold", 2.0)
    numbers = gradcam_numbers.measure(shown, 8)
    assert list(numbers.curves) == [0] and "called bad" not in set(numbers.table.parts)


def test_the_text_of_the_table_says_which_way_is_better(shown):
    numbers = gradcam_numbers.measure(shown, 8)
    text = numbers.shown_table.set_index(["Measure", "Parts"])
    assert text.loc[("deletion area", "4 called good"), "Better"] == "low"
    assert text.loc[("insertion area", "4 called good"), "Better"] == "high"
    row = numbers.table.iloc[0]
    expected = f"{row.gain:.3f} [{row.low:.3f}, {row.high:.3f}]"
    assert text.iloc[0]["Gain over chance"] == expected
    caption = gradcam_numbers.caption(shown, numbers)
    assert caption.startswith("two-layer CNN on 40 labelled test parts")
    assert "no masks" not in caption


def test_too_few_images_are_named(shown):
    with pytest.raises(ValueError, match="n_images is 3, the curves need 4 or more"):
        gradcam_numbers.measure(shown, 3)


def test_masks_lie_where_the_chips_generator_writes_them(tmp_path):
    out = write_dataset(tmp_path / "chips", 8, 4, bad_fraction=0.5, workers=1, progress=False)
    for side, folder in (("train", "bad_1"), ("test", "all_tests")):
        images = sorted((out / side / folder).iterdir())
        masks = [gradcam_numbers.find_mask(image) for image in images]
        found = [mask for mask in masks if mask]
        assert [m.stem for m in found] == [i.stem for i, m in zip(images, masks, strict=True) if m]
        assert len(found) == len(list((out / "masks" / side).iterdir())) > 0
    good = next((out / "train" / "good_0").iterdir())
    assert gradcam_numbers.find_mask(good) is None


def test_a_mask_may_lie_in_a_folder_of_masks_beside_the_images_and_nowhere_is_none(tmp_path):
    image = tmp_path / "set" / "bad" / "a.png"
    assert gradcam_numbers.find_mask(image) is None
    for place in ("set/masks/a.png", "set/masks/bad/a.png", "set/bad/masks/a.png"):
        mask = tmp_path / place
        mask.parent.mkdir(parents=True, exist_ok=True)
        mask.touch()
        assert gradcam_numbers.find_mask(image) == mask
        mask.unlink()
    assert gradcam_numbers.find_mask(Path("a.png")) is None


def test_a_hairline_survives_in_the_mask_of_a_small_image(tmp_path):
    mask = np.zeros((200, 200), np.uint8)
    mask[:, 101] = 255
    Image.fromarray(mask).save(tmp_path / "m.png")
    small = gradcam_numbers.read_mask(tmp_path / "m.png", 20)
    assert small.shape == (20, 20) and small.dtype == bool
    assert small[:, 10].all() and small.sum() == 20
