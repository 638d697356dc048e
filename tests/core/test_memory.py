"""An error of full memory names the parameters to lower."""

import errno

import pytest
import torch

from helpers.core import memory
from helpers.darts.settings import RetrainSettings
from helpers.runs import stages
from helpers.training import loop
from tests.small_run import FINETUNING, OPTIONS, train

FULL = [
    MemoryError(),
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
    RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to"),
    RuntimeError("MPS backend out of memory (MPS allocated: 18.00 GB)"),
    OSError(errno.ENOMEM, "Cannot allocate memory"),
    RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
]


def raising(error: Exception) -> None:
    """A step of 05 that fails."""
    with memory.enough_for("darts_v2", RetrainSettings()):
        raise error


def full(*_, **__):
    raise MemoryError


@pytest.mark.parametrize("error", FULL, ids=["python", "cuda", "cpu", "mps", "system", "cublas"])
def test_any_error_of_full_memory_names_the_parameters_to_lower(error):
    with pytest.raises(memory.MemoryFullError) as caught:
        raising(error)
    assert str(caught.value) == (
        "darts_v2: the memory is full; lower RETRAIN_IMAGE_SIZE_PX (now 224) or "
        "RETRAIN_BATCH_SIZE (now 32). Finished work is kept"
    )
    assert caught.value.__cause__ is error
    with pytest.raises(RuntimeError, match=r"^shapes do not fit$"):
        raising(RuntimeError("shapes do not fit"))


def test_a_training_without_memory_names_the_parameters_to_lower(run_copy, monkeypatch):
    run = stages.begin(FINETUNING, OPTIONS | {"CNN_EPOCHS": 1})
    monkeypatch.setattr(loop.Training, "step", full)
    with pytest.raises(memory.MemoryFullError, match=r"BATCH_SIZE \(now 32\)"):
        train(run)
