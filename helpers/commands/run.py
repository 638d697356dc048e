"""Run the notebooks in order: `python -m helpers.run`.

Everything is checked before the first notebook starts. Finished work inside a notebook, such as a
training, is not done again. After a failure the message names the command that continues the run.
"""

import shlex
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from helpers.commands import cli, kernel
from helpers.core import files, finding, paths, style
from helpers.core.rules import SettingsError
from helpers.darts import genotypes
from helpers.datasets.sources import check_name, check_place
from helpers.deploy import export
from helpers.models import AUTO, RANDOM, weights
from helpers.runs import opened, start
from helpers.runs import settings as config
from helpers.runs.record import check_run_name, load_run, lock
from helpers.runs.run import Run

# parameters with an option of their own
OPTIONS = {"DATASET": "--dataset", "PRESET": "--preset", "RUN": "--name"}

# tables of results for the terminal, by the notebook that writes them
TABLES = {
    "02_features_baselines": "02_results",
    "03_finetuning": "table2",
    "06_analysis": "06_table2",
}
FIRST_TABLE = next(iter(TABLES))
# columns that the terminal shows; hidden test labels have no test columns
SHOWN_COLUMNS = ["Model", "Valid AUC", "Valid Acc", "Test AUC", "Test Acc"]
SHOWN_COLUMNS += ["AUC out of fold", "Acc out of fold"]  # without a test set


@dataclass(frozen=True)
class Plan:
    """Hold the stages to run, and the settings and notebook parameters of every stage."""

    run: str
    preset: str
    chosen: list[str]
    settings: dict[str, Any]
    parameters: dict[str, dict[str, Any]]
    command: str  # that makes this plan again, for hints after a failure


def make_plan(arguments: list[str]) -> Plan:
    """Return the plan of a command line; an option or a parameter that is wrong is named."""
    options = cli.run_parser().parse_args(arguments)
    if options.name is not None:
        check_run_name(options.name)
    # what a run was started with stays, unless an option says something else
    record = load_run(paths.RunPaths(options.name)) if options.name else {}
    dataset = options.dataset
    dataset = record.get("dataset", cli.DEFAULT_DATASET) if dataset is None else dataset
    kind, colon, place = dataset.partition(":")
    order = list(config.STAGES)
    first = order.index(config.stage_name(options.start or options.only or "01"))
    chosen = order[first : first + 1] if options.only else order[first:]
    if not first or options.dataset:  # a cell of 01 may have added the source of an older run
        check_name(dataset)
    dataset = f"{kind}:{_absolute(place)}" if colon else kind  # notebooks may run elsewhere
    preset = options.preset or record.get("preset") or start.default_preset()
    run = options.name or start.default_run(dataset, preset)
    record = record or load_run(paths.RunPaths(run))
    start.check_same_dataset(run, record, dataset)
    used = record.get("preset") or preset
    if first and used != preset:  # only 01 can take another one
        raise SettingsError(
            f"run {run!r} was started with --preset {used}, not {preset}: leave it out, or start "
            "another run with --name and without --from and --only"
        )
    given = _given(options.parameter, chosen) | {"DATASET": dataset}
    settings, parameters = {}, {}
    for stage in order:
        known = config.parameter_names(stage)
        values = {name: value for name, value in given.items() if name in known}
        resolved = config.resolve(stage, preset, {n.lower(): v for n, v in values.items()})
        if "GENOTYPES" in values:
            genotypes.check_names(resolved.genotypes, resolved.random_cells)
            values["GENOTYPES"] = [
                _absolute(cell) if cell.endswith(".json") else cell for cell in resolved.genotypes
            ]
        settings[stage], parameters[stage] = resolved, values | {"RUN": run}
    parameters[config.FIRST]["PRESET"] = preset
    command = f"{cli.program('run')} {shlex.join(arguments)}".rstrip()
    return Plan(run, preset, chosen, settings, parameters, command)


def _given(texts: list[str], chosen: list[str]) -> dict[str, Any]:
    """Return the values given by -p, paths made absolute; say so if one changes nothing."""
    given = config.parse_parameters(texts)
    users = {stage: config.parameter_names(stage) for stage in config.STAGES}
    known = sorted(set().union(*users.values()) - OPTIONS.keys())
    for name, value in given.items():
        if name in OPTIONS:
            raise SettingsError(f"{name} is given by {OPTIONS[name]}, not by -p")
        if name not in known:
            raise config.unknown_parameter(name, known, "no notebook")
        using = [stage for stage, names in users.items() if name in names]
        if not {*using} & {*chosen} and name.lower() not in config.STEERING:
            left_out = f"a setting of {', '.join(using)}, which --only or --from leaves out"
            print(f"-p {name} changes nothing in this call: it is {left_out}", file=sys.stderr)
        if name.lower() in config.PLACES and value and (name, value) != ("WEIGHTS", RANDOM):
            given[name] = _absolute(str(value))
    return given


def _absolute(place: str) -> str:
    return str(Path(place).expanduser().absolute())


def check_places(plan: Plan) -> None:
    """Check before the first notebook that files, packages, backbones and runs exist and fit."""
    for stage in plan.chosen:
        settings = plan.settings[stage]
        config.check_places(settings)
        if plan.parameters[stage].get("EXPORT"):
            export.check_packages()
        if stage == config.FIRST:
            check_place(settings.dataset)
        for backbone in {*getattr(settings, "backbone", ())} - {AUTO}:
            weights.anatomy(backbone, settings.image_size_px)


def main(arguments: Sequence[str]) -> int:
    """Run the notebooks, show the results, and return 0."""
    plan = make_plan(list(arguments))
    check_places(plan)
    run_paths = paths.RunPaths(plan.run)
    started_s = time.monotonic()
    if plan.chosen[0] != config.FIRST:  # before the lock creates the run's folder
        start.require_earlier(Run(plan.chosen[0], run_paths, plan.preset, None))
    with lock(run_paths):
        for position, stage in enumerate(plan.chosen, start=1):
            head = f"[{position}/{len(plan.chosen)}] {stage}"
            notebook = paths.notebooks_root() / f"{stage}.ipynb"
            waits = start.waits_for(stage, run_paths)
            if waits and stage in config.BOTH_CLASSES:
                print(f"{head}: waits for {waits}", flush=True)
                continue
            print(f"{head}: running as {plan.run}", flush=True)
            stage_started_s = time.monotonic()
            values = plan.parameters[stage] | _remaining(plan, stage, started_s)
            skipped = kernel.BOTH_CLASSES if waits else ""
            copy = run_paths.notebook(stage)
            kernel.run_notebook(notebook, copy, values, plan.command, skipped)
            done = load_run(run_paths).get("stages", {}).get(stage, {})
            kept = f", {len(done['reused'])} results reused" if done.get("reused") else ""
            print(f"{head}: done in {time.monotonic() - stage_started_s:.0f} s{kept}", flush=True)
            if stage == config.FIRST:  # how the images were divided, and why
                for lines in filter(None, [done.get("report"), done.get("caveats")]):
                    print(lines, flush=True)
            if stage == FIRST_TABLE != plan.chosen[-1]:
                _show_table(run_paths)
        _show_results(run_paths, time.monotonic() - started_s, plan)
    return 0


def _remaining(plan: Plan, stage: str, started_s: float) -> dict[str, float]:
    """Return the parameter with the rest of the time budget, which all notebooks share."""
    name = "TIME_BUDGET_MIN"
    budget_min = max(given.get(name) or 0 for given in plan.parameters.values())
    left_min = budget_min - (time.monotonic() - started_s) / 60
    if budget_min and left_min <= 0:  # also before a notebook without trainings
        reason = f"the time budget is used up before {stage}"
        raise kernel.RunOutOfTime(f"{reason}\nTo continue: {plan.command}")
    return {name: max(0.001, round(left_min, 3))} if plan.parameters[stage].get(name) else {}


def _show_table(run_paths: paths.RunPaths) -> None:
    """Print the run's latest results table, if there is one, with run, preset and backbone."""
    record = load_run(run_paths).get("stages", {})
    written = [
        (record[stage].get("started", ""), run_paths.table(name))
        for stage, name in TABLES.items()
        if record.get(stage, {}).get("status") == "done" and run_paths.table(name).is_file()
    ]
    if not written:
        return
    frame = files.load_csv(max(written)[1], ("Model",)).fillna("-")
    print("\n" + frame.filter(SHOWN_COLUMNS).to_string(index=False))
    print(", ".join(f"{name} {frame[name].iloc[0]}" for name in ("run", "preset", "backbone")))
    print(style.SMOKE_NOTE if frame.preset.iloc[0] == "smoke" else "", flush=True)


def _show_results(run_paths: paths.RunPaths, seconds: float, plan: Plan) -> None:
    """Print the findings of the notebooks up to the last one; those of later ones may be old."""
    _show_table(run_paths)
    record = load_run(run_paths).get("stages", {})
    data = record.get(config.FIRST, {})
    for line in data.get("left_out", []):
        print(f"left out: {line}")
    if unread := data.get("unreadable"):
        more = ", ..." if len(unread) > 1 else ""
        print(f"left out: {len(unread)} image(s) that cannot be read ({unread[0]}{more})")
    tables = [
        finding.rows(finding.of_json(about.get("findings", []))).assign(In=stage[:2])
        for stage, about in sorted(record.items())
        if stage <= plan.chosen[-1]
    ]
    if len(table := pd.concat(tables).fillna("")):
        print("What the notebooks found")
        print(table.set_index("In").to_string(index_names=False, header=False, justify="left"))
    if run_paths.submission.is_file():
        print(f"submission: {run_paths.submission}")
    asked = getattr(plan.settings[plan.chosen[-1]], "model", "")
    model = run_paths.trainings(asked) if asked else opened.best_described(run_paths.root)
    if model and model.is_dir():
        name = f"{run_paths.name}/{model.name}"
        print(f"model: {model} ({cli.program('predict')} IMAGE --model {name})")
    print(f"run folder: {run_paths.root}\ntotal: {style.duration(seconds)}")
