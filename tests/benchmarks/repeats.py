"""Collect what repeats of a run have found: `python -m tests.benchmarks.repeats RUN OTHER ...`.

    python -m helpers.run --name elpv-quick-1 -p SEED=1
    python -m tests.benchmarks.repeats elpv-quick elpv-quick-1 elpv-quick-2

The runs differ by their seed alone. For each finding at the head of a notebook the lowest and the
highest number of all runs, and their verdicts, go to `notebooks/results/RUN/repeats.csv`, unless
all are equal. From then on a run of that name shows them beside its own.
"""

import argparse
import dataclasses
import math

import pandas as pd

from helpers.core import files, finding, paths
from helpers.runs.record import load_run, published_repeats, settings_key

BY = ["notebook", "settings", "finding"]


def main(arguments=None):
    """Write the table of the first run."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.repeats")
    parser.add_argument("runs", nargs="+")
    names, rows = parser.parse_args(arguments).runs, []
    for name in names:
        content = load_run(paths.RunPaths(name))
        for notebook, stage in content["stages"].items():
            found = finding.of_json(stage["findings"])
            key = settings_key(content, notebook)
            about = {"notebook": notebook, "settings": key}
            rows += [about | {"finding": f.what, "of": f} for f in found]
    table = []
    for names_of, own in pd.DataFrame(rows).groupby(BY, sort=False):
        numbers = sorted(own.of, key=lambda f: f.estimate)
        low, high = (
            dataclasses.replace(f, low=math.nan, high=math.nan).number
            for f in (numbers[0], numbers[-1])
        )
        verdicts = ", ".join(dict.fromkeys(f.verdict for f in own.of))
        ends = low if low == high else f"{low.partition(' ')[0]} to {high}"
        missing = f"in {len(own)} of {len(names)} runs: " if len(own) < len(names) else ""
        changed = f"; {verdicts}" if own.of.map(lambda f: f.verdict).nunique() > 1 else ""
        if low == high and not changed and not missing:
            continue  # a seed moves nothing
        row = dict(zip(BY, names_of, strict=True))
        table.append(row | {"repeats": f"{missing}{ends}{changed}"})
    files.save_csv(published_repeats(names[0]), pd.DataFrame(table))


if __name__ == "__main__":
    main()
