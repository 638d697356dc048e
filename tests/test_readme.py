"""The README names the folders, files and parameters that exist."""

import re

import pytest

from helpers.core import paths
from helpers.runs import settings

README = (paths.project_root() / "README.md").read_text(encoding="utf-8")
HELPERS = paths.project_root() / "helpers"
LINKS = re.findall(r"\]\((?!https?:)([^)#]+)\)", README)


def test_every_room_is_in_the_map_of_the_package_and_nothing_else():
    (block,) = re.findall(r"```\nhelpers/\n(.*?)```", README, re.S)
    names = {name for line in block.splitlines() for name in re.findall(r"\w+(?:/|\.py)", line)}
    rooms = {f"{path.parent.name}/" for path in HELPERS.glob("*/__init__.py")}
    doors = {path.name for path in HELPERS.glob("*.py")} - {"__init__.py"}
    assert names == rooms | doors


@pytest.mark.parametrize("link", LINKS)
def test_linked_files_exist(link):
    assert (paths.project_root() / link).exists()


def test_every_parameter_that_is_named_exists():
    named = set(re.findall(r"-p '?([A-Z_]+)=", README)) | set(re.findall(r"`([A-Z_]{4,})`", README))
    fields = {name.upper() for stage in settings.STAGES.values() for name in vars(stage())}
    known = fields | {
        "REGISTRY",
        "STAGES",
        "GOOD_BAD_HOME",
        "HYPOTHESIS_PROFILE",
        "NAME",
        "PROBLEM",
    }
    assert named - known == set()
