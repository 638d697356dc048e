"""Run the notebooks in order: `python -m helpers.run`.

Stages that are done with the same settings and inputs are skipped. After a failure the message
names the command that continues the run.
"""

from __future__ import annotations

import argparse
import logging
import sys
import tempfile
import textwrap
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from helpers.commands import cli, executed, options, progress
from helpers.commands.plan import Plan, check_places, make_plan
from helpers.core import environment, files, memory, paths, status, style, threads
from helpers.core.errors import OutOfTime, UserError
from helpers.runs import settings as config
from helpers.runs import stages
from helpers.runs.record import RunError, lock

_HANGING: Any = {"subsequent_indent": "    ", "break_long_words": False, "break_on_hyphens": False}
# columns of `results_table` for the terminal; hidden test labels have no test columns
SHOWN_COLUMNS = ("Model", "Valid AUC", "Valid Acc", "Test AUC", "Test Acc", "Test F1")


class RunOutOfTime(RunError):
    """The time budget is used up; nothing is wrong, and the same command continues."""

    exit_code = 75  # "try again later" in the convention of sysexits.h


class RunInterrupted(RunError):
    """The user has stopped a notebook by Ctrl-C; the same command continues."""

    exit_code = 130  # as `cli.start` returns it


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return 0, 1 after an error, 75 if out of time, 130 after Ctrl-C.

    >>> main(["--dataset", "folder:parts", "-p", "VAL_PER_CLASS=30"])  # doctest: +SKIP
    """
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    try:
        plan = make_plan(parser().parse_args(arguments), arguments)
        check_places(plan)
        execute(plan)
    except (RunOutOfTime, RunInterrupted) as stop:
        print(f"\n{stop}", file=sys.stderr)
        return stop.exit_code
    except UserError as error:
        print(f"\nerror: {error}", file=sys.stderr)
        return 1
    return 0


def parser() -> argparse.ArgumentParser:
    """Return the options of the command line."""
    return options.parser("run", __doc__)


def execute(plan: Plan) -> None:
    """Run the stages that are not up to date, then show the results.

    Raises:
        RunError: a notebook failed, or another process works on the same run.
        StageError: the first stage to run needs a split, and the run has none.
    """
    run_paths = paths.RunPaths(plan.run)
    started_s = time.monotonic()
    if plan.chosen[0] != stages.FIRST:  # before the lock creates the run's folder
        stages.require_earlier(plan.chosen[0], run_paths, stages.load_run(run_paths))
    with lock(run_paths):
        for position, stage in enumerate(plan.chosen, start=1):
            head = f"[{position}/{len(plan.chosen)}] {stage}"
            notebook = paths.notebooks_root() / f"{stage}.ipynb"
            code = executed.code_digest(notebook)
            shown = executed.has_copy(run_paths, stage) or not (plan.html or plan.publish)
            run = stages.load_run(run_paths)
            shown = shown and run.get("preset", plan.preset) == plan.preset  # 01 writes it
            if plan.publish:  # what is shown comes from the code that is beside it
                record = run.get("stages", {}).get(stage, {})
                shown = shown and environment.is_present_code(record.get("commit"))
            if shown and stages.is_current(stage, plan.settings[stage], run_paths, code):
                print(f"{head}: up to date", flush=True)
                continue
            took = progress.expected(_to_run(plan, stage, run_paths), plan.settings)
            text = f"{head}: running as {plan.run}" + (f" ({took})" if took else "")
            print(text, flush=True)
            stage_started_s = time.monotonic()
            values = plan.parameters[stage] | _remaining(plan, stage, started_s)
            with threads.polite_waiting():
                _run_notebook(notebook, run_paths.notebook(stage), plan, values, stage)
            stages.record_notebook(stage, run_paths, code)
            print(f"{head}: done in {time.monotonic() - stage_started_s:.0f} s", flush=True)
        report = None
        if plan.html:
            from helpers.commands.report import write

            report = write(run_paths)
        _show_results(run_paths, report, time.monotonic() - started_s)
        if plan.publish:
            from helpers.commands import publish, showcase

            folder = paths.notebooks_root()
            written = publish.publish(run_paths)  # first, as it refuses incomplete runs
            written += showcase.write_pictures(run_paths, folder / "images")
            for file in written:
                name, size_mb = file.relative_to(folder.parent), file.stat().st_size / 1e6
                print(f"published: {name.as_posix()}, {size_mb:.2f} MB")


def _to_run(plan: Plan, stage: str, run_paths: paths.RunPaths) -> list[str]:
    """Return this stage, which is not up to date, and those after it that will run too."""
    run, left = stages.load_run(run_paths), [stage]
    known = run.get("stages", {}).get(stage, {}).get("key")
    changed = known != stages.stage_key(stage, plan.settings[stage], run)
    for later in plan.chosen[plan.chosen.index(stage) + 1 :]:
        code = executed.code_digest(paths.notebooks_root() / f"{later}.ipynb")
        if changed or not stages.is_current(later, plan.settings[later], run_paths, code):
            left.append(later)
    return left


def _remaining(plan: Plan, stage: str, started_s: float) -> dict[str, float]:
    """Return the stage's part of the time budget, which holds for all notebooks together.

    If nothing is left, a notebook without trainings is not started either.
    """
    budgets = [own.get("TIME_BUDGET_MIN") for own in plan.parameters.values()]
    budget_min = next(filter(None, budgets), None)
    if budget_min is None:
        return {}
    left_min = budget_min - (time.monotonic() - started_s) / 60
    if left_min <= 0:
        reason = f"the time budget is used up before {stage}"
        raise RunOutOfTime(f"{reason}\nTo continue: {plan.command}")
    has_trainings = "TIME_BUDGET_MIN" in plan.parameters[stage]
    return {"TIME_BUDGET_MIN": round(left_min, 3)} if has_trainings else {}


def _run_notebook(
    source: Path, target: Path, plan: Plan, parameters: dict[str, Any], stage: str
) -> None:
    import papermill  # slow to import, and not needed by a run that is up to date
    from nbclient.exceptions import DeadKernelError

    stop = RunError
    with files.writing(target):
        target.parent.mkdir(parents=True, exist_ok=True)
    # it warns of parameters that are not in the cell; `make_plan` has checked them
    logging.getLogger("papermill").setLevel(logging.ERROR)
    # papermill formats paths: braces in a name are doubled
    literal = [str(path).replace("{", "{{").replace("}", "}}") for path in (source, target)]
    try:
        with tempfile.TemporaryDirectory() as folder, status.listening(Path(folder, "status")):
            papermill.execute_notebook(
                *literal,
                parameters=parameters,
                engine_name=progress.register_engine(Path(folder, "status")),
                kernel_name="python3",
                cwd=str(paths.working_folder()),
                progress_bar=progress.bar_options(stage),
                # the kernel warns that it talks over loopback, which is of no use to the user
                extra_arguments=["--log-level=40"],
            )
    except papermill.PapermillExecutionError as error:
        if error.ename == OutOfTime.__name__:
            raise RunOutOfTime(f"{error.evalue}\nTo continue: {plan.command}") from None
        reason = f"{source.name}, cell [{error.exec_count}]: {error.ename}: {error.evalue}"
    except DeadKernelError:
        names = " or ".join(n.upper() for n in memory.sizes_of(config.STAGES[stage]))
        advice = f"lower {names}" if names else memory.NOTHING
        reason = f"{source.name}: the kernel died; perhaps the memory was full: {advice}"
    except KeyboardInterrupt:
        stop, reason = RunInterrupted, f"{source.name}: interrupted"
    except OSError as error:
        culprit = error.filename or f"{target} cannot be written"
        reason = f"{culprit}: {error.strerror or error}"
    else:
        return
    raise stop(
        f"{reason}\nThe executed copy is {target}.\nTo continue once it is fixed: {plan.command}"
    )


def results_table(run_paths: paths.RunPaths) -> pd.DataFrame | None:
    """Return the run's latest results table, or None if there is none yet."""
    record = stages.load_run(run_paths).get("stages", {})
    written = [
        (record[stage].get("started", ""), run_paths.table(name))
        for stage, name in (("03_finetuning", "table2"), ("06_analysis", "06_table2"))
        if record.get(stage, {}).get("status") == "done" and run_paths.table(name).is_file()
    ]
    if not written:
        return None
    return files.load_csv(max(written)[1], ("Model",)).fillna("-")


def _show_results(run_paths: paths.RunPaths, report: Path | None, seconds: float) -> None:
    from helpers.deploy.predictor import best_described  # imports much

    run, frame = stages.load_run(run_paths), results_table(run_paths)
    if frame is not None:
        print("\n" + frame.filter(SHOWN_COLUMNS).to_string(index=False))
        # these are the same in every row
        print(", ".join(f"{name} {frame[name].iloc[0]}" for name in ("run", "preset", "backbone")))
        if run.get("preset") == "smoke":
            print("smoke preset: wiring only, the numbers mean nothing")
    data = run.get("stages", {}).get(stages.FIRST, {})
    for line in data.get("left_out", []):
        print(f"left out: {line}")
    if unread := data.get("unreadable"):
        print(f"left out: {len(unread)} image(s) that cannot be read ({unread[0]}, ...)")
    found = [
        textwrap.fill(sentence, 100, initial_indent=f"{stage[:2]}  ", **_HANGING)
        for stage in config.STAGES
        for sentence in run.get("stages", {}).get(stage, {}).get("findings", [])
    ]
    if found:
        print("\n".join(["\nWhat the notebooks found", *found]))
    print()
    if run_paths.submission.is_file():
        print(f"submission: {run_paths.submission}")
    if model := best_described(run_paths.root):
        name = f"{run_paths.name}/{model.name}"
        print(f"model: {model} ({cli.program('predict')} IMAGE --model {name})")
    if report:
        print(f"report: {report}")
    print(f"run folder: {run_paths.root}\ntotal: {style.duration(seconds)}")
