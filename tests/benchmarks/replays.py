"""Replay search strategies on the table of cells: `python -m tests.benchmarks.replays`.

Reads cells.csv and proxies.csv (of `tests/benchmarks/proxies.py` in commit 0590aa58), and writes
replays.csv, replays.png. Every strategy ends with one
trained network, chosen by validation alone; what counts is its test AUC and all it cost, in minutes
of one core. A replay draws random cells of the table, and all its trainings have one seed; both
seeds occur equally often, and all strategies replay the same DRAWS. Errors are those of the cells
(a jackknife: each cell of the table is left out in turn), not of the two seeds. The gain over
random choice at equal cost is paired.

- random: train n random cells, keep the best on validation.
- halving: n cells at 1/9 of the epochs, the best third at 1/3, of these the best third at all
  (Jamieson and Talwalkar 2016, arXiv 1502.07943). Each training starts again.
- a proxy (`alpha of` a search, ...): score n random cells, train the best three by its score, keep
  the best on validation.
- a search: train the cells that its seeds derive; their mean.
"""

import functools
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from scipy import stats

from helpers.core import files, seeding, style
from helpers.darts.space import KINDS
from tests.benchmarks import cells

DRAWS, TRIED = 20_000, 3  # see above; cells that a proxy has trained
PROXIES = Path(__file__).with_name("proxies.csv")
COUNTS = (1, 2, 3, 6, 9, 18, 27)
VISIBLE = 2.8  # standard errors: a gain so large is seen (p < .05) in 80 of 100 tables
SEARCHES = ["search", "search_long", "search_all_channels", "search_second_order"]
SEARCHES += ["maps48", "maps48_full", "maps48_all_channels", "maps48_second_order"]
DERIVED = "cells that searches derived"
WEIGHTLESS = ("max_pool_3x3", "avg_pool_3x3", "skip_connect")
# proxies and searches that are drawn, and their words there
WORDS = {
    "alpha of search": "alpha: quick's search",
    "alpha of search_long": "alpha: 12 epochs",
    "alpha of search_all_channels": "alpha: all channels",
    "alpha of search_second_order": "alpha: second order",
    "naswot": "NASWOT",
    "synflow": "SynFlow",
    "weights": "number of weights",
    "search": "derived by quick's search",
    "search_long": "derived, 12 epochs",
    "search_all_channels": "derived, all channels",
    "search_second_order": "derived, second order",
    "search: all": "derived, all eight",
}


class Table:
    """The trainings of the task `chips`, by cell, epochs and seed."""

    def __init__(self, rows):
        rows = rows[rows.set == "chips"]
        whole = cells.EPOCHS["chips"]
        self.epochs = (whole // 9, whole // 3, whole)
        self.seeds = 2
        found = rows[rows.seed < self.seeds].set_index(["cell", "epochs", "seed"])
        complete = found.val_auc.unstack(["epochs", "seed"]).dropna().index
        self.cells = [c for c in complete if c.startswith("random_")]
        self.found = found

    def array(self, column):
        """Return (cells, lengths, seeds) of the random cells."""
        one = self.found[column].unstack("seed").unstack("epochs").loc[self.cells]
        return one.to_numpy().reshape(len(one), self.seeds, len(self.epochs)).transpose(0, 2, 1)


@functools.cache
def orders(n):
    """Return DRAWS orders of n cells: the first of a row are those that a replay draws."""
    return seeding.numpy_stream(n, "replays").random((DRAWS, n)).argsort(axis=1)


def without_each(values, drawn):
    """Return the mean of values (DRAWS, ...) and, below, those of the draws without each cell.

    Draws of a table that do not hold a cell are draws of the table without it.
    """
    n = drawn.max() + 1
    held = np.zeros((len(drawn), n), dtype=bool)
    np.put_along_axis(held, drawn, True, axis=1)
    return np.stack(
        [values.mean(axis=0), *(values[~held[:, cell]].mean(axis=0) for cell in range(n))]
    )


def replay(table, scores=None, kind="random", count=1, cost_s=0.0):
    """Return minutes and test AUC of a strategy: of all cells, and without each (1 + cells, 2)."""
    val, test, seconds = (table.array(name) for name in ("val_auc", "test_auc", "seconds"))
    drawn = tried = orders(len(val))[:, :count]
    seed, spent = np.arange(DRAWS)[:, None] % val.shape[2], cost_s
    if kind == "halving":
        for length in (0, 1):
            spent = spent + seconds[tried, length, seed].sum(axis=1)
            tried = best(tried, val[tried, length, seed], max(1, tried.shape[1] // 3))
    elif kind != "random":
        tried = best(tried, scores[tried, seed % scores.shape[1]], TRIED)
    spent = spent + seconds[tried, 2, seed].sum(axis=1)
    winner = best(tried, val[tried, 2, seed], 1)
    return without_each(np.column_stack([spent / 60, test[winner, 2, seed]]), drawn)


def best(tried, scores, count):
    """Return the `count` cells of each row with the highest scores."""
    return np.take_along_axis(tried, (-scores).argsort(axis=1, kind="stable")[:, :count], axis=1)


def gains_of_choice(table, count=9):
    """Return what the best of `count` random cells by validation gains, as `replay` does.

    First of the training that was chosen, then of the same cell trained again with the other seed.
    """
    val, test = (table.array(name)[:, 2] for name in ("val_auc", "test_auc"))
    drawn, seed = orders(len(val))[:, :count], np.arange(DRAWS)[:, None] % 2
    winner = best(drawn, val[drawn, seed], 1)
    pairs = np.hstack(
        [
            test[winner, each] - test[drawn, each].mean(axis=1, keepdims=True)
            for each in (seed, 1 - seed)
        ]
    )
    return without_each(pairs, drawn)


def interval(values):
    """Return the estimate (the first value), its 95 % ends and its error by the jackknife."""
    n = len(values) - 1
    error = np.sqrt((n - 1) / n * ((values[1:] - values[1:].mean(axis=0)) ** 2).sum(axis=0))
    arm = stats.t.ppf(0.975, n - 1) * error
    return values[0], values[0] - arm, values[0] + arm, error


def agreement(table, scores, seeds=(0, 1)):
    """Return Kendall's tau of scores and mean test AUC over cells, as `interval` does."""
    truth = table.array("test_auc")[:, 2, [*seeds]].mean(axis=1)
    rows = [slice(None), *(np.arange(len(truth)) != cell for cell in range(len(truth)))]
    return interval(np.array([stats.kendalltau(scores[r], truth[r]).statistic for r in rows]))


def intraclass(values, same_seeds=False):
    """Return the intraclass correlation of cells (rows) over seeds (columns), with 95 % ends.

    By analysis of variance (Shrout and Fleiss 1979): ICC(1, 1), or ICC(3, 1) if all cells that are
    compared have the same seed, so that what it adds to all of them does not count.
    """
    n, k = values.shape
    between = k * values.mean(axis=1).var(ddof=1)
    free = (n - 1, (n - 1) * (k - 1) if same_seeds else n * (k - 1))
    rest = values - values.mean(axis=1, keepdims=True)
    if same_seeds:
        rest = rest - rest.mean(axis=0)
    f = between / ((rest**2).sum() / free[1])
    ratios = [f, f / stats.f.ppf(0.975, *free), f * stats.f.ppf(0.975, *free[::-1])]
    return [(ratio - 1) / (ratio + k - 1) for ratio in ratios]


def proxies_of(table):
    """Return {proxy: (scores (cells, seeds), seconds for all cells)} of what is there."""
    weights = table.found.weights.groupby("cell").first().loc[table.cells].to_numpy(float)
    found = {"weights": (weights[:, None], 0.0)}
    for length, name in enumerate(("1/9 of the epochs", "1/3 of the epochs")):
        seconds = table.array("seconds")[:, length, 0].sum()
        found[name] = (table.array("val_auc")[:, length], seconds)
    for name, rows in pd.read_csv(PROXIES).groupby("proxy", sort=False):
        scores = rows.pivot_table("score", "cell", "seed").loc[table.cells].to_numpy()
        words = f"alpha of {name}" if name in SEARCHES else name
        found[words] = (scores, rows.groupby("seed").seconds.first().mean())
    return found


def step_0(rows):
    """Print the intraclass correlations of cells on each task, with their intervals."""
    for name, own in rows.groupby("set"):
        whole = own[own.epochs == cells.EPOCHS[name]]
        auc = whole.test_auc.fillna(whole.val_auc)  # the fold of ELPV's modules chooses nothing
        repeated = whole[whole.cell.isin(cells.REPEATED)].assign(auc=auc)
        repeated = repeated.pivot_table("auc", "cell", "seed").dropna(axis="columns")
        for same in (False, True) if repeated.size else ():
            icc, low, high = intraclass(repeated.to_numpy(), same)
            how = f"{repeated.shape} cells x seeds, {'the same' if same else 'any'} seed"
            print(f"{name}: {how}: {icc:.2f} [{low:.2f}, {high:.2f}]")


def searches(table):
    """Return a row for each cell that a search derived: minutes and AUC, means of its trainings."""
    done, rows = pd.read_csv(PROXIES), []
    whole = table.found.xs(table.epochs[-1], level="epochs").groupby("cell")
    for cell, own in whole[["seconds", "test_auc"]].mean().iterrows():
        name = str(cell).rpartition("_")[0]
        if name in SEARCHES:
            minutes = (done.seconds[done.proxy == name].mean() + own.seconds) / 60
            row = {"strategy": name, "cell": cell, "minutes": minutes, "auc": own.test_auc}
            rows.append(row)
    return pd.DataFrame(rows)


def main():
    """Write the table and the figure; print correlations."""
    rows = files.load_csv(cells.TABLE, cells.KEY, text=["set", "cell"])
    step_0(rows)
    table, replays = Table(rows), {}
    whole = table.array("test_auc")[:, 2]  # (cells, seeds)
    means = whole.mean(axis=1)
    print(f"{len(whole)} random cells, test AUC {means.min():.3f} to {means.max():.3f}, of seeds:")
    print(whole.mean(axis=0).round(3), [np.round(intraclass(whole, same), 2) for same in (0, 1)])
    for kind, names in (("random", table.cells), ("searched", searches(table).cell)):
        genotypes = map(cells.genotype_of, names)
        edges = [[op for kind in KINDS for op, *_ in cell.edges(kind)] for cell in genotypes]
        free = [sum(op in WEIGHTLESS for op in own) for own in edges]
        pools = [own.count("max_pool_3x3") for own in edges]
        print(f"{kind}: edges without weights {free}, max pooling {pools}")
        if kind == "random":
            for words, counts in (("edges without weights", free), ("max pooling", pools)):
                print(f"{words}: tau {agreement(table, np.array(counts))[0]:.2f}")
    chosen = np.transpose(interval(gains_of_choice(table)))
    for how, values in zip(("this", "another"), 100 * chosen, strict=True):
        print(
            f"best of nine by {how} training: {values[0]:+.1f} [{values[1]:.1f}, {values[2]:.1f}]"
        )
    other = agreement(table, table.array("test_auc")[:, 2, 0], seeds=[1])
    print(f"tau of the test AUCs of both seeds {other[0]:.2f}")
    for count in COUNTS:
        replays["random", count] = replay(table, count=count)
        if count >= 9:
            replays["halving", count] = replay(table, kind="halving", count=count)
    for name, (scores, seconds) in proxies_of(table).items():
        tau, low, high, _ = agreement(table, scores.mean(axis=1))
        print(f"{name}: tau {tau:.2f} [{low:.2f}, {high:.2f}], {seconds / 60:.1f} minutes")
        for count in (9, 27) if "epochs" not in name else ():
            replays[name, count] = replay(table, scores, name, count, seconds)
    random = np.stack([replays["random", count] for count in COUNTS], axis=1)  # (1 + N, counts, 2)
    found = []
    for (name, count), values in replays.items():
        equal = [np.interp(m, *own.T) for m, own in zip(values[:, 0], random, strict=True)]
        auc, gain = interval(values[:, 1]), interval(values[:, 1] - equal)
        found.append(
            row_of(name, count, values[0, 0], auc[0], auc[3], gain[0], gain[3], len(means) - 1)
        )
    searched = searches(table)
    for is_maps48, own in searched.groupby(searched.strategy.str.startswith("maps48")):
        test = stats.ttest_ind(own.auc, means, equal_var=False)
        gain, error = own.auc.mean() - means.mean(), np.hypot(stats.sem(own.auc), stats.sem(means))
        print(f"{len(own)} searched cells, maps48 {is_maps48}: {gain:.4f} +- {error:.4f}, {test}")
        by_search = own.groupby("strategy", sort=False)
        spread, free = np.sqrt(by_search.auc.var().mean()), len(own) - len(by_search)
        all_of_them = "maps48: all" if is_maps48 else "search: all"
        for name, cells_of in [*by_search, (all_of_them, own)]:
            minutes, auc = cells_of.minutes.mean(), cells_of.auc.mean()
            equal = interval(np.array([np.interp(minutes, *one.T) for one in random]))
            error, gain = spread / np.sqrt(len(cells_of)), auc - equal[0]
            both = np.hypot(error, equal[3])
            found.append(row_of(name, len(cells_of), minutes, auc, error, gain, both, free))
    found = pd.DataFrame(found).round(5)
    files.save_csv(Path(__file__).with_suffix(".csv"), found)
    print(found.to_string())
    draw(found, table)


def row_of(name, count, minutes, auc, auc_error, gain, gain_error, free):
    """Return a row of replays.csv, with 95 % intervals by Student's t and the visible gain."""
    arm = stats.t.ppf(0.975, free)
    row = {"strategy": name, "cells": count, "minutes": minutes}
    for words, value, error in (("auc", auc, auc_error), ("gain", gain, gain_error)):
        row |= {
            words: value,
            f"{words}_low": value - arm * error,
            f"{words}_high": value + arm * error,
        }
    return row | {"visible": VISIBLE * gain_error}


def draw(found, table):
    """Draw test AUC over minutes, a line for each strategy, and beside it the gains."""
    style.use_style()
    figure, (ax, right) = plt.subplots(1, 2, figsize=(12, 5.5), layout="constrained")
    for name, colour, marker in (("random", "0.3", "o"), ("halving", "#0173b2", "s")):
        own = found[found.strategy == name].sort_values("minutes")
        label = f"{name} ({', '.join(map(str, own.cells))} cells)"
        ax.plot(own.minutes, own.auc, marker=marker, color=colour, label=label)
        ax.fill_between(own.minutes, own.auc_low, own.auc_high, color=colour, alpha=0.15, lw=0)
    looks = {
        "halving": ("#0173b2", "s", None),  # has its line
        "derived": ("#d55e00", "D", DERIVED),
        "alpha": ("#de8f05", "^", "alpha of searches (9, 27 cells)"),
        "": ("#029e73", "v", "other scores (9, 27 cells)"),
    }
    labels, named = [], set()
    for name, words in ({"halving": "halving"} | WORDS).items():
        own = found[found.strategy == name]
        colour, marker, kind = next(
            look for start, look in looks.items() if words.startswith(start)
        )
        if kind:
            label = None if kind in named else kind
            ax.plot(own.minutes, own.auc, marker=marker, color=colour, lw=1, label=label)
            named.add(kind)
        for row in own[own.cells != 18].itertuples():
            place = -len(labels)
            labels.append(words if kind == DERIVED else f"{words}, {row.cells} cells")
            right.plot([row.gain_low, row.gain_high], [place, place], color=colour)
            right.plot(row.gain, place, marker=marker, color=colour)
    own = table.found.loc["DARTS_V2"].xs(table.epochs[-1], level="epochs")
    at = own.seconds.mean() / 60, own.test_auc.mean()
    ax.plot(*at, "k*", ms=9)
    ax.annotate("DARTS_V2 (its search not counted)", at, xytext=(8, -4), textcoords="offset points")
    style.percent_axis(ax.yaxis)
    ax.set(xscale="log", xlabel="minutes of one core, searches and trainings", ylabel="test AUC, %")
    ax.set_xticks(ticks := (2, 5, 10, 20, 50), ticks)
    ax.minorticks_off()
    figure.legend(loc="outside lower left", ncols=3, fontsize=9)
    right.axvline(0, color="0.3", lw=1)
    right.set_yticks(-np.arange(len(labels)), labels, fontsize=9)
    style.percent_axis(right.xaxis)
    right.set(xlabel="points more than random cells at equal cost, 95 %")
    figure.suptitle("Which search pays? Faint chips, replayed on a table of cells")
    figure.savefig(Path(__file__).with_suffix(".png"), dpi=110)


if __name__ == "__main__":
    main()
