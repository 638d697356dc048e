"""Run the notebooks in order: `python -m helpers.run`.

Stages that are done with the same settings and inputs are skipped; a failed run says which command
goes on from there.
"""

from __future__ import annotations

import argparse
import shlex
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from helpers.commands import executed, options
from helpers.commands.executed import code_digest
from helpers.commands.plan import Plan, check_places, make_plan
from helpers.core import files, memory, paths
from helpers.core.files import writing
from helpers.darts.space import GenotypeError
from helpers.datasets import DataError
from helpers.runs import attached, stages
from helpers.runs import settings as config
from helpers.runs.record import RunError, lock


class RunOutOfTime(RunError):
    """The time budget is used up: nothing is wrong, the same command goes on."""

    exit_code = 75  # "try again later" in the convention of sysexits.h


_SETTINGS = (config.SettingsError, GenotypeError)
SHOWN_COLUMNS = ("Model", "Valid Acc", "Test AUC", "Test Acc", "Test F1")


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    try:
        plan = make_plan(parser().parse_args(arguments), arguments)
        check_places(plan)
        execute(plan)
    except RunOutOfTime as stop:
        print(f"\n{stop}", file=sys.stderr)
        return RunOutOfTime.exit_code
    except (RunError, DataError, stages.StageError, files.ArtifactError, *_SETTINGS) as error:
        print(f"\nerror: {error}", file=sys.stderr)
        return 1
    return 0


def execute(plan: Plan) -> None:
    """Run what is not up to date, and show the results at the end.

    On Kaggle it goes on with a run of this name that an attached notebook's output holds.

    Raises:
        RunError: a notebook failed, or another process works on the same run.
        StageError: the first stage to run builds on a split, and the run has none.
    """
    run_paths = paths.RunPaths(plan.run)
    started = time.monotonic()
    attached.adopt(run_paths)
    if plan.chosen[0] != next(iter(config.STAGES)):  # before the lock makes the run's folder
        stages.require_earlier(plan.chosen[0], run_paths, stages.load_run(run_paths))
    with lock(run_paths):
        for position, stage in enumerate(plan.chosen, start=1):
            head = f"[{position}/{len(plan.chosen)}] {stage}"
            notebook = paths.notebooks_root() / f"{stage}.ipynb"
            code = code_digest(notebook)
            values = {k.lower(): v for k, v in plan.parameters[stage].items()}
            values = {k: v for k, v in values.items() if k not in ("run", "preset")}
            settings = config.resolve(stage, plan.preset, values)
            shown = executed.has_copy(run_paths, stage) or not (plan.html or plan.publish)
            if shown and stages.is_current(stage, settings, run_paths, code):
                print(f"{head}: up to date", flush=True)
                continue
            print(f"{head}: running as {plan.run}", flush=True)
            began = time.monotonic()
            values = plan.parameters[stage] | _remaining(plan, stage, started)
            _run_notebook(notebook, run_paths.notebook(stage), plan, values, stage)
            stages.record_notebook(stage, run_paths, code)
            print(f"{head}: done in {time.monotonic() - began:.0f} s", flush=True)
        _show_results(run_paths, time.monotonic() - started)
        _pass_on(plan, run_paths)


def parser() -> argparse.ArgumentParser:
    """The options of the command line."""
    return options.parser("helpers.run", __doc__)


def _remaining(plan: Plan, stage: str, started_s: float) -> dict[str, float]:
    """What is left of a time budget, which holds for all notebooks together.

    Raises:
        RunOutOfTime: nothing is left; a notebook that has no trainings is not begun either.
    """
    budgets = (own.get("TIME_BUDGET_MIN") for own in plan.parameters.values())
    budget_min = next((budget for budget in budgets if budget), 0)
    if not budget_min:
        return {}
    left = budget_min - (time.monotonic() - started_s) / 60
    if left <= 0:
        raise _out_of_time(f"the time budget is used up before {stage}", plan)
    own = {"TIME_BUDGET_MIN": round(left, 3)}
    return own if "TIME_BUDGET_MIN" in plan.parameters[stage] else {}


def _run_notebook(
    source: Path, target: Path, plan: Plan, parameters: dict[str, Any], stage: str
) -> None:
    import papermill  # slow to import; a run that is up to date does without
    from nbclient.exceptions import DeadKernelError

    with writing(target):
        target.parent.mkdir(parents=True, exist_ok=True)
    try:
        papermill.execute_notebook(
            str(source),
            str(target),
            parameters=parameters,
            kernel_name="python3",
            cwd=str(paths.project_root()),
            progress_bar={"desc": stage, "unit": "cell"},
            # the kernel talks over loopback; its warning about that says nothing to a user
            extra_arguments=["--log-level=40"],
        )
    except papermill.PapermillExecutionError as error:
        if error.ename == stages.OutOfTime.__name__:
            raise _out_of_time(error.evalue, plan) from None
        where = f"{source.name}, cell [{error.exec_count}]"
        raise _failure(f"{where}: {error.ename}: {error.evalue}", target, plan) from None
    except DeadKernelError:
        names = " or ".join(n.upper() for n in memory.sizes_of(config.STAGES[stage]))
        advice = f"lower {names}" if names else memory.NOTHING
        reason = f"the kernel died; perhaps the memory was full: {advice}"
        raise _failure(f"{source.name}: {reason}", target, plan) from None
    except KeyboardInterrupt:
        raise _failure(f"{source.name}: interrupted", target, plan) from None
    except OSError as error:
        culprit = error.filename or f"{target} cannot be written"
        reason = f"{culprit}: {error.strerror or error}"
        raise _failure(reason, target, plan) from None


def _out_of_time(reason: str, plan: Plan) -> RunOutOfTime:
    return RunOutOfTime(f"{reason}\nTo go on: {_same_command(plan)}")


def _same_command(plan: Plan) -> str:
    return shlex.join(["python", "-m", "helpers.run", *plan.arguments])


def _failure(reason: str, copy: Path, plan: Plan) -> RunError:
    again = _same_command(plan)
    return RunError(f"{reason}\nThe executed copy is {copy}.\nTo go on once it is mended: {again}")


def results_table(run_paths: paths.RunPaths) -> pd.DataFrame | None:
    """The run's own rows of its latest results table, or None before the first one is written."""
    record = stages.load_run(run_paths).get("stages", {})
    tables = {"06_analysis": "06_table2", "03_finetuning": "table2"}
    done = [name for name in tables if record.get(name, {}).get("status") == "done"]
    written = [name for name in done if run_paths.table(tables[name]).is_file()]
    if not written:
        return None
    latest = max(
        written, key=lambda name: record[name].get("started", "")
    )  # 03 may have been done again
    frame = files.load_csv(run_paths.table(tables[latest]), ("Model",)).fillna("-")
    return frame[frame["Valid Acc"] != "-"]  # not the report's rows that the run lacks


def _show_results(run_paths: paths.RunPaths, seconds: float) -> None:
    record = stages.load_run(run_paths)
    frame = results_table(run_paths)
    if frame is not None:
        print("\n" + frame[list(SHOWN_COLUMNS)].to_string(index=False))
        about = ["run", "preset", "backbone"]  # the same in every row: said once
        print(", ".join(f"{name} {frame[name].iloc[0]}" for name in about))
        if record.get("preset") == "smoke":
            print("smoke preset: wiring only, the numbers mean nothing")
        if run_paths.submission.is_file():
            print(f"\nsubmission: {run_paths.submission}")
    print(f"run folder: {run_paths.root}\ntotal: {seconds:.0f} s")


def _pass_on(plan: Plan, run_paths: paths.RunPaths) -> None:
    """What was asked for beside the run: a report, the notebooks with their outputs."""
    if plan.html:
        from helpers.commands import report

        print(f"report: {report.write(run_paths)}")
    if plan.publish:
        from helpers.commands import publish, showcase

        pictures = paths.notebooks_root() / "images"
        # `publish` refuses runs that are not complete, so it comes first
        for file in (*publish.publish(run_paths), *showcase.write_pictures(run_paths, pictures)):
            name = file.relative_to(pictures.parents[1]).as_posix()
            print(f"published: {name}, {file.stat().st_size / 1e6:.2f} MB")
