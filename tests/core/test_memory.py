"""An error of full memory names the parameters to lower."""

import errno

import pytest
import torch

from helpers.core import memory
from helpers.darts.settings import RetrainSettings
from helpers.models import backbones
from helpers.runs import stages
from helpers.training import baselines, features, finetune, loop
from tests.small_run import FINETUNING, OPTIONS

FULL = [
    MemoryError(),
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
    RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to"),
    RuntimeError("MPS backend out of memory (MPS allocated: 18.00 GB)"),
    OSError(errno.ENOMEM, "Cannot allocate memory"),
    RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
]


def raising(error: Exception, **options) -> None:
    """A step of 05 that fails."""
    with memory.enough_for("darts_v2", RetrainSettings(), **options):
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
    with pytest.raises(memory.MemoryFullError, match="full; close other programs or use a larger"):
        raising(error, sizes=[])
    with pytest.raises(RuntimeError, match=r"^shapes do not fit$"):
        raising(RuntimeError("shapes do not fit"))


def test_a_training_without_memory_names_the_parameters_to_lower(run_copy, monkeypatch):
    stage = stages.begin(FINETUNING, OPTIONS | {"CNN_EPOCHS": 1})
    monkeypatch.setattr(loop.Training, "run_epoch", full)
    with pytest.raises(memory.MemoryFullError) as caught:
        finetune.train_cnn(stage)
    assert str(caught.value) == (
        "cnn, seed 0: the memory is full; lower CNN_IMAGE_SIZE_PX (now 16) or BATCH_SIZE (now 32). "
        "Finished work is kept"
    )


def test_an_embedding_without_memory_names_the_parameters_to_lower(run_copy, monkeypatch):
    stage = stages.begin("02_features_baselines", {"RUN": "t", "IMAGE_SIZE_PX": 16})
    monkeypatch.setattr(features, "pretrained", lambda *_, **__: None)
    monkeypatch.setattr(features, "embed", full)
    weights = backbones.Weights("net", {}, "nowhere")
    with pytest.raises(memory.MemoryFullError, match=r"^features net: .*BATCH_SIZE \(now 64\)"):
        features.pretrained_features(stage, weights, stage.settings.batch_size)
    with pytest.raises(memory.MemoryFullError, match=r"lower IMAGE_SIZE_PX \(now 16\)\. Fin"):
        features.pretrained_features(stage, weights)  # as 03 does


def test_a_classical_model_without_memory_names_what_it_is_fitted_on(run_copy, monkeypatch):
    stage = stages.begin("02_features_baselines", {"RUN": "t", "TREES": 9, "CV_IMAGES": 50})
    embedded = features.load_features(stage.paths.features("net"))
    monkeypatch.setattr(baselines, "fit_baseline", full)
    advice = {"RF": "TREES (now 9) or CV_IMAGES (now 50)", "SVM": "CV_IMAGES (now 50)"}
    for name, parameters in advice.items():
        with pytest.raises(memory.MemoryFullError) as caught:
            baselines.fit_all(stage, embedded, "net", names=(name,))
        assert str(caught.value) == (
            f"{name.lower()}: the memory is full; lower {parameters}. Finished work is kept"
        )
