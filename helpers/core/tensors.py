"""Write tensors with plain values beside them; reading them runs no code from the file.

Checkpoints are safetensors files. The state of an interrupted training is a file of `torch.save`.
Both carry a digest, so that damage is noticed.
"""

import hashlib
import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save as to_safetensors

from helpers.core import files


def save_tensors(path: Path, tensors: Mapping[str, torch.Tensor], info: Any = None) -> None:
    """Write tensors as safetensors, atomically; `info` (JSON-able) and a digest in the header."""
    stored = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
    text = json.dumps(files.plain(info))
    # safetensors does not keep the order of header entries, so one entry holds info and digest
    metadata = {"info": f"{text}\n{_digest(stored, text)}"}
    files.write_bytes(path, to_safetensors(stored, metadata=metadata))


def load_tensors(path: Path, kind: str = "") -> tuple[dict[str, torch.Tensor], Any]:
    """Return the tensors and the `info` of a safetensors file, or name it as not a `kind`."""
    with files.reading(path, kind):
        path.open("rb").close()  # safetensors calls any file that it cannot open missing
        with safe_open(path, framework="pt") as archive:
            metadata = archive.metadata() or {}
            tensors = {name: archive.get_tensor(name) for name in archive.keys()}  # noqa: SIM118
        text, _, digest = metadata.get("info", "null").partition("\n")
        if digest and digest != _digest(tensors, text):  # files of other programs have no digest
            raise ValueError("its bytes have changed")
        return tensors, json.loads(text)


def save_state(path: Path, state: Mapping[str, Any]) -> None:
    """Write a nested state of tensors and plain values atomically; tensors keep their bits."""
    buffer = io.BytesIO()
    torch.save(state, buffer)
    files.write_bytes(path, with_digest(buffer.getvalue()))


def load_state(path: Path) -> Any:
    """Return what `save_state` wrote, all tensors on the CPU."""
    with files.reading(path):
        stored = path.read_bytes()
        content = stored[10:]
        if stored != with_digest(content):
            raise ValueError("its bytes have changed")
        return torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)


def _digest(tensors: Mapping[str, torch.Tensor], text: str) -> str:
    digest = hashlib.blake2b(text.encode(), digest_size=10)
    for name in sorted(tensors):
        value = tensors[name]
        digest.update(f"{name}/{value.dtype}/{list(value.shape)}".encode())
        digest.update(value.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def with_digest(content: bytes) -> bytes:
    """Return the bytes of `torch.save` with a digest of 10 bytes in front."""
    return hashlib.blake2b(content, digest_size=10).digest() + content
