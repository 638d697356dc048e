"""Compare searches on true and permuted labels: `python -m tests.benchmarks.search_null`.

Each search is that of `quick` on four folds of whole modules of ELPV, like the row `searched` of
`out_of_fold`, with the labels as they are and with those of alpha's half permuted; for fold 0 two
more seeds search too (a seed also draws the halves, and 2,000 of about 2,100 images). A search
is a row of search_null.csv, and a row is not searched again.
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
from helpers.runs.presets import PRESET_VALUES
from tests.benchmarks import out_of_fold, planted, population

TABLE = Path(__file__).with_suffix(".csv")
KEY = ["fold", "seed", "permuted"]
SEARCHES = [(fold, 0, permuted) for fold in range(5) for permuted in (True, False)]
SEARCHES += [(0, seed, False) for seed in (1, 2)]


def one(fold: int, seed: int, permuted: bool) -> dict[str, object]:
    """Search, and return a row of the table."""
    settings = SearchSettings(**PRESET_VALUES["quick"]["04_darts_search"], seed=seed)
    table = search.training_images(sides(out_of_fold.protocol("groups"), fold))
    images = out_of_fold.images(settings.image_size_px)
    found = search.search(images, table, settings, permuted=permuted)
    leads = [round(choice.lead, 3) for choice in verdict.choices(found.history[-1])]
    return dict(zip(KEY, (fold, seed, permuted), strict=True)) | {
        "noise_limit": round(planted.noise_limit(found.history, settings), 3),
        "leads": json.dumps(leads),
        "cell": json.dumps(genotypes.to_json(found.genotype)),
    }


def counts(table: pd.DataFrame) -> pd.DataFrame:
    """Return a row for each search: its largest lead, and how many of its leads count.

    `above_noise` counts those above the limit of noise; `above_own` those also above all leads of
    the permuted search of the same fold (NaN for this one), `above_others` above all leads of that
    of another fold (mean over these).
    """
    leads = table.leads.map(json.loads)
    largest = leads.map(max)
    null = largest[table.permuted].set_axis(table.fold[table.permuted])
    rows = []
    for index, row in table.iterrows():
        above = {
            fold: sum(lead > max(row.noise_limit, lead_of_null) for lead in leads[index])
            for fold, lead_of_null in null.items()
        }
        own = above.pop(row.fold)
        counted = {
            "above_noise": sum(lead > row.noise_limit for lead in leads[index]),
            "above_own": np.nan if row.permuted else own,
            "above_others": np.mean([*above.values()]),
        }
        rows.append({name: row[name] for name in KEY} | {"largest": largest[index]} | counted)
    return pd.DataFrame(rows)


def main() -> int:
    """Search what the table lacks, and print what was decided; return the exit code."""
    rows = pd.read_csv(TABLE).to_dict("records") if TABLE.is_file() else []
    done = {tuple(row[name] for name in KEY) for row in rows}
    for key in itertools.filterfalse(done.__contains__, SEARCHES):
        rows.append(one(*key))
        files.save_csv(TABLE, pd.DataFrame(rows))
    table = pd.DataFrame(rows)
    print(counts(table).to_string(index=False))
    first, null = table.seed == 0, table.permuted
    kinds = {"folds, permuted": null, "folds": first & ~null, "seeds": ~null & (table.fold == 0)}
    for words, some in kinds.items():
        cells = [genotypes.from_json(json.loads(cell)) for cell in table.cell[some]]
        print(f"{words}: two cells share {population.agreement(cells):.1f} of 16 edges")
    return 0


if __name__ == "__main__":
    sys.exit(main())
