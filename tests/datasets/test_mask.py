"""The pixels of a mask are all that is seen of an image, by every step and every map."""

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from helpers import runs
from helpers.datasets import DataError, cache
from helpers.datasets.cache import open_cache
from helpers.datasets.decoding import cut, marked_by
from helpers.datasets.sources import mask_of
from helpers.deploy import predictor
from helpers.explain.maps import make_subject
from helpers.models import backbones
from helpers.models.backbones import Facts
from helpers.models.weights import find_weights
from helpers.runs import settings
from helpers.training import patchcore
from tests import small_run
from tests.conftest import split_of
from tests.datasets.test_cache import TURNED, noise, save, table_of
from tests.deploy_run import small_models
from tests.small_run import FINETUNING, OPTIONS, run_split

RING = np.hypot(*np.mgrid[-20:20, -20:20]) < 15  # a disc of 40 x 40 pixels; its box is 29 x 29


@pytest.fixture
def mask(tmp_path):
    """The file of a mask that marks a disc in images of 40 x 40 pixels."""
    return save(tmp_path / "mask.png", RING.astype(np.uint8) * 255)


def rectangle(folder, shape, x, y, width, height):
    """Return a mask for images of a shape, in which a rectangle counts."""
    white = np.zeros(shape, np.uint8)
    white[y : y + height, x : x + width] = 255
    return mask_of(given(mask=str(save(folder / "rectangle.png", white))))


def given(**values):
    return settings.resolve("01_data_split", "smoke", values)


def test_a_rectangular_mask_gives_the_cache_of_images_that_were_cropped_before(tmp_path):
    deep = noise(1, 30, 50, high=1000, dtype=np.uint16)
    whole = [save(tmp_path / "gray.png", noise(0, 30, 50)), save(tmp_path / "deep.png", deep)]
    whole.append(save(tmp_path / "turned.png", noise(2, 50, 30, 3), exif=TURNED))  # upright 30 x 50
    (folder := tmp_path / "cropped").mkdir()
    parts = noise(0, 30, 50), deep, np.rot90(noise(2, 50, 30, 3), -1)
    cropped = [
        save(folder / path.name, np.ascontiguousarray(part[4:14, 7:27]))
        for path, part in zip(whole, parts, strict=True)
    ]
    first, second = (rectangle(tmp_path, (30, 50), 7, 4, 20, height) for height in (10, 11))
    found = open_cache(table_of(*whole), 8, tmp_path / "a", mask=first)
    expected = open_cache(table_of(*cropped), 8, tmp_path / "b")
    np.testing.assert_array_equal(found.pixels, expected.pixels)
    pd.testing.assert_frame_equal(found.table, expected.table)  # hash, mean, size, digest
    assert found.mask == first and "MASK" in found.report
    other = open_cache(table_of(*whole), 8, tmp_path / "a", mask=second)
    assert other.digest != found.digest and not np.array_equal(other.pixels, found.pixels)


@pytest.mark.parametrize("shape", [(40, 40), (40, 40, 3)])
def test_what_is_outside_of_a_mask_changes_nothing_and_becomes_the_mean_of_the_inside(mask, shape):
    text, one, other = mask_of(given(mask=str(mask))), noise(0, *shape), noise(1, *shape)
    other[RING] = one[RING]
    found, box = cut(one, text), RING[6:35, 6:35]
    np.testing.assert_array_equal(found, cut(other, text))
    np.testing.assert_array_equal(found[box], one[RING])
    assert found.shape[:2] == box.shape == (29, 29)
    mean = one[RING].mean(axis=0)
    np.testing.assert_allclose(found[~box], np.broadcast_to(mean, found[~box].shape), atol=0.51)


def test_a_mask_of_another_size_is_named_with_the_image_and_the_sizes(tmp_path, mask):
    image = save(tmp_path / "part.png", noise(0, 40, 30))
    text = mask_of(given(mask=str(mask)))
    words = "30 x 40 pixels, but MASK has 40 x 40"
    with pytest.raises(DataError) as error:
        open_cache(table_of(image), 8, tmp_path / "cache", mask=text)
    assert str(image) in str(error.value) and words in str(error.value)
    model = small_models(1)[0]
    model.facts = Facts(mask=text)
    opened = predictor.Opened([model], [], model.facts, None, "")
    (reason,) = predictor.TrainedModel(opened).predict(str(image)).reason
    assert words in reason


def test_pixels_outside_of_the_mask_do_not_decide_how_deep_images_are_scaled(tmp_path):
    deep = noise(0, 50, 30, high=1000, dtype=np.uint16)
    glare = deep.copy()
    glare[0] = 60_000  # the last column of the upright image
    paths = [save(tmp_path / f"{n}.png", p, exif=TURNED) for n, p in enumerate((deep, glare))]
    found = open_cache(
        table_of(*paths), 8, tmp_path / "cache", mask=rectangle(tmp_path, (30, 50), 0, 0, 40, 30)
    )
    assert found.bits == 10 and cache.depth_of(paths) == 16
    np.testing.assert_array_equal(*found.pixels)


def test_masks_that_mark_nothing_or_all_are_refused(tmp_path, mask):
    black = save(tmp_path / "black.png", np.full((40, 30), 127, np.uint8))
    clear = np.full((40, 30, 4), 255 * (np.arange(4) < 3), np.uint8)  # white, and transparent
    (text := tmp_path / "text.png").write_text("no image")
    white = save(tmp_path / "white.png", np.full((40, 30), 128, np.uint8))
    marks = {black: "marks none of 30 x 40 pixels", white: "marks all of 30 x 40 pixels"}
    marks[save(tmp_path / "clear.png", clear)] = "marks none of 30 x 40 pixels"
    for path, words in (marks | {text: "cannot be read"}).items():
        with pytest.raises(DataError, match=words) as error:
            mask_of(given(mask=str(path)))
        assert str(path) in str(error.value)


def test_a_trained_network_reads_files_arrays_and_pictures_inside_of_its_mask_alone(tmp_path, mask):
    one = noise(0, 40, 40)
    (other := one.copy())[~RING] = 0
    model = small_models(1)[0]
    model.facts = Facts(mask=mask_of(given(mask=str(mask))))
    backbones.save_model(tmp_path / "seed0.safetensors", model)
    trained = predictor.TrainedModel(predictor.open_model([tmp_path / "seed0.safetensors"]))
    found = trained.predict([str(save(tmp_path / "a.png", one)), Image.fromarray(one), other])
    assert found.score.nunique() == 1 and found.score.notna().all()
    seen, *_ = trained.read(one)
    inside = cache.inside(model.facts.mask, 32, "squash")
    heat = trained.bad_map(seen, 0.9)
    assert heat.any() and not heat[~inside].any()
    assert inside.mean() == pytest.approx(RING[6:35, 6:35].mean(), abs=0.02)


def test_patchcore_and_the_maps_ignore_patches_outside_of_the_mask(tmp_path, parts_folder, mask):
    split, text = split_of(parts_folder), mask_of(given(mask=str(mask)))
    images = open_cache(split, 128, tmp_path / "cache", mask=text)
    found = patchcore.fit(find_weights("efficientnet_lite2"), images, split, share=0.1, seed=0)
    counted = found.network.inside
    assert counted.shape == (16, 16) and not counted[1, 1] and counted[8, 8] and counted[1, 8]
    assert found.patches == 27 * int(counted.sum())
    parts = pd.DataFrame({"id": split.id[:2], "label": [0, 1], "defect_score": [0.1, 0.9]})
    heat = make_subject(found.network, images, parts, 0.5).maps(parts.id, 1)
    assert heat[:, 64, 64].all() and not heat[:, ~torch.from_numpy(images.inside)].any()
    torch.manual_seed(0)
    cnn = backbones.build(backbones.spec_of("cnn", 2, 128, images.channels))
    maps = make_subject(cnn, images, parts, 0.5).maps(parts.id, 1)
    assert maps.any() and not maps[:, ~torch.from_numpy(images.inside)].any()


def test_mask_and_fit_of_notebook_01_are_those_of_all_later_notebooks(tmp_path, home, mask):
    small_run.write_images(tmp_path / "parts")
    size = Image.open(next((tmp_path / "parts").rglob("*.*"))).size
    drawn = Image.open(mask).resize(size)
    drawn.save(mask)
    assert run_split(tmp_path / "parts", "-p", f"MASK={mask}", "-p", "FIT=pad") == 0
    mask.unlink()  # the run keeps it
    images = runs.open(FINETUNING, OPTIONS).images(16)
    assert images.fit == "pad"
    marked = marked_by(images.mask)
    np.testing.assert_array_equal(marked, np.asarray(drawn) > 127)
    assert 0 < images.inside.mean() < 1
