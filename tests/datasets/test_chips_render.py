"""Synthetic chip images: parts, defects and masks."""

import numpy as np
import pytest

from helpers.datasets.chips.defects import DEFECTS, UNMISSABLE
from helpers.datasets.chips.parts import PACKAGES, draw_parameters
from helpers.datasets.chips.render import draw_scene, expose, render_part


def photograph(part, size_px=112):
    return expose(draw_scene(part, size_px), part, np.random.default_rng(0)).astype(int)


def part_of(package_name):
    parts = (draw_parameters(np.random.default_rng(i)) for i in range(1000))
    return next(part for part in parts if part.package.name == package_name)


def test_an_image_depends_on_its_arguments_and_not_on_what_was_drawn_before():
    first = render_part(0, "train", 5, 1, 112)
    render_part(0, "test", 9, 1, 112)
    again = render_part(0, "train", 5, 1, 112)
    np.testing.assert_array_equal(first[0], again[0])
    np.testing.assert_array_equal(first[1], again[1])
    assert first[2] == again[2]


@pytest.mark.parametrize("other", [(1, "train", 5), (0, "test", 5), (0, "train", 6)])
def test_seed_split_and_index_each_give_another_image(other):
    reference = render_part(0, "train", 5, 0, 112)[0]
    assert (render_part(*other, 0, 112)[0] != reference).mean() > 0.5


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
    for package in PACKAGES:
        part = part_of(package.name)
        good, changed = photograph(part), []
        for seed in range(4):
            bad = DEFECTS[kind][1](part, np.random.default_rng(seed), 0.0)
            changed.append((abs(photograph(bad) - good) > 12).sum())
        assert max(changed) >= 8, package.name  # of 112 x 112 pixels


@pytest.mark.parametrize("kind", sorted(set(DEFECTS) - set(UNMISSABLE)))
def test_a_strong_defect_changes_more_than_a_weak_one(kind):
    amounts = []
    for strength in (0.0, 1.0):
        amount = 0.0
        for seed in range(12):
            part = draw_parameters(np.random.default_rng(seed))
            bad = DEFECTS[kind][1](part, np.random.default_rng(seed), strength)
            amount += abs(photograph(bad) - photograph(part)).sum()
        amounts.append(amount)
    assert amounts[1] > 1.3 * amounts[0]


def test_shares_of_packages_and_of_defects_add_up_to_one():
    assert sum(p.share for p in PACKAGES) == pytest.approx(1)
    assert sum(share for share, _ in DEFECTS.values()) == pytest.approx(1)


def test_the_ground_is_dark_and_the_leads_are_bright_as_in_the_contest():
    images = np.stack([render_part(0, "train", i, 0, 112)[0] for i in range(20)])
    assert 10 < np.median(images) < 60
    assert (np.percentile(images, 99.5, axis=(1, 2)) > 140).all()
