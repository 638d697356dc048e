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


def drawn_aucs(labels: np.ndarray, scores: pd.DataFrame, modules: pd.Series) -> pd.DataFrame:
    """Return the AUC of each training (columns) on whole modules drawn with replacement (rows)."""
    members = [np.flatnonzero(modules == name) for name in modules.unique()]
    generator, aucs = seeding.numpy_stream(0, "modules of the population"), []
    for _ in range(DRAWS):
        draw = generator.integers(len(members), size=len(members))
        rows = np.concatenate([members[i] for i in draw])
        aucs.append([metrics.roc_auc(labels[rows], scores[one].to_numpy()[rows]) for one in scores])
    return pd.DataFrame(aucs, columns=scores.columns)


def inside_modules(
    labels: np.ndarray, wide: pd.DataFrame, modules: pd.Series
) -> tuple[pd.Series, pd.DataFrame]:
    """Return each row's `metrics.within_group_auc`, and those of modules drawn with replacement."""
    members = [np.flatnonzero(modules == name) for name in modules.unique()]
    smaller = np.array([np.bincount(labels[rows], minlength=2).min() for rows in members])
    aucs = np.array(
        [
            [metrics.roc_auc(labels[rows], wide[one].to_numpy()[rows]) for one in wide]
            for rows, weight in zip(members, smaller, strict=True)
            if weight >= 2
        ]
    )
    weights = smaller[smaller >= 2]
    generator = seeding.numpy_stream(0, "modules of the parts")
    draws = [[*range(len(aucs))], *generator.integers(len(aucs), size=(1000, len(aucs)))]
    means = [np.average(aucs[draw], axis=0, weights=weights[draw]) for draw in draws]
    table = pd.DataFrame(means, columns=wide.columns).T.groupby(level=0).mean().T
    return table.iloc[0], table.iloc[1:]


def table(folds: pd.DataFrame, scores: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    """Return a row for each training, and two sentences for each cell that is not random.

    A row has its kind, its AUC across and inside modules, and its rank by each of them among the
    random cells and itself, with the 95 % interval by modules: 1 is better than all of them.
    """
    random = [one for one in scores if kind_of(one) == "random"]
    if len(random) < 2:
        raise SystemExit("too few random cells: `out_of_fold random_cell_0 ... --protocols groups`")
    drawn = drawn_aucs(labels := folds.label.to_numpy(), scores, folds.group)
    whole = {one: metrics.roc_auc(labels, scores[one]) for one in scores}
    within = inside_modules(labels, scores, folds.group)
    rows, said = [], []
    for one in scores:
        others = [cell for cell in random if cell != one]
        row = {"training": one, "kind": kind_of(one), "of": (n := len(others)) + 1}
        for side, aucs, draws in (("across", whole, drawn), ("inside", *within)):
            rank = 1 + sum(aucs[cell] >= aucs[one] for cell in others)
            ranks = 1 + draws[others].ge(draws[one], axis=0).sum(axis=1)
            ends = ranks.quantile([*metrics.TAILS])
            low, high = math.floor(ends.iloc[0]), math.ceil(ends.iloc[1])
            row |= {side: aucs[one], f"{side}_rank": f"{rank} [{low}, {high}]"}
            if row["kind"] in ("random", "fbp"):
                continue
            cells = 100 * np.array([aucs[cell] for cell in others])
            seen = power(spread := cells.std(ddof=1), n)
            away = 100 * aucs[one] - cells.mean()
            p = 2 * stats.t.sf(abs(away) / spread / math.sqrt(1 + 1 / n), n - 1)
            said.append(
                f"{one}, {side}: rank {row[f'{side}_rank']} of {n + 1}, {away:+.1f} points from "
                f"the mean of the random cells (p = {p:.3f} by a t test; deviation between these "
                f"{spread:.1f}: {seen:.1f} points would be seen in 80 of 100 searches)"
            )
        rows.append(row)
    return pd.DataFrame(rows).sort_values("across", ascending=False, ignore_index=True), said


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


def agreement(cells: Sequence[Genotype]) -> str:
    """Say how many edges two of the cells share, and how many two cells drawn at random do."""
    drawn = [named.random_cell(number).genotype for number in range(40)]
    means = [
        np.mean([shared_edges(*pair) for pair in itertools.combinations(some, 2)])
        for some in (cells, drawn)
    ]
    return (
        f"Two of the {len(cells)} searched cells share {means[0]:.1f} of 16 edges with their "
        f"operations on average, two random cells {means[1]:.1f}."
    )


def main() -> int:
    """Write the table and print it; return the exit code."""
    rows, said = table(*(found := trained()))
    ranks, n = ranks_by_fold(*found), int((rows.kind == "random").sum())
    luck = math.sqrt(((n + 1) ** 2 - 1) / 12 / len(ranks))  # of the mean of uniform ranks
    said.append(
        f"The searched cells have ranks {', '.join(map(str, ranks))} of {n + 1} in their folds, "
        f"{np.mean(ranks):.1f} on average, by luck {n / 2 + 1:.1f} ± {luck:.1f}."
    )
    files.save_csv(TABLE, rows.round(5))
    print(*lines(rows), *said, sep="\n")
    cells = (paths.published_scores() / "searched_cells.jsonl").read_text("utf-8").splitlines()
    searched = [found for line in cells if (found := json.loads(line))["protocol"] == UNSEEN]
    print(agreement([genotypes.from_json(found["cell"]) for found in searched]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
