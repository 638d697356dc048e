"""Images that are not like the training images, named by what differs."""

import numpy as np
import pytest
from PIL import Image, ImageFilter

from helpers.deploy import measures
from helpers.deploy.measures import measure, ranges, unlike


def part(seed: int, size_px: int = 64) -> Image.Image:
    """Draw a part: smooth, with a lamp that varies by a few per cent."""
    rng = np.random.default_rng(seed)
    pixels = rng.normal(128, 40, (size_px, size_px)) * rng.uniform(0.97, 1.03)
    drawn = Image.fromarray(pixels.clip(0, 255).astype(np.uint8))
    return drawn.filter(ImageFilter.GaussianBlur(1))


def measured(image: Image.Image) -> list[float]:
    return measure(np.asarray(image), *image.size)


CHANGES = {
    "darker": lambda image: image.point(lambda value: 0.8 * value),
    "brighter": lambda image: image.point(lambda value: value + 40),
    "less contrast": lambda image: image.point(lambda value: 64 + 0.5 * value),
    "more contrast": lambda image: image.point(lambda value: 2 * value - 128),
    "blurred": lambda image: image.filter(ImageFilter.GaussianBlur(2)),
    "sharper": lambda image: image.filter(ImageFilter.UnsharpMask(2, 300)),
    "narrower": lambda image: image.resize((32, 64)),
    "taller": lambda image: image.resize((64, 65)),
}


@pytest.mark.parametrize("word", CHANGES)
def test_a_changed_image_is_named_by_its_change_and_others_are_not(word):
    usual = ranges([measured(part(seed)) for seed in range(40)])
    assert sum(bool(unlike(measured(part(seed)), usual)) for seed in range(40, 140)) < 10
    named = [unlike(measured(CHANGES[word](part(seed))), usual) for seed in range(40, 60)]
    assert all(word in words for words in named)


def test_a_dark_image_is_as_sharp_and_gray_is_measured_like_equal_colours():
    image = part(0)
    usual, pixels = measured(image), np.asarray(image, dtype=np.float64)
    assert measured(image.convert("RGB")) == usual
    np.testing.assert_allclose(usual[:4], [64, 64, pixels.mean(), pixels.std()], rtol=1e-5)
    dark = measured(image.point(lambda value: 0.5 * value))
    assert abs(dark[4] - usual[4]) < 0.1 < usual[4] - measured(CHANGES["blurred"](image))[4]


def test_a_range_is_that_of_nearly_all_training_images_and_a_margin_and_needs_twenty():
    values = np.arange(1001.0)[:, None] * np.ones(5)
    assert ranges(values)["contrast"] == pytest.approx([5 - 49.5, 995 + 49.5])
    assert ranges(values[:19]) == {} and set(ranges(values[:20])) == set(measures.WORDS)
    assert unlike([1.0] * 5, {}) == unlike([], ranges(values)) == []
    line = "2 of 3 images are not like the training images: b (2), a (1)"
    assert (measures.counted(["", "a, b", "b"]), measures.counted([""])) == (line, "")
