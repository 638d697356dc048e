"""What does the search decide without an answer? `python -m tests.benchmarks.search_null`.

Each is `quick`'s search of ELPV on four folds of whole modules, as the row `searched` of
`out_of_fold` has it. In the null, the labels of alpha's half are permuted; without, three seeds
search the same images, so that only the search differs. A search is a row of search_null.csv, and
a row is not searched again.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from unittest import mock

import numpy as np
import pandas as pd

from helpers.core import files, seeding
from helpers.core.members import sides
from helpers.darts import genotypes, search, verdict
from helpers.darts.settings import SearchSettings
from helpers.runs.cells import training_images
from helpers.runs.presets import PRESET_VALUES
from tests.benchmarks import out_of_fold, population

TABLE = Path(__file__).with_suffix(".csv")
KEY = ["fold", "seed", "permuted"]
SEARCHES = [(fold, 0, True) for fold in range(5)] + [(0, seed, False) for seed in range(3)]


def one(fold: int, seed: int, permuted: bool) -> dict[str, object]:
    """Search, and return a row of the table."""
    settings = SearchSettings(**PRESET_VALUES["quick"]["04_darts_search"], seed=seed)
    table = training_images(sides(out_of_fold.protocol("groups"), fold))
    halves = search.halves

    def drawn(*given: object) -> tuple[pd.DataFrame, pd.DataFrame]:
        w_half, alpha_half = halves(*given)
        labels = seeding.numpy_stream(seed, "permuted labels").permutation(alpha_half.label)
        return w_half, alpha_half.assign(label=labels) if permuted else alpha_half

    with mock.patch.object(search, "halves", drawn):
        found = search.search(out_of_fold.images(settings.image_size_px), table, settings)
    leads = [choice.lead for choice in verdict.choices(found.history[-1])]
    limit = verdict.noise_limit(found.history, settings)
    return dict(zip(KEY, (fold, seed, permuted), strict=True)) | {
        "decided": int(np.sum(np.array(leads) > limit)),
        "choices": len(leads),
        "largest_lead": round(max(leads), 3),
        "limit": round(limit, 3),
        "cell": json.dumps(genotypes.to_json(found.genotype)),
    }


def main() -> int:
    """Search what the table lacks, and print what was decided; return the exit code."""
    rows = pd.read_csv(TABLE).to_dict("records") if TABLE.is_file() else []
    done = {tuple(row[name] for name in KEY) for row in rows}
    for key in SEARCHES:
        if key not in done:
            rows.append(one(*key))
            files.save_csv(TABLE, pd.DataFrame(rows))
    table = pd.DataFrame(rows)
    print(table.drop(columns="cell").to_string(index=False))
    cells = table.cell[~table.permuted]
    print(population.agreement([genotypes.from_json(json.loads(cell)) for cell in cells]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
