"""Replay search strategies on the table of cells: `python -m tests.benchmarks.replays`.

Reads cells.csv and proxies.csv, and writes replays.csv, replays.png. Every strategy ends with one
trained network, chosen by validation alone; what counts is its test AUC and all it cost, in minutes
of one core. A replay draws cells and a seed for each training. POOLS times the cells of the table
are drawn anew, with replacement, and the mean of LUCK replays is taken: the bands are the 95 %
intervals of these means, so they hold the error of cells; the gain over random search at equal cost
is paired by pool.

- random: train n random cells, keep the best on validation.
- halving: n cells at 1/9 of the epochs, the best third at 1/3, of these the best third at all
  (Jamieson and Talwalkar 2016, arXiv 1502.07943).
- a proxy (`alpha of` a search, ...): score n random cells, train the best three by its score, keep
  the best on validation.
- a search: train the cells that its seeds derive; their mean.
"""

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from scipy import stats

from helpers.core import files, seeding, style
from helpers.darts.space import OPS
from tests.benchmarks import cells, proxies

POOLS, LUCK, TRIED = 200, 40, 3  # see above; cells that a proxy has trained
COUNTS = (1, 2, 3, 6, 9, 18, 27)
WEIGHTLESS = ("max_pool_3x3", "avg_pool_3x3", "skip_connect")
WORDS = {
    "search": "DARTS: PC-DARTS, first order, 5 epochs",
    "search_long": "the same, 16 epochs",
    "search_all_channels": "first order, all channels, 5 epochs",
    "search_second_order": "PC-DARTS, second order, 5 epochs",
    "single_path": "single-path supernet (9, 27 cells)",
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


def replay(table, scores=None, kind="random", count=1, cost_s=0.0):
    """Return minutes and test AUC of a strategy, by pool: (POOLS, 2)."""
    val, test, seconds = (table.array(name) for name in ("val_auc", "test_auc", "seconds"))
    found = np.empty((POOLS, LUCK, 2))
    for pool, one in np.ndindex(POOLS, LUCK):
        if not one:
            own = seeding.numpy_stream(pool, "pool of cells").choice(len(val), len(val))
            rng = seeding.numpy_stream(pool, f"replays {kind} {count}")
        tried = rng.choice(own, count, replace=False)
        seed, spent = rng.integers(val.shape[2]), cost_s
        if kind == "halving":
            for length in (0, 1):
                spent += seconds[tried, length, seed].sum()
                best = np.argsort(-val[tried, length, seed], kind="stable")
                tried = tried[best[: max(1, len(tried) // 3)]]
        elif kind != "random":
            tried = tried[np.argsort(-scores[tried, rng.integers(scores.shape[1])])[:TRIED]]
        spent += seconds[tried, 2, seed].sum()
        winner = tried[val[tried, 2, seed].argmax()]
        found[pool, one] = spent / 60, test[winner, 2, seed]
    return found.mean(axis=1)


def gains_of_choice(table, count=9):
    """Return what the best of `count` random cells by validation gains, by pool: (POOLS, 2).

    First of the training that was chosen, then of the same cell trained again with the other seed.
    """
    val, test = (table.array(name)[:, 2] for name in ("val_auc", "test_auc"))
    found = np.empty((POOLS, LUCK, 2))
    for pool, one in np.ndindex(POOLS, LUCK):
        if not one:
            own = seeding.numpy_stream(pool, "pool of cells").choice(len(val), len(val))
            rng = seeding.numpy_stream(pool, "gains of choice")
        tried, seed = rng.choice(own, count, replace=False), rng.integers(2)
        best, seeds = tried[val[tried, seed].argmax()], [seed, 1 - seed]
        found[pool, one] = test[best, seeds] - test[own][:, seeds].mean(axis=0)
    return found.mean(axis=1)


def agreement(table, scores, seeds=(0, 1)):
    """Return Kendall's tau of scores and mean test AUC over cells, with a 95 % interval."""
    truth = table.array("test_auc")[:, 2, [*seeds]].mean(axis=1)
    rng = seeding.numpy_stream(0, "tau")
    taus = [stats.kendalltau(scores, truth).statistic]
    for _ in range(POOLS):
        rows = rng.choice(len(truth), len(truth))
        taus.append(stats.kendalltau(scores[rows], truth[rows]).statistic)
    return taus[0], *np.nanquantile(taus[1:], [0.025, 0.975])


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
    if proxies.TABLE.exists():
        for name, rows in pd.read_csv(proxies.TABLE).groupby("proxy", sort=False):
            scores = rows.pivot_table("score", "cell", "seed").loc[table.cells].to_numpy()
            words = f"alpha of {name}" if name in proxies.SEARCHES else name
            found[words] = (scores, rows.groupby("seed").seconds.first().mean())
    return found


def step_0(rows):
    """Print the intraclass correlations of cells on each task, with their intervals."""
    for name, own in rows.groupby("set"):
        whole = own[own.epochs == cells.EPOCHS[name]]
        repeated = whole[whole.cell.isin(cells.REPEATED)].pivot_table("test_auc", "cell", "seed")
        repeated = repeated.dropna(axis="columns")
        for same in (False, True):
            icc, low, high = intraclass(repeated.to_numpy(), same)
            how = f"{repeated.shape} cells x seeds, {'the same' if same else 'any'} seed"
            print(f"{name}: {how}: {icc:.2f} [{low:.2f}, {high:.2f}]")


def searches(table):
    """Return a row for each cell that a search derived: minutes and AUC, means of its trainings."""
    done, rows = pd.read_csv(proxies.TABLE), []
    whole = table.found.xs(table.epochs[-1], level="epochs").groupby("cell")
    for cell, own in whole[["seconds", "test_auc"]].mean().iterrows():
        name = str(cell).rpartition("_")[0]
        if name in proxies.SEARCHES:
            minutes = (done.seconds[done.proxy == name].mean() + own.seconds) / 60
            row = {"strategy": name, "cell": cell, "minutes": minutes, "auc": own.test_auc}
            rows.append(row)
    return pd.DataFrame(rows)


def main():
    """Write the table and the figure; print correlations."""
    rows = files.load_csv(cells.TABLE, cells.KEY, text=["set", "cell"])
    step_0(rows)
    table, by_pool = Table(rows), {}
    whole = table.array("test_auc")[:, 2]  # (cells, seeds)
    means = whole.mean(axis=1)
    print(f"{len(whole)} random cells, test AUC {means.min():.3f} to {means.max():.3f}, of seeds:")
    print(whole.mean(axis=0).round(3), [np.round(intraclass(whole, same), 2) for same in (0, 1)])
    for kind, names in (("random", table.cells), ("searched", searches(table).cell)):
        edges = [[op for _, _, op in proxies.edges_of(cell)] for cell in names]
        free = [sum([*OPS][op] in WEIGHTLESS for op in own) for own in edges]
        pools = [own.count([*OPS].index("max_pool_3x3")) for own in edges]
        print(f"{kind}: edges without weights {free}, max pooling {pools}")
    for how, gains in zip(("this", "another"), gains_of_choice(table).T, strict=True):
        mean, low, high = 100 * np.array([gains.mean(), *np.quantile(gains, [0.025, 0.975])])
        print(f"best of nine by {how} training: {mean:+.1f} points [{low:.1f}, {high:.1f}]")
    other, _, _ = agreement(table, table.array("test_auc")[:, 2, 0], seeds=[1])
    print(f"tau of the test AUCs of both seeds {other:.2f}")
    for count in COUNTS:
        by_pool["random", count] = replay(table, count=count)
        if count >= 9:
            by_pool["halving", count] = replay(table, kind="halving", count=count)
    for name, (scores, seconds) in proxies_of(table).items():
        tau, low, high = agreement(table, scores.mean(axis=1))
        print(f"{name}: tau {tau:.2f} [{low:.2f}, {high:.2f}], {seconds / 60:.1f} minutes")
        for count in (9, 27) if "epochs" not in name else ():
            by_pool[name, count] = replay(table, scores, name, count, seconds)
    random = np.stack([by_pool["random", count] for count in COUNTS])  # (counts, POOLS, 2)
    found = []
    for (name, count), pools in by_pool.items():
        equal = [np.interp(m, *random[:, pool].T) for pool, m in enumerate(pools[:, 0])]
        found.append(
            {"strategy": name, "cells": count, "minutes": pools[:, 0].mean()}
            | summary("auc", pools[:, 1])
            | summary("gain", pools[:, 1] - equal)
        )
    searched = searches(table)
    test = stats.ttest_ind(searched.auc, means, equal_var=False)
    error = np.hypot(stats.sem(searched.auc), stats.sem(means))
    gain = searched.auc.mean() - means.mean()
    print(f"{len(searched)} searched cells minus random ones: {gain:.4f} +- {error:.4f}, {test}")
    by_search = searched.groupby("strategy", sort=False)
    spread = np.sqrt(by_search.auc.var().mean())  # of the cells of a search
    for name, own in by_search:
        minutes = own.minutes.mean()
        equal = np.array([np.interp(minutes, *random[:, pool].T) for pool in range(POOLS)])
        gain = own.auc.mean() - equal.mean()
        arm = stats.t.ppf(0.975, len(searched) - len(by_search))
        arm *= np.hypot(spread / np.sqrt(len(own)), equal.std())
        row = {"strategy": name, "cells": 1, "minutes": minutes, "auc": own.auc.mean()}
        found.append(row | {"gain": gain, "gain_low": gain - arm, "gain_high": gain + arm})
    found = pd.DataFrame(found).round(5)
    files.save_csv(Path(__file__).with_suffix(".csv"), found)
    print(found.to_string())
    draw(found, table)


def summary(name, values):
    """Return the mean over pools and the ends of its 95 % interval."""
    low, high = np.quantile(values, [0.025, 0.975])
    return {name: values.mean(), f"{name}_low": low, f"{name}_high": high}


def draw(found, table):
    """Draw test AUC over minutes: a line and a band for each strategy, the others as points."""
    style.use_style()
    figure, ax = plt.subplots(figsize=(9, 5))
    for name, colour, marker in (("random", "0.3", "o"), ("halving", "#0173b2", "s")):
        own = found[found.strategy == name].sort_values("minutes")
        label = f"{name} ({', '.join(map(str, own.cells))} cells)"
        ax.plot(own.minutes, own.auc, marker=marker, color=colour, label=label)
        ax.fill_between(own.minutes, own.auc_low, own.auc_high, color=colour, alpha=0.15, lw=0)
    for (name, words), marker in zip(WORDS.items(), "xP*1^", strict=True):
        own = found[found.strategy == name]
        error = (own.gain_high - own.gain_low) / 2
        look = {"color": "#d55e00" if name in proxies.SEARCHES else "#029e73", "ms": 9, "lw": 1}
        ax.errorbar(own.minutes, own.auc, error, fmt=marker, label=words, **look)
    for cell in ("DARTS_V2", "by_hand"):
        own = table.found.loc[cell].xs(table.epochs[-1], level="epochs")
        minutes, auc = own.seconds.mean() / 60, own.test_auc.mean()
        shown = min(auc, 0.915)  # one far above would leave no room to the others
        words = cell if shown == auc else f"{cell}: {100 * auc:.1f}, above"
        ax.plot(minutes, shown, "k^" if shown < auc else "ko", ms=7)
        ax.annotate(words, (minutes, shown), xytext=(8, -4), textcoords="offset points")
    style.percent_axis(ax.yaxis)
    ax.set(xscale="log", xlabel="minutes of one core, searches and trainings", ylabel="test AUC, %")
    ax.set_xticks(ticks := (2, 5, 10, 20, 50), ticks)
    ax.minorticks_off()
    ax.set_title("Which search pays? Faint chips, replayed on a table of cells")
    figure.legend(loc="upper center", bbox_to_anchor=(0.5, 0), ncols=2, fontsize=10)
    figure.savefig(Path(__file__).with_suffix(".png"), dpi=120, bbox_inches="tight")


if __name__ == "__main__":
    main()
