"""Pack the helpers, or an installed package, as a wheel: byte for byte the same each time.

The wheels are meant for `pip install --no-index --no-deps`. Format: the binary distribution
specification (PEP 427).
"""

from __future__ import annotations

import base64
import hashlib
import importlib.metadata
import zipfile
from pathlib import Path, PurePosixPath

import helpers
from helpers.commands import executed
from helpers.commands.kaggle.errors import KaggleError
from helpers.core import paths

NAME = "good_bad_helpers"
_WHEEL = b"Wheel-Version: 1.0\nGenerator: helpers\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
_INSTALLERS_OWN = {"RECORD", "INSTALLER", "REQUESTED", "direct_url.json", "WHEEL"}
_DOES_NOT_SHRINK = {".pth", ".safetensors", ".png", ".jpg"}  # trained weights are noise to zlib


def build_wheel(folder: Path) -> Path:
    """Write the installed `helpers` package into `folder` as a wheel, and return its path.

    The numbered notebooks travel, without outputs, inside the package, where
    `paths.notebooks_root` finds them. It names no dependencies.
    """
    package = Path(helpers.__file__).parent
    version = helpers.__version__
    contents = {
        file.relative_to(package.parent).as_posix(): file.read_bytes()
        for file in sorted(package.rglob("*"))
        if file.is_file() and "__pycache__" not in file.parts
    }
    for notebook in sorted(paths.notebooks_root().glob("*.ipynb")):
        name = f"{package.name}/{paths.PACKED_NOTEBOOKS}/{notebook.name}"
        contents[name] = executed.without_outputs(notebook.read_bytes())
    metadata = f"Metadata-Version: 2.1\nName: {NAME.replace('_', '-')}\nVersion: {version}\n"
    contents[f"{NAME}-{version}.dist-info/METADATA"] = metadata.encode()
    return _write(folder, f"{NAME}-{version}", contents)


def repack(name: str, folder: Path) -> Path:
    """Write an installed distribution of pure Python into `folder` as a wheel; return its path.

    Raises:
        KaggleError: it is not installed, or not as a wheel of pure Python.
    """
    distribution = find_distribution(name)
    stem, contents = "", {}
    for file in sorted(distribution.files or [], key=str):
        top = file.parts[0]
        own = top.endswith(".dist-info") and file.name in _INSTALLERS_OWN
        if top == ".." or own or "__pycache__" in file.parts:
            continue  # commands, notes of the installer, compiled code
        contents[file.as_posix()] = Path(str(distribution.locate_file(file))).read_bytes()
        stem = top.removesuffix(".dist-info") if top.endswith(".dist-info") else stem
    return _write(folder, stem, contents)


def find_distribution(name: str) -> importlib.metadata.Distribution:
    """The installed distribution of that name, where it can be packed as a wheel.

    Raises:
        KaggleError: it is not installed, or not as a wheel of pure Python.
    """
    try:
        distribution = importlib.metadata.distribution(name)
    except importlib.metadata.PackageNotFoundError:
        raise KaggleError(f"{name} is not installed here: `pip install {name}`.") from None
    facts = (distribution.read_text("WHEEL") or "").splitlines()
    tags = [line.partition(": ")[2] for line in facts if line.startswith("Tag: ")]
    is_pure = "Root-Is-Purelib: true" in facts and any(tag.endswith("-none-any") for tag in tags)
    if not is_pure or not distribution.files:
        raise KaggleError(
            f"{name} is not installed as a wheel of pure Python, so it cannot be packed again: "
            "download a wheel for Linux and --attach it."
        )
    return distribution


def _write(folder: Path, stem: str, contents: dict[str, bytes]) -> Path:
    """Write a wheel of these files, with WHEEL and RECORD added; `stem` is name-version."""
    info = f"{stem}.dist-info"
    contents = dict(sorted({**contents, f"{info}/WHEEL": _WHEEL}.items()))
    contents[f"{info}/RECORD"] = _record(contents, f"{info}/RECORD")
    folder.mkdir(parents=True, exist_ok=True)
    wheel = folder / f"{stem}-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w", zipfile.ZIP_DEFLATED) as zipped:
        for name, content in contents.items():
            member = zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))
            member.external_attr = 0o644 << 16
            stored = PurePosixPath(name).suffix in _DOES_NOT_SHRINK
            kind = zipfile.ZIP_STORED if stored else zipfile.ZIP_DEFLATED
            zipped.writestr(member, content, kind)
    return wheel


def _record(contents: dict[str, bytes], itself: str) -> bytes:
    lines = []
    for name, content in contents.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
        lines.append(f"{name},sha256={digest},{len(content)}\n")
    return ("".join(lines) + f"{itself},,\n").encode()
