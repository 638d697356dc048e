"""The benchmarks run with small sizes."""

import numpy as np
import pandas as pd
import pytest
import torch
import torch.nn.functional as F
from scipy import optimize, stats

from helpers.core import metrics
from helpers.darts.architect import Architect
from helpers.darts.supernet import Supernet
from tests.benchmarks import (
    cells,
    clock,
    out_of_fold,
    population,
    promises,
    replays,
    rows,
    search_step,
)


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


def test_a_searched_cell_is_ranked_among_random_ones_by_modules_drawn_again(monkeypatch):
    monkeypatch.setattr(population, "DRAWS", 200)
    rng = np.random.default_rng(0)
    folds = pd.DataFrame({"label": rng.integers(2, size=400), "group": np.arange(400) // 20})
    by_quality = {f"random_cell_{i}": i / 10 for i in range(10)} | {"searched": 0.55, "fbp": 5.0}
    noise = rng.normal(size=(400, 1)) + rng.normal(scale=0.05, size=(400, 12))
    scores = pd.DataFrame(noise + np.outer(folds.label, [*by_quality.values()]), columns=by_quality)
    named = folds.assign(id=[*map(str, folds.index)], groups=folds.index // 200)
    turned = scores.assign(searched=scores.searched.where(folds.index < 200, -scores.searched))
    assert population.ranks_by_fold(named, turned.set_axis(named.id)) == [5, 11]
    table = population.table(folds, scores.set_axis(map(str, folds.index)))  # ids
    row = table.set_index("training").loc["searched"]
    rank, low, high = map(int, row.across_rank.translate({ord(c): "" for c in "[],"}).split())
    assert rank == 5 and row["of"] == 11  # 6 to 9 are better
    assert 2 <= low <= 5 <= high <= 8
    assert table.training.iloc[0] == "fbp" and table.kind.iloc[0] == "fbp"
    assert row.across == metrics.roc_auc(folds.label, scores.searched)
    inside = metrics.within_group_auc(folds.label, scores.searched.to_numpy(), folds.group)
    assert row.inside == pytest.approx(inside.estimate)
    others = [100 * metrics.roc_auc(folds.label, scores[f"random_cell_{i}"]) for i in range(10)]
    test = population.against_random(table).iloc[0]
    assert test.away == pytest.approx(100 * row.across - np.mean(others))
    assert test.seen == pytest.approx(population.power(np.std(others, ddof=1), 10))
    draws = rng.normal(size=(4000, 11))  # t tests of the last against the mean of the others
    error = draws[:, :10].std(axis=1, ddof=1) * np.sqrt(1 + 1 / 10)
    t = (draws[:, 10] + population.power(1, 10) - draws[:, :10].mean(axis=1)) / error
    assert np.mean(np.abs(t) > 2.262) == pytest.approx(0.8, abs=0.05)  # t of 9 degrees


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


@pytest.mark.parametrize(("n_folds", "m"), [(2, 5), (3, 4)])
def test_the_promise_of_all_folds_is_the_worst_that_dependent_folds_can_do(n_folds, m):
    places = np.indices([m + 1] * n_folds).reshape(n_folds, -1)  # of a part in each fold
    uniform = np.vstack([own == place for own in places for place in range(m + 1)])
    program = {"A_eq": uniform, "b_eq": np.full(len(uniform), 1 / (m + 1))}
    for k in range(n_folds * (m - 1) // 2):
        worst = -optimize.linprog(-1.0 * (places.sum(axis=0) <= k), **program).fun
        asked, folds = (2 * k + n_folds) / (n_folds * m + n_folds), np.repeat(range(n_folds), m)
        promised = promises.rules(np.zeros((n_folds, folds.size + 2)), folds, asked)["cv"][0]
        assert asked == pytest.approx(promised) and worst < promised + 1e-9
        assert 2 * k % n_folds or worst == pytest.approx(promised)


def test_a_part_passes_by_all_folds_if_few_parts_are_as_low_by_the_model_of_their_fold():
    folds, scores = np.arange(10) * 3 // 10, np.random.default_rng(0).random((3, 410)).round(1)
    by_rule = promises.rules(scores, folds, 0.6)
    for part, passed in zip(range(10, 410), by_rule["cv"][1], strict=True):
        assert passed == (sum(scores[f, i] <= scores[f, part] for i, f in enumerate(folds)) <= 2)
    assert by_rule["cv"][0] == pytest.approx(7 / 13)  # k = 2; ten folds of one part: 2 k + 1 of 11
    assert promises.rules(np.zeros((10, 12)), np.arange(10), 0.3)["cv"][0] == pytest.approx(3 / 11)
    assert by_rule["one"][1].tolist() == (scores[0, 10:] < np.sort(scores[0, :4])[2]).tolist()


def test_one_fold_keeps_its_promise_all_folds_need_theirs_and_a_mean_breaks_its_own(monkeypatch):
    for name, value in (("DRAWS", 150), ("NEW", 300)):
        monkeypatch.setattr(promises, name, value)
    lda, opposed, blind = (promises.row(*promises.CASES[i]) for i in (0, -2, -1))
    for row in (lda, opposed, blind):
        assert abs(row["one_escape"] - row["one_promised"]) < 4 * row["one_escape_se"]
        assert row["cv_escape"] < row["cv_promised"]
    assert opposed["cv_escape"] > 1.5 * 150 / 3001  # k = 149: more than (k + 1) / (n + 1)
    assert blind["mean_escape"] > 2 * blind["mean_promised"]


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


@pytest.mark.parametrize("protocol", ["random", "groups"])
def test_the_table_beside_the_clock_is_that_of_the_published_scores(protocol):
    split = pd.read_csv(clock.PLACE / f"folds_{protocol}.csv")
    scores = {
        name: pd.read_csv(clock.PLACE / protocol / f"{name}.csv").set_index("id").seed0[split.id]
        for name in clock.ROWS
    }
    found = clock.table(split, {name: one.to_numpy() for name, one in scores.items()})
    known = pd.read_csv(clock.PLACE / "clock.csv").query("folds == @protocol")
    assert np.allclose(found.iloc[:, 1:], known[found.columns].iloc[:, 1:], atol=6e-5)
    assert [*found.model] == [*known.model]


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
