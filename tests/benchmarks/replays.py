"""Replay search strategies on the table of cells: `python -m tests.benchmarks.replays`.

Reads cells.csv and proxies.csv, and writes replays.csv, replays.png. Every strategy ends with one
trained network, chosen by validation alone; what counts is its test AUC and all it cost, in minutes
of one core. Each of DRAWS replays draws the cells of the table anew, with replacement, and a seed
for each training, so the bands hold the error of cells and of trainings.

- random: train n random cells, keep the best on validation.
- halving: n cells at 1/9 of the epochs, the best third at 1/3, of these the best third at all
  (Jamieson and Talwalkar 2016, arXiv 1502.07943).
- a proxy: score n random cells, train the best three by its score, keep the best on validation.
- a search: train the cell that it derives (two seeds).
"""

from pathlib import Path

import numpy as np
import pandas as pd
from scipy import stats

from helpers.core import files, seeding
from tests.benchmarks import cells, proxies

DRAWS, TRIED = 2000, 3  # replays of each point; cells that a proxy has trained
COUNTS = (1, 2, 3, 6, 9, 18, 27)
FREE = ("weights", "naswot", "synflow")


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
    """Return minutes and test AUC of each replay of a strategy."""
    rng = seeding.numpy_stream(0, f"replays {kind} {count}")
    val, test, seconds = (table.array(name) for name in ("val_auc", "test_auc", "seconds"))
    found = np.empty((DRAWS, 2))
    for row in range(DRAWS):
        pool = rng.choice(len(val), len(val))  # another set of 36 cells
        tried = rng.choice(pool, count, replace=False)
        seed, spent = rng.integers(val.shape[2], size=val.shape[:2]), cost_s
        if kind == "halving":
            for length in (0, 1):
                spent += seconds[tried, length, seed[tried, length]].sum()
                best = np.argsort(-val[tried, length, seed[tried, length]], kind="stable")
                tried = tried[best[: max(1, len(tried) // 3)]]
        elif kind != "random":
            tried = tried[np.argsort(-scores[tried, rng.integers(scores.shape[1])])[:TRIED]]
        last = seed[tried, 2]
        spent += seconds[tried, 2, last].sum()
        winner = tried[val[tried, 2, last].argmax()]
        found[row] = spent / 60, test[winner, 2, seed[winner, 2]]
    return found


def agreement(table, scores):
    """Return Kendall's tau of scores and mean test AUC over cells, with a 95 % interval."""
    truth, rng = table.array("test_auc")[:, 2].mean(axis=1), seeding.numpy_stream(0, "tau")
    taus = [stats.kendalltau(scores, truth).statistic]
    for _ in range(DRAWS):
        rows = rng.choice(len(truth), len(truth))
        taus.append(stats.kendalltau(scores[rows], truth[rows]).statistic)
    return taus[0], *np.nanquantile(taus[1:], [0.025, 0.975])


def intraclass(values):
    """Return the intraclass correlation of cells (rows) over seeds (columns), with 95 % ends.

    One-way analysis of variance; the interval is that of Shrout and Fleiss 1979 for ICC(1, 1).
    """
    n, k = values.shape
    between = k * values.mean(axis=1).var(ddof=1)
    within = values.var(axis=1, ddof=1).mean()
    f, free = between / within, (n - 1, n * (k - 1))
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
            found[name] = (scores, rows.groupby("seed").seconds.first().mean())
    return found


def main():
    """Write the table and the figure; print correlations."""
    rows = files.load_csv(cells.TABLE, cells.KEY, text=["set", "cell"])
    for name, own in rows.groupby("set"):
        whole = own[own.epochs == cells.EPOCHS[name]]
        repeated = whole[whole.cell.isin(cells.REPEATED)].pivot_table("test_auc", "cell", "seed")
        repeated = repeated.dropna(axis="columns")
        icc = ", ".join(f"{value:.2f}" for value in intraclass(repeated.to_numpy()))
        print(f"{name}: {repeated.shape} cells x seeds, intraclass correlation, ends: {icc}")
    table = Table(rows)
    print(f"{len(table.cells)} random cells, test AUC {table.array('test_auc')[:, 2].mean():.4f}")
    found = []
    for name, (scores, seconds) in proxies_of(table).items():
        tau, low, high = agreement(table, scores.mean(axis=1))
        print(f"{name}: tau {tau:.2f} [{low:.2f}, {high:.2f}], {seconds / 60:.1f} minutes")
        for count in (9, 27) if "epochs" not in name else ():
            found += points(name, replay(table, scores, name, count, seconds))
    for count in COUNTS:
        found += points("random", replay(table, kind="random", count=count))
        if count in (9, 18, 27):
            found += points("halving", replay(table, kind="halving", count=count))
    files.save_csv(Path(__file__).with_suffix(".csv"), pd.DataFrame(found).round(5))


def points(name, replays):
    """Return a row of a strategy: minutes, AUC, its standard error and interval."""
    minutes, auc = replays.T
    low, high = np.quantile(auc, [0.025, 0.975])
    return [
        {
            "strategy": name,
            "minutes": minutes.mean(),
            "auc": auc.mean(),
            "deviation": auc.std(),
            "low": low,
            "high": high,
        }
    ]


if __name__ == "__main__":
    main()
