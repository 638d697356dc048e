"""Search inside EfficientNet-Lite0 on ELPV: `python -m tests.benchmarks.subnets`.

    python -m tests.benchmarks.subnets search           # writes notebooks/results/subnets.csv
    python -m tests.benchmarks.subnets alone --folds 1  # trains the chosen and drawn ones alone
    python -m tests.benchmarks.subnets table            # pairs them, and draws AUC over time

The shared training sees folds 1 to 4 of whole modules. Fold 0 chooses, so it judges nothing
afterwards: the parts that are trained alone are scored on folds 1 to 4, each without its fold.
Beside the four best within half of the whole network's multiply-adds at 192 px are four drawn at
random, each with as many multiply-adds (within 5 %) as one of these.
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import itertools
import sys
from collections.abc import Sequence

import pandas as pd

from helpers.core import files, metrics, paths, seeding
from helpers.core.members import sides
from helpers.darts import sandwich
from helpers.darts.sandwich import Candidate, Judged, Space
from helpers.models import backbones
from helpers.models.subnets import Subnet
from helpers.results.out_of_fold import read_folder
from helpers.runs.presets import PRESET_VALUES
from helpers.training.inference import milliseconds_per_image
from helpers.training.settings import FinetuneSettings, Steering
from tests.benchmarks import out_of_fold, population

BASE = out_of_fold.LITE.format(0)
CHOOSING_FOLD, BEST = 0, 4
SHARE, NEAR = 0.5, 0.05  # of the whole network's multiply-adds at 192 px; of those of a best one
SEED, DRAWS = 0, 5000
TABLE = paths.notebooks_root() / "results" / "subnets.csv"


def search() -> None:
    """Train all parts together, and write what the choice saw: name, pixels, multiply-adds, AUC."""
    parts = Space(backbones.find_weights(BASE, "", max(sandwich.SIZES_PX)))
    whole = Candidate(Subnet(parts.depths), 192)  # which FBP trains
    settings = FinetuneSettings(**PRESET_VALUES["full"]["03_finetuning"])
    training = dataclasses.replace(settings.fbp, keep="last")
    table = sides(out_of_fold.protocol("groups"), CHOOSING_FOLD)
    images = out_of_fold.images(parts.largest.size_px)
    resume = paths.cache_root() / "subnets.safetensors"
    shared = sandwich.train(parts, images, table, training, SEED, Steering("parts", resume))
    score = functools.partial(sandwich.auc, shared, images, table, training)
    judged = sandwich.evolve(parts, score, SHARE * parts.macs(whole), SEED)
    drawn = alike(parts, judged[:BEST], [one.candidate for one in judged])
    rows = [*judged, *(dataclasses.replace(one, score=score(one.candidate)) for one in drawn)]
    files.save_csv(TABLE, frame(rows, len(judged)))
    resume.unlink(missing_ok=True)


def alike(parts: Space, best: Sequence[Judged], taken: Sequence[Candidate]) -> list[Judged]:
    """Draw a candidate of nearly as many multiply-adds for each of the best ones."""
    generator = seeding.numpy_stream(SEED, "parts of equal cost")
    drawn: list[Judged] = []
    for one in best:
        for _ in range(DRAWS):
            candidate = parts.draw(lambda n: int(generator.integers(n)))
            used = [*taken, *(other.candidate for other in drawn)]
            if candidate not in used and abs(parts.macs(candidate) / one.macs - 1) <= NEAR:
                drawn.append(Judged(candidate, parts.macs(candidate), float("nan")))
                break
    return drawn


def frame(rows: Sequence[Judged], judged: int) -> pd.DataFrame:
    """Return the table of a search: the first `judged` rows by evolution, the others drawn."""
    return pd.DataFrame(
        [
            {
                "backbone": one.candidate.kept.of(BASE),
                "image_size_px": one.candidate.size_px,
                "macs": one.macs,
                "auc_fold0": round(one.score, 5),
                "kind": "best" if n < BEST else "evolved" if n < judged else "drawn",
            }
            for n, one in enumerate(rows)
        ]
    )


def row_names() -> dict[str, str]:
    """Return the kind of each part to be trained alone, by its row in `out_of_fold`."""
    table = pd.read_csv(TABLE)
    chosen = table[table.kind.isin(["best", "drawn"])]
    return {f"{one.backbone}@{one.image_size_px}": str(one.kind) for one in chosen.itertuples()}


def compared() -> pd.DataFrame:
    """Return AUC, milliseconds on one core and the difference from FBP, for FBP and each part.

    Judged are the images of the folds that did not choose and that all have scored; the intervals
    of the differences are by modules.
    """
    found = read_folder(paths.published_scores())
    names = {"fbp": "whole", **row_names()}
    missing = [row for row in names if row not in found.scores["groups"]]
    if missing:
        raise SystemExit(f"{', '.join(missing)}: not trained alone yet; run `alone`, and row fbp")
    scores = pd.DataFrame({row: found.scores["groups"][row].iloc[:, 0] for row in names})
    judged = scores.notna().all(axis=1).to_numpy()
    judged &= (found.folds.groups != CHOOSING_FOLD).to_numpy()
    labels, modules = (found.folds[name].to_numpy()[judged] for name in ("label", "group"))
    scores, rows = scores[judged], []
    for row, kind in names.items():
        name, _, size_px = row.partition("@")
        spec = backbones.spec_of(BASE if row == "fbp" else name, 2, int(size_px or 192))
        gain = metrics.auc_difference(labels.astype(int), scores[row], scores.fbp, modules)
        rows.append(
            {
                "row": row,
                "kind": kind,
                "images": len(scores),
                "auc": metrics.roc_auc(labels.astype(int), scores[row]),
                "less_fbp": gain.difference,
                "standard_error": gain.standard_error,
                "ms": milliseconds_per_image(backbones.build(spec), 1, "no"),
            }
        )
    return pd.DataFrame(rows)


def main(arguments: Sequence[str] | None = None) -> int:
    """Do one step; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.subnets")
    parser.add_argument("step", choices=("search", "alone", "table"))
    parser.add_argument("--folds", nargs="+", type=int, default=[1, 2, 3, 4])
    parser.add_argument("--seeds", nargs="+", type=int, default=[SEED])
    given = parser.parse_args(arguments)
    if given.step == "search":
        search()
    elif given.step == "alone":
        for seed, fold, row in itertools.product(given.seeds, given.folds, row_names()):
            out_of_fold.complete(row, "groups", seed, fold)
    else:
        table = compared()
        print(table.round(4).to_string(index=False))
        labels = {"ms": "milliseconds for one part on one core", "auc": "AUC, unseen modules"}
        population.draw(table, labels, TABLE.with_suffix(".png"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
