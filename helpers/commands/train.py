"""Train on several GPUs or machines: `accelerate launch -m helpers.train 03 --name NAME`.

Runs the training steps of a notebook (03, 04 or 05) and nothing else of it. The notebook, run after
it with the same parameters, finds them done and only shows them. Every process of a launch runs
this; without a launcher (`python -m helpers.train`) there is one. With `--engine ray` folds, seeds
and candidate cells are trained at once on a Ray cluster, one on each GPU or core.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shlex
import sys
from collections.abc import Callable, Sequence
from typing import Any

from helpers.commands import options as command_line
from helpers.commands import run
from helpers.commands.cli import parser_of
from helpers.core import processes
from helpers.core.errors import OutOfTime, UserError
from helpers.core.rules import SettingsError
from helpers.darts import halving, perturbation, retrain, search
from helpers.models import backbones
from helpers.runs import settings, stages
from helpers.runs.stages import Stage
from helpers.training import features, finetune
from helpers.training.inference import ScoresError
from helpers.training.jobs import ENGINES
from helpers.training.loop import TrainingError

# errors that all processes meet together; each may meet the others alone, on its machine
_SHARED = (SettingsError, TrainingError, backbones.BackboneError, ScoresError)


def _weights(stage: Stage) -> list[backbones.Weights]:
    with processes.main_first():  # they may have to be downloaded
        return features.weights_of(stage)


def _last_layers(stage: Stage) -> None:
    for weights in _weights(stage):
        features.pretrained_features(stage, weights)
        finetune.train_last_layer(stage, weights)


def _all_layers(stage: Stage) -> None:
    for weights in _weights(stage):
        finetune.train_all_layers(stage, weights)


def _selection_by_perturbation(stage: Stage) -> None:
    perturbation.genotype_by_perturbation(stage, search.search_genotype(stage))


PARTS: dict[str, dict[str, Callable[[Stage], Any]]] = {
    "03_finetuning": {
        "cnn": finetune.train_cnn,
        "ll": _last_layers,
        "fbp": _all_layers,
    },
    "04_darts_search": {
        "search": search.search_genotype,
        "perturbation": _selection_by_perturbation,
    },
    "05_genotype_retraining": {
        "halving": halving.run_halving,
        "cells": lambda stage: retrain.train_cells(stage, retrain.cells_of(stage)),
    },
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code, which a launcher turns into 0 or 1."""
    options = _parser().parse_args(arguments)
    try:
        _train(options)
    except OutOfTime as error:
        if processes.is_main():
            print(f"\n{error}")
        if not options.from_notebook:  # a notebook notices by itself and stops
            return run.RunOutOfTime.exit_code
    except UserError as error:
        if processes.is_main() or not isinstance(error, _SHARED):
            print(f"\nerror: {error}", file=sys.stderr, flush=True)
        return 1
    processes.leave()
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = parser_of("train", __doc__)
    parser.add_argument("stage", metavar="NN", help="03, 04 or 05: the notebook to train for")
    parser.add_argument("--name", default="", help="name of the run; default elpv-<preset>")
    parser.add_argument("--part", help="one training alone, e.g. cnn, ll or fbp of 03")
    parser.add_argument("--engine", choices=ENGINES, default="plain", help="ray: on a Ray cluster")
    parser.add_argument("--from-notebook", action="store_true", help=argparse.SUPPRESS)
    command_line.add_parameters(parser)
    return parser


def _train(options: argparse.Namespace) -> None:
    # `accelerate launch` starts one process if it finds no two GPUs. It leaves other launches to
    # MPI, but tells this process where the others would be.
    counts = {"WORLD_SIZE", "PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "MV2_COMM_WORLD_SIZE"}
    launched = {"ACCELERATE_USE_CPU", "MASTER_ADDR"} <= os.environ.keys()
    if launched and not counts & os.environ.keys():
        raise SettingsError(
            "accelerate launch has started one process, since it found no two GPUs: processes on a "
            "CPU are started by torchrun --nproc-per-node N -m helpers.train ..."
        )
    name = settings.stage_name(options.stage)
    if name not in PARTS:
        others = ", ".join(other[:2] for other in PARTS)
        raise SettingsError(f"{name} trains no network; {others} do")
    parts = PARTS[name]
    if options.part and options.part not in parts:
        raise SettingsError(f"{name} has no part {options.part!r}: {', '.join(parts)}")
    given = settings.parse_parameters(options.parameter)
    if "RUN" in given:
        raise SettingsError("RUN is given by --name, not by -p")
    known = sorted(stages.parameter_names(name) - {"RUN"})
    for parameter in given:
        if parameter not in known:
            raise settings.unknown_parameter(parameter, known, f"no cell of {name}")
    stage = stages.open_stage(name, given | {"RUN": options.name})
    stage.engine = options.engine
    if stage.engine != "plain" and (processes.count() > 1 or stage.deadline_s is not None):
        raise SettingsError(
            f"--engine {stage.engine} starts its own processes, which share no clock: leave out "
            "the launcher and TIME_BUDGET_MIN, or use --engine plain"
        )
    with contextlib.ExitStack() as stack:
        if not processes.is_main():
            silence = stack.enter_context(open(os.devnull, "w"))
            stack.enter_context(contextlib.redirect_stdout(silence))
        elif not options.from_notebook:  # a notebook has locked its run already
            stack.enter_context(run.lock(stage.paths))
            stack.enter_context(run.lock(stage.paths, name))
        print(f"{name} of run {stage.paths.name} on {processes.device_name()}", flush=True)
        for part in [options.part] if options.part else parts:
            parts[part](stage)
        if not options.from_notebook:
            dataset = stages.load_run(stage.paths).get("dataset", "elpv")
            words = ["--name", stage.paths.name, "--preset", stage.preset, "--dataset", dataset]
            words += ["--from", name[:2]]
            words += [word for text in options.parameter for word in ("-p", text)]
            print(f"trained: {stage.paths.root}")
            print(f"to see it: python -m helpers.run {shlex.join(words)}")
