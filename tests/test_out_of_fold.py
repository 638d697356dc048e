"""Scores out of fold are collected fold by fold, and no image is scored by what has seen it."""

import numpy as np
import pandas as pd
import pytest

from helpers.core import metrics
from helpers.models.spec import count_parameters
from tests.benchmarks import out_of_fold


def test_each_fold_is_scored_once_by_a_training_without_it_and_each_seed_has_a_column(
    monkeypatch, tmp_path
):
    table = pd.DataFrame({"id": [f"{i:02d}" for i in range(12)], "label": [0, 1] * 6})
    table = table.assign(path="", group="a", fold=np.arange(12) // 4)
    table = table.assign(split=np.where(table.fold == 0, "val", "train"))
    calls = []

    def score(given, seed):
        calls.append(given[given.split == "train"].id.tolist())
        scores = given[given.split == "val"].assign(defect_score=given.label + seed / 7)
        scores.attrs = {"cell": "that of the other folds"}
        return scores

    monkeypatch.setattr(out_of_fold, "protocol", lambda name: table)
    monkeypatch.setattr(out_of_fold, "published_scores", lambda: tmp_path)
    monkeypatch.setattr(out_of_fold, "ROWS", {"test": score})
    for fold in (2, 0):
        out_of_fold.complete("test", "random", 0, fold)
    scores = pd.read_csv(tmp_path / "random" / "test.csv")
    assert scores.seed0.isna().tolist() == (table.fold == 1).tolist()  # a killed run continues
    for fold in (0, 1, 2):
        out_of_fold.complete("test", "random", 0, fold)
    assert calls == [table.id[table.fold != fold].tolist() for fold in (2, 0, 1)]
    for fold in (0, 1, 2):
        out_of_fold.complete("test", "random", 1, fold)
    scores = pd.read_csv(tmp_path / "random" / "test.csv", dtype={"id": str})
    assert [*scores] == ["id", "seed0", "seed1"] and scores.id.tolist() == table.id.tolist()
    assert scores.seed0.tolist() == table.label.tolist()
    np.testing.assert_allclose(scores.seed1, table.label + 1 / 7, rtol=1e-4)
    assert len((tmp_path / "searched_cells.jsonl").read_text().splitlines()) == 6


def test_the_network_drawn_by_hand_is_as_large_as_those_of_the_cells():
    network = out_of_fold.drawn(None, 96, 1)(0)
    assert 127_818 < count_parameters(network) < 223_018


def test_plain_fine_tuning_learns_from_the_files_and_scores_those_held_out(split, monkeypatch):
    for name, value in (("PLAIN_PX", 32), ("PLAIN_RATE", 3e-3)):
        monkeypatch.setattr(out_of_fold, name, value)
    found = out_of_fold.plainly(split, 0, num_workers=0)  # a fork of this process may crash
    val = split[split.split == "val"]
    assert found.id.tolist() == val.id.tolist()
    assert metrics.roc_auc(val.label, found.defect_score) > 0.9


def test_a_row_that_does_not_exist_is_refused_and_a_backbone_at_pixels_is_one():
    for row in ("fbp2", "efficientnet_lite0@"):
        with pytest.raises(SystemExit, match=row):
            out_of_fold.main([row])
    given = out_of_fold.recipe("efficientnet_lite2@192").keywords
    assert given == {"backbone": "efficientnet_lite2", "image_size_px": 192}
