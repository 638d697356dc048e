"""The sentences of notebook 01, on tables in which the finding was planted."""

import numpy as np
import pandas as pd
import pytest

from helpers.core import metrics
from helpers.core.style import with_interval
from helpers.datasets import findings


def table(labels, **columns):
    ids = [f"i{i:03d}" for i in range(len(labels))]
    split = pd.DataFrame({"id": ids, "path": [f"all/{i}.png" for i in ids], "split": "train"})
    return split.assign(label=pd.array(labels, dtype="Int64"), **columns)


BLOCKS = np.repeat([0, 1, 0, 1], 25)
SHUFFLED = np.random.default_rng(0).permutation(BLOCKS)


def test_images_and_sides_are_counted_with_their_share_of_bad_ones():
    split = table([0, 0, 0, 1] * 10)
    split.loc[:7, "split"] = "test"
    assert findings.images(split, "bad = broken") == "40 images, 25 % of them bad; bad = broken."
    assert findings.sides(split) == "Images of each set: training 32 (25 % bad), test 8 (25 % bad)."
    split.loc[:7, "label"] = pd.NA
    split["fold"] = pd.array([pd.NA] * 8 + [0, 1] * 16, dtype="Int64")
    assert "25 % of the labelled ones bad; 8 labels are hidden" in findings.images(split, "x")
    assert findings.sides(split).endswith(
        "test 8 (labels hidden); training and validation are 2 folds."
    )


def test_one_size_and_several_sizes_are_said():
    one = pd.DataFrame({"width_px": [300, 300], "height_px": [300, 300]})
    assert findings.sizes(one, 224).startswith("All images have 300 x 300 pixels; they are kept at")
    several = one.assign(width_px=[200, 400])
    assert "200 to 400 pixels wide and 300 to 300 high" in findings.sizes(several, 224)


def test_duplicates_are_counted_by_cluster_and_leaks_are_said():
    split = table([0, 1, 0, 0, 1])
    found = split[["id", "label"]].iloc[:4].assign(cluster=[0, 0, 1, 1], two_labels=False)
    assert findings.duplicates(split, found[:0]) == ""
    text = findings.duplicates(split, found)
    assert text.startswith("4 of 5 images have a copy or a near duplicate: they form 2 clusters")
    assert text.endswith("and none of these is in two sets.")
    split.loc[0, "split"], found["two_labels"] = "test", [True, True, False, False]
    text = findings.duplicates(split, found)
    assert "and 1 of these is in two sets. 2 of the images are in a cluster with both" in text


def test_labels_in_blocks_make_neighbours_alike_and_shuffled_ones_do_not():
    text = findings.file_order(table(BLOCKS))
    assert text.startswith("Neighbouring files are alike: 97 % of the pairs share their label")
    assert "in a random order 49 % would (runs test, p < .001)" in text
    assert "not shown to be alike" in findings.file_order(table(SHUFFLED))
    assert "differ in their label" in findings.file_order(table([0, 1] * 30))


def test_files_sorted_into_a_folder_for_each_class_say_nothing():
    split = table(np.repeat([0, 1], 50))
    split["path"] = split.label.map({0: "good/", 1: "bad/"}) + split.id
    assert findings.file_order(split) == ""


def test_groups_and_kinds_with_another_share_of_bad_images_are_said():
    names = np.repeat(list("abcd"), 25)
    text = findings.groups(table(BLOCKS, group=names))
    assert "it is 0 % to 100 % in the 4 groups (chi-squared test, p < .001)" in text
    assert findings.groups(table(SHUFFLED, group=names)) == ""
    assert findings.groups(table(BLOCKS)) == findings.groups(table([0, 1], group=["a", "b"])) == ""
    kinds = findings.by_kind(table(BLOCKS, cell_type=names), "cell_type")
    assert kinds.startswith("The share of bad images depends on the cell type: a 0 %, b 100 %")
    assert "is not shown to depend" in findings.by_kind(table(SHUFFLED, kind=names), "kind")
    assert findings.by_kind(table(BLOCKS, kind="one"), "kind") == ""
    # two groups of one kind are bad, two of the other: four groups are too few to show that
    by_group = table(BLOCKS, group=names, kind=np.repeat(list("xyxy"), 25))
    text = findings.by_kind(by_group, "kind")
    assert "not shown" in text and "Kruskal-Wallis test over the groups, p = .083" in text
    half = by_group.assign(group=by_group.group.where(by_group.kind == "x"))
    assert findings.by_kind(half, "kind") == ""  # only one kind has groups


def test_doubtful_labels_are_those_between_never_and_always():
    split = table([0, 0, 1, 1], probability=[0, 0.3333, 0.6667, 1])
    text = findings.doubtful_labels(split)
    assert text.startswith("50 % of the labels are doubtful: the annotators gave 2 of 4 images")
    assert findings.doubtful_labels(split.drop(columns="probability")) == ""


@pytest.mark.parametrize(
    ("shift", "words"), [(-40, "darker"), (40, "brighter"), (0, "not shown to tell")]
)
def test_brightness_is_said_in_the_direction_in_which_the_classes_differ(shift, words):
    split = table(BLOCKS)
    values = 120 + np.tile(np.linspace(-15, 15, 25), 4) + shift * BLOCKS
    measured = pd.DataFrame({"id": split.id, "mean": values})
    text = findings.brightness(split, measured)
    assert words in text and "interval by groups" not in text
    if shift:
        assert f"a mean gray value of {120 + shift} against 120, and an AUC of 100.0" in text
    groups = np.repeat(list("abcd"), 25)
    grouped = findings.brightness(split.assign(group=groups), measured)
    assert words in grouped and "(interval by groups)" in grouped
    auc = metrics.auc_interval(BLOCKS, values * (-1) ** (shift < 0), groups)
    assert with_interval(*auc) in grouped
    hidden = split.assign(split="test")
    assert findings.brightness(hidden, measured) == ""  # test labels take no part


def test_mean_images_that_differ_somewhere_and_nowhere():
    z = np.zeros((10, 10))
    assert findings.mean_images(z).startswith(
        "Bad images differ from good ones in hardly any place"
    )
    z[0] = 5
    assert "in some places: " in findings.mean_images(z)
    assert "at 0 % of the pixels, brighter at 10 %" in findings.mean_images(z)
