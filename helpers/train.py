"""Train on several GPUs or machines: `accelerate launch -m helpers.train 03 --name NAME`.

Does the trainings of a notebook (03, 04 or 05) and nothing else of it. The notebook, run after it
with the same parameters, finds them done and only shows them. Every process of a launch runs this;
without a launcher (`python -m helpers.train`) there is one.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import io
import json
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from typing import cast

import pandas as pd
import torch

from helpers import (
    artifacts,
    backbones,
    checks,
    config,
    features,
    finetune,
    processes,
    results,
    retrain,
    run,
    run_record,
    seeding,
    stages,
)
from helpers.darts import search
from helpers.darts.space import GenotypeError
from helpers.datasets import DataError
from helpers.memory import MemoryFullError
from helpers.stages import OutOfTime, Stage
from helpers.training import TrainingError
from helpers.weights import WeightsError

BAR_EVERY_S = 5  # a notebook keeps every state of a progress bar that it has been shown

# errors that all processes meet together, and those that one may meet alone, on its machine
_COMMON = (config.SettingsError, TrainingError)
_LOCAL = (
    artifacts.ArtifactError,
    DataError,
    GenotypeError,
    MemoryFullError,
    run.RunError,
    stages.StageError,
)


def _cnn(stage: Stage, split: pd.DataFrame) -> None:
    cache = features.cache_of(split, stage.settings.cnn_image_size_px)
    finetune.train_cnn(stage, split, cache)


def _last_layer(stage: Stage, split: pd.DataFrame) -> None:
    cache = features.cache_of(split, stage.settings.image_size_px)
    weights = _weights(stage)
    features.pretrained_features(stage, split, cache, weights)
    finetune.train_last_layer(stage, split, cache, weights)


def _all_layers(stage: Stage, split: pd.DataFrame) -> None:
    cache = features.cache_of(split, stage.settings.image_size_px)
    finetune.train_all_layers(stage, split, cache, _weights(stage))


def _search(stage: Stage, split: pd.DataFrame) -> None:
    search.search_genotype(stage, split, features.cache_of(split, stage.settings.image_size_px))


def _cells(stage: Stage, split: pd.DataFrame) -> None:
    cache = features.cache_of(split, stage.settings.retrain_image_size_px)
    retrain.train_cells(stage, retrain.cells_of(stage), split, cache)


def _weights(stage: Stage) -> backbones.Weights:
    with processes.main_first():  # they may have to be downloaded
        return backbones.find_weights(stage.settings.backbone, stage.settings.weights)


PARTS: dict[str, dict[str, Callable[[Stage, pd.DataFrame], None]]] = {
    "03_finetuning": {"cnn": _cnn, "ll": _last_layer, "fbp": _all_layers},
    "04_darts_search": {"search": _search},
    "05_genotype_retraining": {"cells": _cells},
}


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code, which a launcher turns into 0 or 1."""
    options = _parser().parse_args(arguments)
    try:
        _train(options)
    except OutOfTime as error:
        if processes.is_main():
            print(f"\n{error}")
        if not options.from_notebook:  # which notices by itself, and stops
            return run.RunOutOfTime.exit_code
    except (*_COMMON, *_LOCAL, WeightsError) as error:
        if processes.is_main() or not isinstance(error, _COMMON):
            print(f"\nerror: {error}", file=sys.stderr, flush=True)
        return 1
    processes.leave()
    return 0


def on_all_gpus(stage: Stage, part: str) -> None:
    """For a notebook: train a part of it by one process on each GPU, where there are several.

    The notebook's own call, next, finds the part done. The processes are started by `accelerate
    launch` and not forked from the notebook: they do not care what it has done before, where a
    fork fails once the notebook has touched a GPU. Does nothing with fewer than two GPUs, and in
    a launched process.

    Raises:
        TrainingError: the training failed; what it printed is shown.
    """
    cuda = seeding.default_device().type == "cuda"
    gpus = torch.cuda.device_count() if cuda and processes.count() == 1 else 0
    if gpus < 2:
        return
    options: dict[str, int | str] = {"num_machines": 1, "num_processes": gpus}
    options |= {"main_process_port": 0}  # 0: a free one
    options |= {"mixed_precision": "no", "dynamo_backend": "no"}  # what its warning asks for
    launch = [sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu"]
    launch += [f"--{name}={value}" for name, value in options.items()]
    code = _follow([*launch, "-m", "helpers.train", *_arguments(stage, part)])
    if code:
        raise TrainingError(
            f"the training on {gpus} GPUs ended with exit code {code}, for the reason printed "
            "above; with CUDA_VISIBLE_DEVICES=0 in its environment the notebook trains on one GPU"
        )


def _arguments(stage: Stage, part: str) -> list[str]:
    """The command line that does a part of an opened stage."""
    values = dataclasses.asdict(stage.settings)
    if stage.deadline_s is not None:  # 0 would mean no limit
        values["time_budget_min"] = max((stage.deadline_s - time.monotonic()) / 60, 0.001)
    given = [f"{name.upper()}={json.dumps(value)}" for name, value in values.items()]
    options = ["--name", stage.paths.name, "--part", part, "--from-notebook"]
    return [stage.name, *options, *(word for text in given for word in ("-p", text))]


def _follow(command: list[str]) -> int:
    """Run a command, print what it prints as it comes, and give its exit code."""
    shown_s = 0.0
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
        try:
            output = cast(io.BufferedReader, process.stdout)
            for piece in io.TextIOWrapper(output, errors="replace", newline=""):
                if piece.endswith("\r"):  # a progress bar
                    if time.monotonic() - shown_s < BAR_EVERY_S:
                        continue
                    shown_s = time.monotonic()
                print(piece, end="", flush=True)
        except BaseException:
            process.terminate()  # the launcher takes its processes along
            raise
    return process.returncode


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m helpers.train", description=__doc__)
    parser.add_argument("stage", metavar="NN", help="03, 04 or 05: whose trainings to do")
    parser.add_argument("--name", default="", help="name of the run; default elpv-<preset>")
    parser.add_argument("--part", help="one training alone, e.g. cnn, ll or fbp of 03")
    parser.add_argument("--from-notebook", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument(
        "-p",
        dest="parameter",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="a parameter of the notebook; may be given several times",
    )
    return parser


def _train(options: argparse.Namespace) -> None:
    _refuse_half_a_launch()
    name = config.stage_name(options.stage)
    if name not in PARTS:
        known = ", ".join(known[:2] for known in PARTS)
        raise config.SettingsError(f"{name} trains no network; there are {known}")
    parts = PARTS[name]
    if options.part and options.part not in parts:
        raise config.SettingsError(f"{name} has no part {options.part!r}: {', '.join(parts)}")
    given = dict(checks.parse_parameter(text) for text in options.parameter)
    if "RUN" in given:
        raise config.SettingsError("RUN is given by --name, not by -p")
    stage = stages.open_stage(name, given | {"RUN": options.name})
    split = results.read_split(stage.paths)
    with contextlib.ExitStack() as stack:
        if not processes.is_main():
            silence = stack.enter_context(open(os.devnull, "w"))
            stack.enter_context(contextlib.redirect_stdout(silence))
        elif not options.from_notebook:  # whose run is locked already
            stack.enter_context(run.lock(stage.paths))
            stack.enter_context(run_record.stage_lock(stage.paths, name))
        print(f"{name} of run {stage.paths.name} on {processes.device_name()}", flush=True)
        for part in [options.part] if options.part else parts:
            parts[part](stage, split)
        if not options.from_notebook:
            print(f"trained: {stage.paths.root}\nto see it: {_notebook_command(stage, options)}")


def _refuse_half_a_launch() -> None:
    """Without several GPUs `accelerate launch` starts one process, whatever number it was given.

    It leaves more to MPI, but tells the one where the others would be.
    """
    counts = ("WORLD_SIZE", "PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "MV2_COMM_WORLD_SIZE")
    launched = "ACCELERATE_USE_CPU" in os.environ and "MASTER_ADDR" in os.environ
    if launched and not any(name in os.environ for name in counts):
        raise config.SettingsError(
            "accelerate launch has started one process, since it found no two GPUs: processes on a "
            "CPU are started by torchrun --nproc-per-node N -m helpers.train ..."
        )


def _notebook_command(stage: Stage, options: argparse.Namespace) -> str:
    words = ["python", "-m", "helpers.run", "--name", stage.paths.name, "--preset", stage.preset]
    words += ["--dataset", stages.load_run(stage.paths).get("dataset", "elpv")]
    words += ["--from", stage.name[:2], *(w for text in options.parameter for w in ("-p", text))]
    return shlex.join(words)


if __name__ == "__main__":
    sys.exit(main())
