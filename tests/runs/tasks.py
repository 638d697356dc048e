"""Functions that tests of the memo call, also in worker processes."""

import os
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from helpers.core.errors import UserError


@dataclass(frozen=True)
class Result:
    """One value of each kind but networks."""

    table: pd.DataFrame
    others: pd.DataFrame  # a second one
    arrays: dict[str, np.ndarray]
    weights: dict[str, torch.Tensor]
    seconds: float
    words: list[str]


@dataclass(frozen=True)
class Place:
    """A file that does not count as an argument."""

    path: Path
    digest = ""


def everything(n):
    table = pd.DataFrame({"id": ["007", "=1+1", "a"], "score": [1 / 3, n, 0.0], "n": [1, 2, n]})
    arrays = {"x": np.arange(n, dtype=np.float32), "names": np.array(["a", "bc"])}
    return Result(table, table[:1], arrays, {"w": torch.full((2, 2), n / 7)}, 1.5, ["a", "b"])


def count_up(place: Place, value: int) -> int:
    """Note the call, its process and its threads in a file, and return the value plus one."""
    with place.path.open("a") as file:
        file.write(f"{value} {os.getpid()} {torch.get_num_threads()}\n")
    return value + 1


def fail(value):
    raise UserError(f"value {value} is wrong")


def matrix_product(seed: int) -> dict[str, np.ndarray]:
    """Return a product whose last bits depend on the number of threads."""
    generator = torch.Generator().manual_seed(seed)
    a = torch.randn(257, 4099, generator=generator)
    return {"product": (a @ a.T).numpy(), "sum": a.sum(dim=1).numpy()}


def wait(place: Place) -> None:
    """Note this process in a file, and wait until somebody kills it."""
    with place.path.open("a") as file:
        file.write(f"{os.getpid()}\n")
    time.sleep(120)


def same(value):
    return value


def seed_of(given):
    return given.seed
