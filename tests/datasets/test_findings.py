"""The sentences of notebook 01, on tables in which the finding was planted."""

import numpy as np
import pandas as pd

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
    assert findings.images(split, "bad = broken").startswith("40 images, 25 % of them bad")
    assert "training 32 (25 % bad), test 8 (25 % bad)" in findings.sides(split)
    split.loc[:7, "label"] = pd.NA
    split["fold"] = pd.array([pd.NA] * 8 + [0, 1] * 16, dtype="Int64")
    assert "of the 32 labelled ones" in findings.images(split, "x")
    assert "test 8 (labels hidden)" in findings.sides(split) and "2 folds" in findings.sides(split)


def test_duplicates_are_counted_by_cluster_and_leaks_are_said():
    split = table([0, 1, 0, 0, 1])
    found = split[["id", "label"]].iloc[:4].assign(cluster=[0, 0, 1, 1], two_labels=False)
    assert findings.duplicates(split, found[:0]) == ""
    assert "clusters in two sets: 0" in findings.duplicates(split, found)
    split.loc[0, "split"], found["two_labels"] = "test", [True, True, False, False]
    text = findings.duplicates(split, found)
    assert "clusters in two sets: 1" in text and "both labels: 2" in text


def test_labels_in_runs_make_neighbours_alike_and_shuffled_ones_do_not():
    text = findings.file_order(table(BLOCKS))
    assert "97 %" in text and "in a random order 49 % would (runs test, p < .001)" in text
    alike = table(BLOCKS, group=np.repeat(["module1", "module2"], 50))
    assert findings.file_order(alike) == text  # half of both modules is bad
    labels = np.repeat([0, 1] * 4 + [1], [20, 5, 5, 20, 20, 5, 5, 20, 2])
    modules = table(labels, group=np.repeat([f"module{i}" for i in range(5)], [25] * 4 + [2]))
    assert "from 20 to 80 %, so the module predicts" in findings.file_order(modules)
    mixed = table(BLOCKS, group=["day1", "day2"] * 50)
    assert findings.unit(mixed) == "group" and findings.file_order(mixed) == text
    for labels in (SHUFFLED, [0, 1] * 30):
        assert findings.file_order(table(labels)) == ""
    assert findings.file_order(table(BLOCKS).assign(split="review")) == ""
    sorted_by_class = table(np.repeat([0, 1], 50))
    folders = sorted_by_class.label.map({0: "good/", 1: "bad/"})
    assert findings.file_order(sorted_by_class.assign(path=folders + sorted_by_class.id)) == ""


def test_a_group_that_tells_the_labels_is_said_with_what_that_means_for_a_random_split():
    groups = np.repeat(list("abcd"), 25)
    text = findings.groups(table(BLOCKS, group=groups), 0.9, 0.5)
    assert "Knowing only the group, without a pixel, gives AUC 90.0" in text and "too good" in text
    assert "does not tell" in findings.groups(table(SHUFFLED, group=groups), 0.55, 0.5)
