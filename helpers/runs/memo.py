"""Finished work is not done again: a call is recognised by its function's code and its arguments.

    work = task(training.fit, build, images, table, settings, seed=0)
    key_of(work)                                  # code, arguments
    kinds = save(fit(...), folder / "seed0")      # seed0.safetensors, seed0.csv, seed0.json
    load(kinds, folder / "seed0")                 # the same value

Arguments have to be digestible: plain values, arrays, tables, networks, dataclasses, functions,
`functools.partial` of these, and objects whose attribute `digest` stands for their content.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import inspect
import sys
import types
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import nn

from helpers.core import files, tensors
from helpers.models import backbones
from helpers.models.spec import Network
from helpers.runs import code
from helpers.training.settings import Steering

PLACES = ("path",)  # columns of tables that say where an image is on this machine
SUFFIXES = {
    "network": ".safetensors",
    "tensors": ".safetensors",
    "table": ".csv",
    "arrays": ".npz",
    "plain": ".json",
}


@dataclass(frozen=True)
class Task:
    """A call that has not been made yet; see `task`."""

    function: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    title: str = ""  # for progress bars and messages

    def call(self, steering: Steering) -> Any:
        """Call the function; it gets the `steering` if it has such a parameter.

        That says how work is shown and continued, not what comes out: no key has it.
        """
        if "steering" in inspect.signature(self.function).parameters:
            return self.function(*self.args, **self.kwargs, steering=steering)
        return self.function(*self.args, **self.kwargs)


def task(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Task:
    """Return a call to be made later, perhaps in another process."""
    return Task(function, args, kwargs)


def key_of(work: Task) -> str:
    """Return the digest of a call: of its function's code and of its arguments.

    Raises:
        TypeError: an argument cannot be digested.
    """
    return files.fingerprint([digestible(work.function), digestible([work.args, work.kwargs])])


def digestible(value: Any) -> Any:
    """Return a value that JSON can express and that is equal for equal content."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, Mapping):
        return {str(name): digestible(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [digestible(item) for item in value]
    if isinstance(value, functools.partial):
        return ["partial", *map(digestible, (value.func, value.args, value.keywords))]
    if isinstance(value, types.FunctionType | type):
        return ["code", code.digest_of(value)]
    if isinstance(value, types.MethodType):
        return ["method", value.__name__, digestible(value.__self__)]
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, torch.Tensor):
        value = value.detach().cpu().numpy()
    if isinstance(value, np.ndarray):
        return _array(value)
    if isinstance(value, pd.DataFrame):
        kept = value.drop(columns=[name for name in PLACES if name in value])
        return ["table", {str(name): _array(column.to_numpy()) for name, column in kept.items()}]
    kind = ["code", code.digest_of(type(value))]
    if hasattr(value, "digest"):
        return [kind, value.digest]
    if isinstance(value, nn.Module):
        facts = [digestible(getattr(value, name, None)) for name in ("spec", "facts")]
        return [kind, digestible(value.state_dict()), facts]
    if dataclasses.is_dataclass(value):
        names = [field.name for field in dataclasses.fields(value)]
        return [kind, {name: digestible(getattr(value, name)) for name in names}]
    raise TypeError(f"{type(value).__name__} has no digest: give it an attribute `digest`")


def _array(values: np.ndarray) -> list[Any]:
    if values.dtype == object:  # texts and missing values
        return ["texts", files.fingerprint([str(value) for value in values.tolist()])]
    digest = hashlib.blake2b(np.ascontiguousarray(values).data, digest_size=10).hexdigest()
    return [str(values.dtype), list(values.shape), digest]


def kind_of(value: Any) -> str:
    """Return how a value is stored: a key of `SUFFIXES`."""
    if isinstance(value, Network):
        return "network"
    if isinstance(value, pd.DataFrame):
        return "table"
    if isinstance(value, Mapping) and value:
        items = list(value.values())
        if all(isinstance(item, torch.Tensor) for item in items):
            return "tensors"
        if all(isinstance(item, np.ndarray) for item in items):
            return "arrays"
    return "plain"


def save(value: Any, place: Path) -> dict[str, Any]:
    """Write a value in files of its kind, named after `place`; return what `load` needs.

    The fields of a dataclass are written each in its own file, the plain ones in one.
    """
    if not dataclasses.is_dataclass(value) or isinstance(value, type):
        return {"files": {"": _write(value, place, "")}}
    fields = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    kinds = {name: kind_of(item) for name, item in fields.items()}
    plain = {name: item for name, item in fields.items() if kinds[name] == "plain"}
    parts = {name: item for name, item in fields.items() if kinds[name] != "plain"}
    alone = [name for name in parts if [*kinds.values()].count(kinds[name]) == 1]
    written = {
        name: _write(item, place, "" if name in alone else f"_{name}")
        for name, item in parts.items()
    }
    if plain:
        files.save_json(_file(place, "plain"), plain)
    kind = f"{type(value).__module__}.{type(value).__qualname__}"
    return {"files": written, "class": kind, "plain": sorted(plain)}


def _write(value: Any, place: Path, part: str) -> dict[str, Any]:
    kind = kind_of(value)
    path = _file(place, kind, part)
    about: dict[str, Any] = {"kind": kind, "part": part}
    if kind == "network":
        backbones.save_model(path, value)
    elif kind == "tensors":
        tensors.save_tensors(path, value)
    elif kind == "table":
        files.save_csv(path, value)
        about["types"] = {str(name): str(dtype) for name, dtype in value.dtypes.items()}
    elif kind == "arrays":
        files.save_arrays(path, **value)
    else:
        files.save_json(path, value)
    return about


def load(stored: Mapping[str, Any], place: Path, kind: type | None = None) -> Any:
    """Return the value that `save` wrote; `kind` is the dataclass that it is, if it is one.

    Raises:
        ArtifactError: a file is missing or damaged.
    """
    values = {name: _read(about, place) for name, about in stored["files"].items()}
    if "class" not in stored:
        return values[""]
    assert kind is not None
    if stored["plain"]:
        path = _file(place, "plain")
        content = files.load_json(path)
        try:
            values |= {name: content[name] for name in stored["plain"]}
        except (KeyError, TypeError) as error:
            raise files.damaged(path, f"it lacks {error}") from None
    fields = {field.name for field in dataclasses.fields(kind)}
    return kind(**{name: value for name, value in values.items() if name in fields})


def _read(about: Mapping[str, Any], place: Path) -> Any:
    kind = about["kind"]
    path = _file(place, kind, about["part"])
    if kind == "network":
        return backbones.load_model(path)
    if kind == "tensors":
        return tensors.load_tensors(path)[0]
    if kind == "arrays":
        return files.load_arrays(path)
    if kind == "plain":
        return files.load_json(path)
    types = about.get("types", {})
    texts = [name for name, dtype in types.items() if dtype in ("object", "str")]
    table = files.load_csv(path, list(types), text=texts)
    with files.reading(path):
        return table.astype(types)


def paths_of(stored: Mapping[str, Any], place: Path) -> list[Path]:
    """Return the files that `save` wrote."""
    written = [_file(place, about["kind"], about["part"]) for about in stored["files"].values()]
    return written + ([_file(place, "plain")] if stored.get("plain") else [])


def _file(place: Path, kind: str, part: str = "") -> Path:
    return place.with_name(place.name + part + SUFFIXES[kind])


def result_class(work: Task) -> type | None:
    """Return the dataclass that a task's function says that it returns; None for other types."""
    function = work.function
    while isinstance(function, functools.partial):
        function = function.func
    found: Any = function
    if not isinstance(function, type):
        named = function.__annotations__.get("return")
        found = getattr(sys.modules[function.__module__], str(named), named)
    return found if isinstance(found, type) and dataclasses.is_dataclass(found) else None
