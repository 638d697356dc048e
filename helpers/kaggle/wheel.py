"""Pack the helpers as a wheel, byte for byte the same each time, with nothing but Python."""

from __future__ import annotations

import base64
import hashlib
import zipfile
from pathlib import Path

import helpers

NAME = "good_bad_helpers"


def build_wheel(folder: Path) -> Path:
    """Write the installed `helpers` package into `folder` as a wheel, and return its path.

    It is meant for `pip install --no-index --no-deps`, so it names no dependencies. Format:
    the binary distribution specification (PEP 427).
    """
    package = Path(helpers.__file__).parent
    version = helpers.__version__
    info = f"{NAME}-{version}.dist-info"
    contents = {
        file.relative_to(package.parent).as_posix(): file.read_bytes()
        for file in sorted(package.rglob("*"))
        if file.is_file() and "__pycache__" not in file.parts
    }
    contents[f"{info}/METADATA"] = (
        f"Metadata-Version: 2.1\nName: {NAME.replace('_', '-')}\nVersion: {version}\n"
    ).encode()
    contents[f"{info}/WHEEL"] = (
        b"Wheel-Version: 1.0\nGenerator: helpers\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    )
    contents[f"{info}/RECORD"] = _record(contents, f"{info}/RECORD")
    folder.mkdir(parents=True, exist_ok=True)
    wheel = folder / f"{NAME}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w", zipfile.ZIP_DEFLATED) as zipped:
        for name, content in contents.items():
            member = zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))
            member.external_attr = 0o644 << 16
            zipped.writestr(member, content, zipfile.ZIP_DEFLATED)
    return wheel


def _record(contents: dict[str, bytes], itself: str) -> bytes:
    lines = []
    for name, content in contents.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
        lines.append(f"{name},sha256={digest},{len(content)}\n")
    return ("".join(lines) + f"{itself},,\n").encode()
