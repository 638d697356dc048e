"""Tensors and plain values in safetensors files; loading runs no code from them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as to_safetensors

from helpers.core.files import _parsing, _plain, damaged
from helpers.core.writing import ArtifactError as ArtifactError
from helpers.core.writing import atomic_path as atomic_path
from helpers.core.writing import write_bytes as write_bytes

_NOT_TENSORS = (SafetensorError, OSError, ValueError, KeyError, TypeError, RuntimeError)


def save_tensors(path: Path, tensors: Mapping[str, torch.Tensor], info: Any = None) -> None:
    """Write tensors as safetensors, atomically; `info` (JSON-able) and a digest in the header."""
    plain = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
    text = json.dumps(_plain(info))
    # one entry, since safetensors writes several in any order: the digest stands on a second line
    metadata = {"info": f"{text}\n{_tensor_digest(plain, text)}"}
    write_bytes(path, to_safetensors(plain, metadata=metadata))


def load_tensors(path: Path, kind: str = "") -> tuple[dict[str, torch.Tensor], Any]:
    """Read what `save_tensors` wrote: the tensors and `info`. A changed byte is noticed."""
    with _parsing(path, _NOT_TENSORS, kind):
        path.open("rb").close()  # safetensors says of any file that it cannot open: not there
        with safe_open(path, framework="pt") as archive:
            metadata = archive.metadata() or {}
            tensors = {name: archive.get_tensor(name) for name in archive.keys()}  # noqa: SIM118
        text, _, digest = metadata.get("info", "null").partition("\n")
        # files of other programs, and of before there were digests, have none
        if digest and digest != _tensor_digest(tensors, text):
            raise ValueError("its bytes have changed")
        return tensors, json.loads(text)


def save_state(path: Path, state: Mapping[str, Any]) -> None:
    """Write a nested state (dicts and lists of tensors and plain values) as one safetensors file.

    Optimizers, schedulers and models give such states; tensors keep their bits.
    """
    tensors: dict[str, torch.Tensor] = {}
    skeleton = _take_tensors(state, "", tensors)
    save_tensors(path, tensors, skeleton)


def load_state(path: Path) -> Any:
    """Read what `save_state` wrote."""
    tensors, skeleton = load_tensors(path)
    try:
        return _put_tensors(skeleton, tensors)
    except (AttributeError, KeyError, TypeError, ValueError, StopIteration) as error:
        raise damaged(path, error) from None


def _tensor_digest(tensors: Mapping[str, torch.Tensor], text: str) -> str:
    digest = hashlib.blake2b(text.encode(), digest_size=10)
    for name in sorted(tensors):
        value = tensors[name]
        digest.update(f"{name}/{value.dtype}/{list(value.shape)}".encode())
        digest.update(value.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _take_tensors(value: Any, name: str, tensors: dict[str, torch.Tensor]) -> Any:
    """Move tensors out of a nested state into `tensors`; leave JSON that says where they were.

    Dicts become lists of pairs, since JSON would turn their integer keys into text.
    """
    if isinstance(value, torch.Tensor):
        name = f"{len(tensors)}{name}"  # numbered: "a/b" and "a" -> "b" must not meet
        tensors[name] = value.clone()  # safetensors refuses tensors that share memory
        return {"tensor": name}
    if isinstance(value, float) and not np.isfinite(value):
        return {"float": str(value)}
    if isinstance(value, Mapping):
        pairs = [[k, _take_tensors(v, f"{name}/{k}", tensors)] for k, v in value.items()]
        return {"dict": pairs}
    if isinstance(value, list | tuple):
        return {"list": [_take_tensors(v, f"{name}/{i}", tensors) for i, v in enumerate(value)]}
    return {"value": value}


def _put_tensors(skeleton: Any, tensors: Mapping[str, torch.Tensor]) -> Any:
    kind, content = next(iter(skeleton.items()))
    if kind == "float":
        return float(content)
    if kind == "tensor":
        return tensors[content]
    if kind == "dict":
        return {key: _put_tensors(value, tensors) for key, value in content}
    if kind == "list":
        return [_put_tensors(value, tensors) for value in content]
    return content
