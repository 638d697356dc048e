"""Backbones by name: what timm knows about them, and how to build them.

A backbone is called as timm calls it: `convnext_tiny`, `resnet50.tv_in1k`. `resnet18` has
torchvision's weights, as in the report, and those of `efficientnet_lite0` to `2` come with
packages.

A *trunk* is a network without its ImageNet head: (B, 3, H, W) -> embeddings (B, D). timm also
recommends how images are cropped; nothing is cropped here, because a defect may be at the edge.
"""

from __future__ import annotations

import difflib
import functools
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import timm
import torch
from timm.models import PretrainedCfg
from torch import Tensor, nn

from helpers.core import seeding
from helpers.core.errors import UserError
from helpers.models.spec import Layout

TITLES = {
    "resnet18": "ResNet-18",
    "efficientnet_lite0": "EfficientNet-Lite0",
    "efficientnet_lite1": "EfficientNet-Lite1",
    "efficientnet_lite2": "EfficientNet-Lite2",
}
_SQUARES = {side**2 for side in range(1, 1000)}
_LAST_NORM = re.compile(r"blocks\.\d+\.norm1")  # of a transformer's blocks
# timm's names of these
_IN_TIMM = {name: f"tf_{name}" for name in TITLES} | {"resnet18": "resnet18.tv_in1k"}


class BackboneError(UserError):
    """There is no such backbone, or it cannot be used here."""


@dataclass(frozen=True)
class Anatomy:
    """What a backbone gives for images of one size, and the layer that Grad-CAM looks at."""

    embedding_size: int
    layer: str  # dotted name in the trunk
    layout: Layout
    prefix_tokens: int


def title(backbone: str) -> str:
    """Return the name of a backbone for tables and messages."""
    return TITLES.get(backbone, backbone)


def titles(backbones: str) -> str:
    """Return the titles of backbones whose names are joined by ", "."""
    return ", ".join(map(title, backbones.split(", ")))


def canonical(name: str) -> str:
    """Return a backbone's only name here, such as "convnext_tiny" for "timm/convnext_tiny".

    Raises:
        BackboneError: timm does not have it; the message names similar ones.
    """
    bare = name.removeprefix("hf-hub:").removeprefix("timm/")
    if bare in TITLES or _in_timm(bare):
        return bare
    # torchvision's networks are in timm too
    network = bare.rpartition("/")[2]
    tagged = timm.list_pretrained(f"{network.partition('.')[0]}.*") if network else []
    names = {*TITLES, *timm.list_models(), *tagged}
    near = difflib.get_close_matches(network, sorted(names), n=3)
    hint = f"did you mean {' or '.join(near)}?" if near else "timm.list_models() lists them"
    raise BackboneError(f"{name!r} is not a backbone of timm: {hint}")


def _in_timm(name: str) -> bool:
    try:
        return timm.is_model(name) and timm.get_pretrained_cfg(name) is not None
    except RuntimeError:  # no such tag
        return False


def config(backbone: str) -> PretrainedCfg:
    """Return what timm says about a backbone's weights and the images that they expect."""
    found = timm.get_pretrained_cfg(_IN_TIMM.get(backbone, backbone))
    assert found is not None  # the name is canonical
    return found


def normalisation(backbone: str) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return mean and standard deviation of each channel in [0, 1] that the weights expect."""
    if backbone.startswith("efficientnet_lite"):  # its authors take (x - 127) / 128 of 0..255
        return (127 / 255,) * 3, (128 / 255,) * 3
    return tuple(config(backbone).mean), tuple(config(backbone).std)


def size_options(backbone: str, image_size_px: int) -> dict[str, Any]:
    """Return the option of `trunk` for this image size: a transformer is built for one size."""
    return {"img_size": image_size_px} if config(backbone).fixed_input_size else {}


def trunk(backbone: str, img_size: int | None = None) -> nn.Module:
    """Build a trunk with random weights; see `size_options`."""
    return timm.create_model(_IN_TIMM.get(backbone, backbone), num_classes=0, img_size=img_size)


@functools.lru_cache
def anatomy(backbone: str, image_size_px: int) -> Anatomy:
    """Build a trunk with random weights, and run an image of this size through it.

    Grad-CAM looks at the last maps before the pooling. If a class token is all that counts after
    the last attention, these are the inputs of the last block.

    Raises:
        BackboneError: it cannot take images of this size, or it has no layer for Grad-CAM.
    """
    size, outputs = image_size_px, {}

    def record(name: str, _module: nn.Module, _inputs: tuple, output: object) -> None:
        outputs[name] = output

    with seeding.torch_stream(0, "anatomy"), torch.inference_mode(False), torch.enable_grad():
        try:
            model: Any = trunk(backbone, **size_options(backbone, size)).eval()
            for weights in model.parameters():
                if not weights.any():  # a branch that would not matter before training
                    nn.init.normal_(weights)
            for name, module in model.named_modules():
                module.register_forward_hook(functools.partial(record, name))
            image = torch.randn(1, 3, size, size, requires_grad=True)
            features = model.forward_features(image)
            embedding = model.forward_head(features)
            score = (embedding * torch.randn_like(embedding)).sum()
            (gradient,) = torch.autograd.grad(score, image)
            edge = max(1, size // 50)  # a pixel or two are no loss
            if not gradient[:, :, -edge:].any() or not gradient[:, :, :, -edge:].any():
                raise ValueError("it does not see the right or lower edge of such images")
        except Exception as error:  # each network says it in its own way
            reason = (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
            raise BackboneError(
                f"{title(backbone)} cannot take images of {size} px ({reason}): set IMAGE_SIZE_PX="
                f"{config(backbone).input_size[-1]}, the size of its pretraining, or choose "
                "another BACKBONE"
            ) from None
    layer = next((name for name in reversed(outputs) if outputs[name] is features), "")
    if getattr(model, "global_pool", "") == "token":
        layer = next((name for name in reversed(outputs) if _LAST_NORM.fullmatch(name)), "")
    layout, prefix = _layout(outputs.get(layer), model)
    if layout is None or embedding.ndim != 2:
        raise BackboneError(f"{title(backbone)} has no layer that Grad-CAM could look at")
    return Anatomy(embedding.shape[1], layer, layout, prefix)


def _layout(output: object, model: nn.Module) -> tuple[Layout | None, int]:
    """Return how a layer's output is arranged, and its prefix tokens; None if it is not maps."""
    shape = tuple(getattr(output, "shape", ()))
    if len(shape) == 4 and model.num_features in (shape[1], shape[3]):
        return ("maps" if shape[1] == model.num_features else "maps_last"), 0
    prefix = getattr(model, "num_prefix_tokens", 0)
    if len(shape) == 3 and (shape[1] - prefix) in _SQUARES:
        return "tokens", prefix
    return None, 0


def fitted(backbone: str, state: Mapping[str, Tensor], image_size_px: int) -> dict[str, Tensor]:
    """Return the state of a trunk from weights of the whole network, whatever their head is.

    timm converts other layouts, and resamples position embeddings to the image size.

    Raises:
        ValueError: they are of another network; the message names a tensor.
    """
    known, size = config(backbone), size_options(backbone, image_size_px)
    head = known.classifier if isinstance(known.classifier, str) else (known.classifier or [""])[0]
    with seeding.torch_stream(0, "replaced weights"):
        names = trunk(backbone, **size).state_dict().keys()
        if f"{head}.weight" in state:
            classes = len(state[f"{head}.weight"])
        else:  # weights without a head, or their authors' names, which timm knows
            classes = 0 if names <= state.keys() else known.num_classes
        # with another number of classes timm would not notice missing weights
        overlay = {"state_dict": dict(state), "num_classes": classes}
        overlay |= {"custom_load": False, "label_offset": 0}
        size |= {"num_classes": classes, "pretrained_cfg_overlay": overlay}
        try:
            model = timm.create_model(_IN_TIMM.get(backbone, backbone), True, **size)
        except Exception as error:  # each network's converter fails in its own way
            reason = (str(error) or type(error).__name__).strip().splitlines()[-1].strip()
            raise ValueError(f"it does not fit {title(backbone)}: {reason:.100}") from None
    whole = model.state_dict()
    return {name: whole[name] for name in names}
