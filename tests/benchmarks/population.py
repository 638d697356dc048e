"""Rank searched cells among random ones on ELPV: `python -m tests.benchmarks.population`.

The scores are those of modules that no training has seen (`out_of_fold --protocols groups`: rows
random_cell_0, random_cell_1, ..., searched, published cells, by_hand, fbp). The row searched has a
cell for each fold, and so have the random ones: if a search is no better than a random draw, all
ranks are equally probable (Yang et al. 2020, arXiv 1912.12522). Writes population.csv beside this
file.
"""

from __future__ import annotations

import functools
import itertools
import json
import math
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import stats

from helpers.core import files, metrics, paths, seeding
from helpers.darts import genotypes, named
from helpers.darts.genotypes import PUBLISHED, Genotype
from helpers.results.out_of_fold import UNSEEN, read_folder
from tests.benchmarks.out_of_fold import POPULATION, stored

TABLE = Path(__file__).with_suffix(".csv")
DRAWS = 1000  # of whole modules, for intervals of ranks and differences
KINDS = {"random_cell": "random", "searched": "searched"}
KINDS |= {name.lower(): "published" for name in PUBLISHED}
SHOWN = (*KINDS, "by_hand", "fbp")


def trained() -> tuple[pd.DataFrame, pd.DataFrame]:
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


def kind_of(row: str) -> str:
    """Return the kind of a training's cell, or else the name of its row."""
    known = (kind for start, kind in KINDS.items() if row.startswith(start))
    return next(known, row.partition(",")[0])


def aucs_of(
    labels: np.ndarray, scores: pd.DataFrame, modules: pd.Series
) -> dict[str, tuple[pd.Series, pd.DataFrame]]:
    """Return the AUC of each training across and inside modules, and those of drawn modules.

    Modules are drawn whole, with replacement. Inside: see `metrics.within_group_auc`.
    """

    def aucs(rows: np.ndarray) -> list[float]:
        return [metrics.roc_auc(labels[rows], scores[one].to_numpy()[rows]) for one in scores]

    members = [np.flatnonzero(modules == name) for name in modules.unique()]
    generator, drawn = seeding.numpy_stream(0, "modules of the population"), []
    for _ in range(DRAWS):
        draw = generator.integers(len(members), size=len(members))
        drawn.append(aucs(np.concatenate([members[i] for i in draw])))
    weights = np.array([np.bincount(labels[rows], minlength=2).min() for rows in members])
    each = np.array([aucs(rows) for rows, w in zip(members, weights, strict=True) if w >= 2])
    weights = weights[weights >= 2]
    generator = seeding.numpy_stream(0, "modules of the parts")
    draws = [[*range(len(each))], *generator.integers(len(each), size=(1000, len(each)))]
    means = [np.average(each[draw], axis=0, weights=weights[draw]) for draw in draws]
    whole = aucs(np.arange(len(labels)))
    tables = {"across": [whole, *drawn], "inside": means}
    frames = {side: pd.DataFrame(rows, columns=scores.columns) for side, rows in tables.items()}
    return {side: (frame.iloc[0], frame.iloc[1:]) for side, frame in frames.items()}


def table(folds: pd.DataFrame, scores: pd.DataFrame) -> pd.DataFrame:
    """Return a row for each training: its kind, its AUC across and inside modules, and its ranks.

    A rank is that among the random cells and itself, with the 95 % interval by modules: 1 is better
    than all of them.
    """
    random = [one for one in scores if kind_of(one) == "random"]
    if len(random) < 2:
        raise SystemExit("too few random cells: `out_of_fold random_cell_0 ... --protocols groups`")
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


def against_random(rows: pd.DataFrame) -> pd.DataFrame:
    """Return, for each other cell, its points from the mean of the random ones, and a t test.

    `seen` are the points that would be seen in 80 of 100 cases, see `power`.
    """
    found = []
    for side in ("across", "inside"):
        cells = 100 * rows[side][rows.kind == "random"]
        deviation, n = cells.std(), len(cells)
        for row in rows[~rows.kind.isin(["random", "fbp"])].to_dict("records"):
            away = 100 * row[side] - cells.mean()
            p = 2 * stats.t.sf(abs(away) / deviation / math.sqrt(1 + 1 / n), n - 1)
            found.append((row["training"], side, away, p, deviation, power(deviation, n)))
    return pd.DataFrame(found, columns=["training", "side", "away", "p", "deviation", "seen"])


def ranks_by_fold(folds: pd.DataFrame, scores: pd.DataFrame) -> list[int]:
    """Return the searched cell's rank among itself and the random cells of its fold, by fold."""
    random, ranks = [one for one in scores if kind_of(one) == "random"], []
    for _, rows in folds.groupby(UNSEEN):
        aucs = scores.loc[rows.id].apply(functools.partial(metrics.roc_auc, rows.label.to_numpy()))
        ranks.append(1 + int((aucs[random] >= aucs["searched"]).sum()))
    return ranks


def lines(rows: pd.DataFrame) -> list[str]:
    """Return the table of `README.md`: AUC in per cent, and the rank with its interval."""
    row = "| {training} | {across:.1f} | {across_rank} of {of} | {inside:.1f} | {inside_rank} |"
    shown = rows.assign(across=100 * rows.across, inside=100 * rows.inside)
    return [row.format(**one) for one in shown.to_dict("records")]


def power(deviation: float, n: int) -> float:
    """Return the difference of one value from the mean of n that is seen in 80 of 100 cases.

    `deviation` is the standard deviation of the n values; the test is a t test at 5 %. The sum of
    two quantiles stands for the noncentral t distribution.
    """
    return sum(stats.t.ppf([0.975, 0.8], n - 1)) * deviation * np.sqrt(1 + 1 / n)


def shared_edges(one: Genotype, other: Genotype) -> int:
    """Count the edges (of 16, with their operations) that two cells share."""
    return sum(len({*one.edges(kind)} & {*other.edges(kind)}) for kind in ("normal", "reduce"))


def agreement(cells: Sequence[Genotype]) -> float:
    """Return how many edges two of the cells share on average."""
    return float(np.mean([shared_edges(*pair) for pair in itertools.combinations(cells, 2)]))


def main() -> int:
    """Write the table and print it; return the exit code."""
    rows = table(*(found := trained()))
    ranks, n = ranks_by_fold(*found), int((rows.kind == "random").sum())
    luck = math.sqrt(((n + 1) ** 2 - 1) / 12 / len(ranks))  # of the mean of uniform ranks
    files.save_csv(TABLE, rows.round(5))
    print(*lines(rows), against_random(rows).round(3).to_string(), sep="\n")
    print(f"ranks of the searched cells in their folds, of {n + 1}: {ranks}")
    print(f"mean {np.mean(ranks):.1f}, by luck {n / 2 + 1:.1f} ± {luck:.1f}")
    cells = (paths.published_scores() / "searched_cells.jsonl").read_text("utf-8").splitlines()
    found = [line for line in map(json.loads, cells) if line["protocol"] == UNSEEN]
    kinds = {"searched": [genotypes.from_json(line["cell"]) for line in found]}
    kinds["random"] = [named.random_cell(number).genotype for number in range(40)]
    for kind, some in kinds.items():
        print(f"two {kind} cells share {agreement(some):.1f} of 16 edges")
    return 0


if __name__ == "__main__":
    sys.exit(main())
