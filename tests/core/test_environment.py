"""A run records the commit of the code that made it."""

import subprocess

import pytest

from helpers.core import environment, paths


@pytest.fixture
def project(tmp_path, monkeypatch):
    monkeypatch.setattr(paths, "project_root", lambda: tmp_path)
    (tmp_path / "pyproject.toml").touch()
    (tmp_path / "notebooks").mkdir()
    return tmp_path


def commit_all(folder):
    who = ("-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false")
    for command in (("init", "-q"), ("add", "."), (*who, "commit", "-q", "-m", "x")):
        subprocess.run(["git", "-C", str(folder), *command], check=True)


def test_a_commit_with_changed_files_has_a_plus(project):
    assert environment.commit() is None  # there is no repository
    commit_all(project)
    first = environment.commit()
    assert first and not first.endswith("+")
    (project / "pyproject.toml").write_text("changed")
    assert environment.commit() == f"{first}+"


def test_the_repository_that_holds_an_installed_wheel_says_nothing_about_it(project):
    commit_all(project)
    (project / "notebooks").rmdir()
    assert environment.commit() is None
