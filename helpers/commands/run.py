"""Run the notebooks in order: `python -m helpers.run`.

Finished work inside a notebook, such as a training, is not done again. After a failure the message
names the command that continues the run.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

import pandas as pd

from helpers.commands import cli, kernel
from helpers.commands.kernel import RunOutOfTime
from helpers.commands.plan import Plan, check_places, make_plan
from helpers.core import files, finding, paths, style
from helpers.runs import settings as config
from helpers.runs.record import load_run, lock
from helpers.runs.run import Run
from helpers.runs.start import require_earlier, waits_for

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


def main(arguments: Sequence[str]) -> int:
    """Run the notebooks, show the results, and return 0."""
    plan = make_plan(list(arguments))
    check_places(plan)
    run_paths = paths.RunPaths(plan.run)
    started_s = time.monotonic()
    if plan.chosen[0] != config.FIRST:  # before the lock creates the run's folder
        require_earlier(Run(plan.chosen[0], run_paths, plan.preset, None))
    with lock(run_paths):
        for position, stage in enumerate(plan.chosen, start=1):
            head = f"[{position}/{len(plan.chosen)}] {stage}"
            notebook = paths.notebooks_root() / f"{stage}.ipynb"
            waits = waits_for(stage, run_paths)
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
        raise RunOutOfTime(f"{reason}\nTo continue: {plan.command}")
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
    from helpers.runs.opened import best_described  # imports much

    _show_table(run_paths)
    record = load_run(run_paths).get("stages", {})
    data = record.get(config.FIRST, {})
    for line in data.get("left_out", []):
        print(f"left out: {line}")
    if unread := data.get("unreadable"):
        more = ", ..." if len(unread) > 1 else ""
        print(f"left out: {len(unread)} image(s) that cannot be read ({unread[0]}{more})")
    found = {
        stage[:2]: finding.rows(finding.of_json(record.get(stage, {}).get("findings", [])))
        for stage in config.STAGES
        if stage <= plan.chosen[-1]
    }
    tables = [rows.assign(In=number) for number, rows in found.items()]
    if len(table := pd.concat(tables).fillna("")):
        print("What the notebooks found")
        print(table.set_index("In").to_string(index_names=False, header=False, justify="left"))
    if run_paths.submission.is_file():
        print(f"submission: {run_paths.submission}")
    asked = getattr(plan.settings[plan.chosen[-1]], "model", "")
    model = run_paths.trainings(asked) if asked else best_described(run_paths.root)
    if model and model.is_dir():
        name = f"{run_paths.name}/{model.name}"
        print(f"model: {model} ({cli.program('predict')} IMAGE --model {name})")
    print(f"run folder: {run_paths.root}\ntotal: {style.duration(seconds)}")
