"""Figures of the split."""

import dataclasses

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
    pixels = (rng.integers(0, 20, (40, 6, 6, 1)) + 100 - 50 * label[:, None, None, None]).astype(
        "u1"
    )
    ids = [f"i{i:02d}" for i in range(40)]
    table = pd.DataFrame({"id": ids, "mean": pixels.mean(axis=(1, 2, 3))})
    split = pd.DataFrame({"id": ids, "label": label, "split": "train"})
    split["group"], split["level"] = np.repeat(list("abcd"), 10), np.tile([0.0, 1.0], 20)
    return split, ImageCache(pixels, table, "content")


def test_class_counts_are_written_on_the_bars():
    split = pd.DataFrame({"split": ["train"] * 3 + ["val"], "label": [0, 0, 1, 1]})
    figure = figures.class_counts(split)
    texts = {t.get_text() for t in figure.axes[0].texts}
    assert {"2", "1"} <= texts
    assert [t.get_text() for t in figure.axes[0].get_xticklabels()] == ["training", "validation"]


def test_the_order_of_files_shows_brightness_label_and_the_borders_of_groups(images):
    split, cache = images
    figure = figures.file_order(split, cache)
    top, bottom = figure.axes
    drawn = {own.get_label(): own.get_offsets() for own in top.collections if own.get_label()}
    assert drawn["good"][:, 0].tolist() == split.index[split.label == 0].tolist()
    np.testing.assert_allclose(drawn["bad"][:, 1], cache.table["mean"][split.label == 1])
    borders = [x for own in bottom.collections for (x, _), _ in own.get_segments()]
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
    assert sorted(titles) == ["i00", "i01", "i03", "i12"]
    np.testing.assert_array_equal(
        shown[titles.index("i12")].images[0].get_array().squeeze(), cache.pixels[12].squeeze()
    )
    assert [t.get_text() for ax in figure.axes for t in ax.texts] == ["4 bits", "8 bits"]


def test_half_of_the_pairs_drawn_have_different_labels_if_there_are_enough(images, monkeypatch):
    monkeypatch.setattr(figures, "COLUMNS", 4)
    split, cache = images
    split = split.assign(label=pd.array([0, 1] * (len(split) // 2), dtype="Int64"))
    alike, unlike = [(i, i + 2) for i in range(6)], [(0, 1), (2, 3), (4, 5), (6, 7)]
    pairs = pd.DataFrame([*alike, *unlike], columns=["first", "second"]).assign(bits=3)
    figure = figures.near_duplicates(split, pairs, cache)
    labels = [ax.get_title().split(", ")[1] for ax in figure.axes]
    upper, lower = labels[:4], labels[4:]
    assert sum(a != b for a, b in zip(upper, lower, strict=True)) == 2
    assert figure.get_suptitle().startswith(
        "4 of 10 pairs of near duplicates have different labels"
    )


def test_mean_images_differ_at_the_place_of_a_defect_and_not_by_brightness(images):
    split, cache = images
    pixels = cache.pixels.copy()
    pixels[split.label.to_numpy() == 1, :2, :2] = 0
    cache = dataclasses.replace(cache, pixels=pixels)
    figure = figures.mean_images(*figures.class_means(split, cache))
    good, bad, difference = (ax.images[0].get_array() for ax in figure.axes[:3])
    assert good[4:, 4:].mean() - bad[4:, 4:].mean() == pytest.approx(50, abs=3)
    assert (difference[:2, :2] < -10).all() and abs(difference[4:, 4:]).max() < 4


def test_counts_by_kind_add_up_to_all_images(images):
    split, _ = images
    figure = figures.counts_by_kind(split, ["level", "group"])
    numbers = [int(text.get_text()) for text in figure.axes[0].texts]
    assert sum(numbers) == 40 and len(numbers) == 8
