"""What the notebooks show of a run's models: the files behind the tables of `helpers.results`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from helpers.core import files
from helpers.core.paths import RunPaths
from helpers.core.rules import SettingsError
from helpers.datasets.split_file import keeps_groups_apart, read_split
from helpers.results import ensembles, label_audit, results_table, submission
from helpers.results.ensembles import Stacked
from helpers.results.predictions import Scored
from helpers.runs import record
from helpers.runs.run_models import costs_of, read_all_predictions
from helpers.runs.stages import FIRST, Run, check_run_name

ANALYSIS = "06_analysis"
# parameters by which two compared runs may differ: those that change no model that both have
MAY_DIFFER = ["split", "split_csv", "val_per_class", "time_budget_min"]
MAY_DIFFER += ["genotypes", "random_cells", "distill"]


def results(run: Run) -> tuple[pd.DataFrame, dict[str, Scored]]:
    """Return the results table of the models that this notebook and earlier ones have made.

    A notebook that is run again shows what existed by then, whatever the run holds by now.
    """
    scored = read_all_predictions(run.paths, until=run.name)
    return results_table.results_table(scored, run.split), scored


def whole_results(run: Run) -> tuple[pd.DataFrame, dict[str, Scored]]:
    """Return the results table of all models with ensembles, costs and tests, and the models."""
    scored = read_all_predictions(run.paths, ensembles=True)
    table = results_table.results_table(scored, run.split)
    cost = costs_of(run.paths, list(scored))
    return results_table.with_tests(table, scored, cost), scored


def kinds(run: Run) -> list[str]:
    """Return the columns of split.csv that the data source names as kinds of parts."""
    return record.load_run(run.paths)["stages"][FIRST].get("kinds", [])


def write_ensemble(run: Run) -> Stacked | None:
    """Fit the ensemble of the run's models, and make it a model too if it is to be kept.

    One that is no longer kept is removed.

    Raises:
        ArtifactError: a file has the name of the ensemble, but this run did not write it.
    """
    stacked = ensembles.stack(read_all_predictions(run.paths), run.split, run.settings.seed)
    path = run.paths.predictions(ensembles.STACKING.slug)
    ours = record.load_run(run.paths).get("models", {}).get(path.stem, {}).get("digest")
    if path.exists() and files.file_digest(path) != ours:
        raise files.ArtifactError(
            f"{path} has the name of an ensemble but was not made here, or changed since; "
            "rename it to keep it as a model of your own, or delete it"
        )
    if stacked and stacked.kept:
        run.add_model(ensembles.STACKING, stacked.predictions)
    else:
        path.unlink(missing_ok=True)
    return stacked


def other_run(run: Run, other: str) -> dict[str, dict[str, Scored]]:
    """Return the models of the run with the random split and of the one by groups.

    The keys are those of `comparison.SPLITS`.

    Raises:
        SettingsError: the other run has no split, one of the same kind, or other labels.
    """
    problem, runs = f"COMPARE_RUN={other!r}", {}
    check_run_name(other)
    paths = (run.paths, RunPaths(other))
    if not paths[1].split_csv.is_file():
        raise SettingsError(f"{problem} has no split; run notebook 01 of that run")
    tables = [read_split(own.split_csv) for own in paths]
    for own, table in zip(paths, tables, strict=True):
        runs["groups" if keeps_groups_apart(table) else "random"] = own
    if len(runs) < 2:
        kind = "keeps groups apart" if "groups" in runs else "is random"
        raise SettingsError(f"{problem}: the split of both runs {kind}; name one of the other kind")
    first, second = (table.set_index("id").label.sort_index() for table in tables)
    if not first.equals(second):
        raise SettingsError(f"{problem} has other images or other labels than run {run.paths.name}")
    here, there = (_settings(own) for own in paths)
    if unlike := sorted(
        f"{name} (here {here[name]!r}, there {there[name]!r})"
        for name in here.keys() & there.keys()
        if here[name] != there[name]
    ):
        raise SettingsError(f"{problem} was made with other settings: {', '.join(unlike)}")
    return {kind: read_all_predictions(own, ensembles=True) for kind, own in runs.items()}


def _settings(run_paths: RunPaths) -> dict[str, Any]:
    """Return the parameters of a run that its models depend on, the kind of split aside."""
    values: dict[str, Any] = {}
    for stage, entry in record.load_run(run_paths).get("stages", {}).items():
        if stage < ANALYSIS:
            given = entry.get("settings", {}).items()
            values |= {f"{stage[:2]} {k.upper()}": v for k, v in given if k not in MAY_DIFFER}
    if not values.get("05 HALVING_EPOCHS"):  # without the halving the runs share no winner of it
        values = {name: value for name, value in values.items() if "HALVING" not in name}
    return values


def write_submission(run: Run, scored: Scored) -> Path:
    """Write the submission of a model whole or not at all, and return its path.

    If notebook 01 left out images of the test set, as `smoke` does, a contest would refuse the
    file: it is then called `<run>.incomplete.csv`.
    """
    about, path = record.load_run(run.paths), run.paths.submission
    if about.get("stages", {}).get(FIRST, {}).get("test_left_out"):
        path = path.with_name(f"{run.paths.name}.incomplete.csv")
    contest = about.get("dataset", "").partition(":")[0] in submission.CONTESTS
    content = submission.submission(scored, contest).to_csv(index=False, lineterminator="\n")
    files.write_bytes(path, content.encode())
    if run.name == ANALYSIS:  # it writes the file of notebook 03 again
        run.output(path)
    return path


def write_labels_to_check(run: Run, audited: pd.DataFrame) -> str:
    """Write the suspect labels as a CSV to edit, and say what to do with it.

    An older list is kept: a person may have edited it.
    """
    path, rows = run.paths.labels_to_check, label_audit.to_check(audited)
    if path.exists():
        return f"{path} is an older list and was kept; delete it for a new one"
    files.save_csv(path, rows)
    first = record.load_run(run.paths).get("stages", {}).get(FIRST, {})
    given = first.get("settings", {}).get("labels_csv", "")
    where = f"Correct them in {given}" if given else "Correct its column `label`"
    return (
        f"{len(rows)} labels to check: {path}\n{where}, then start a run with another --name and "
        f"-p LABELS_CSV={given or path}"
    )
