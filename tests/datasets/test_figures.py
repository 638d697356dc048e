"""What the pictures of notebook 01 show."""

import numpy as np
import pandas as pd
import pytest

from helpers.datasets import figures
from helpers.datasets.cache import ImageCache


@pytest.fixture
def images():
    """The split of 40 images in 4 groups of 10 files, and a cache in which bad ones are darker."""
    rng = np.random.default_rng(0)
    label = np.repeat([0, 1, 0, 1], 10)
    pixels = rng.integers(0, 20, (40, 6, 6, 1)) + 100 - 50 * label[:, None, None, None]
    ids = [f"i{i:02d}" for i in range(40)]
    table = pd.DataFrame({"id": ids, "mean": pixels.mean(axis=(1, 2, 3))})
    split = pd.DataFrame({"id": ids, "label": label, "split": "train"})
    split["group"] = np.repeat(list("abcd"), 10)
    return split, ImageCache(pixels.astype(np.uint8), table, "content")


def test_the_order_of_files_shows_brightness_label_and_the_borders_of_groups(images):
    split, cache = images
    figure = figures.file_order(split, cache)
    top, bottom = figure.axes
    drawn = {points.get_label(): points.get_offsets() for points in top.collections}
    assert drawn["good"][:, 0].tolist() == split.index[split.label == 0].tolist()
    np.testing.assert_allclose(drawn["bad"][:, 1], cache.table["mean"][split.label == 1])
    borders = [x for lines in bottom.collections for (x, _), _ in lines.get_segments()]
    assert sorted(borders) == [0, 10, 20, 30]
    lines = {line.get_label(): line.get_ydata() for line in bottom.get_lines()}
    assert lines["mean of the group"].tolist() == split.label.tolist()
    shuffled = split.assign(group=split.group.sample(frac=1, random_state=0).to_numpy())
    assert len(figures.file_order(shuffled, cache).axes[1].get_lines()) == 1


def test_pairs_of_near_duplicates_are_one_above_the_other_with_their_distance(images):
    split, cache = images
    pairs = pd.DataFrame({"first": [3, 0], "second": [12, 1], "bits": [8, 4]})
    figure = figures.near_duplicates(split, pairs, cache)
    shown = [ax for ax in figure.axes if ax.images]
    titles = [ax.get_title().split(",")[0] for ax in shown]
    assert titles == ["i03", "i00", "i12", "i01"]  # the pair with two labels comes first
    for row, ax in zip((3, 0, 12, 1), shown, strict=True):
        np.testing.assert_array_equal(ax.images[0].get_array(), cache.pixels[row].squeeze())
    assert [t.get_text() for ax in figure.axes for t in ax.texts] == ["8 bits", "4 bits"]
