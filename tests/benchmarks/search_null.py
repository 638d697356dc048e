"""What does the search decide without an answer? `python -m tests.benchmarks.search_null`.

Each is `quick`'s search of ELPV on four folds of whole modules, as the row `searched` of
`out_of_fold` has it, with the labels as they are and with those of alpha's half permuted; on fold 0
two more seeds search the same images, so that only the search differs. A search is a row of
search_null.csv, and a row is not searched again.
"""

from __future__ import annotations

import itertools
import json
import sys
from pathlib import Path

import numpy as np
import pandas as pd

from helpers.core import files
from helpers.core.members import sides
from helpers.darts import genotypes, search, verdict
from helpers.darts.settings import SearchSettings
from helpers.runs.cells import training_images
from helpers.runs.presets import PRESET_VALUES
from tests.benchmarks import out_of_fold, population

TABLE = Path(__file__).with_suffix(".csv")
KEY = ["fold", "seed", "permuted"]
SEARCHES = [(fold, 0, permuted) for fold in range(5) for permuted in (True, False)]
SEARCHES += [(0, seed, False) for seed in (1, 2)]


def one(fold: int, seed: int, permuted: bool) -> dict[str, object]:
    """Search, and return a row of the table."""
    settings = SearchSettings(**PRESET_VALUES["quick"]["04_darts_search"], seed=seed)
    table = training_images(sides(out_of_fold.protocol("groups"), fold))
    images = out_of_fold.images(settings.image_size_px)
    found = search.search(images, table, settings, permuted=permuted)
    leads = [round(choice.lead, 3) for choice in verdict.choices(found.history[-1])]
    return dict(zip(KEY, (fold, seed, permuted), strict=True)) | {
        "noise_limit": round(verdict.noise_limit(found.history, settings), 3),
        "leads": json.dumps(leads),
        "cell": json.dumps(genotypes.to_json(found.genotype)),
    }


def counts(table: pd.DataFrame) -> pd.DataFrame:
    """Return a row for each search: its largest lead, and how many of its leads count.

    By noise alone, and by all leads of the search of the same fold with permuted labels too; those
    with permuted labels are judged by the permuted search of each other fold (mean).
    """
    leads = {tuple(row[n] for n in KEY): json.loads(row["leads"]) for _, row in table.iterrows()}
    null = {fold: max(values) for (fold, _, permuted), values in leads.items() if permuted}
    rows = []
    for (fold, seed, permuted), values in leads.items():
        noise = table.noise_limit[(table.fold == fold) & (table.seed == seed)].iloc[0]
        judges = [null[other] for other in null if (other == fold) != permuted]
        above = [sum(value > max(noise, judge) for value in values) for judge in judges]
        by_noise = sum(value > noise for value in values)
        rows.append((fold, seed, permuted, max(values), by_noise, np.mean(above), len(values)))
    return pd.DataFrame(rows, columns=[*KEY, "largest", "above_noise", "above_null", "choices"])


def main() -> int:
    """Search what the table lacks, and print what was decided; return the exit code."""
    rows = pd.read_csv(TABLE).to_dict("records") if TABLE.is_file() else []
    done = {tuple(row[name] for name in KEY) for row in rows}
    for key in itertools.filterfalse(done.__contains__, SEARCHES):
        rows.append(one(*key))
        files.save_csv(TABLE, pd.DataFrame(rows))
    table = pd.DataFrame(rows)
    print(counts(table).to_string(index=False))
    same = table[~table.permuted & (table.fold == 0)]
    found = [genotypes.from_json(json.loads(cell)) for cell in same.cell]
    print("fold 0, by seeds:", population.agreement(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
