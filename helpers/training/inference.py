"""Scores, probabilities and validation numbers of a model, in the precision of the device."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

import numpy as np
import torch
import torch.nn.functional as F
from sklearn.metrics import roc_auc_score
from torch import Tensor, nn

from helpers.core import devices, processes
from helpers.models.compiled import CompiledNetwork, is_worth_it
from helpers.training.batches import Batches

Network = TypeVar("Network", bound=nn.Module)


class ScoresError(RuntimeError):
    """A model gives scores that are not finite; the message names images."""


@torch.no_grad()
def predict_scores(
    model: nn.Module,
    batches: Batches,
    precision: str = "auto",
    flips: bool = False,
    compiled: bool = False,
) -> np.ndarray:
    """Raw class scores (N, K) float32 of all rows; with `flips`, (4, N, K) of the mirror images.

    `compiled` allows a compilation, which takes seconds, where the rows are many. Where there are
    several processes all have to call it: they divide the batches, and each gets all scores, as
    one process would compute them.

    Raises:
        ScoresError: scores that are not finite.
    """
    rows = len(batches.labels) if compiled else 0
    run = score_runner(model, rows, precision)
    if processes.count() == 1:
        return _finite(run_batches(run, batches.ordered(), flips), batches)
    own = [run_batches(run, [inputs], flips) for inputs in batches.ordered(processes.share())]
    return _finite(np.concatenate(processes.gather_dealt(own), axis=-2), batches)


def _finite(scores: np.ndarray, batches: Batches) -> np.ndarray:
    """The scores (..., N, K), or a ScoresError that names the first images without one."""
    wrong = ~np.isfinite(scores).all(axis=-1)  # (..., N)
    wrong = wrong.reshape(-1, scores.shape[-2]).any(axis=0)
    if wrong.any():
        first = ", ".join(map(str, batches.ids[wrong][:3]))
        raise ScoresError(f"the scores of {wrong.sum()} image(s) are not finite, e.g. {first}")
    return scores


def score_runner(
    model: nn.Module, rows: int, precision: str = "auto"
) -> Callable[[Tensor], Tensor]:
    """A `runner` of the model's raw class scores (B, K)."""
    return runner(model, lambda inputs: _scores(model(inputs)), rows, precision)


@torch.no_grad()
def run_batches(
    run: Callable[[Tensor], Tensor], batches: Iterable[Tensor], flips: bool = False
) -> np.ndarray:
    """What a `runner` gives for all batches: (N, K), or (4, N, K) of the mirror images."""
    views: list[tuple[int, ...]] = [()] if not flips else [(), (-1,), (-2,), (-2, -1)]
    out = [
        torch.stack([run(inputs.flip(view) if view else inputs) for view in views])
        for inputs in batches
    ]
    scores = torch.cat(out, dim=1).cpu().numpy()
    return scores if flips else scores[0]


def runner(
    model: nn.Module, function: Callable[[Tensor], Tensor], rows: int, precision: str = "auto"
) -> Callable[[Tensor], Tensor]:
    """`function`, of a model put into eval mode, as fast as its device does it.

    Args:
        model: whose parameters the function uses.
        function: (B, C, H, W) -> (B, D): the model itself or a method.
        rows: how many images are to come; many are worth a compilation.
        precision: Accelerate's name, or "auto".

    Returns:
        A function that gives float32.
    """
    model.eval()
    device = next(model.parameters()).device
    precision = judging_precision(model, device, precision)

    def run(inputs: Tensor) -> Tensor:
        """In torch, in the precision asked for."""
        with autocast(device, precision):
            return function(inputs).float()

    if is_worth_it(model, device, rows, precision):
        return _or_torch(CompiledNetwork(model, function, precision), run)
    return run


def _or_torch(
    compiled: CompiledNetwork, run: Callable[[Tensor], Tensor]
) -> Callable[[Tensor], Tensor]:
    """The compiled network, or torch where it can't be compiled: slower beats lost."""
    network: CompiledNetwork | None = compiled

    def compiled_or_torch(images: Tensor) -> Tensor:
        """As the compiled network, which gives way to torch for good at its first failure."""
        nonlocal network
        if network is None:
            return run(images)
        try:
            return network(images)
        except (ImportError, RuntimeError, ValueError, TypeError) as error:
            network = None
            print(f"OpenVINO cannot run this network, torch does: {str(error).splitlines()[0]}")
            return run(images)

    return compiled_or_torch


def predict(
    model: nn.Module, batches: Batches, precision: str = "auto", flips: bool = False
) -> np.ndarray:
    """The probability of bad (N,) of all rows; with `flips`, averaged over four mirror images."""
    return probability_of_bad(predict_scores(model, batches, precision, flips, True), flips)


def probability_of_bad(scores: np.ndarray, flips: bool = False) -> np.ndarray:
    """(N,) from raw class scores (N, K), or from those of the mirror images (4, N, K)."""
    softmax = torch.from_numpy(scores).double().softmax(dim=-1)
    probability = softmax[..., 1:].sum(dim=-1)  # all classes but good
    return (probability.mean(dim=0) if flips else probability).clamp(0, 1).numpy()


def evaluate(model: nn.Module, batches: Batches, precision: str = "auto") -> dict[str, float]:
    """Validation loss, AUC of bad against good, and accuracy (fractions)."""
    scores = predict_scores(model, batches, precision)
    labels = torch.tensor(batches.labels)
    tensor = torch.from_numpy(scores).double()
    bad = 1 - tensor.softmax(dim=1)[:, 0]
    return {
        "val_loss": float(F.cross_entropy(tensor, labels)),
        "val_auc": float(roc_auc_score(batches.labels > 0, bad)),
        "val_accuracy": float((tensor.argmax(dim=1) == labels).double().mean()),
    }


def placed(model: Network, device: torch.device) -> Network:
    """Bring a network to a device, its weights to channels_last, in place; returns the network."""
    # torch's own stub of `Module.to` lacks the argument
    return model.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]


def has_depthwise(model: nn.Module) -> bool:
    """Whether a network has depthwise convolutions, whose outputs bf16 rounds too coarsely.

    EfficientNet-Lite0's embeddings then differ by 4 % and its test AUC on ELPV by 0.002;
    ResNet-18's differ by 0.3 %. So such networks are trained in bf16, but judged in float32.
    """
    convolutions = (m for m in model.modules() if isinstance(m, nn.Conv2d))
    return any(conv.groups == conv.in_channels > 1 for conv in convolutions)


def judging_precision(model: nn.Module, device: torch.device, precision: str = "auto") -> str:
    """The precision that a network is judged in: float32 ("no") where it has depthwise ones."""
    return "no" if has_depthwise(model) else precision_of(device, precision)


def autocast(device: torch.device, precision: str) -> contextlib.AbstractContextManager:
    """Reduced precision by Accelerate's names: "bf16", "fp16", "no", or "auto" for the device's."""
    precision = precision_of(device, precision)
    if precision == "no":
        return contextlib.nullcontext()
    return torch.autocast(device.type, torch.bfloat16 if precision == "bf16" else torch.float16)


def precision_of(device: torch.device, precision: str) -> str:
    """The precision that "auto" means on a device; any other name as it is."""
    return devices.default_precision(device) if precision == "auto" else precision


def _scores(output: Any) -> torch.Tensor:
    return output[0] if isinstance(output, tuple) else output
