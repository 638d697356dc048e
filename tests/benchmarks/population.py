"""Rank searched cells among random ones on ELPV: `python -m tests.benchmarks.population`.

The scores are those of modules that no training has seen (`out_of_fold --protocols groups`: rows
random_cell_0, random_cell_1, ..., searched, published cells, by_hand, fbp). The row searched has a
cell for each fold, and so have the random ones: if a search is no better than a random draw, all
ranks are equally probable (Yang et al. 2020, arXiv 1912.12522). Writes population.csv and
population.png beside this file.
"""

import functools
import itertools
import json
import math
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from scipy import stats

from helpers.core import files, metrics, paths, seeding, style
from helpers.darts import genotypes
from helpers.darts.genotypes import PUBLISHED
from helpers.results.out_of_fold import UNSEEN, read_folder
from tests.benchmarks.out_of_fold import FOLDS, POPULATION, stored

DRAWS = 1000  # of whole modules, for intervals of ranks and differences
KINDS = {"random_cell": "random", "searched": "searched"}
KINDS |= {name.lower(): "published" for name in PUBLISHED}
SHOWN = (*KINDS, "by_hand", "fbp")
MARKS = {
    "fbp": ("o", "fine-tuned (FBP), a training"),
    "random": ("x", "random cells, five a mark"),
    "searched": ("s", "searched cells, five"),
    "published": ("P", "published cell (DARTS_V2)"),
    "by_hand": ("D", "network drawn by hand"),
}


def trained():
    """Return folds, and the complete scores: a row for each image, a column for each training."""
    found, columns = read_folder(paths.published_scores()), {}
    random = sorted(path.stem for path in (POPULATION / UNSEEN).glob("*.csv"))
    cells = {row: stored(row, UNSEEN) for row in random}
    rows = {n: found.scores[UNSEEN][n] for n in found.scores[UNSEEN] if n.startswith(SHOWN)} | cells
    for row, seeds in rows.items():
        for seed in seeds.dropna(axis="columns").iloc[:, : 1 if row in cells else None]:
            columns[row if seed == "seed0" else f"{row}, {seed}"] = seeds[seed]
    scores = pd.DataFrame({row: values.reindex(found.folds.id) for row, values in columns.items()})
    return found.folds, scores


def kind_of(row):
    """Return the kind of a training's cell, or else the name of its row."""
    known = (kind for start, kind in KINDS.items() if row.startswith(start))
    return next(known, row.partition(",")[0])


def aucs_of(labels, scores, modules):
    """Return the AUC of each training across and inside modules, and those of drawn modules.

    Modules are drawn whole, with replacement. Inside: see `metrics.within_group_auc`.
    """

    def aucs(rows):
        return [metrics.roc_auc(labels[rows], scores[one].to_numpy()[rows]) for one in scores]

    members = [np.flatnonzero(modules == name) for name in modules.unique()]
    draws = seeding.numpy_stream(0, "modules of the population").integers(
        len(members), size=(DRAWS, len(members))
    )
    across = [np.arange(len(labels)), *(np.concatenate([members[i] for i in d]) for d in draws)]
    weights = np.array([np.bincount(labels[rows], minlength=2).min() for rows in members])
    each = np.array([aucs(rows) for rows, w in zip(members, weights, strict=True) if w >= 2])
    weights = weights[weights >= 2]
    generator = seeding.numpy_stream(0, "modules of the parts")
    draws = [[*range(len(each))], *generator.integers(len(each), size=(1000, len(each)))]
    means = [np.average(each[draw], axis=0, weights=weights[draw]) for draw in draws]
    tables = {"across": [*map(aucs, across)], "inside": means}
    frames = {side: pd.DataFrame(rows, columns=scores.columns) for side, rows in tables.items()}
    return {side: (frame.iloc[0], frame.iloc[1:]) for side, frame in frames.items()}


def table(folds, scores):
    """Return a row for each training: its kind, its AUC across and inside modules, and its ranks.

    A rank is that among the random cells and itself, with the 95 % interval by modules: 1 is better
    than all of them.
    """
    random = [one for one in scores if kind_of(one) == "random"]
    found, rows = aucs_of(folds.label.to_numpy(), scores, folds.group), []
    for one in scores:
        others = [cell for cell in random if cell != one]
        row = {"training": one, "kind": kind_of(one), "of": len(others) + 1}
        for side, (aucs, draws) in found.items():
            rank = 1 + (aucs[others] >= aucs[one]).sum()
            ranks = 1 + draws[others].ge(draws[one], axis=0).sum(axis=1)
            ends = ranks.quantile([*metrics.TAILS])
            low, high = math.floor(ends.iloc[0]), math.ceil(ends.iloc[1])
            row |= {side: aucs[one], f"{side}_rank": f"{rank} [{low}, {high}]"}
        rows.append(row)
    return pd.DataFrame(rows).sort_values("across", ascending=False, ignore_index=True)


def against_random(rows):
    """Return, for each other cell, its points from the mean of the random ones, and a t test.

    A random row, and the searched one, is the mean over the folds of another cell each; a published
    cell is one. If cells differ, and not trainings alone, the null of one cell is sqrt(FOLDS) times
    as wide: `p_of_one` is its p. `seen` are the points seen in 80 of 100 cases, see `power`.
    """
    found = []
    for side in ("across", "inside"):
        cells = 100 * rows[side][rows.kind == "random"]
        deviation, n = cells.std(), len(cells)
        for row in rows[~rows.kind.isin(["random", "fbp"])].to_dict("records"):
            away = 100 * row[side] - cells.mean()
            p = 2 * stats.t.sf(abs(away) / deviation / math.sqrt(1 + 1 / n), n - 1)
            wide = deviation * math.sqrt(1 if row["kind"] == "searched" else FOLDS)
            of_one = 2 * stats.t.sf(abs(away) / math.hypot(wide, deviation / math.sqrt(n)), n - 1)
            values = (away, p, of_one, deviation, power(deviation, n))
            found.append((row["training"], side, *values))
    columns = ["training", "side", "away", "p", "p_of_one", "deviation", "seen"]
    return pd.DataFrame(found, columns=columns)


def ranks_by_fold(folds, scores):
    """Return the searched cell's rank among itself and the random cells of its fold, by fold."""
    random, ranks = [one for one in scores if kind_of(one) == "random"], []
    for _, rows in folds.groupby(UNSEEN):
        aucs = scores.loc[rows.id].apply(functools.partial(metrics.roc_auc, rows.label.to_numpy()))
        ranks.append(1 + int((aucs[random] >= aucs["searched"]).sum()))
    return ranks


def power(deviation, n):
    """Return the difference of one value from the mean of n that is seen in 80 of 100 cases.

    `deviation` is the standard deviation of the n values; the test is a t test at 5 %. The sum of
    two quantiles stands for the noncentral t distribution.
    """
    return sum(stats.t.ppf([0.975, 0.8], n - 1)) * deviation * np.sqrt(1 + 1 / n)


def agreement(cells):
    """Return how many edges (of 16, with their operations) two of the cells share on average."""
    edges = [{(k, *edge) for k in ("normal", "reduce") for edge in c.edges(k)} for c in cells]
    return float(np.mean([len(one & other) for one, other in itertools.combinations(edges, 2)]))


def draw(rows):
    """Return the figure of a `table`: the AUC inside modules over that on all of their images."""
    figure, ax = plt.subplots(figsize=(8, 4.2), layout="constrained")
    for kind, (mark, label) in MARKS.items():
        own = 100 * rows.loc[rows.kind == kind, ["across", "inside"]]
        ax.plot(own.across, own.inside, mark, ms=8, label=label)
    ax.set(xlabel="AUC on unseen modules, %", ylabel="AUC inside them, %")
    ax.set_title("The searched cells are among the random ones")
    ax.legend(loc="center")
    return figure


if __name__ == "__main__":
    found = trained()
    rows = table(*found)
    files.save_csv(Path(__file__).with_suffix(".csv"), rows.round(5))
    style.use_style()
    draw(rows).savefig(Path(__file__).with_suffix(".png"), dpi=100)
    print(rows.to_string(), against_random(rows).round(3).to_string(), sep="\n")
    ranks, n = ranks_by_fold(*found), int((rows.kind == "random").sum())
    luck = math.sqrt(((n + 1) ** 2 - 1) / 12 / len(ranks))  # of the mean of uniform ranks
    print(f"ranks of the searched cells in their folds, of {n + 1}: {ranks}")
    print(f"mean {np.mean(ranks):.1f}, by luck {n / 2 + 1:.1f} ± {luck:.1f}")
    lines = (paths.published_scores() / "searched_cells.jsonl").read_text("utf-8").splitlines()
    lines = [line for line in map(json.loads, lines) if line["protocol"] == UNSEEN]
    kinds = {"searched": [genotypes.from_json(line["cell"]) for line in lines]}
    kinds["random"] = [genotypes.random_cell(number).genotype for number in range(40)]
    for kind, some in kinds.items():
        print(f"two {kind} cells share {agreement(some):.1f} of 16 edges")
