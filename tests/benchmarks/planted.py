"""Test if the search finds what was planted: `python -m tests.benchmarks.planted [--seeds 10]`.

Every problem is searched with each seed, and again with the labels of alpha's half permuted, where
nothing must be decided. A search is a row of planted.csv, and a row is not searched again: delete
the file after a change of the search.
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import ArrayLike

from helpers.core import files
from helpers.darts import perturbation, planted, verdict
from helpers.darts.genotypes import strengths
from helpers.darts.planted import BLANK, SEP, SIZE_PX, WIDE, Problem, pairs
from helpers.darts.space import OPERATIONS

TABLE = Path(__file__).with_name("planted.csv")
METHODS = ((1, 1), (2, 1), (1, 2))  # order, K of the partial channels
IMAGES = 128  # of alpha's half, by which perturbation chooses
KEY = ["problem", "order", "partial", "seed", "permuted"]
# Share of pixels with the same sign in two channels. With .7 a network can be sure of each
# label, which permuted labels punish: 7 of 16 null searches (first order, all channels) decided
# something, and kept operations that mix the pixels.
AGREEING = 0.6


def agreeing(rng: np.random.Generator, label: int) -> tuple[np.ndarray, np.ndarray]:
    """Draw signs that agree at six of ten pixels of both channels (label 1), or at four (0).

    A neighbour says nothing about a pixel, so operations that mix pixels add noise to the answer.
    """
    signs = rng.choice([-1.0, 1.0], size=(SIZE_PX, SIZE_PX))
    agree = rng.random(signs.shape) < (AGREEING if label else 1 - AGREEING)
    return signs, np.where(agree, signs, -signs)


def either(rng: np.random.Generator, label: int) -> tuple[np.ndarray, np.ndarray]:
    """Draw far pairs into the first channel or near ones into the second: both are needed."""
    if rng.integers(2):
        return pairs(rng, label, 6), BLANK
    return BLANK, pairs(rng, label, 1)


SKIP = ("skip_connect",)
PROBLEMS = planted.PROBLEMS | {
    "middle": Problem(lambda rng, label: (pairs(rng, label, 3), BLANK), {0: SEP}),
    "skip": Problem(agreeing, {0: SKIP, 1: SKIP}),
    # each edge sees half of the images
    "differ": Problem(either, {0: WIDE, 1: SEP}, 3 * planted.IMAGES),
}


def is_hit(problem: Problem, worth: ArrayLike, margin: float = 0.0) -> bool:
    """Return True if a right operation leads all wrong ones on each edge that matters.

    `worth` (edges, operations) is what each operation is worth, such as the log of its strength in
    a search (`log_strengths`), and the lead is more than `margin`, such as `verdict.noise_limit`.
    """
    worth = np.asarray(worth)
    for edge, right in problem.right.items():
        is_right = np.isin(OPERATIONS, right)
        if worth[edge][is_right].max() - worth[edge][~is_right].max() <= margin:
            return False
    return True


def log_strengths(history: Sequence[Mapping[str, Any]]) -> np.ndarray:
    """Return log of the strength of each operation (edges, operations) in the last epoch."""
    last = history[-1]
    return np.log(strengths(last["alpha_normal"], last["beta_normal"]))


def search(problem: str, order: int, partial: int, seed: int, permuted: bool) -> dict[str, Any]:
    """Search a problem; return a row of the table."""
    started = time.process_time()
    posed, given = PROBLEMS[problem], planted.settings_of(seed)
    # with partial channels w learns more slowly: higher learning rate, and more images
    settings = dataclasses.replace(given, order=order, partial=partial, lr=partial * given.lr)
    net, history = planted.search_planted(posed, settings, permuted)
    seconds = round(time.process_time() - started, 1)
    choices = [choice for choice in verdict.choices(history[-1]) if choice.kind == "normal"]
    limit = verdict.noise_limit(history, settings)
    half = planted.halves_of(posed, settings, permuted)[1]
    few = slice(IMAGES)
    batch = torch.from_numpy(half.embeddings[few]), torch.from_numpy(half.labels[few])
    worth = perturbation.worths(net, batch)["normal"]["operations"]
    return dict(zip(KEY, (problem, order, partial, seed, permuted), strict=True)) | {
        "found": " ".join(f"{choice.chosen}:{choice.lead:.2f}" for choice in choices),
        "decided": len(verdict.decided(history, limit)),
        "hit": is_hit(posed, log_strengths(history), limit),
        "by_perturbation": is_hit(posed, worth),
        "seconds": seconds,
    }


def summary(table: pd.DataFrame) -> pd.DataFrame:
    """Return, by problem and method, the hits and the null searches that decided something."""
    rows = table.assign(
        method=[
            f"order {o}" + (f", 1/{k}" if k > 1 else "")
            for o, k in zip(table.order, table.partial, strict=True)
        ],
        count=table.hit.where(~table.permuted, table.decided > 0).astype(int),
        labels=table.permuted.map({False: "hits", True: "null"}),
    )
    counts = rows.groupby(["problem", "method", "labels"])["count"].agg(["sum", "size"])
    return (counts["sum"].astype(str) + " of " + counts["size"].astype(str)).unstack([1, 2])


def main(arguments: Sequence[str] | None = None) -> int:
    """Search what the table lacks, and print its summary."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.planted", description=__doc__)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--table", type=Path, default=TABLE)
    given = parser.parse_args(arguments)
    rows = pd.read_csv(given.table).to_dict("records") if given.table.is_file() else []
    done = {tuple(row[name] for name in KEY) for row in rows}
    for seed, (order, partial), problem, permuted in itertools.product(
        range(given.seeds), METHODS, PROBLEMS, (False, True)
    ):
        key = (problem, order, partial, seed, permuted)
        if key not in done:
            rows.append(search(*key))
            files.save_csv(given.table, pd.DataFrame(rows))
    print(summary(pd.DataFrame(rows)).to_string())
    return 0


if __name__ == "__main__":
    sys.exit(main())
