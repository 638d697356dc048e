"""What a user writes into a cell of 02 or 03, in five lines, becomes a row of the results."""

import sys
from types import ModuleType

import pytest

from helpers.training.settings import FinetuneSettings
from tests.small_run import open_run

BEFORE = """
from functools import partial
import numpy as np
import torch
from torch import nn
from helpers.core.members import Member
from helpers.models.record import Model
from helpers.models.weights import find_weights
from helpers.training.classifiers import fittings
from helpers.training.features import Features
from helpers.training.fit import pretrained, trainings
settings, split, members, large = run.settings, run.split, [Member(0)], run.images(32)
x = np.random.default_rng(0).normal(size=(len(split), 3)).astype(np.float32)
vectors = Features(split.id.to_numpy(dtype=str), x)
fbp = partial(pretrained, find_weights("test_resnet", "random", 32), 32)
"""
CELLS = {
    "an estimator": """
from sklearn.neighbors import KNeighborsClassifier
calls = fittings(members, KNeighborsClassifier(), {"n_neighbors": [3, 10]}, vectors, split, 0)
run.add(Model("knn"), run.train({Model("knn"): calls})[Model("knn")])
""",
    "a transform of torchvision": """
from dataclasses import replace
from torchvision.transforms import v2
calls = trainings(members, fbp, large, split, replace(settings.fbp, augment=v2.GaussianBlur(3)))
run.add(Model("blurred"), run.train({Model("blurred"): calls})[Model("blurred")])
""",
    "a module as augmentation": """
class Darker(nn.Module): forward = lambda self, image: image * .8
from dataclasses import replace
calls = trainings(members, fbp, large, split, replace(settings.fbp, augment=Darker()))
run.add(Model("darker"), run.train({Model("darker"): calls})[Model("darker")])
""",
    "a network": """
torch.manual_seed(0)  # its initial weights
mine = nn.Sequential(nn.Conv2d(1, 4, 3), nn.AdaptiveMaxPool2d(1), nn.Flatten(), nn.Linear(4, 2))
calls = trainings(members, mine, large, split, settings.cnn)
run.add(Model("mine"), run.train({Model("mine"): calls})[Model("mine")])
path = run.write_submission(run.models()["mine"])
""",
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
    assert len(CELLS[what].strip().splitlines()) <= 5
    call(CELLS[what], names)
    run, split = names["run"], names["split"]
    (scored,) = run.models().values()
    assert scored.model.kind == "own" and len(scored.test) == (split.split == "test").sum()
    assert run.reused == []
    call(CELLS[what], names)
    assert len(run.reused) == 1
    edited = CELLS[what].replace("[3, 10]", "[3, 11]").replace("Blur(3)", "Blur(5)")
    call(edited.replace("image * .8", "image * .7").replace("(1, 4, 3)", "(1, 4, 5)"), names)
    assert len(run.reused) == 1  # another object is another training
    if "path" in names:
        assert len(names["path"].read_text().splitlines()) == 1 + len(scored.test)
