"""What a call of the runner is to do, checked before the first notebook starts."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from helpers.commands.options import DEFAULT_DATASET
from helpers.core import paths
from helpers.darts import named
from helpers.datasets import DataError, check_name, check_place
from helpers.runs import settings as config
from helpers.runs import stages

PATH_PARAMETERS = {"SPLIT_CSV", "WEIGHTS"}


@dataclass(frozen=True)
class Plan:
    """Which stages to run, and each one's notebook parameters."""

    run: str
    preset: str
    chosen: list[str]
    parameters: dict[str, dict[str, Any]]
    arguments: list[str]  # of the command line, for the hint after a failure
    html: bool = False  # write a report at the end
    publish: bool = False  # write the executed notebooks over the sources


def make_plan(options: argparse.Namespace, arguments: list[str]) -> Plan:
    """Check everything that can be checked before the first notebook starts."""
    dataset = _absolute(DEFAULT_DATASET if options.dataset is None else options.dataset)
    preset = options.preset or stages.default_preset()
    run = options.name or stages.default_run(dataset, preset)
    order = list(config.STAGES)
    if options.only:
        chosen = [config.stage_name(options.only)]
    else:
        chosen = order[order.index(config.stage_name(options.start)) :] if options.start else order
    stages.check_run_name(run)
    if chosen[0] != order[0]:
        preset = _preset_of(run, dataset, options) or preset
    elif not options.name:
        _refuse_taken_name(run, dataset)
    if options.publish and preset == "smoke":
        raise config.SettingsError("--publish wants another preset: smoke's numbers mean nothing")
    given = dict(config.parse_parameter(text) for text in options.parameter)
    for name, option in (("DATASET", "--dataset"), ("PRESET", "--preset"), ("RUN", "--name")):
        if name in given:
            raise config.SettingsError(f"{name} is given by {option}, not by -p")
    for name in PATH_PARAMETERS & given.keys():
        if given[name]:  # the notebooks may run in another folder
            given[name] = str(Path(str(given[name])).expanduser().absolute())
    given["DATASET"] = dataset
    fields = {stage: stages.parameter_names(stage) for stage in order}
    known = sorted(set().union(*fields.values()) - {"RUN", "PRESET", "DATASET"})
    for name in given:
        if name not in {*known, "DATASET"}:
            raise config.unknown_parameter(name, known, "no notebook")
    parameters = {}
    for stage in order:
        own = {name: value for name, value in given.items() if name in fields[stage]}
        lower = {name.lower(): value for name, value in own.items()}
        settings = config.resolve(stage, preset, lower)
        if "genotypes" in lower:
            named.check_names(settings.genotypes)
            own["GENOTYPES"] = list(named.absolute(settings.genotypes))
        own["RUN"] = run
        if stage == order[0]:
            own["PRESET"] = preset
        parameters[stage] = own
    return Plan(run, preset, chosen, parameters, arguments, options.html, options.publish)


def _preset_of(run: str, dataset: str, options: argparse.Namespace) -> str:
    """The preset that a run was begun with, for later notebooks; "" where there is no run yet.

    Raises:
        SettingsError: another preset or data set was asked for, which only 01 can take.
    """
    record = stages.load_run(paths.RunPaths(run))
    asked = {"preset": options.preset, "dataset": options.dataset and dataset}
    for name, value in asked.items():
        if value and record.get(name) and value != record[name]:
            raise config.SettingsError(
                f"run {run!r} was begun with --{name} {record[name]}, not {value}: leave it out, "
                "or begin another run with --name and without --from and --only"
            )
    return str(record.get("preset", ""))


def _refuse_taken_name(run: str, dataset: str) -> None:
    """Refuse a run's default name where a run of another data set has taken it.

    The name holds the last folder of the path alone, and a new split removes what was predicted
    for the old one. A name that was given is meant.
    """
    begun = stages.load_run(paths.RunPaths(run)).get("dataset")
    if begun and _resolved(str(begun)) != _resolved(dataset):
        raise config.SettingsError(
            f"run {run!r} was begun with --dataset {begun}, not {dataset}, and would lose its "
            "predictions: give this one a name of its own with --name"
        )


def _resolved(dataset: str) -> tuple[str, Path | None]:
    """What two names of one data set have in common."""
    kind, colon, place = dataset.partition(":")
    return kind, Path(place).expanduser().resolve() if colon else None


def _absolute(dataset: str) -> str:
    """A data set's name, a path in it absolute: the notebooks may run in another folder."""
    try:
        check_name(dataset)
    except DataError as error:
        raise config.SettingsError(str(error)) from None
    kind, colon, place = dataset.partition(":")
    return f"{kind}:{Path(place).expanduser().absolute()}" if colon else kind


def check_places(plan: Plan) -> None:
    """Refuse files and folders that are not there, before the first notebook starts."""
    for own in (plan.parameters[stage] for stage in plan.chosen):
        for name in PATH_PARAMETERS & own.keys():
            if own[name] and not Path(own[name]).is_file():
                raise config.SettingsError(f"{name}={own[name]!r} is not a file")
        if "DATASET" in own:
            check_place(own["DATASET"])
