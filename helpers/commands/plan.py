"""Plan a call of the runner, and check everything before the first notebook starts."""

from __future__ import annotations

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
from helpers.runs.settings import FIRST, STAGES
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
        """Return the command that makes this plan again, for hints after a failure."""
        return f"{program('run')} {shlex.join(self.arguments)}".rstrip()


def make_plan(arguments: list[str]) -> Plan:
    """Return the plan of a command line; an option or a parameter that is wrong is named."""
    options = run_parser().parse_args(arguments)
    if options.name is not None:
        check_run_name(options.name)
    # what a run was started with stays, unless an option says something else
    record = load_run(paths.RunPaths(options.name)) if options.name else {}
    dataset = options.dataset
    dataset = record.get("dataset", DEFAULT_DATASET) if dataset is None else dataset
    kind, colon, place = dataset.partition(":")
    order = list(STAGES)
    first = order.index(config.stage_name(options.start or options.only or "01"))
    chosen = order[first : first + 1] if options.only else order[first:]
    if not first or options.dataset:  # a cell of 01 may have added the source of an older run
        check_name(dataset)
    dataset = f"{kind}:{_absolute(place)}" if colon else kind  # notebooks may run elsewhere
    preset = options.preset or record.get("preset") or default_preset()
    run = options.name or default_run(dataset, preset)
    record = record or load_run(paths.RunPaths(run))
    check_same_dataset(run, record, dataset)
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
            named.check_names(resolved.genotypes, resolved.random_cells)
            values["GENOTYPES"] = [
                _absolute(cell) if cell.endswith(".json") else cell for cell in resolved.genotypes
            ]
        settings[stage], parameters[stage] = resolved, values | {"RUN": run}
    parameters[FIRST]["PRESET"] = preset
    return Plan(run, preset, chosen, settings, parameters, arguments)


def _given(texts: list[str], chosen: list[str]) -> dict[str, Any]:
    """Return the values given by -p, paths made absolute; say so if one changes nothing."""
    given = config.parse_parameters(texts)
    users = {stage: config.parameter_names(stage) for stage in STAGES}
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
            from helpers.deploy.export import check_packages  # imports much

            check_packages()
        if stage == FIRST:
            check_place(settings.dataset)
        for backbone in {*getattr(settings, "backbone", ())} - {AUTO}:
            try:
                weights.anatomy(backbone, settings.image_size_px)
            except weights.BackboneError as error:
                raise SettingsError(str(error)) from None
