"""Plan a call of the runner, and check everything before the first notebook starts."""

from __future__ import annotations

import os
import shlex
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from helpers.commands.cli import DEFAULT_DATASET, program, run_parser
from helpers.core import paths
from helpers.core.rules import SettingsError
from helpers.darts import named
from helpers.datasets.sources import check_name, check_place
from helpers.models import AUTO, RANDOM, weights
from helpers.runs import settings as config
from helpers.runs.record import check_run_name, load_run
from helpers.runs.settings import ANALYSIS, FIRST
from helpers.runs.start import check_same_dataset, default_preset, default_run

# parameters with an option of their own
OPTIONS = {"DATASET": "--dataset", "PRESET": "--preset", "RUN": "--name"}


@dataclass(frozen=True)
class Plan:
    """Hold the stages to run, and the settings and notebook parameters of every stage."""

    run: str
    preset: str
    chosen: list[str]
    settings: dict[str, Any]
    parameters: dict[str, dict[str, Any]]
    arguments: list[str]  # the command line as it was given

    @property
    def command(self) -> str:
        """The command that makes this plan again, for hints after a failure."""
        return f"{program('run')} {shlex.join(self.arguments)}".rstrip()


def make_plan(arguments: list[str]) -> Plan:
    """Return the plan of a command line.

    Raises:
        SettingsError, DataError, GenotypeError: an option or a parameter is wrong.
        ArtifactError: a cell's file is missing or damaged.
    """
    options = run_parser().parse_args(arguments)
    # what a run was started with stays, unless an option says something else
    if options.name == "":
        raise SettingsError("--name is empty: give the run a name, or leave --name out")
    begun = load_run(paths.RunPaths(options.name)) if options.name else {}
    name = options.dataset
    name = begun.get("dataset", DEFAULT_DATASET) if name is None else name
    kind, colon, place = name.partition(":")  # the notebooks may run in another folder
    dataset = f"{kind}:{_absolute(place)}" if colon else name
    preset = options.preset or begun.get("preset") or default_preset()
    run = options.name or default_run(dataset, preset)
    check_run_name(run)
    order = list(config.STAGES)
    first = order.index(config.stage_name(options.start or options.only or "01"))
    chosen = order[first : first + 1] if options.only else order[first:]
    if not first or options.dataset:  # a cell of 01 may have added the source of an older run
        check_name(name)
    record = load_run(paths.RunPaths(run))
    if first:  # only 01 can take another preset or data set
        asked_for = {"preset": options.preset, "dataset": options.dataset and dataset}
        _check_same_run(run, record, asked_for)
        preset = record.get("preset") or preset
    else:
        check_same_dataset(run, record, dataset)
    given = _given(options.parameter, chosen) | {"DATASET": dataset}
    settings, parameters = {}, {}
    for stage in order:
        known = config.parameter_names(stage)
        values = {name: value for name, value in given.items() if name in known}
        if "GENOTYPES" in values:
            cells = {name.lower(): values.get(name) for name in ("GENOTYPES", "RANDOM_CELLS")}
            resolved = config.resolve(stage, preset, cells)
            named.check_names(resolved.genotypes, resolved.random_cells)
            values["GENOTYPES"] = [
                _absolute(cell) if cell.endswith(".json") else cell for cell in resolved.genotypes
            ]
        settings[stage] = config.resolve(stage, preset, {n.lower(): v for n, v in values.items()})
        parameters[stage] = values | {"RUN": run}
    parameters[FIRST]["PRESET"] = preset
    return Plan(run, preset, chosen, settings, parameters, arguments)


def _check_same_run(run: str, record: dict[str, Any], wanted: dict[str, str | None]) -> None:
    """Raise SettingsError if the preset or data set is not that of the run."""
    for name, value in wanted.items():
        if value and record.get(name) and _resolved(value) != _resolved(record[name]):
            raise SettingsError(
                f"run {run!r} was started with --{name} {record[name]}, not {value}: leave it "
                "out, or start another run with --name and without --from and --only"
            )


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


def _resolved(dataset: str) -> tuple[str, str]:
    kind, _, place = dataset.partition(":")
    return kind, os.path.realpath(place)


def check_places(plan: Plan) -> None:
    """Check before the first notebook that files, packages, backbones and runs exist and fit.

    Raises:
        SettingsError, DataError, ExportError: one does not; the message names it.
    """
    given = {n: v for stage in plan.chosen for n, v in plan.parameters[stage].items() if v}
    for stage in plan.chosen:
        config.check_places(plan.settings[stage])
    if "EXPORT" in given:
        from helpers.deploy.export import check_packages  # imports much

        check_packages()
    if "DATASET" in given:
        check_place(given["DATASET"])
    for settings in (plan.settings[stage] for stage in plan.chosen):
        for backbone in set(getattr(settings, "backbone", ())) - {AUTO}:
            try:
                weights.anatomy(backbone, settings.image_size_px)
            except weights.BackboneError as error:
                raise SettingsError(str(error)) from None
    other = plan.settings[ANALYSIS].compare_run
    if ANALYSIS in plan.chosen and other:
        from helpers.runs.scores import split_without_test  # imports much

        split_without_test(paths.RunPaths(other))
        if FIRST in plan.chosen and plan.settings[FIRST].test_fraction:
            raise SettingsError(
                "COMPARE_RUN compares runs without a test set: give TEST_FRACTION=0, CROSS_FIT=5"
            )
