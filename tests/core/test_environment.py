"""A run records its commit, and an error of full memory names the parameters to lower."""

import ast
import errno
import subprocess

import pytest
import torch

from helpers.core import environment, paths
from helpers.darts.settings import RetrainSettings
from helpers.runs.run import Run

ROOT = paths.project_root()
UNIX_ONLY = {"resource", "fcntl", "grp", "pwd", "termios"}


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


def test_a_commit_with_changed_files_has_a_plus_and_that_around_a_wheel_does_not_count(project):
    assert environment.commit() is None  # there is no repository
    commit_all(project)
    first = environment.commit()
    assert first and not first.endswith("+")
    (project / "pyproject.toml").write_text("changed")
    assert environment.commit() == f"{first}+"
    (project / "notebooks").rmdir()
    assert environment.commit() is None  # a repository that holds an installed wheel


FULL = [
    MemoryError(),
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
    RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to"),
    RuntimeError("MPS backend out of memory (MPS allocated: 18.00 GB)"),
    OSError(errno.ENOMEM, "Cannot allocate memory"),
    RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
]


def failing(settings, error):
    """A step that fails."""
    raise error


@pytest.mark.parametrize("error", FULL, ids=["python", "cuda", "cpu", "mps", "system", "cublas"])
def test_any_error_of_full_memory_names_the_parameters_to_lower(home, error):
    run = Run("05_genotype_retraining", paths.RunPaths("r"), "quick", RetrainSettings())
    with pytest.raises(environment.MemoryFullError, match="darts_v2: ") as caught:
        run.once("darts_v2", failing, run.settings, error)
    said = str(caught.value)
    assert "RETRAIN_IMAGE_SIZE_PX (now 224)" in said and "RETRAIN_BATCH_SIZE (now 32)" in said
    assert caught.value.__cause__ is error
    other = RuntimeError("shapes do not fit")
    with pytest.raises(RuntimeError, match=r"^shapes do not fit$"):
        run.once("darts_v2", failing, run.settings, other)


def test_no_module_imports_at_its_start_what_windows_lacks():
    for file in (ROOT / "helpers").rglob("*.py"):
        for node in ast.parse(file.read_text(encoding="utf-8")).body:
            names = {alias.name for alias in getattr(node, "names", ())}
            assert not {*names, getattr(node, "module", None)} & UNIX_ONLY, file
