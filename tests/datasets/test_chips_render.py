"""Synthetic chip images: parts, defects and masks."""

import numpy as np
import pytest

from helpers.datasets.chips import draw
from helpers.datasets.chips.draw import DEFECTS, render_part


def photograph(part, size_px=112):
    scene = draw.draw_scene(part, size_px)
    return draw.expose(scene, part, np.random.default_rng(0)).astype(int)


def test_an_image_depends_on_its_arguments_and_not_on_what_was_drawn_before():
    first = render_part(0, "train", 5, 1, 112)
    for other in ((1, "train", 5), (0, "test", 5), (0, "train", 6)):
        assert (render_part(*other, 1, 112)[0] != first[0]).mean() > 0.5
    again = render_part(0, "train", 5, 1, 112)
    assert (first[0] == again[0]).all() and (first[1] == again[1]).all() and first[2] == again[2]


def test_the_mask_is_where_the_same_part_with_and_without_defect_differs():
    for index in range(25):
        good, empty, good_info = render_part(7, "test", index, 0, 112)
        bad, mask, bad_info = render_part(7, "test", index, 1, 112)
        np.testing.assert_array_equal(mask, good != bad)
        assert mask.any() and not empty.any()
        assert (bad.shape, bad.dtype, mask.dtype) == ((112, 112), np.uint8, bool)
        same = {name: bad_info[name] for name in ("package", "lot")}
        assert good_info == {"defect": "", "difficulty": None, **same}
        assert bad_info["defect"] in DEFECTS and 0 <= bad_info["difficulty"] <= 1


@pytest.mark.parametrize("kind", DEFECTS)
def test_each_defect_is_visible_on_each_package_even_when_weakest(kind):
    for package in draw.PACKAGES:
        parts = (draw.draw_parameters(np.random.default_rng(i)) for i in range(1000))
        part = next(part for part in parts if part.package.name == package.name)
        good, changed = photograph(part), []
        for seed in range(4):
            bad = DEFECTS[kind][1](part, np.random.default_rng(seed), 0.0)
            changed.append((abs(photograph(bad) - good) > 12).sum())
        assert max(changed) >= 8, package.name  # of 112 x 112 pixels


@pytest.mark.parametrize("kind", sorted(set(DEFECTS) - set(draw.UNMISSABLE)))
def test_a_strong_defect_changes_more_than_a_weak_one(kind):
    changed = {0.0: 0, 1.0: 0}  # by the strength
    for seed in range(12):
        part = draw.draw_parameters(np.random.default_rng(seed))
        good = photograph(part)
        for strength in changed:
            bad = DEFECTS[kind][1](part, np.random.default_rng(seed), strength)
            changed[strength] += abs(photograph(bad) - good).sum()
    assert changed[1.0] > 1.3 * changed[0.0]


def test_the_ground_is_dark_and_the_leads_are_bright_as_in_the_contest():
    images = np.stack([render_part(0, "train", i, 0, 112)[0] for i in range(20)])
    assert 10 < np.median(images) < 60
    assert (np.percentile(images, 99.5, axis=(1, 2)) > 140).all()
