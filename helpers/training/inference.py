"""Scores, probabilities, validation numbers and embeddings, in the precision of the device."""

import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Self, TypeVar

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tqdm.auto import tqdm

from helpers.core import environment, files, metrics
from helpers.core.errors import UserError
from helpers.datasets.cache import ImageCache
from helpers.models import Views
from helpers.models.backbones import Facts, Network, OwnNetwork, at_once, pretrained
from helpers.models.compiled import CompiledNetwork, is_worth_it
from helpers.models.weights import Weights
from helpers.training import depthwise
from helpers.training.batches import Batches, ImageBatches, symmetry

AnyNetwork = TypeVar("AnyNetwork", bound=nn.Module)


class ScoresError(UserError):
    """A model gives scores that are not finite; the message names images."""


class Scorer:
    """Get class scores or embeddings from a model, as fast as its device can."""

    def __init__(
        self,
        model: nn.Module,
        device: torch.device | None = None,
        precision: str = "auto",
        images: int = 0,
    ) -> None:
        """Put a model into eval mode, onto the device if one is given.

        It returns raw class scores (B, K), or a tuple that starts with them. For many `images` it
        is compiled, which takes seconds. `precision` is that of `judging_precision`.
        """
        self.model = model.eval() if device is None else placed(model.eval(), device)
        self.device = next(model.parameters()).device
        self.precision = judging_precision(model, self.device, precision)
        # a module of a user's own may branch on its values, which tracing would not see
        is_own = isinstance(model, OwnNetwork)
        self._compile = not is_own and is_worth_it(model, self.device, images)
        self._compiled: dict[Callable[[Tensor], Tensor], CompiledNetwork] = {}

    def scores(self, batches: Batches, views: int = 1) -> np.ndarray:
        """Return the raw class scores (views, N, K) float32 of all rows, which must be finite."""
        parts = [self.score_batch(batch, views).cpu().numpy() for batch in batches.ordered()]
        scores = np.concatenate(parts, axis=1)  # (views, N, K)
        wrong = ~np.isfinite(scores).all(axis=(0, 2))  # (N,)
        if wrong.any():
            first = ", ".join(map(str, batches.ids[wrong][:3]))
            raise ScoresError(f"the scores of {wrong.sum()} image(s) are not finite, e.g. {first}")
        return scores

    def score_batch(self, images: Tensor, views: int = 1) -> Tensor:
        """Return the raw class scores (views, B, K) float32 of one batch, on the device.

        `views` is 1, 4 for the mirror images of each image too, or 8 for all symmetries.
        """
        seen = (symmetry(images, k) for k in range(views))
        return torch.stack([self.run(self._class_scores, view) for view in seen])

    def outputs(
        self, function: Callable[[Tensor], Tensor], batches: Batches, name: str
    ) -> Iterator[Tensor]:
        """Yield what any function of the model gives for each batch; a bar counts the images."""
        total = len(batches.labels)
        with tqdm(total=total, desc=name, unit="img", leave=False, mininterval=1) as bar:
            for images in batches.ordered():
                yield self.run(function, images)
                bar.update(len(images))

    @torch.no_grad()
    def run(self, function: Callable[[Tensor], Tensor], images: Tensor) -> Tensor:
        """Return what a function of the model gives for one batch; it is compiled once."""
        if self._compile:
            if function not in self._compiled:
                self._compiled[function] = CompiledNetwork(self.model, function, self.precision)
            try:
                return self._compiled[function](images)
            except (ImportError, RuntimeError, ValueError, TypeError) as error:
                self._compile = False  # torch does it from now on
                reason = str(error).partition("\n")[0] or type(error).__name__
                print(f"OpenVINO cannot run this network, torch does: {reason}")
        with autocast(self.device, self.precision):
            return function(images).float()

    def _class_scores(self, images: Tensor) -> Tensor:
        output = self.model(images)
        return output[0] if isinstance(output, tuple) else output


def predict(
    model: nn.Module, batches: Batches, precision: str = "auto", views: int = 1
) -> np.ndarray:
    """Return the probability of bad (N,), averaged over `views` symmetries of each image."""
    scorer = Scorer(model, precision=precision, images=len(batches.labels))
    return probability_of_bad(scorer.scores(batches, views))


def probability_of_bad(scores: np.ndarray) -> np.ndarray:
    """Return the probability of bad (N,), the defect score of tables, of scores (views, N, K)."""
    softmax = torch.from_numpy(scores).double().softmax(dim=-1)
    probability = softmax[..., 1:].sum(dim=-1)  # all classes but good
    return probability.mean(dim=0).clamp(0, 1).numpy()


def evaluate(model: nn.Module, batches: Batches, precision: str = "auto") -> dict[str, float]:
    """Return the validation loss, the AUC of bad against good, and the accuracy (fractions)."""
    scores = torch.from_numpy(Scorer(model, precision=precision).scores(batches)[0]).double()
    labels = torch.tensor(batches.labels)
    bad = 1 - scores.softmax(dim=1)[:, 0]
    return {
        "val_loss": float(F.cross_entropy(scores, labels)),
        "val_auc": metrics.roc_auc(batches.labels > 0, bad),
        "val_accuracy": float((scores.argmax(dim=1) == labels).double().mean()),
    }


def placed(model: AnyNetwork, device: torch.device) -> AnyNetwork:
    """Move a network to a device, its weights to channels_last, in place; return the network."""
    depthwise.use_fast_gradients(model)
    # torch's own stub of `Module.to` lacks the argument
    return model.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]


def has_depthwise(model: nn.Module) -> bool:
    """Return True if a network has depthwise convolutions, whose outputs bf16 rounds too coarsely.

    EfficientNet-Lite0's embeddings then differ by 4 %, ResNet-18's by 0.3 %. So such networks are
    trained in bf16, but judged in float32.
    """
    convolutions = (m for m in model.modules() if isinstance(m, nn.Conv2d))
    return any(conv.groups == conv.in_channels > 1 for conv in convolutions)


def judging_precision(model: nn.Module, device: torch.device, precision: str = "auto") -> str:
    """Return the precision to judge a network in: float32 ("no") if it has depthwise layers."""
    return "no" if has_depthwise(model) else precision_of(device, precision)


def facts_of(
    images: ImageCache, model: Network, views: Views = 1, precision: str = "auto"
) -> Facts:
    """Return how images are read and scored by a network that was trained on `images`."""
    return Facts(
        full_scale_bits=images.bits,
        fit=images.fit,
        views=views,
        precision=judging_precision(model, environment.default_device(), precision),
        made_with={"commit": environment.commit(), **environment.versions()},
        mask=images.mask,
    )


def autocast(device: torch.device, precision: str) -> contextlib.AbstractContextManager:
    """Compute a block in "bf16", "fp16", "no" (float32), or "auto" (the device's best)."""
    kinds = {"bf16": torch.bfloat16, "fp16": torch.float16}
    kind = kinds.get(precision_of(device, precision))
    return torch.autocast(device.type, kind) if kind else contextlib.nullcontext()


def precision_of(device: torch.device, precision: str) -> str:
    """Return the precision that "auto" means on a device, else the one given.

    A CPU without bf16 hardware always computes in float32: faster there, and more exact.
    """
    best = environment.default_precision(device)
    return best if precision == "auto" or (device.type == "cpu" and best == "no") else precision


@dataclass(frozen=True)
class Features:
    """Embeddings of images."""

    ids: np.ndarray  # (N,) text
    embeddings: np.ndarray  # (N, D) float32

    @classmethod
    def of_arrays(cls, arrays: Mapping[str, np.ndarray]) -> Self:
        """Return the features that `embed_all` computed."""
        return cls(arrays["id"], arrays["embedding"])

    def of(self, ids: pd.Series) -> np.ndarray:
        """Return the embeddings (len(ids), D) of some images in the order of `ids`."""
        rows = pd.Series(np.arange(len(self.ids)), index=self.ids).reindex(ids)
        if rows.isna().any():
            missing = rows.index[rows.isna()][0]
            raise files.ArtifactError(f"the features lack image {missing!r}; run notebook 02 again")
        return self.embeddings[rows.to_numpy(dtype=np.int64)]


def embed_all(
    network: Network | Weights, images: ImageCache, ids: pd.DataFrame, precision: str = "auto"
) -> dict[str, np.ndarray]:
    """Return `id` and `embedding` of images (column `id`), for `Features.of_arrays`."""
    if isinstance(network, Weights):
        network = pretrained(network, 2, images.size_px)
    batches = ImageBatches(images, ids, network, at_once(images.size_px))
    scorer = Scorer(network, batches.device, precision, images=len(batches))
    parts = [part.cpu().numpy() for part in scorer.outputs(network.embed, batches, "embed")]
    return {"id": batches.ids, "embedding": np.concatenate(parts)}


def brightness(ids: pd.Series, images: ImageCache) -> Features:
    """Return each image's mean gray value (N, 1), a reference for models that see the image."""
    means = images.table["mean"].to_numpy(dtype=np.float32)[images.rows(ids)]
    return Features(ids.to_numpy(dtype=str), means[:, None])
