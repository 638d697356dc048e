from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from helpers.datasets import decoding


def save(path: Path, pixels: np.ndarray) -> Path:
    Image.fromarray(pixels).save(path)
    return path


def noise(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)


@pytest.mark.parametrize(
    ("largest", "bits"),
    [(1, 1), (1.02, 2), (200, 8), (900, 10), (4095, 12), (4096, 14), (65535, 16), (65535.5, 17)],
)
def test_the_bits_of_a_camera_are_the_fewest_that_hold_the_largest_value(largest, bits):
    assert decoding.bits_for(largest) == bits
    assert largest <= 2**bits - 1


def test_the_bits_of_a_set_are_those_of_its_brightest_deep_image_wherever_it_is(tmp_path):
    paths = []
    for number in range(150):
        deep = np.full((4, 4), 3500 if number == 100 else 900, np.uint16)
        paths.append(save(tmp_path / f"{number}.png", deep))
    assert decoding.depth_of(paths).bits == 12
    assert decoding.depth_of(paths[:100]).bits == 10
    for shallow in ([], [save(tmp_path / "8.png", noise(4, 4))]):
        assert decoding.depth_of(shallow) == decoding.Depth(0, "")


def test_files_that_cannot_be_used_say_nothing_about_the_bits_of_the_others(tmp_path):
    usual = save(tmp_path / "usual.tif", np.linspace(0, 1, 64, dtype=np.float32).reshape(8, 8))
    infinite = save(tmp_path / "infinite.tif", np.full((8, 8), np.inf, np.float32))
    negative = save(tmp_path / "negative.tif", np.array([[-1.0, 9.0]], np.float32))
    (tmp_path / "text.png").write_text("no image")
    broken = [infinite, negative, tmp_path / "text.png", tmp_path / "missing.png"]
    assert decoding.depth_of([*broken, usual]).bits == 1
    for path, words in ((infinite, "are not finite"), (negative, "negative values, down to -1:")):
        with pytest.raises(ValueError, match=words):
            decoding.read_image(path, bits=16)


@pytest.mark.parametrize("suffix", ["png", "tif"])
@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
def test_deep_images_are_scaled_so_that_their_bits_fill_the_range(tmp_path, suffix, bits):
    deep = np.random.default_rng(4).integers(0, 2**bits, (12, 12)).astype(np.uint16)
    deep[0, 0], deep[0, 1] = 2**bits - 1, 0
    path = save(tmp_path / f"deep.{suffix}", deep)
    expected = deep.astype(np.float64) * 255 / (2**bits - 1)
    found = decoding.read_image(path, bits).pixels
    assert np.abs(found - expected).max() <= 0.5001 and found.max() == 255
    with pytest.raises(decoding.BitsFound, match=f"^uses {bits} bits, the scale is of 2$"):
        decoding.read_image(path, bits=2)


def test_an_image_is_gray_by_its_pixels_and_not_by_its_header(tmp_path):
    gray, colour = noise(40, 30), noise(40, 30, 3)
    as_colour = save(tmp_path / "same.png", np.repeat(gray[..., None], 3, axis=2))
    plain = save(tmp_path / "gray.bmp", gray)
    np.testing.assert_array_equal(decoding.read_image(as_colour, 0).pixels, gray)
    found = decoding.read_image(save(tmp_path / "c.png", colour), 0).pixels
    np.testing.assert_array_equal(found, colour)
    digests = {decoding.decode(path, 16, 0)[1]["digest"] for path in (as_colour, plain)}
    assert len(digests) == 1
    assert decoding.decode(tmp_path / "c.png", 16, 0)[1]["digest"] not in digests


@pytest.mark.parametrize("shape", [(40, 30), (24, 36, 3)])
def test_a_decoded_image_has_pillow_s_pixels_and_the_facts_of_the_original(tmp_path, shape):
    pixels = noise(*shape)
    image, facts = decoding.decode(save(tmp_path / "a.png", pixels), 16, 0)
    resized = Image.fromarray(pixels).resize((16, 16), Image.Resampling.BILINEAR)
    np.testing.assert_array_equal(image, np.asarray(resized))
    assert (facts["height_px"], facts["width_px"]) == shape[:2]
    expected = (pixels.mean(), pixels.std())
    assert (facts["mean"], facts["std"]) == pytest.approx(expected, rel=1e-12)
