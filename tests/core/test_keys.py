"""Keys of finished work: what may change a result changes the key, and nothing else does."""

import copy
import functools
import importlib
import json
import math
import subprocess
import sys
import textwrap
import types

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.neighbors import KNeighborsClassifier
from torchvision.transforms import v2

from helpers.core import files, keys
from helpers.core.rules import Registry
from helpers.models.weights import Weights
from helpers.training import fit
from helpers.training.settings import TrainSettings

FILES = {
    "__init__.py": "",
    "rooms/__init__.py": "LEVEL = 1",
    "rooms/work.py": '''
        """Work."""
        from math import sqrt as root

        from toy.rooms import tools
        from . import passing


        def run(x, by=2):
            """Return the result."""
            return tools.double(x) * by  # a comment


        class Better:
            rate = 1

            def step(self):
                from toy.rooms.local import inside

                return inside()
    ''',
    "rooms/tools.py": """
        import functools
        from toy.rooms.numbers import FACTOR, halve

        def times(n):
            def decorator(function):
                @functools.wraps(function)
                def inner(x):
                    return n * function(x)
                return inner
            return decorator

        @times(2)
        def double(x):
            return halve(x) * FACTOR
    """,
    "rooms/numbers.py": """
        FACTOR = 3
        TABLE = {"a": (1, 2)}

        def halve(x):
            return x / 2
    """,
    "rooms/local.py": "def inside():\n    return 1\n",
    "rooms/passing.py": "KIND = 'a'\n",
    "rooms/apart.py": "def other():\n    return 1\n",
}


@pytest.fixture
def toy(tmp_path, monkeypatch):
    """Return a function that writes the toy package with an edit, imports it, and digests `run`."""
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(keys, "PACKAGE", "toy")

    def digest(file="", old="", new=""):
        for known in [name for name in sys.modules if name.partition(".")[0] == "toy"]:
            del sys.modules[known]
        importlib.invalidate_caches()
        for name, text in FILES.items():
            source = textwrap.dedent(text)
            if name == file:
                assert old in source
                source = source.replace(old, new)
            path = tmp_path / "toy" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(source)
            for cached in path.parent.glob(f"__pycache__/{path.stem}.*"):
                cached.unlink()
        return keys.digest_of(importlib.import_module("toy.rooms.work").run)

    yield digest
    for known in [name for name in sys.modules if name.partition(".")[0] == "toy"]:
        del sys.modules[known]


CHANGES = [
    ("work", "tools.double(x) *", "tools.double(x) +"),
    ("work", "by=2", "by=3"),
    ("work", "rate = 1", "rate = 2"),
    ("work", "sqrt as root", "cbrt as root"),
    ("tools", "@times(2)", "@times(3)"),
    ("tools", "n * function(x)", "n + function(x)"),
    ("numbers", "FACTOR = 3", "FACTOR = 4"),
    ("numbers", "(1, 2)", "(1, 3)"),
    ("local", "return 1", "return 2"),
    ("passing", "'a'", "'b'"),
    ("__init__", "1", "2"),
]
NO_CHANGES = [  # comments, docstrings, line breaks and other modules
    ("work", "# a comment", "# another"),
    ("work", "Return the result.", "Give it."),
    ("work", '    """Return the result."""\n', ""),
    ("work", '"""Work."""', '"""Work.\n\n    More.\n    """'),
    ("numbers", "return x / 2", "return (\n        x / 2\n    )"),
    ("apart", "return 1", "return 2"),
]


@pytest.mark.parametrize("edit", CHANGES + NO_CHANGES, ids=str)
def test_an_edit_of_any_module_that_the_code_imports_changes_the_digest(toy, edit):
    file, old, new = edit
    edited = toy(f"rooms/{file}.py", old, new)
    assert (edited != toy()) is (edit in CHANGES)


def test_code_counts_as_it_was_imported_and_not_as_its_file_is_now(toy, tmp_path):
    before = toy()
    (tmp_path / "toy/rooms/tools.py").write_text("def double(x):\n    return 0\n")
    assert keys.digest_of(sys.modules["toy.rooms.work"].run) == before


def test_what_is_assigned_later_counts(toy):
    seen = {toy()}
    work, numbers = (sys.modules[f"toy.rooms.{name}"] for name in ("work", "numbers"))
    changes = (
        (numbers, "FACTOR", 5),
        (numbers, "TABLE", {"a": (1, 9)}),
        (sys.modules["toy.rooms.tools"], "double", lambda x: x),
        (work.run, "__defaults__", (7,)),
        (work.Better, "rate", 8),
    )
    for owner, name, value in changes:
        setattr(owner, name, value)
        seen.add(keys.digest_of(work.run))
    assert len(seen) == 1 + len(changes)


def test_another_process_and_a_notebook_have_the_same_key():
    program = (
        "import functools\nfrom helpers.core import keys\nfrom helpers.training import fit\n"
        "from helpers.training.settings import TrainSettings\n"
        "print(keys.key_of(functools.partial(fit.fit, TrainSettings(epochs=3))))"
    )
    here = keys.key_of(functools.partial(fit.fit, TrainSettings(epochs=3)))
    for way in ([], ["-m", "IPython", "--colors=NoColor"]):
        command = [sys.executable, *way, "-c", program]
        told = subprocess.run(command, capture_output=True, text=True, check=True)
        assert told.stdout.split()[-1] == here


def _found(cell):
    """Return `found` of a cell of a notebook."""
    module = types.ModuleType("__main__")
    exec(textwrap.dedent(cell), module.__dict__)  # without a file, as generated methods are
    return module.found


CELL = """
    from dataclasses import dataclass
    from torch import nn
    SIZE = 3

    def scale(x):
        return x * SIZE

    class Mine(nn.Module):
        times = 1

        def __init__(self, by):
            super().__init__()
            self.by = by

        def forward(self, x):
            return scale(x) * self.by * self.times

    @dataclass
    class Plain:
        by: int = 2

        def scaled(self, x):
            return x * self.by

    def outer(n):
        def inner(x):
            return x + n
        return inner

    found = {what}
"""


REACHED = {  # the edits that an object depends on
    "Mine(2)": ("SIZE = 3", "x * SIZE", "times = 1", "Mine(2)"),
    "outer(1)": ("outer(1)", "x + n"),
    "scale": ("SIZE = 3", "x * SIZE"),
    "Mine": ("SIZE = 3", "x * SIZE", "times = 1"),
    "Plain()": ("x * self.by", "int = 2"),
}


@pytest.mark.parametrize("what", REACHED)
@pytest.mark.parametrize(
    ("old", "new"),
    [("SIZE = 3", "SIZE = 4"), ("x * SIZE", "x + SIZE"), ("times = 1", "times = 2"),
     ("Mine(2)", "Mine(3)"), ("outer(1)", "outer(2)"), ("x + n", "x - n"),
     ("x * self.by", "x - self.by"), ("int = 2", "int = 3")],
)  # fmt: skip
def test_an_object_of_a_cell_counts_by_its_source_its_state_and_the_names_it_uses(what, old, new):
    digest, cell = keys._Digest(), CELL.replace("{what}", what)
    first, again, edited = (digest.of(_found(c)) for c in (cell, cell, cell.replace(old, new)))
    assert first == again
    assert (first != edited) is (old in REACHED[what])


def _frozen(module):
    return module.requires_grad_(False)


def _hooked(module):
    module.register_forward_hook(lambda *_: None)
    return module


def _buffered(value):
    module = torch.nn.Identity()
    module.register_buffer("kernel", torch.full((2,), value), persistent=False)
    return module


def test_other_content_has_another_digest_and_equal_content_the_same():
    layer = torch.nn.Linear(1, 1)
    values = [1, 2, 1.5, math.nan, math.inf, None, "a", "b", [1, 2], [2, 1]]
    values += [np.zeros(3), np.zeros(4), np.zeros(3, np.float32), torch.zeros(2), torch.ones(2)]
    values += [np.array(["a"]), np.array(["b"])]
    values += [Weights("net", {"bias": torch.full((1,), x)}, "a file") for x in (1.0, 2.0)]
    values += [pd.DataFrame({"id": ["a"]}), pd.DataFrame({"id": ["b"]})]
    values += [pd.DataFrame({"label": [0]}), pd.DataFrame({"label": [pd.NA]})]
    values += [TrainSettings(), TrainSettings(epochs=1), files.save_json, files.load_json]
    values += [v2.ColorJitter(0.1), v2.ColorJitter(0.2), v2.RandomErasing()]
    values += [KNeighborsClassifier(3), KNeighborsClassifier(5), torch.nn.Linear(1, 1)]
    values += [functools.partial(max, 1), functools.partial(max, 2)]
    values += [Registry("toy", {"a": max}), Registry("toy", {"a": min})]
    # what a state_dict leaves out
    values += [layer, _frozen(copy.deepcopy(layer)), _hooked(copy.deepcopy(layer))]
    values += [_buffered(1.0), _buffered(2.0)]
    first, again = ([json.dumps(keys._Digest().of(one)) for one in values] for _ in range(2))
    assert first == again and len({*first}) == len(values)


def test_a_module_of_a_user_s_own_counts(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "mine.py").write_text("RATE = 1\n")
    cell = {"mine": importlib.import_module("mine"), "__name__": "__main__"}
    exec("def rated(x):\n    return x * mine.RATE\n", cell)
    before = keys.digest_of(cell["rated"])
    cell["mine"].RATE = 2
    assert keys.digest_of(cell["rated"]) != before
    del sys.modules["mine"]


def test_the_folder_of_an_image_does_not_count_and_what_has_no_digest_is_refused():
    digest, table = keys._Digest(), pd.DataFrame({"id": ["a"], "path": ["/here/a.png"]})
    assert digest.of(table) == digest.of(table.assign(path="/there/a.png"))
    with pytest.raises(TypeError, match="object"):
        digest.of(object())
