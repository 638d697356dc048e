"""The commit of a run, errors of full memory, the device that computes and its precision."""

import ast
import errno
import functools
import subprocess

import pytest
import torch

from helpers.core import environment, errors, paths
from helpers.darts.settings import RetrainSettings
from helpers.runs.run import Run

ROOT = paths.project_root()
UNIX_ONLY = {"resource", "fcntl", "grp", "pwd", "termios"}


def test_a_commit_with_changed_files_has_a_plus_and_that_around_a_wheel_does_not_count(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(paths, "project_root", lambda: tmp_path)
    (tmp_path / "pyproject.toml").touch()
    (tmp_path / "notebooks").mkdir()
    assert environment.commit() is None  # there is no repository
    who = ("-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false")
    for command in (("init", "-q"), ("add", "."), (*who, "commit", "-q", "-m", "x")):
        subprocess.run(["git", "-C", str(tmp_path), *command], check=True)
    first = environment.commit()
    assert first and not first.endswith("+")
    (tmp_path / "pyproject.toml").write_text("changed")
    assert environment.commit() == f"{first}+"
    (tmp_path / "notebooks").rmdir()
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
    with pytest.raises(errors.UserError, match="darts_v2: ") as caught:
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


def test_a_card_that_does_not_compute_is_left_out_with_one_line(monkeypatch, capsys):
    def refuse(*_, device):
        raise RuntimeError(f"no kernel image is available for execution on the {device}\nmore")

    # a GPU that torch sees; what it computes is computed on the CPU
    ones, failure = torch.ones, functools.cache(environment.failure.__wrapped__)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch, "ones", lambda rows, columns, device: ones(rows, columns))
    monkeypatch.setattr(environment, "failure", failure)
    assert environment.default_device() == torch.device("cuda")
    assert capsys.readouterr().err == ""
    failure.cache_clear()
    monkeypatch.setattr(torch, "ones", refuse)
    for _ in range(2):
        assert environment.default_device() == torch.device("cpu")
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "no kernel image is available" in said


@pytest.mark.parametrize(
    ("name", "given", "precision"),
    [
        ("cpu", {}, "no"),  # a CPU takes bf16 only if it multiplies it
        ("cpu", {"avx512_bf16": True}, "bf16"),
        ("cpu", {"amx_bf16": True}, "bf16"),
        ("cuda", (7, 5), "fp16"),
        ("cuda", (8, 0), "bf16"),
        ("mps", None, "no"),
    ],
)
def test_a_precision_is_taken_if_the_device_is_built_for_it(monkeypatch, name, given, precision):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: given, raising=False)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: given)
    assert environment.default_precision(torch.device(name)) == precision


def test_on_kaggle_runs_are_output_and_decoded_images_are_not(tmp_path, monkeypatch):
    for name in ("WORKING", "TEMP"):  # as on a machine whose /kaggle/temp is not there
        monkeypatch.setattr(paths, f"KAGGLE_{name}", tmp_path / "kaggle" / name.lower())
    paths.KAGGLE_WORKING.mkdir(parents=True)
    monkeypatch.delenv(paths.HOME_VARIABLE, raising=False)
    monkeypatch.setenv("KAGGLE_KERNEL_RUN_TYPE", "Batch")
    assert paths.runs_root() == tmp_path / "kaggle/working/data/runs"
    assert paths.cache_root() == tmp_path / "kaggle/temp/good-bad/cache"
    monkeypatch.setattr(paths.os, "access", lambda *_: False)
    assert paths.cache_root() == tmp_path / "kaggle/working/data/cache"
    monkeypatch.setenv(paths.HOME_VARIABLE, str(tmp_path / "mine"))
    assert paths.cache_root() == tmp_path / "mine/data/cache"
