"""The package of a commit is compared with the present one."""

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
    for command in (("add", "."), (*who, "commit", "-q", "-m", "x")):
        subprocess.run(["git", "-C", str(folder), *command], check=True)
    return environment.commit()


def test_a_commit_has_the_present_code_if_the_package_has_not_changed_since(project):
    subprocess.run(["git", "-C", str(project), "init", "-q"], check=True)
    (project / "helpers").mkdir()
    code, readme = project / "helpers" / "a.py", project / "README.md"
    code.write_text("x = 1\n")
    first = commit_all(project)
    assert environment.is_present_code(first)
    readme.write_text("words")
    second = commit_all(project)
    assert second != first and environment.is_present_code(first)
    code.write_text("x = 2\n")
    assert not environment.is_present_code(second)  # not committed yet
    dirty = environment.commit()
    assert dirty == f"{second}+" and not environment.is_present_code(dirty)
    third = commit_all(project)
    assert environment.is_present_code(third) and not environment.is_present_code(first)


def test_the_repository_that_holds_an_installed_wheel_says_nothing_about_it(project):
    subprocess.run(["git", "-C", str(project), "init", "-q"], check=True)
    first = commit_all(project)
    assert first and environment.is_present_code(first)
    (project / "notebooks").rmdir()
    assert environment.commit() is None and not environment.is_present_code(first)


@pytest.mark.parametrize("unknown", [None, "0000000"])
def test_code_that_git_does_not_know_is_not_the_present_one(project, unknown):
    assert environment.commit() is None
    assert not environment.is_present_code(unknown)
