"""Lots that are unlike those behind the thresholds, by their images, in words."""

import numpy as np
import pandas as pd
import pytest
from scipy import ndimage

from helpers.core import files
from helpers.datasets.cache import ImageCache
from helpers.deploy import lots
from helpers.models.record import Model
from helpers.results.predictions import Scored

SIZE, PARTS, LOTS = 32, 12, 24


def part(rng: np.random.Generator, gray: float) -> np.ndarray:
    """Return a noisy image with a bright square in the middle."""
    image = np.full((SIZE, SIZE), gray)
    image[8:24, 8:24] += 40
    return (image + rng.normal(0, 4, image.shape)).clip(0, 255).round().astype(np.uint8)[..., None]


def sums(pixels: list[np.ndarray], score: float, name: str) -> pd.DataFrame:
    """Return the sums of one lot."""
    table = pd.DataFrame([lots.look(image) for image in pixels], columns=lots.Look._fields)
    return lots.sums(table, pd.Series(score, table.index), pd.Series(name, table.index))


@pytest.fixture
def reference(tmp_path):
    """A model's folder with the lots of its held-out images, and one more that is too small."""
    rng = np.random.default_rng(0)
    pixels = [part(rng, gray) for gray in rng.uniform(110, 130, LOTS) for _ in range(PARTS)]
    ids = [str(number) for number in range(len(pixels))]
    images = ImageCache(np.stack(pixels), pd.DataFrame({"id": ids}), "")
    group = np.repeat([f"lot{number}" for number in range(LOTS)], PARTS).astype(object)
    group[:3], group[-1] = "small", None
    scores = rng.uniform(0.1, 0.3, len(ids))
    val = pd.DataFrame({"id": ids, "label": 0, "defect_score": scores, "group": group})
    scored = Scored(Model("net"), val, val[:0])
    looks = lots.looks_of(images, images.table[::-1])
    lots.save_reference(tmp_path / lots.NAME, scored, looks)
    return lots.read_reference(tmp_path)


def test_the_reference_holds_each_lot_of_ten_parts_and_more(reference):
    # three images of lot0 are in the lot that is too small, and the last one is in no lot
    assert {*reference.index} == {f"lot{number}" for number in range(1, LOTS)}
    assert reference.parts.loc["lot23"] == PARTS - 1 and reference.parts.loc["lot5"] == PARTS


@pytest.mark.parametrize(
    ("change", "score", "words"),
    [
        (lambda image: image, 0.2, ""),
        (lambda image: np.maximum(image, 60) - 60, 0.2, "darker than every lot before: mean gray"),
        (lambda image: ndimage.gaussian_filter(image, (2, 2, 0)), 0.2, "less sharp than every lot"),
        (lambda image: np.roll(image, 4, axis=1), 0.2, "further right than every lot"),
        (lambda image: np.roll(image, -4, axis=0), 0.2, "further up than every lot"),
        (lambda image: image, 0.9, "higher in score than every lot before: 0.9, before 0.1"),
    ],
)
def test_a_lot_that_was_changed_is_named_with_the_reason(reference, change, score, words):
    rng = np.random.default_rng(1)
    new = sums([change(part(rng, 120)) for _ in range(PARTS)], score, "lots/today")
    said = lots.sentences(reference, new)
    if not words:
        assert said == ["Lots: 1 like the 23 behind the thresholds"]
    else:
        assert said[0].startswith("UNLIKE THE LOTS BEFORE: lots/today: ") and words in said[0]


def test_what_cannot_be_compared_is_said(reference):
    new = sums([part(np.random.default_rng(1), 120)] * 9, 0.2, "few")
    assert lots.sentences(reference, new) == ["Lots: 1 too small to compare (fewer than 10 parts)"]
    assert lots.sentences(None, new) == []  # single parts
    assert "18 are known" in lots.sentences(reference[:18], new)[0]
    assert lots.sentences(reference, new[:0]) == []


def test_the_look_is_that_of_a_calculation_by_hand():
    image = np.zeros((4, 4, 3), dtype=np.uint8)
    image[1, 2] = 0, 90, 150  # a gray value of 80
    look = lots.look(image)
    assert np.expm1(look.brightness) == pytest.approx(80 / 16)
    spread = np.sqrt(80**2 / 16 - 5**2)
    assert np.expm1(look.contrast) == pytest.approx(spread)
    laplace = (4 * 80 + 4 * 80) / 16  # the pixel, and its four neighbours
    assert look.sharpness == pytest.approx(np.log1p(laplace) - np.log1p(spread))
    assert look.across == pytest.approx((80 * 62.5 + 16 * 50) / 96)
    assert look.down == pytest.approx((80 * 37.5 + 16 * 50) / 96)


@pytest.mark.parametrize("content", [[], {"lots": ["a"], "sums": {"parts": [3]}}, {"sums": {}}])
def test_a_damaged_reference_is_named(tmp_path, content):
    files.save_json(tmp_path / lots.NAME, content)
    with pytest.raises(files.ArtifactError, match=lots.NAME):
        lots.read_reference(tmp_path)
    assert lots.read_reference(tmp_path / "elsewhere") is None
