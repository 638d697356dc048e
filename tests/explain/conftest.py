"""A run with a trained network and masks for the tests of this room."""

import shutil

import pytest

from helpers.core.paths import HOME_VARIABLE, RunPaths
from helpers.explain.subject import open_subject
from tests.conftest import write_parts
from tests.explain_run import write_masks, write_run


@pytest.fixture(scope="session")
def explained_home(tmp_path_factory):
    """The home folder of run "r"; tests must not change it."""
    home = tmp_path_factory.mktemp("explained")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(HOME_VARIABLE, str(home))
        parts = write_parts(home / "parts")
        write_masks(parts)
        write_run(parts)
    return home


@pytest.fixture
def run_paths(explained_home, monkeypatch):
    """The run, to be read."""
    monkeypatch.setenv(HOME_VARIABLE, str(explained_home))
    return RunPaths("r")


@pytest.fixture
def own_run(explained_home, tmp_path, monkeypatch):
    """A copy of the run, to be changed."""
    shutil.copytree(explained_home / "data", tmp_path / "data")
    monkeypatch.setenv(HOME_VARIABLE, str(tmp_path))
    return RunPaths("r")


@pytest.fixture
def subject(run_paths):
    """The run's network and its parts."""
    return open_subject(run_paths, "cnn")
