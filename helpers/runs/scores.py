"""The results of a run: the models' scores, added by notebooks and read by later ones."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from helpers.core import files
from helpers.core.members import Member
from helpers.core.paths import RunPaths
from helpers.datasets.split_file import read_split
from helpers.models.record import Model
from helpers.results import submission
from helpers.results.predictions import Scored, read_predictions
from helpers.runs.record import edit_run, load_run, models_of, outputs_are_intact


def add_model(
    run_paths: RunPaths,
    stage: str,
    model: Model,
    fits: Mapping[Member, Any] | pd.DataFrame,
    costs: Mapping[str, Any],
) -> Path:
    """Write the predictions of a model, and what it is; return the path; see `Run.add`."""
    if isinstance(fits, pd.DataFrame):
        table = fits
    else:
        table = joined({member: fitted.scores for member, fitted in fits.items()})
        first = next(iter(fits.values()))
        known = {
            name: getattr(first, name) for name in ("parameters", "device") if hasattr(first, name)
        }
        seconds = round(sum(fitted.seconds for fitted in fits.values()), 1)
        costs = {"seconds": seconds} | known | {**costs}
        model = dataclasses.replace(model, members=tuple(fits))
    path, content = run_paths.predictions(model.slug), files.csv_bytes(table)
    digest = files.bytes_digest(content)
    ours = load_run(run_paths).get("models", {}).get(model.slug, {}).get("digest")
    if path.exists() and files.file_digest(path) not in (ours, digest):  # a kill leaves ours
        raise files.ArtifactError(
            f"{path} has the name of a model of this run but was not made here, or changed since: "
            "rename it to keep it as a model of your own, or delete it"
        )
    files.write_bytes(path, content)
    with edit_run(run_paths) as run:
        about = {"stage": stage, "digest": digest, "costs": costs}
        run.setdefault("models", {})[model.slug] = about | {"model": model.to_json()}
    return path


def joined(scores: Mapping[Member, pd.DataFrame]) -> pd.DataFrame:
    """Return the content of a predictions file from the scores of a model's members."""
    several = len({member.seed for member in scores}) > 1
    blocks = []
    for member, block in scores.items():
        seed = {"seed": member.seed} if several else {}
        fold = {} if member.fold is None else {"fold": member.fold}
        blocks.append(block.assign(**seed, **fold))
    return pd.concat(blocks, ignore_index=True)


def read_models(run_paths: RunPaths, until: str = "") -> dict[str, Scored]:
    """Load the scores of all models of a run by slug, in the table's order.

    `until` names a notebook: models of later ones are left out. A file of the user's own that does
    not fit the split is left out with a line that says why.

    Raises:
        ArtifactError: there are no predictions, or one that the run has made does not fit.
    """
    split = read_split(run_paths.split_csv)
    made = load_run(run_paths).get("models", {})
    found = {}
    for name, model in models_of(run_paths).items():
        if until and name in made and made[name]["stage"] > until:
            continue
        try:
            found[name] = read_predictions(run_paths.predictions(name), split, model)
        except files.ArtifactError as error:
            if name in made:
                raise
            print(f"left out: {error}")
    if not found:
        raise files.ArtifactError(
            f"{run_paths.predictions_root} holds no predictions; run notebook 02 or 03 first"
        )
    return found


def forget_others(run_paths: RunPaths, stage: str, added: Sequence[str]) -> None:
    """Remove the predictions that an earlier call of a notebook has made and this one has not.

    Such rows are those of another backbone, for example. Their trainings are kept.
    """
    with edit_run(run_paths) as run:
        models = run.setdefault("models", {})
        for slug in [name for name, about in models.items() if about["stage"] == stage]:
            if slug not in added:
                del models[slug]
                run_paths.predictions(slug).unlink(missing_ok=True)


def write_submission(run_paths: RunPaths, scored: Scored, source: Mapping[str, Any]) -> Path:
    """Write the submission of a model, and return its path.

    Without a test set it holds the scores of all images, each out of fold. If notebook 01 left out
    images of the test set, as `smoke` does, a contest would refuse the file: it is then called
    `<run>.incomplete.csv`.
    """
    path = run_paths.submission
    if source.get("test_left_out"):
        path = path.with_name(f"{run_paths.name}.incomplete.csv")
    table = scored.val if scored.test.empty else scored.test
    table = submission.submission_table(table, source.get("submission"))
    files.write_bytes(path, table.to_csv(index=False, lineterminator="\n").encode())
    return path


def save_split(run_paths: RunPaths, table: pd.DataFrame) -> None:
    """Write split.csv and remove what was made of another split: predictions, cells, tables.

    Training images of that split may be validation images now. The user's files are kept.
    """
    content = files.csv_bytes(table)
    run, root, digest = load_run(run_paths), run_paths.root, files.bytes_digest(content)
    # compared with the record, so that making a damaged split.csv again removes nothing
    if run.get("split") not in (None, digest):
        made = {
            f"predictions/{slug}.csv": about["digest"]
            for slug, about in run.get("models", {}).items()
        }
        for step in run.get("steps", {}).values():
            made |= {n: d for n, d in step["outputs"].items() if n.startswith("genotypes/")}
        stale = [root / n for n, d in made.items() if outputs_are_intact(run_paths, {n: d})]
        tables = [*root.glob("metrics/0[2-8]_*.csv"), *root.glob("figures/0[2-8]_*.png")]
        tables += [run_paths.table("results"), run_paths.table("table2")]
        for file in (*stale, *tables, run_paths.submission):
            file.unlink(missing_ok=True)  # first: if killed here, the old split is on record
    files.write_bytes(run_paths.split_csv, content)
    with edit_run(run_paths) as run:
        if run.get("split") != digest:
            run["models"] = {}
        run["split"] = digest
