"""Compare searches on true and permuted labels: `python -m tests.benchmarks.search_null`.

Each search is that of `quick` on four folds of whole modules of ELPV, like the row `searched` of
`out_of_fold`, with the labels as they are and with those of alpha's half permuted; for fold 0 two
more seeds search too (a seed also draws the halves, and 2,000 of about 2,100 images). A search
is a row of search_null.csv, and a row is not searched again.
"""

import json
from pathlib import Path

import numpy as np
import pandas as pd

from helpers.core.members import sides
from helpers.darts import genotypes, search
from helpers.darts.settings import SearchSettings
from helpers.runs.presets import PRESET_VALUES
from tests.benchmarks import out_of_fold, planted, population, rows

KEY = ["fold", "seed", "permuted"]
SEARCHES = [(fold, 0, permuted) for fold in range(5) for permuted in (True, False)]
SEARCHES += [(0, seed, False) for seed in (1, 2)]


def one(fold, seed, permuted):
    """Search, and return the rest of a row of the table."""
    settings = SearchSettings(**PRESET_VALUES["quick"]["04_darts_search"], seed=seed)
    table = search.training_images(sides(out_of_fold.protocol("groups"), fold))
    images = out_of_fold.images(settings.image_size_px)
    found = search.search(images, table, settings, permuted=permuted)
    leads = [round(choice.lead, 3) for choice in search.choices(found.history[-1])]
    return {
        "noise_limit": round(planted.noise_limit(found.history, settings), 3),
        "leads": json.dumps(leads),
        "cell": json.dumps(genotypes.to_json(found.genotype)),
    }


def counts(table):
    """Return a row for each search: its largest lead, and how many of its leads count.

    `above_noise` counts those above the limit of noise; `above_own` those also above all leads of
    the permuted search of the same fold (NaN for this one), `above_others` above all leads of that
    of another fold (mean over these).
    """
    leads = table.leads.map(json.loads)
    largest = leads.map(max)
    null = largest[table.permuted].set_axis(table.fold[table.permuted])
    found = []
    for row, own in zip(table.itertuples(), leads, strict=True):
        above = {
            fold: sum(lead > max(row.noise_limit, limit) for lead in own)
            for fold, limit in null.items()
        }
        of_this_fold = np.nan if row.permuted else above[row.fold]
        others = np.mean([count for fold, count in above.items() if fold != row.fold])
        found.append((sum(lead > row.noise_limit for lead in own), of_this_fold, others))
    columns = ["above_noise", "above_own", "above_others"]
    counted = pd.DataFrame(found, columns=columns, index=table.index)
    return table[KEY].assign(largest=largest).join(counted)


if __name__ == "__main__":
    table = rows.completed(Path(__file__).with_suffix(".csv"), KEY, SEARCHES, one)
    print(counts(table).to_string(index=False))
    first, null = table.seed == 0, table.permuted
    kinds = {"folds, permuted": null, "folds": first & ~null, "seeds": ~null & (table.fold == 0)}
    for words, some in kinds.items():
        cells = [genotypes.from_json(json.loads(cell)) for cell in table.cell[some]]
        print(f"{words}: two cells share {population.agreement(cells):.1f} of 16 edges")
