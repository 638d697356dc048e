"""Backbones by name: what timm and torchvision know about them, and how to build them.

A backbone is called as its library calls it: `convnext_tiny` or `resnet18.a1_in1k` of timm,
`torchvision/convnext_tiny`. Two kinds of names come first: `resnet18` is torchvision's (the
report's; timm's is `timm/resnet18`), and the weights of `efficientnet_lite0` to `2` come with
packages.

A *trunk* is a network without its ImageNet head: (B, 3, H, W) -> embeddings (B, D). The libraries
also recommend how images are cropped; nothing is cropped here, because a defect may be at the edge.
"""

from __future__ import annotations

import difflib
import functools
import re
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass

import timm
import torch
import torchvision
from timm.models import PretrainedCfg
from torch import Tensor, nn

from helpers.core import seeding
from helpers.core.errors import UserError
from helpers.models.spec import Layout, maps_of

TITLES = {
    "resnet18": "ResNet-18",
    "efficientnet_lite0": "EfficientNet-Lite0",
    "efficientnet_lite1": "EfficientNet-Lite1",
    "efficientnet_lite2": "EfficientNet-Lite2",
}
# they change their inputs if they are pretrained, and have further outputs in training
NOT_TAKEN = ("googlenet", "inception_v3")
# keys of DenseNet's published weights: "denselayer1.norm.1.weight"
_OLD_DENSENET = re.compile(r"(denselayer\d+\.(?:norm|conv))\.(?=\d)")


class BackboneError(UserError):
    """There is no such backbone, or it cannot be used here."""


@dataclass(frozen=True)
class Anatomy:
    """What a backbone gives for images of one size, and the layer that Grad-CAM looks at."""

    embedding_size: int
    layer: str  # dotted name in the trunk
    layout: Layout
    prefix_tokens: int
    fixed_size: bool  # built for this image size: `trunk` needs `img_size`


def title(backbone: str) -> str:
    """Return the name of a backbone for tables and messages."""
    return TITLES.get(backbone, backbone)


def titles(backbones: str) -> str:
    """Return the titles of backbones whose names are joined by ", "."""
    return ", ".join(map(title, backbones.split(", ")))


def canonical(name: str) -> str:
    """Return a backbone's only name here, such as "convnext_tiny" for "timm/convnext_tiny".

    Raises:
        BackboneError: neither library has it; the message names similar ones.
    """
    given, name = name, name.removeprefix("hf-hub:")
    library, _, bare = name.rpartition("/")
    if library == "torchvision" and bare in NOT_TAKEN:
        raise BackboneError(f"{name} has further outputs in training: choose another BACKBONE")
    if name in TITLES or (library == "torchvision" and bare in torchvision_names()):
        return bare if name == "torchvision/resnet18" else name
    if library in ("", "timm") and _in_timm(bare):
        return name if bare in TITLES else bare
    raise BackboneError(f"{given!r} is not a backbone of timm or torchvision{_hint(bare, library)}")


def _in_timm(name: str) -> bool:
    try:
        return timm.is_model(name) and timm.get_pretrained_cfg(name) is not None
    except RuntimeError:  # no such tag
        return False


def torchvision_names() -> list[str]:
    """Return torchvision's classifiers that can be used as backbones."""
    names = torchvision.models.list_models(module=torchvision.models)
    return [name for name in names if name not in NOT_TAKEN]


def _hint(name: str, library: str) -> str:
    network_name, dot, _ = name.partition(".")
    known = {other: f"torchvision/{other}" for other in torchvision_names()}
    if dot and timm.is_model(network_name):
        known = {other: other for other in timm.list_pretrained(f"{network_name}.*")}
    elif library != "torchvision":
        known |= {other: other for other in (*TITLES, *timm.list_models())}
    near = [known[other] for other in difflib.get_close_matches(name, known, n=3)]
    if near:
        return f": did you mean {' or '.join(near)}?"
    return " (timm.list_models() and torchvision.models.list_models() list them)"


def source(backbone: str) -> tuple[str, str]:
    """Return the library of a backbone and its name there: ("timm", "tf_efficientnet_lite0")."""
    if backbone == "resnet18":
        return "torchvision", backbone
    if backbone in TITLES:
        return "timm", f"tf_{backbone}"
    library, _, name = backbone.rpartition("/")
    return library or "timm", name


def timm_config(name: str) -> PretrainedCfg:
    """Return what timm says about a model's weights and the images that they expect."""
    config = timm.get_pretrained_cfg(name)
    assert config is not None  # the name is one of timm's
    return config


def normalisation(backbone: str) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return mean and standard deviation of each channel in [0, 1] that the weights expect."""
    if backbone.startswith("efficientnet_lite"):  # its authors take (x - 127) / 128 of 0..255
        return (127 / 255,) * 3, (128 / 255,) * 3
    library, name = source(backbone)
    if library == "timm":
        config = timm_config(name)
        return tuple(config.mean), tuple(config.std)
    transforms = torchvision.models.get_model_weights(name).DEFAULT.transforms()
    return tuple(transforms.mean), tuple(transforms.std)


def own_size_px(backbone: str) -> int:
    """Return the side of the images that the weights were trained or judged with."""
    library, name = source(backbone)
    if library == "timm":
        return timm_config(name).input_size[-1]
    return torchvision.models.get_model_weights(name).DEFAULT.transforms().crop_size[0]


def network(backbone: str, img_size: int | None = None) -> nn.Module:
    """Build the library's network with random weights, with its ImageNet head."""
    library, name = source(backbone)
    if library == "timm":
        return timm.create_model(name, img_size=img_size)
    return torchvision.models.get_model(name, weights=None)


def trunk(backbone: str, img_size: int | None = None) -> nn.Module:
    """Build a trunk with random weights; `img_size` (px) if its anatomy says `fixed_size`."""
    library, name = source(backbone)
    if library == "timm":
        return timm.create_model(name, num_classes=0, img_size=img_size)
    built = network(backbone)
    layers = [n for n, m in built.named_modules() if isinstance(m, nn.Linear | nn.Conv2d)]
    built.set_submodule(layers[-1], nn.Identity())
    return built


@functools.lru_cache
def anatomy(backbone: str, image_size_px: int) -> Anatomy:
    """Look at a trunk with random weights: build it, and run one image through it.

    Raises:
        BackboneError: it cannot take images of this size, or it has no layer for Grad-CAM.
    """
    own_px, (library, name) = own_size_px(backbone), source(backbone)
    fixed = library == "timm" and timm_config(name).fixed_input_size
    with seeding.torch_stream(0, "anatomy"):
        built = _with_all_branches(trunk(backbone))
        try:
            # at its own size, since small images leave a single position in the last maps
            embedding_size, layer, layout, prefix = _examine(backbone, built, own_px)
            if fixed and image_size_px != own_px:
                built = _resized(backbone, image_size_px)
            _check_size(_with_all_branches(built), image_size_px)
        except BackboneError:
            raise
        except Exception as error:  # each network says it in its own way
            reason = (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
            raise BackboneError(
                f"{title(backbone)} cannot take images of {image_size_px} px ({reason}): set "
                f"IMAGE_SIZE_PX={own_px}, the size of its pretraining, or choose another BACKBONE"
            ) from None
    return Anatomy(embedding_size, layer, layout, prefix, fixed)


def _resized(backbone: str, image_size_px: int) -> nn.Module:
    """Return a network for this image size, from weights of its own size."""
    state = network(backbone).state_dict()
    try:
        return _converted(source(backbone)[1], state, image_size_px)
    except RuntimeError:  # a list of tensors
        raise ValueError("its weights do not follow the size") from None


def _with_all_branches(built: nn.Module) -> nn.Module:
    """Let every branch of a network matter, in place: some start with weights of zero."""
    for weights in built.parameters():
        if not weights.any():
            nn.init.normal_(weights)
    return built.eval()


def _check_size(built: nn.Module, size_px: int) -> None:
    """Run an image of this size through a network, and see whether its edge matters."""
    image = torch.randn(1, 3, size_px, size_px, requires_grad=True)
    with torch.inference_mode(False), torch.enable_grad():
        output = built(image)
        (gradient,) = torch.autograd.grad((output * torch.randn_like(output)).sum(), image)
    edge = max(1, size_px // 50)  # a pixel or two are no loss
    if not gradient[:, :, -edge:].any() or not gradient[:, :, :, -edge:].any():
        raise ValueError("it does not see the right or lower edge of such images")


def _examine(backbone: str, built: nn.Module, size_px: int) -> tuple[int, str, Layout, int]:
    """Return the size of the embedding, and name, layout and prefix tokens of the last feature
    maps: those of the last layer that runs once and that the embedding depends on everywhere.

    The last layer of a transformer with a class token does not qualify: the other tokens end there.
    """
    outputs: list[tuple[str, Tensor]] = []

    def record(name: str, _module: nn.Module, _inputs: tuple, output: object) -> None:
        if isinstance(output, Tensor) and output.requires_grad:
            outputs.append((name, output))

    with ExitStack() as hooks, torch.inference_mode(False), torch.enable_grad():
        for name, module in built.named_modules():
            hooks.enter_context(module.register_forward_hook(functools.partial(record, name)))
        embedding = built(torch.randn(1, 3, size_px, size_px))
        if not isinstance(embedding, Tensor) or embedding.ndim != 2:
            raise BackboneError(f"{title(backbone)} gives no embedding (B, D) of an image")
        score = (embedding * torch.randn_like(embedding)).sum()
        gradients = torch.autograd.grad(score, [o for _, o in outputs], allow_unused=True)
    names = [name for name, _ in outputs]
    for (name, output), gradient in reversed(list(zip(outputs, gradients, strict=True))):
        found = _layout(output, built)
        if gradient is None or found is None or names.count(name) > 1:
            continue
        matters = maps_of(gradient, *found).abs().sum(dim=1) > 0  # (1, u, v)
        if matters.numel() > 1 and matters.float().mean() > 0.5:
            return embedding.shape[1], name, *found
    raise BackboneError(f"{title(backbone)} has no layer that Grad-CAM could look at")


def _layout(output: Tensor, built: nn.Module) -> tuple[Layout, int] | None:
    """Return how a layer's output is arranged, and its prefix tokens; None if it is not maps."""
    shape = tuple(output.shape[1:])
    if len(shape) == 3 and shape[1] == shape[2]:
        return "maps", 0
    if len(shape) == 3 and shape[0] == shape[1]:
        return "maps_last", 0
    # queries and keys are wider than the features
    if len(shape) != 2 or shape[1] != getattr(built, "num_features", shape[1]):
        return None
    for prefix in (getattr(built, "num_prefix_tokens", 0), 0, 1):
        side = round(max(shape[0] - prefix, 0) ** 0.5)
        if side > 1 and side**2 + prefix == shape[0]:
            return "tokens", prefix
    return None


def fitted(backbone: str, state: Mapping[str, Tensor], image_size_px: int) -> Mapping[str, Tensor]:
    """Return the state of a trunk from weights of the library's network, whatever their head is.

    timm converts other layouts, and resamples position embeddings to the image size.

    Raises:
        ValueError: they are of another network; the message names a tensor.
    """
    img_size = image_size_px if anatomy(backbone, image_size_px).fixed_size else None
    library, name = source(backbone)
    with seeding.torch_stream(0, "replaced weights"):
        built, whole = trunk(backbone, img_size), network(backbone, img_size)
    own, whole_names = built.state_dict(), set(whole.state_dict())

    def wrong(found: Mapping[str, Tensor]) -> list[str]:
        bad = sorted(set(own) - set(found)) + sorted(set(found) - set(own) - whole_names)
        return bad + [n for n in own if n in found and own[n].shape != found[n].shape]

    # counters of batch norms, which old files lack and nothing reads
    counters = {n: value for n, value in own.items() if n.endswith("num_batches_tracked")}
    state = counters | {_OLD_DENSENET.sub(r"\1", n): value for n, value in state.items()}
    if (bad := wrong(state)) and library == "timm":
        try:
            state = _converted(name, state, img_size).state_dict()
        except Exception:  # each network's converter fails in its own way
            pass
        else:
            bad = wrong(state)
    if bad:
        raise ValueError(f"it does not fit {title(backbone)}, e.g. {bad[0]}")
    built.load_state_dict({n: state[n] for n in own})
    return built.state_dict()


def _converted(name: str, state: Mapping[str, Tensor], img_size: int | None) -> nn.Module:
    """Build timm's network, with its head, from weights of another layout or image size.

    With another number of classes timm would not notice missing weights.
    """
    overlay = {"state_dict": dict(state), "custom_load": False}
    return timm.create_model(name, True, pretrained_cfg_overlay=overlay, img_size=img_size)
