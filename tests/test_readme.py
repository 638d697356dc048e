"""The documents name the folders, files and parameters that exist."""

import importlib
import re
import shlex
from argparse import ArgumentParser

import pytest

from helpers import __version__
from helpers.commands import cli
from helpers.core import paths
from helpers.darts.genotypes import PUBLISHED
from helpers.runs import settings

ROOT = paths.project_root()
DOCUMENTS = ("README.md", ".github/CONTRIBUTING.md", "data/README.md", "notebooks/README.md")
TEXTS = {name: (ROOT / name).read_text(encoding="utf-8") for name in DOCUMENTS}


def commands(text):
    """The calls of commands in indented lines and in code spans: (name, arguments)."""
    code = re.findall(r"^ {4}(.+)$", text, re.M) + re.findall(r"(?<!`)`([^`]+)`", text)
    lines = "\n".join(" ".join(call.split()) for call in code)
    calls = re.findall(rf"-m helpers\.({'|'.join(cli.COMMANDS)})\b([^&\n]*)", lines)
    return [(name, shlex.split(rest.replace("...", ""))) for name, rest in calls]


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_command_that_is_named_is_taken(document, monkeypatch):
    class Taken(Exception):
        pass

    def parse(*given):
        parse_args(*given)
        raise Taken

    parse_args = ArgumentParser.parse_args
    monkeypatch.setattr(ArgumentParser, "parse_args", parse)
    found = commands(TEXTS[document])
    assert found
    for name, arguments in found:
        if arguments:  # a bare name is a mention
            with pytest.raises(Taken):
                importlib.import_module(f"helpers.commands.{name}").main(arguments)


def test_the_command_that_passes_the_tests_and_this_version_are_named():
    last = (ROOT / ".ci" / "run").read_text(encoding="utf-8").splitlines()[-1]
    assert last.startswith("python -m pytest")
    assert f"    python -m helpers.run\n    {last}\n" in TEXTS["README.md"]
    assert f"&& {last}\n" in TEXTS[".github/CONTRIBUTING.md"]
    assert len(TEXTS["README.md"].split()) <= 700
    citation = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert f"version: {__version__}\n" in citation


def test_every_room_is_in_the_map_of_the_package_and_nothing_else():
    (block,) = re.findall(r"```\nhelpers/\n(.*?)```", TEXTS[".github/CONTRIBUTING.md"], re.S)
    names = {name for line in block.splitlines() for name in re.findall(r"\w+(?:/|\.py)", line)}
    helpers = ROOT / "helpers"
    rooms = {f"{path.parent.name}/" for path in helpers.glob("*/__init__.py")}
    doors = {path.name for path in helpers.glob("*.py")} - {"__init__.py"}
    assert names == rooms | doors


@pytest.mark.parametrize("document", DOCUMENTS)
def test_linked_files_exist(document):
    links = re.findall(r"\]\((?!https?:)([^)#]+)\)", TEXTS[document])
    assert [link for link in links if not ((ROOT / document).parent / link).exists()] == []


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_parameter_that_is_named_exists(document):
    text = TEXTS[document]
    named = set(re.findall(r"-p '?([A-Z_]+)=", text)) | set(re.findall(r"`([A-Z_]{4,})`", text))
    known = {name.upper() for stage in settings.STAGES.values() for name in vars(stage())}
    known |= {*PUBLISHED, "STAGES", "NAME", "PROBLEM"}
    known |= {"AUGMENTATIONS", "CLASSIFIERS", "NETWORKS", "OPS", "SOURCES"}
    known |= {"GOOD_BAD_HOME", "LOKY_MAX_CPU_COUNT", "HYPOTHESIS_PROFILE"}
    assert named - known == set()
