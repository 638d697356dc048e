"""Does the search find what was planted? `python -m tests.benchmarks.planted [--seeds 10]`.

Every problem is searched with each seed, and again with the labels of alpha's half permuted, where
nothing must be decided. A search is a row of planted.csv, and a row is not searched again: delete
the file after a change of the search.
"""

from __future__ import annotations

import argparse
import itertools
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from helpers.core import files
from helpers.darts import perturbation, planted, verdict

TABLE = Path(__file__).with_name("planted.csv")
METHODS = ((1, 1), (2, 1), (1, 2))  # order, K of the partial channels
IMAGES = 128  # of alpha's half, by which perturbation chooses
KEY = ["problem", "order", "partial", "seed", "permuted"]


def search(problem: str, order: int, partial: int, seed: int, permuted: bool) -> dict[str, Any]:
    """Search a problem; return a row of the table."""
    started = time.process_time()
    posed, settings = planted.PROBLEMS[problem], planted.settings_of(seed, order, partial)
    net, history = planted.search_planted(posed, settings, permuted)
    seconds = round(time.process_time() - started, 1)
    choices = [choice for choice in verdict.choices(history[-1]) if choice.kind == "normal"]
    sure, limit = verdict.decided(history, settings), verdict.noise_limit(history, settings)
    half = planted.halves_of(posed, settings, permuted)[1]
    few = slice(IMAGES)
    batch = torch.from_numpy(half.embeddings[few]), torch.from_numpy(half.labels[few])
    worth = perturbation.worths(net, batch)["normal"]["operations"]
    return dict(zip(KEY, (problem, order, partial, seed, permuted), strict=True)) | {
        "found": " ".join(f"{choice.chosen}:{choice.lead:.2f}" for choice in choices),
        "decided": len(sure),
        "hit": planted.is_hit(posed, planted.log_strengths(history), limit),
        "by_perturbation": planted.is_hit(posed, worth),
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
        range(given.seeds), METHODS, planted.PROBLEMS, (False, True)
    ):
        key = (problem, order, partial, seed, permuted)
        if key not in done:
            rows.append(search(*key))
            files.save_csv(given.table, pd.DataFrame(rows))
    print(summary(pd.DataFrame(rows)).to_string())
    return 0


if __name__ == "__main__":
    sys.exit(main())
