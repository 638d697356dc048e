"""The keys of finished work: digests of a call's arguments, and of the code behind it as imported.

    key_of(partial(fit.fit, network, images, table, settings, seed=0))

Code of this package counts by whole modules: that of the function, and all that they import. What
is digested is what this process has imported, with everything that was assigned later: functions,
their defaults, attributes of classes, constants. So a file that was edited after its import does
not count before the process is started again. Comments, docstrings and line breaks do not count.

Code from elsewhere, such as a cell, counts by function and class, with the names that they use.
Libraries count by name. Objects count by their class and their state, or by their `digest`.
"""

from __future__ import annotations

import dataclasses
import dis
import enum
import functools
import hashlib
import importlib
import importlib.util
import inspect
import json
import re
import sys
import sysconfig
import types
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import nn

from helpers.core import files
from helpers.core.registry import Registry

PACKAGE = "helpers"
PLACES = ("path",)  # columns of tables that say where an image is on this machine
_BY_TEXT = (bytes, complex, range, slice, re.Pattern, torch.dtype, torch.device)
_OF_TORCH = frozenset(vars(nn.Module()))  # attributes that every module has
_LIBRARIES = ("site-packages", "dist-packages", sysconfig.get_paths()["stdlib"])
_DEFINITIONS = (types.FunctionType, type)
_BARS = "tqdm"  # a library whose classes are others in a notebook, and which changes no result


def key_of(call: functools.partial[Any], ignore: Iterable[str] = ()) -> str:
    """Return the digest of a call: of its code and its arguments.

    `ignore` names keywords of the call, and fields of its arguments, that change no result.

    Raises:
        TypeError: an argument cannot be digested.
    """
    digest = _Digest(frozenset(ignore))
    keywords = {name: value for name, value in call.keywords.items() if name not in digest.ignore}
    content = digest.of([call.func, call.args, keywords])
    return files.fingerprint([content, digest.modules])


def digest_of(code: Callable[..., Any]) -> str:
    """Return the digest of the code of a function or class alone."""
    digest = _Digest()
    return files.fingerprint([digest.of(code), digest.modules])


class _Digest:
    """Digests of values, and of the modules of this package that they reach, as JSON-able data."""

    def __init__(self, ignore: frozenset[str] = frozenset()) -> None:
        self.ignore = ignore
        self.modules: dict[str, Any] = {}  # by name
        self._open: set[int] = set()  # what is being digested: a cycle ends there

    def of(self, value: Any) -> Any:
        """Return the digest of a value; raise TypeError if it has none."""
        if value is None or isinstance(value, bool | int | float | str):
            return value.value if isinstance(value, enum.Enum) else value
        if isinstance(value, Path):
            return str(value)
        if isinstance(value, Registry) and not value.keyed:
            return value.what
        if isinstance(value, Mapping):
            return [[self.of(name), self.of(item)] for name, item in value.items()]
        if isinstance(value, list | tuple):
            return [self.of(item) for item in value]
        if isinstance(value, set | frozenset):
            return sorted(json.dumps(self.of(item)) for item in value)
        if isinstance(value, functools.partial):
            return ["partial", *map(self.of, (value.func, value.args, value.keywords))]
        if isinstance(value, types.MethodType):
            return ["method", value.__name__, self.of(value.__self__)]
        if isinstance(value, types.ModuleType):
            self.reach(value.__name__)
            return ["module", value.__name__]
        if isinstance(value, _BY_TEXT):
            return [type(value).__name__, repr(value)]
        if isinstance(value, np.generic):
            return value.item()
        if isinstance(value, torch.Tensor):
            value = value.detach().cpu().numpy()
        if isinstance(value, np.ndarray):
            return _array(value)
        if isinstance(value, pd.Series):
            return _array(value.to_numpy())
        if isinstance(value, pd.DataFrame):
            kept = value.drop(columns=[name for name in PLACES if name in value])
            return [
                "table",
                {str(name): _array(column.to_numpy()) for name, column in kept.items()},
            ]
        if isinstance(value, _DEFINITIONS):
            return self.reference(value)
        if wrapped := getattr(value, "__wrapped__", None):  # a function with a cache
            return self.of(wrapped)
        if callable(value) and hasattr(value, "__qualname__"):  # built in
            return ["name", getattr(value, "__module__", ""), value.__qualname__]
        return self.object(value)

    def object(self, value: Any) -> Any:
        """Return the digest of an object: its class, and its digest or its state."""
        kind = self.reference(type(value))
        if hasattr(value, "digest"):
            return [kind, value.digest]
        if dataclasses.is_dataclass(value):
            names = [field.name for field in dataclasses.fields(value)]
            return [kind, {n: self.of(getattr(value, n)) for n in names if n not in self.ignore}]
        if id(value) in self._open or not hasattr(value, "__dict__"):
            raise TypeError(f"{type(value).__name__} has no digest: give it an attribute `digest`")
        self._open.add(id(value))
        state = dict(vars(value))
        if isinstance(value, nn.Module):
            state = {name: item for name, item in state.items() if name not in _OF_TORCH}
            state |= {"state_dict": value.state_dict(), "children": dict(value.named_children())}
        content = [kind, self.of(state)]
        self._open.discard(id(value))
        return content

    def reference(self, value: Any) -> Any:
        """Return the name of a function or class of a module, and reach its module.

        What is not found by its name there, such as a function of a cell, is digested whole.
        """
        place, name = value.__module__ or "", value.__qualname__
        if place.partition(".")[0] == _BARS:
            return _BARS
        if place.partition(".")[0] == PACKAGE:
            self.reach(place)
        elif not _is_library(place):
            return self.definition(value)
        found: Any = sys.modules.get(place)
        for part in name.split("."):
            found = getattr(found, part, None)
        same = found is value or getattr(found, "__wrapped__", None) is value
        return ["name", place, name] if same or _is_library(place) else self.definition(value)

    def reach(self, name: str) -> None:
        """Digest a module of this package, the packages around it, and all that they import.

        The outermost package does not count: it holds the version, and a way in from outside.
        """
        parts = name.split(".")
        if parts[0] != PACKAGE:
            return
        for place in (".".join(parts[:n]) for n in range(2, len(parts) + 1)):
            if place not in self.modules:
                self.modules[place] = ""  # modules may import each other
                content = self.namespace(importlib.import_module(place))
                self.modules[place] = files.fingerprint(content)

    def namespace(self, module: types.ModuleType) -> dict[str, Any]:
        """Return the digests of what a module's names stand for."""
        content = {}
        for name, value in sorted(vars(module).items()):
            if name.startswith("__") and name.endswith("__"):
                continue
            if getattr(value, "__name__", "") != f"{module.__name__}.{name}":
                content[name] = self.bound(value, module.__name__)
            # otherwise a part of a package, which is reached where it is imported
        return content

    def bound(self, value: Any, place: str) -> Any:
        """Return the digest of what a name of a module or class stands for."""
        value = getattr(value, "__wrapped__", value)  # of functools.cache
        if isinstance(value, _DEFINITIONS) and value.__module__ == place:
            return self.definition(value)
        if isinstance(value, Path):  # where the package lies on this machine
            return "path"
        try:
            return self.of(value)
        except TypeError:  # an object without a digest, such as a lock
            text = repr(value)
            return type(value).__qualname__ if " at 0x" in text else text

    def definition(self, value: Any) -> Any:
        """Return the digest of the code of a function or class."""
        if id(value) in self._open:
            return ["again", value.__qualname__]
        self._open.add(id(value))
        content = self.class_(value) if isinstance(value, type) else self.function(value)
        self._open.discard(id(value))
        return content

    def function(self, value: types.FunctionType) -> Any:
        """Return the digest of a function: its code, its defaults, and what it closes over."""
        code = _code(value.__code__)
        names = value.__globals__
        package = names.get("__package__") or ""
        for level, name in code.imports:
            place = importlib.util.resolve_name("." * level + name, package) if level else name
            if place.partition(".")[0] == PACKAGE and _exists(place):
                self.reach(place)
        used: dict[str, Any] = {}
        if value.__module__.partition(".")[0] != PACKAGE:
            used = {n: self.bound(names[n], "") for n in code.names if n in names}
        closed = [_inside(cell) for cell in value.__closure__ or ()]
        values = [value.__defaults__, value.__kwdefaults__, closed]
        return [code.text, [self.bound(item, "") for item in values], used]

    def class_(self, value: type) -> Any:
        """Return the digest of a class: its bases, and what its names stand for."""
        content: dict[str, Any] = {}
        for name, item in sorted(vars(value).items()):
            # the function inside of a static or class method, a cached property or a property
            inside = [getattr(item, inner, None) for inner in ("__func__", "func", "fget")]
            function = next((f for f in (*inside, item) if isinstance(f, types.FunctionType)), None)
            if function is None and not name.startswith("__"):
                content[name] = self.bound(item, value.__module__)
            elif function is not None and not _is_generated(function):
                content[name] = self.definition(function)
        if dataclasses.is_dataclass(value):
            content |= {f"{f.name}=": _default(f) for f in dataclasses.fields(value)}
        return [[self.of(base) for base in value.__bases__ if base is not object], content]


class _Code(NamedTuple):
    text: str
    names: frozenset[str]  # global ones
    imports: frozenset[tuple[int, str]]  # level and name of what is imported inside


@functools.cache
def _code(code: types.CodeType) -> _Code:
    """Return the instructions of a function without lines and docstring, and what they use."""
    lines: list[str] = [str(code.co_varnames[: code.co_argcount + code.co_kwonlyargcount])]
    names: set[str] = set()
    imports: set[tuple[int, str]] = set()
    before: list[Any] = [0, 0]  # the last two arguments: an import's level and names
    place = (0, "")
    for instruction in dis.get_instructions(code):
        kind, argument = instruction.opname, instruction.argval
        if isinstance(argument, types.CodeType):
            inner = _code(argument)
            names |= inner.names
            imports |= inner.imports
            argument = inner.text
        elif isinstance(argument, frozenset):
            argument = sorted(map(repr, argument))
        elif kind in ("LOAD_GLOBAL", "LOAD_NAME"):
            names.add(argument)
        elif kind == "IMPORT_NAME":
            place = (before[0] if isinstance(before[0], int) else 0, argument)
            imports.add(place)
        elif kind == "IMPORT_FROM":
            imports.add((place[0], f"{place[1]}.{argument}".lstrip(".")))
        lines.append(f"{kind} {argument!r}")
        before = [before[1], argument]
    lines.append(code.co_exceptiontable.hex())
    return _Code("\n".join(lines), frozenset(names), frozenset(imports))


@functools.cache
def _exists(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except (ModuleNotFoundError, AttributeError):
        return False


@functools.cache
def _is_library(module: str) -> bool:
    file = getattr(sys.modules.get(module), "__file__", None)
    if module in ("", "__main__"):  # of a notebook
        return False
    return file is None or any(place in file for place in _LIBRARIES)


def _is_generated(function: types.FunctionType) -> bool:
    """Return True for the methods that dataclasses and pydantic write."""
    file = function.__code__.co_filename
    return file.startswith("<string>") or f"{_LIBRARIES[0]}/pydantic" in file


def _default(field: dataclasses.Field[Any]) -> str:
    text = repr(field.default)
    return inspect.cleandoc(text) if " at 0x" not in text else field.name


def _inside(cell: types.CellType) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # not filled yet
        return None


def _array(values: np.ndarray) -> list[Any]:
    if values.dtype == object:  # texts and missing values
        return ["texts", files.fingerprint([str(value) for value in values.tolist()])]
    if not values.dtype.isnative or values.dtype.hasobject:
        values = values.astype(values.dtype.newbyteorder("="))
    digest = hashlib.blake2b(np.ascontiguousarray(values).data, digest_size=10).hexdigest()
    return [str(values.dtype), list(values.shape), digest]
