"""Can this machine do the run? `python -m helpers.doctor`, with the options of `helpers.run`.

Each line says ok, note, or PROBLEM with the way out. The exit code is 1 when there is a PROBLEM.
No network is asked, no credential is shown.
"""

from __future__ import annotations

import argparse
import textwrap
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from helpers.commands import doctor_checks
from helpers.commands import options as run_options
from helpers.commands.doctor_checks import Line
from helpers.core import paths
from helpers.runs import settings as config

if TYPE_CHECKING:
    import pandas as pd

    from helpers.commands.estimates import Images
    from helpers.commands.plan import Plan


WIDTH = 110  # of a line on the screen
PROBES = 8  # images looked at to tell gray from colour


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns 0 when the chosen run can be done, otherwise 1."""
    options = run_options.parser("helpers.doctor", __doc__).parse_args(arguments)
    problems = 0
    for line in examine(options):
        print(shown(line), flush=True)
        problems += line.state == "PROBLEM"
    print(f"\n{problems} problem(s)" if problems else "\nready")
    return 1 if problems else 0


def examine(options: argparse.Namespace) -> Iterator[Line]:
    """All lines, each as soon as it is known."""
    basics = [doctor_checks.python(), *doctor_checks.packages()]
    yield from basics
    yield doctor_checks.home()
    if any(line.state == "PROBLEM" for line in basics):
        return  # the rest imports these packages
    yield doctor_checks.commit()
    yield doctor_checks.credentials()
    from helpers.commands.plan import check_places, make_plan
    from helpers.runs.stages import StageError

    try:
        plan = make_plan(options, [])  # no hint how to go on is needed
        check_places(plan)
        settings = {stage: _settings(plan, stage) for stage in config.STAGES}
        settings |= _split_of_run(plan)
    except (StageError, ValueError) as error:  # settings, names of cells
        yield Line("PROBLEM", "settings", str(error))
        return
    yield Line("ok", "run", f"{plan.run}, preset {plan.preset}")
    yield from _examine_run(plan.preset, settings)


def shown(line: Line) -> str:
    """A line for the screen, broken into several where it is long."""
    head = f"{line.state:<8} {line.name:<11} "
    return textwrap.fill(
        line.text,
        WIDTH,
        initial_indent=head,
        subsequent_indent=" " * len(head),
        break_long_words=False,
        break_on_hyphens=False,
    )


def _examine_run(preset: str, settings: dict[str, Any]) -> Iterator[Line]:
    """What depends on torch and on the run that was chosen."""
    from helpers.commands import doctor_machine, estimates
    from helpers.core import devices

    yield doctor_machine.device(preset)
    yield doctor_machine.cores()
    tuned = settings["03_finetuning"]
    line, backbone = doctor_checks.weights(tuned.backbone, tuned.weights)
    yield line
    split = settings["01_data_split"]
    line, table = doctor_checks.data(split)
    yield line
    yield doctor_checks.other_data(split.dataset)
    if line.state == "PROBLEM":
        return  # without images no size is known
    images, drawn_bytes = _images(table)
    needed = estimates.disk_bytes(settings, images, backbone)
    yield doctor_machine.disk(needed | ({"chips": drawn_bytes} if drawn_bytes else {}))
    chosen = devices.default_device()
    precision = tuned.precision
    precision = devices.default_precision(chosen) if precision == "auto" else precision
    stages = estimates.memory_bytes(settings, images, backbone, precision)
    gpu_bytes = doctor_machine.gpu_bytes(chosen)
    classical = {"02_features_baselines": stages["02_features_baselines"]}  # never on a GPU
    yield doctor_machine.memory(classical if gpu_bytes else stages)
    if gpu_bytes:
        yield doctor_machine.memory(stages, gpu_bytes)


def _images(table: pd.DataFrame | None) -> tuple[Images, int]:
    """The size of the data set, and the bytes of chips that are still to be drawn."""
    from helpers.commands import estimates
    from helpers.core import paths
    from helpers.datasets import cache as images
    from helpers.datasets import chips
    from helpers.datasets.chips import files as chips_files
    from helpers.datasets.chips import write

    if table is None:
        count = sum(chips.DEFAULT_COUNTS)
        return estimates.Images(count, 1), count * chips_files.bmp_bytes(write.IMAGE_SIZE_PX)
    files = table.path.iloc[:: max(1, len(table) // PROBES)]
    colour = any(_is_colour(path) for path in files)
    key = images.source_key(table)
    caches = [p.parent.name for p in paths.cache_root().glob(f"{key}-*/cache.json")]
    sizes = frozenset(int(name.rpartition("-")[2]) for name in caches)
    return estimates.Images(len(table), 3 if colour else 1, sizes), 0


def _is_colour(path: str) -> bool:
    from pathlib import Path

    from helpers.datasets.decoding import BitsFound, read_pixels

    try:
        return read_pixels(Path(path), bits=16).ndim == 3
    except (OSError, ValueError, SyntaxError, BitsFound):
        return False  # the run itself names every file that cannot be read


def _settings(plan: Plan, stage: str) -> Any:
    given = {name.lower(): value for name, value in plan.parameters[stage].items()}
    return config.resolve(
        stage, plan.preset, {k: v for k, v in given.items() if k not in ("run", "preset")}
    )


def _split_of_run(plan: Plan) -> dict[str, Any]:
    """The split's settings that a run was begun with, where the chosen stages build on it.

    Raises:
        StageError: the run has no split yet. On Kaggle an attached output may bring one.
    """
    from helpers.runs import stages

    first = next(iter(config.STAGES))
    run_paths = paths.RunPaths(plan.run)
    if plan.chosen[0] == first or (paths.KAGGLE_INPUT.is_dir() and not run_paths.root.exists()):
        return {}
    record = stages.load_run(run_paths)
    stages.require_earlier(plan.chosen[0], run_paths, record)
    given = record["stages"][first].get("settings", {})
    return {first: config.resolve(first, plan.preset, given)}
