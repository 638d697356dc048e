"""Start a training on all GPUs from a notebook."""

from __future__ import annotations

import dataclasses
import io
import json
import subprocess
import sys
import time
from typing import cast

import torch

from helpers.core import devices, processes
from helpers.runs.stages import Stage
from helpers.training.loop import TrainingError

BAR_EVERY_S = 5  # a notebook keeps every state of a progress bar that it has been shown


def on_all_gpus(stage: Stage, part: str) -> None:
    """For a notebook: train a part of it by one process on each GPU, where there are several.

    The notebook's own call, next, finds the part done. The processes are started by `accelerate
    launch` and not forked from the notebook: they do not care what it has done before, where a
    fork fails once the notebook has touched a GPU. Does nothing with fewer than two GPUs, and in
    a launched process.

    Raises:
        TrainingError: the training failed; what it printed is shown.
    """
    cuda = devices.default_device().type == "cuda"
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
