"""t-SNE maps, and measures of how well embeddings separate the classes."""

import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import make_blobs
from sklearn.manifold import trustworthiness

from helpers.explain import tsne
from helpers.training.inference import Features


def two_clouds(n=200, dimensions=60, distance=8.0, seed=0):
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % 2
    x = rng.normal(size=(n, dimensions))
    x[:, 0] += distance * labels
    return x.astype(np.float32), labels


def test_the_map_keeps_two_clouds_apart_and_neighbours_together():
    x, labels = two_clouds()
    plane = tsne.tsne(x, seed=0)
    assert plane.shape == (200, 2)
    np.testing.assert_array_equal(plane, tsne.tsne(x, seed=0))
    assert tsne.separation(plane, labels)["label_agreement"] > 0.97
    blobs, _ = make_blobs(n_samples=200, centers=8, n_features=10, random_state=0)
    assert trustworthiness(blobs, tsne.tsne(blobs), n_neighbors=15) > 0.95
    assert not tsne.tsne(np.ones((20, 4), np.float32)).any()  # of a network that has collapsed


def test_label_and_chance_agreement_by_hand():
    # On a line: the nearest two of 0 are 1 and 2, of 1: 0 and 2, of 2: 1 and 0, of 9: 2 and 1.
    x, labels = [[0.0], [1.0], [2.1], [9.0]], [0, 0, 1, 1]
    found = tsne.separation(x, labels, k=2)
    each = np.array([0.5, 0.5, 0, 0.5])
    assert found["label_agreement"] == pytest.approx(each.mean())
    assert found["agreement_error"] == pytest.approx(each.std() / 2)
    # A part is not its own neighbour, even beside its copy.
    pairs = tsne.separation([[0.0], [0.0], [1.0], [1.0]], [0, 1, 0, 1], k=1)
    assert pairs["label_agreement"] == pairs["agreement_error"] == 0
    # Each of the three 0s meets two 0s among the three others, the 1 meets none.
    chance = tsne.separation(x, [0, 0, 0, 1])["chance_agreement"]
    assert chance == pytest.approx((3 * 2 / 3) / 4)


def test_separation_is_measured_before_and_after_for_training_and_validation_parts():
    near, labels = two_clouds(n=240, distance=0.0)
    far, _ = two_clouds(n=240, distance=20.0)
    split = pd.DataFrame({"id": [f"p{i}" for i in range(240)], "label": labels})
    split["split"] = np.repeat(["train", "val", "test"], [120, 80, 40])
    split["group"] = split.label.map({0: "even", 1: "odd"})
    order = np.random.default_rng(0).permutation(240)  # features in another order than the split
    ids = split.id.to_numpy(dtype=str)[order]
    features = {"pretrained": Features(ids, near[order]), "fine-tuned": Features(ids, far[order])}
    mapped = tsne.before_and_after(features, split)
    table = pd.DataFrame([m.row for m in mapped]).set_index(["side", "embedding"])
    assert list(table.index) == [(side, kind) for side in ("train", "val") for kind in features]
    assert table.images.tolist() == [120, 120, 80, 80]
    for side in ("train", "val"):
        before, after = table.loc[(side, "pretrained")], table.loc[(side, "fine-tuned")]
        assert before.label_agreement == pytest.approx(0.5, abs=0.06)
        assert after.label_agreement == after.group_agreement == 1
        assert after.chance_agreement == pytest.approx(0.5, abs=0.01)


def test_of_a_large_side_some_parts_are_drawn_and_a_small_one_is_left_out(monkeypatch, capsys):
    monkeypatch.setattr(tsne, "MOST_PARTS", 60)
    split = pd.DataFrame({"split": ["train"] * 80 + ["val"] * 6, "label": [0, 1] * 43})
    split["id"] = [f"{i:03d}" for i in split.index]
    same = Features(split.id.to_numpy(dtype=str), two_clouds(n=86)[0])
    mapped = tsne.before_and_after({"pretrained": same, "fine-tuned": same}, split)
    assert [(m.row["side"], len(m.labels)) for m in mapped] == [("train", 60)] * 2
    said = capsys.readouterr().out
    assert "60 of the 80 training parts" in said and "6 validation parts are too few" in said
