"""The benchmarks run with small sizes."""

import numpy as np
import pandas as pd
import pytest
import torch
import torch.nn.functional as F
from scipy import stats

from helpers.darts.architect import Architect
from helpers.darts.supernet import Supernet
from tests.benchmarks import cells, out_of_fold, replays, rows, search_step


def test_a_table_continues_after_its_last_row(tmp_path, monkeypatch):
    monkeypatch.setenv("LOKY_MAX_CPU_COUNT", "1")
    computed = []

    def row(*key):
        computed.append(key)
        return [{"sum": 2}, {"sum": 0}] if key[0] == 1 else {"sum": sum(key)}

    for there in ([1], [0, 1, 2], [0, 1, 2]):
        keys = [(i, True) for i in there]
        table = rows.completed(tmp_path / "t.csv", ["i", "permuted"], keys, row)
    assert computed == [keys[1], keys[0], keys[2]] and table.to_dict("list") == {
        "i": [0, 1, 1, 2],
        "permuted": [True] * 4,
        "sum": [1, 2, 0, 3],
    }


# --- scores out of fold: no image is scored by what has seen it ---------------------------------


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


def rows_of(test, val=None):
    """A table of trainings of random cells whose AUCs are those given (cells, seeds)."""
    rows = []
    for cell, seeds in enumerate(test):
        for seed, auc in enumerate(seeds):
            for epochs, share in ((27, 1.0), (9, 0.5), (3, 0.1)):
                rows.append(("chips", f"random_{cell}", seed, epochs, auc * share, auc, 2 * epochs))
    names = [*cells.KEY, "val_auc", "test_auc", "seconds"]
    return pd.DataFrame(rows, columns=names).assign(weights=1)


def test_a_replay_pays_for_what_it_trains_and_gets_what_validation_chose(monkeypatch):
    monkeypatch.setattr(replays, "DRAWS", 4000)
    aucs = np.linspace(0.6, 0.9, 12)
    table = replays.Table(rows_of(np.stack([aucs, aucs], axis=1)))
    one = replays.replay(table)
    assert one[0] == pytest.approx([54 / 60, aucs.mean()], abs=0.005)
    without = (aucs.sum() - table.array("test_auc")[:, 2, 0]) / 11
    assert one[1:, 1] == pytest.approx(without, abs=0.01)
    assert replays.interval(one[:, 1])[3] == pytest.approx(stats.sem(aucs), rel=0.1)
    minutes, best = replays.replay(table, count=9).T
    assert minutes == pytest.approx(9 * 54 / 60) and best.mean() > 0.85
    minutes, best = replays.replay(table, kind="halving", count=9).T
    assert minutes == pytest.approx((9 * 6 + 3 * 18 + 54) / 60) and best.mean() > 0.85
    worse = -table.array("test_auc")[:, 2, 0]
    worst = replays.replay(table, worse[:, None], "proxy", 9, cost_s=60.0)
    assert worst[:, 0] == pytest.approx(1 + 3 * 54 / 60) and worst[:, 1].mean() < 0.75
    assert replays.agreement(table, worse)[0] == pytest.approx(-1.0)


def test_the_intraclass_correlation_is_the_share_of_the_variance_between_cells():
    """Shrout and Fleiss 1979, table 2: four judges, six targets: .17, or .71 by judge."""
    ratings = [[9, 2, 5, 8], [6, 1, 3, 2], [8, 4, 6, 8], [7, 1, 2, 6], [10, 5, 6, 9], [6, 2, 4, 7]]
    icc, low, high = replays.intraclass(np.array(ratings, float))
    assert icc == pytest.approx(0.166, abs=0.001)
    assert (low, high) == (pytest.approx(-0.133, abs=0.001), pytest.approx(0.723, abs=0.001))
    icc, low, high = replays.intraclass(np.array(ratings, float), same_seeds=True)
    assert icc == pytest.approx(0.715, abs=0.001)
    assert (low, high) == (pytest.approx(0.342, abs=0.001), pytest.approx(0.946, abs=0.001))


@pytest.mark.parametrize("order", [1, 2])
def test_the_plain_step_that_ours_is_timed_against_has_the_same_gradients(order):
    torch.manual_seed(0)
    net = Supernet(4, 3, 2).double()
    val, train = ((torch.randn(8, 3, 8, 8).double(), torch.arange(8) % 2) for _ in range(2))
    sgd = torch.optim.SGD(net.weight_parameters(), 0.025, momentum=0.9)
    search_step.plain_step(net, val, train, sgd, order)
    _, ours = Architect(net, F.cross_entropy, order).gradient(val, train, sgd)
    for alpha, gradient in zip(net.architecture_parameters(), ours, strict=True):
        torch.testing.assert_close(alpha.grad, gradient)
