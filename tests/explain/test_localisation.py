"""Masks of the defects, and the measures of maps against them."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.metrics import roc_auc_score

from helpers.datasets.chips import write_dataset
from helpers.explain import localisation


def test_pointing_game_by_hand():
    masks = torch.zeros(3, 2, 2, dtype=torch.bool)
    masks[:, 0, 0] = True
    maps = torch.tensor([[[9.0, 1], [1, 1]], [[1, 9], [1, 1]], [[9, 9], [1, 1]]])
    assert localisation.pointing_game(maps, masks).tolist() == [1, 0, 0.5]


def test_the_auroc_of_pixels_is_that_of_scikit_learn_and_half_without_two_kinds_of_pixels():
    maps = torch.randn(4, 6, 5).mul(2).round()  # ties
    masks = torch.rand(4, 6, 5) > 0.7
    expected = [roc_auc_score(masks[i].flatten(), maps[i].flatten()) for i in range(4)]
    assert localisation.pixel_auroc(maps, masks).tolist() == pytest.approx(expected)
    masks[0], masks[1], maps[2] = True, False, 1.0
    expected[:3] = [0.5] * 3
    assert localisation.pixel_auroc(maps, masks).tolist() == pytest.approx(expected)


def test_masks_are_found_where_the_chips_generator_writes_them(tmp_path):
    out = write_dataset(tmp_path / "chips", 8, 4, bad_fraction=0.5)
    for side, folder in (("train", "bad_1"), ("test", "all_tests")):
        images = sorted((out / side / folder).iterdir())
        masks = [localisation.find_mask(image) for image in images]
        found = [mask for mask in masks if mask]
        assert [m.stem for m in found] == [i.stem for i, m in zip(images, masks, strict=True) if m]
        assert len(found) == len(list((out / "masks" / side).iterdir())) > 0
    good = next((out / "train" / "good_0").iterdir())
    assert localisation.find_mask(good) is None


def test_a_mask_may_be_in_a_folder_of_masks_beside_the_images(tmp_path):
    image = tmp_path / "set" / "bad" / "a.png"
    assert localisation.find_mask(image) is None
    for place in ("set/masks/a.png", "set/masks/bad/a.png", "set/bad/masks/a.png"):
        mask = tmp_path / place
        mask.parent.mkdir(parents=True, exist_ok=True)
        mask.touch()
        assert localisation.find_mask(image) == mask
        mask.unlink()
    assert localisation.find_mask(Path("a.png")) is None


def test_a_hairline_survives_in_the_mask_of_a_small_image_which_is_padded_as_its_image(tmp_path):
    mask = np.zeros((200, 200), np.uint8)
    mask[:, 101] = 255
    Image.fromarray(mask).save(tmp_path / "m.png")
    small = localisation.read_mask(tmp_path / "m.png", 20, "squash")
    assert small.shape == (20, 20) and small.dtype == bool
    assert small[:, 10].all() and small.sum() == 20
    Image.fromarray(np.full((100, 200), 255, np.uint8)).save(tmp_path / "m.png")
    wide = localisation.read_mask(tmp_path / "m.png", 20, "pad")
    assert wide[5:15].all() and not wide[:5].any() and not wide[15:].any()
