"""The exercise cells of 02 and 03, and others of a few lines, become rows of the results."""

import sys
from types import ModuleType

import nbformat
import pytest

from helpers.core import paths
from helpers.training.settings import FinetuneSettings
from tests.small_run import open_run


def exercise(number: str, place: int) -> str:
    """Return a code block of the exercise in a notebook."""
    (path,) = paths.notebooks_root().glob(f"{number}_*.ipynb")
    cells = [cell.source for cell in nbformat.read(path, as_version=4).cells]
    (text,) = (source for source in cells if "<summary>Exercise" in source)
    return text.split("```python\n")[place + 1].split("```")[0]


BEFORE = """
from functools import partial
import numpy as np
import torch
from torch import nn
from helpers.core.members import Member
from helpers.models.record import Model
from helpers.models.weights import find_weights
from helpers.results import results_table
from helpers.training import classifiers
from helpers.training.inference import Features
from helpers.training.fit import pretrained, trainings
settings, split, large, small = run.settings, run.split, run.images(32), run.images(16)
cross = once = own = [Member(0)]
x = np.random.default_rng(0).normal(size=(len(split), 3)).astype(np.float32)
vectors = Features(split.id.to_numpy(dtype=str), x)
all_weights = [find_weights("test_resnet", "random", 32)]
"""
CELLS = {
    "an estimator": exercise("02", 0),
    "a transform of torchvision": exercise("03", 0),
    "a network": exercise("03", 1),
}
EDITS = {
    "[3, 10, 30]": "[3, 11]",
    "Blur(5)": "Blur(3)",
    "16, 5,": "16, 3,",
}


@pytest.fixture
def names(home, split, monkeypatch):
    """The names that the cells find."""
    monkeypatch.setitem(sys.modules, "__main__", ModuleType("__main__"))  # as in a notebook
    settings = FinetuneSettings(cnn_epochs=1, fbp_epochs=1, precision="no")
    names = {"__name__": "__main__", "run": open_run("03_finetuning", settings, split)}
    exec(BEFORE, names)
    return names


def call(cell, names):
    exec(compile(cell, "/tmp/ipykernel_1/1.py", "exec"), names)


@pytest.mark.parametrize("what", CELLS)
def test_what_a_cell_passes_becomes_a_row_and_is_not_done_twice(names, what):
    lines = [line for line in CELLS[what].splitlines() if line and "import" not in line]
    assert len(lines) <= 5
    call(CELLS[what], names)
    run, split = names["run"], names["split"]
    (scored,) = run.models().values()
    assert scored.model.kind == "own" and len(scored.test) == (split.split == "test").sum()
    assert run.reused == []
    call(CELLS[what], names)
    assert len(run.reused) == 1
    (edited,) = (CELLS[what].replace(*edit) for edit in EDITS.items() if edit[0] in CELLS[what])
    call(edited, names)
    assert len(run.reused) == 1  # another object is another training
    if what == "a network":
        path = run.write_submission(run.models()["mine"])
        assert len(path.read_text().splitlines()) == 1 + len(scored.test)
