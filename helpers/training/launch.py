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

BAR_EVERY_S = 5  # a notebook keeps every state of a progress bar that it is shown


def on_all_gpus(stage: Stage, part: str) -> None:
    """Train a part of a notebook by one process on each GPU if there are several.

    The notebook's next call finds the part done. `accelerate launch` starts the processes; a fork
    of the notebook would fail once it has used a GPU. With fewer than two GPUs, and in a launched
    process, this does nothing.

    Raises:
        TrainingError: the training failed; its output is shown.
    """
    cuda = devices.default_device().type == "cuda"
    gpus = torch.cuda.device_count() if cuda and processes.count() == 1 else 0
    if gpus < 2:
        return
    values = dataclasses.asdict(stage.settings)
    if stage.deadline_s is not None:  # 0 would mean no limit
        values["time_budget_min"] = max((stage.deadline_s - time.monotonic()) / 60, 0.001)
    command = [sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu"]
    command += ["--num_machines=1", f"--num_processes={gpus}", "--main_process_port=0"]  # 0: free
    command += ["--mixed_precision=no", "--dynamo_backend=no"]  # it warns if they are left out
    command += ["-m", "helpers.train", stage.name, "--name", stage.paths.name]
    command += ["--part", part, "--from-notebook"]
    for name, value in values.items():
        command += ["-p", f"{name.upper()}={json.dumps(value)}"]
    if code := _follow(command):
        raise TrainingError(
            f"the training on {gpus} GPUs ended with exit code {code}, for the reason printed "
            "above; with CUDA_VISIBLE_DEVICES=0 in its environment the notebook trains on one GPU"
        )


def _follow(command: list[str]) -> int:
    """Run a command, print its output as it comes, and return its exit code."""
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
            process.terminate()  # the launcher ends its processes too
            raise
    return process.returncode
