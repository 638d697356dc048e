"""Plan a call of the runner, and check everything before the first notebook starts."""

from __future__ import annotations

import argparse
import os
import shlex
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from helpers.commands.cli import program
from helpers.commands.options import DEFAULT_DATASET
from helpers.core import paths
from helpers.core.rules import SettingsError
from helpers.darts import named
from helpers.datasets import DataError, check_name, check_place
from helpers.models import AUTO, RANDOM, libraries, names
from helpers.runs import attached, stages
from helpers.runs import settings as config
from helpers.runs.run_models import check_model

PATH_PARAMETERS = {"SPLIT_CSV", "LABELS_CSV", "WEIGHTS"}
FOLDER = "FOLDER"  # a parameter of notebook 07


@dataclass(frozen=True)
class Plan:
    """Which stages to run, and the settings and notebook parameters of every stage."""

    run: str
    preset: str
    chosen: list[str]
    settings: dict[str, Any]
    parameters: dict[str, dict[str, Any]]
    arguments: list[str]  # the command line as it was given
    html: bool = False  # write a report at the end
    publish: bool = False  # write the executed notebooks over the sources

    @property
    def command(self) -> str:
        """The command that makes this plan again, for hints after a failure."""
        return f"{program('run')} {shlex.join(self.arguments)}".rstrip()


def make_plan(options: argparse.Namespace, arguments: list[str], here: bool = True) -> Plan:
    """Return the plan of a command line: the parsed `options`, and the `arguments` as they are.

    A run that is made elsewhere (not `here`) is another than one of its name on this machine.

    Raises:
        SettingsError, GenotypeError: an option or a parameter is wrong.
        ArtifactError: a cell's file is missing or damaged.
    """
    dataset = DEFAULT_DATASET if options.dataset is None else options.dataset
    try:
        check_name(dataset)
    except DataError as error:
        raise SettingsError(str(error)) from None
    kind, colon, place = dataset.partition(":")
    if colon:  # the notebooks may run in another folder
        dataset = f"{kind}:{_absolute(place)}"
    preset = options.preset or stages.default_preset()
    run = options.name or stages.default_run(dataset, preset)
    stages.check_run_name(run)
    order = list(config.STAGES)
    if options.only:
        chosen = [config.stage_name(options.only)]
    else:
        chosen = order[order.index(config.stage_name(options.start)) :] if options.start else order
    attached.adopt(paths.RunPaths(run))  # on Kaggle, from the output of an attached notebook
    record = stages.load_run(paths.RunPaths(run)) if here else {}
    if chosen[0] != order[0]:  # only 01 can take another preset or data set
        asked_for = {"preset": options.preset, "dataset": options.dataset and dataset}
        for name, value in asked_for.items():
            if value and record.get(name) and _resolved(value) != _resolved(record[name]):
                raise SettingsError(
                    f"run {run!r} was started with --{name} {record[name]}, not {value}: leave it "
                    "out, or start another run with --name and without --from and --only"
                )
        preset = record.get("preset") or preset
    elif not options.name and _resolved(record.get("dataset") or dataset) != _resolved(dataset):
        # the default name holds only the last folder of a path; a name given by --name is meant
        raise SettingsError(
            f"run {run!r} was started with --dataset {record['dataset']}, not {dataset}, and would "
            "lose its predictions: give this one a name of its own with --name"
        )
    if options.publish and preset == "smoke":
        raise SettingsError("--publish needs another preset: smoke's numbers mean nothing")
    if options.publish and not paths.is_clone():
        raise SettingsError("--publish needs a clone of the repository: it writes into it")

    given = config.parse_parameters(options.parameter)
    for name, option in (("DATASET", "--dataset"), ("PRESET", "--preset"), ("RUN", "--name")):
        if name in given:
            raise SettingsError(f"{name} is given by {option}, not by -p")
    fields = {stage: stages.parameter_names(stage) for stage in order}
    known = sorted(set().union(*fields.values()) - {"RUN", "PRESET", "DATASET"})
    for name in given:
        if name not in known:
            raise config.unknown_parameter(name, known, "no notebook")
        owners = [stage for stage in order if name in fields[stage]]
        if not {*owners} & {*chosen} and name.lower() not in config.STEERING:
            left_out = f"a setting of {', '.join(owners)}, which --only or --from leaves out"
            print(f"-p {name} changes nothing in this call: it is {left_out}", file=sys.stderr)
        if (
            name in PATH_PARAMETERS | {FOLDER}
            and given[name]
            and (name, given[name]) != ("WEIGHTS", RANDOM)
        ):
            given[name] = _absolute(str(given[name]))
    given["DATASET"] = dataset
    settings, parameters = {}, {}
    for stage in order:
        own = {name: value for name, value in given.items() if name in fields[stage]}
        if "GENOTYPES" in own:
            cells = {name.lower(): own.get(name) for name in ("GENOTYPES", "RANDOM_CELLS")}
            resolved = config.resolve(stage, preset, cells)
            named.check_names(resolved.genotypes, resolved.random_cells)
            own["GENOTYPES"] = [
                _absolute(cell) if cell.endswith(".json") else cell for cell in resolved.genotypes
            ]
        lower = {name.lower(): value for name, value in own.items()}
        settings[stage] = config.resolve(stage, preset, lower)
        parameters[stage] = own | {"RUN": run} | ({"PRESET": preset} if stage == order[0] else {})
    return Plan(run, preset, chosen, settings, parameters, arguments, options.html, options.publish)


def _absolute(place: str) -> str:
    return str(Path(place).expanduser().absolute())


def _resolved(dataset: str) -> tuple[str, str]:
    kind, _, place = dataset.partition(":")
    return kind, os.path.realpath(place)


def check_places(plan: Plan) -> None:
    """Refuse files, folders and a model that do not exist, before the first notebook starts.

    Raises:
        SettingsError, DataError: the message names the parameter.
    """
    for own in (plan.parameters[stage] for stage in plan.chosen):
        for name in PATH_PARAMETERS & own.keys():
            is_file = os.path.isfile(own[name]) or (name, own[name]) == ("WEIGHTS", RANDOM)
            if own[name] and not is_file:
                raise SettingsError(f"{name}={own[name]!r} is not a file")
        if own.get(FOLDER) and not os.path.isdir(own[FOLDER]):
            raise SettingsError(f"{FOLDER}={own[FOLDER]!r} is not a folder")
        if own.get("EXPORT"):
            from helpers.deploy.export import check_format  # imports much

            check_format(own["EXPORT"])
        if "DATASET" in own:
            check_place(own["DATASET"])
    for settings in (plan.settings[stage] for stage in plan.chosen):
        for backbone in set(getattr(settings, "backbone", ())) - {AUTO}:
            try:
                libraries.anatomy(backbone, settings.image_size_px)
            except libraries.BackboneError as error:
                raise SettingsError(str(error)) from None
    run_paths, wanted = paths.RunPaths(plan.run), plan.settings["06_analysis"].model
    cells = "05_genotype_retraining"
    if cells in plan.chosen and plan.settings[cells].distill:
        split = stages.load_run(run_paths).get("stages", {}).get(stages.FIRST, {})
        made = split.get("settings", {}).get("cross_fit", "unknown")
        if not (plan.settings[stages.FIRST].cross_fit if stages.FIRST in plan.chosen else made):
            raise SettingsError(
                "DISTILL needs teachers of all folds: start the run with CROSS_FIT=5, or give "
                "DISTILL=False"
            )
    if "06_analysis" in plan.chosen and (other := plan.settings["06_analysis"].compare_run):
        stages.check_run_name(other)
        if not paths.RunPaths(other).split_csv.is_file():
            raise SettingsError(f"COMPARE_RUN={other!r} has no split; run notebook 01 of it")
    if "06_analysis" in plan.chosen:
        check_model(run_paths, wanted, _models_of(plan))


def _models_of(plan: Plan) -> list[str]:
    """Return the models that a run with these settings may have, whichever stages it runs."""
    backbones = plan.settings["03_finetuning"].backbone
    cells = plan.settings["05_genotype_retraining"]
    found = named.models_of([*cells.genotypes, *named.FOUND], cells.random_cells)
    networks = [model.slug for model in found]
    return [
        *(name for name in names.ROW_NAMES if name not in ("random_cell", "majority")),
        *names.on_backbones((*names.CLASSICAL, *names.PRETRAINED), backbones),
        *names.on_backbones(names.CLASSICAL, backbones, names.FINETUNED),
        *networks,
        *(network + names.DISTILLED for network in networks),
    ]
