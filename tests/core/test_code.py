"""The digest of code: an edit that may change a result changes it, and no other edit does."""

import importlib
import sys
import textwrap

import pytest

from helpers import datasets
from helpers.core import code
from helpers.training import features, fit

FILES = {
    "__init__.py": "",
    "rooms/__init__.py": "",
    "rooms/work.py": '''
        """Work."""

        from toy.rooms import tools
        from toy.rooms.numbers import FACTOR, Base

        KIND = "toy.rooms.late.build"


        def run(x):
            """Return the result."""
            return tools.double(x) * FACTOR  # a comment


        class Better(Base):
            def step(self):
                from toy.rooms.local import inside

                return inside()


        def built():
            return KIND


        def draw(x):
            return tools.plot(x)
    ''',
    "rooms/tools.py": """
        from toy.rooms.numbers import halve

        def double(x):
            return halve(x) * 4

        def plot(x):
            return "picture"
    """,
    "rooms/numbers.py": """
        FACTOR = 3

        def halve(x):
            return x / 2

        class Base:
            def base(self):
                return 1
    """,
    "rooms/late.py": "def build():\n    return 1\n",
    "rooms/local.py": "def inside():\n    return 1\n",
    "rooms/passing.py": "from toy.rooms.numbers import halve as halve\n",
}


@pytest.fixture
def digests(tmp_path, monkeypatch):
    """A function that writes the toy package, with edits, and returns the digest of a name."""
    root = tmp_path / "toy"
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(code, "PACKAGE", "toy")

    def forget():
        for cached in (code._digest, code._module, code._path_of):
            cached.cache_clear()
        for known in [module for module in sys.modules if module.partition(".")[0] == "toy"]:
            del sys.modules[known]

    def digest(name="run", file="", old="", new=""):
        for place, content in FILES.items():
            text = textwrap.dedent(content).lstrip()
            if place == f"rooms/{file}.py":
                assert text.count(old) == 1
                text = text.replace(old, new)
            (root / place).parent.mkdir(parents=True, exist_ok=True)
            (root / place).write_text(text)
        forget()
        importlib.invalidate_caches()
        if "import" in name:
            return code.digest_of_source(name)
        return code.digest_of(getattr(importlib.import_module("toy.rooms.work"), name))

    yield digest
    forget()


@pytest.mark.parametrize(
    ("name", "file", "old", "new"),
    [
        ("run", "work", "tools.double(x) *", "tools.double(x) +"),
        ("run", "tools", "* 4", "* 5"),
        ("run", "numbers", "x / 2", "x / 3"),
        ("run", "numbers", "FACTOR = 3", "FACTOR = 4"),
        ("Better", "numbers", "return 1", "return 2"),
        ("Better", "local", "return 1", "return 2"),
        ("built", "late", "return 1", "return 2"),
        ("draw", "tools", '"picture"', '"another"'),
        ("from toy.rooms import work\nwork.run(2)", "tools", "* 4", "* 5"),
        ("from toy.rooms.passing import halve\nhalve(2)", "numbers", "x / 2", "x / 3"),
        ("import toy.rooms.tools\ntoy.rooms.tools.double(2)", "numbers", "x / 2", "x / 3"),
        ("import toy.rooms.tools as t\nt.double(2)", "numbers", "x / 2", "x / 3"),
        ("run", "tools", "def double", "print()\n\ndef double"),  # runs when it is imported
    ],
)
def test_an_edit_of_what_is_reached_changes_the_digest(digests, name, file, old, new):
    assert digests(name) != digests(name, file, old, new)


@pytest.mark.parametrize(
    ("name", "file", "old", "new"),
    [
        ("run", "work", "# a comment", "# another"),
        ("run", "work", "Return the result.", "Return it."),
        ("run", "work", '"""Work."""', '"""Working."""'),
        ("run", "work", "tools.double(x)", "tools.double(\n        x\n    )"),
        ("run", "tools", '"picture"', '"another"'),
        ("run", "late", "return 1", "return 2"),
        ("draw", "numbers", "FACTOR = 3", "FACTOR = 4"),
        ("from toy.rooms import work\nwork.draw(2)", "numbers", "x / 2", "x / 3"),
    ],
)
def test_another_edit_does_not(digests, name, file, old, new):
    assert digests(name) == digests(name, file, old, new)


def test_a_cell_s_comment_does_not_count_and_its_code_does():
    first = code.digest_of_source("x = 1  # a")
    assert first == code.digest_of_source("x = 1  # b")
    assert first != code.digest_of_source("x = 2")


def test_a_function_from_outside_of_the_package_is_digested_by_its_source():
    def work():
        return 1

    first = work

    def work():
        return 2

    assert code.digest_of(first) == code.digest_of(first) != code.digest_of(work)


@pytest.mark.parametrize(
    ("function", "module", "name", "reaches"),
    [
        (fit.fit, "training.augment", "augmentation", True),
        (features.embed_all, "training.augment", "augmentation", False),
        (datasets.load, "datasets.folder", "load", True),
        (datasets.load, "datasets.elpv", "load", True),
        (datasets.load, "datasets.named", "with_labels", True),
    ],
)
def test_what_functions_of_the_package_reach(edit_code, function, module, name, reaches):
    before = code.digest_of(function)
    edit_code(f"helpers.{module}", name)
    assert (code.digest_of(function) != before) is reaches
