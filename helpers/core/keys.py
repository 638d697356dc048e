"""The keys of finished work: digests of a call's arguments, and of the code behind it as imported.

    key_of(partial(fit.fit, network, images, table, settings, seed=0))

Code of this package counts by whole modules: the function's module and the modules that it imports,
with everything that was assigned later. If a file is edited after its import, the edit counts from
the next start of the process. Comments, docstrings and line breaks do not count.

Code from elsewhere, such as a cell, counts by function and class, with the names that they use.
Libraries count by name. Objects count by their class and their state, or by their `digest`.
"""

import dataclasses
import dis
import enum
import functools
import importlib
import importlib.util
import json
import math
import re
import sys
import sysconfig
import types
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import nn

from helpers.core import files
from helpers.core.rules import Registry

PACKAGE = "helpers"
PLACES = ["path"]  # columns of tables that say where an image is on this machine
_BY_TEXT = (bytes, complex, range, slice, re.Pattern, torch.dtype, torch.device)
_OF_TORCH = frozenset(vars(nn.Module()))  # attributes that every module has
_LIBRARIES = ("site-packages", "dist-packages", sysconfig.get_paths()["stdlib"])
_HOOKS = ("_forward_pre_hooks", "_forward_hooks")
_DEFINITIONS = (types.FunctionType, type)
_WITH_CACHE = functools._lru_cache_wrapper
_BARS = "tqdm"  # a library whose classes are others in a notebook, and which changes no result


def key_of(call: functools.partial[Any], ignore: Iterable[str] = ()) -> str:
    """Return the digest of a call, of its code and arguments; TypeError if one has none.

    `ignore` names keywords of the call, and fields of its arguments, that change no result.
    """
    digest = _Digest(frozenset(ignore))
    keywords = {name: value for name, value in call.keywords.items() if name not in digest.ignore}
    content = digest.of([call.func, call.args, keywords])
    return files.fingerprint([content, digest.modules])


def digest_of(code: Callable[..., Any]) -> str:
    """Return the digest of the code of a function or class alone."""
    return key_of(functools.partial(code))


class _Digest:
    """Digests of values, and of the modules of this package that they reach, as JSON-able data."""

    def __init__(self, ignore: frozenset[str] = frozenset()) -> None:
        self.ignore = ignore
        self.modules: dict[str, Any] = {}  # by name
        self._open: set[int] = set()  # what is being digested: a cycle ends there

    def of(self, value: Any) -> Any:
        """Return the digest of a value; raise TypeError if it has none."""
        if isinstance(value, float) and not math.isfinite(value):
            return ["float", repr(value)]
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
        if isinstance(value, torch.Tensor | np.ndarray | pd.Series):
            return _array(value)
        if isinstance(value, pd.DataFrame):
            kept = value.drop(columns=PLACES, errors="ignore")
            return ["table", {str(name): _array(kept[name]) for name in kept}]
        if isinstance(value, _DEFINITIONS):
            return self.reference(value)
        if isinstance(value, _WITH_CACHE):
            return self.of(value.__wrapped__)
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
            state |= {"buffers": dict(value.named_buffers())}  # also those that are not saved
            state |= {"trained": [n for n, p in value.named_parameters() if p.requires_grad]}
            state |= {"hooks": [[*getattr(value, name).values()] for name in _HOOKS]}
        content = [kind, self.of(state)]
        self._open.discard(id(value))
        return content

    def reference(self, value: Any) -> Any:
        """Return the name of a function or class of a module, and reach its module.

        If its name is not found there, as for a function of a cell, its code is digested.
        """
        place, name = value.__module__ or "", value.__qualname__
        if _root(place) == _BARS:
            return _BARS
        found: Any = None
        if _root(place) == PACKAGE:
            self.reach(place)
            found = sys.modules.get(place)
            for part in name.split("."):
                found = getattr(found, part, None)
        same = value is (found.__wrapped__ if isinstance(found, _WITH_CACHE) else found)
        return ["name", place, name] if same or _is_library(place) else self.definition(value)

    def reach(self, name: str) -> None:
        """Digest a module of this package, the packages around it, and all that they import.

        The outermost package does not count: it holds the version, and a way in from outside. A
        module of the user's own counts too.
        """
        parts = name.split(".")
        places = [".".join(parts[:n]) for n in range(2, len(parts) + 1)]
        if _root(name) != PACKAGE:
            places = [] if _is_library(name) or name not in sys.modules else [name]
        for place in places:
            if place not in self.modules:
                self.modules[place] = ""  # modules may import each other
                content = {
                    name: self.bound(value, place)
                    for name, value in sorted(vars(importlib.import_module(place)).items())
                    if not name.startswith("__")
                    # a module inside a package is reached where it is imported
                    if getattr(value, "__name__", "") != f"{place}.{name}"
                }
                self.modules[place] = files.fingerprint(content)

    def bound(self, value: Any, place: str) -> Any:
        """Return the digest of what a name of a module or class stands for."""
        value = value.__wrapped__ if isinstance(value, _WITH_CACHE) else value
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
        text, names = _code(value.__code__)
        for name in filter(_exists, sorted(names)):
            self.reach(name)
        known = {} if _root(value.__module__) == PACKAGE else value.__globals__
        used = {name: self.bound(known[name], "") for name in sorted(names) if name in known}
        closed = [cell.cell_contents for cell in value.__closure__ or ()]
        values = [value.__defaults__, value.__kwdefaults__, closed]
        return [text, [self.bound(item, "") for item in values], used]

    def class_(self, value: type) -> Any:
        """Return the digest of a class: its bases, and what its names stand for."""
        content: dict[str, Any] = {}
        for name, item in sorted(vars(value).items()):
            # the function inside of a static or class method, a cached property or a property
            inside = [getattr(item, inner, None) for inner in ("__func__", "func", "fget")]
            function = next((f for f in (*inside, item) if isinstance(f, types.FunctionType)), None)
            if function is None and not name.startswith("__"):
                content[name] = self.bound(item, value.__module__)
            elif function is not None:
                content[name] = self.definition(function)
        return [[self.of(base) for base in value.__bases__ if base is not object], content]


@functools.cache
def _code(code: types.CodeType) -> tuple[str, frozenset[str]]:
    """Return the instructions of a function without lines and docstring, and the names it uses.

    These are the global ones, and `module` and `module.name` of what is imported inside.
    """
    lines = [str(code.co_varnames[: code.co_argcount + code.co_kwonlyargcount])]
    names: set[str] = set()
    module = ""
    for instruction in dis.get_instructions(code):
        kind, argument = instruction.opname, instruction.argval
        if isinstance(argument, types.CodeType):
            argument, inner = _code(argument)
            names |= inner
        elif isinstance(argument, frozenset):
            argument = sorted(map(repr, argument))
        elif kind in ("LOAD_GLOBAL", "LOAD_NAME", "IMPORT_NAME"):
            names.add(argument)
            module = argument
        elif kind == "IMPORT_FROM":
            names.add(f"{module}.{argument}")
        lines.append(f"{kind} {argument!r}")
    lines.append(code.co_exceptiontable.hex())
    return "\n".join(lines), frozenset(names)


def _root(module: str) -> str:
    return module.partition(".")[0]


def _exists(module: str) -> bool:
    """Return True for a module of this package."""
    try:
        return _root(module) == PACKAGE and importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:  # a name in a module
        return False


def _is_library(module: str) -> bool:
    file = getattr(sys.modules.get(module), "__file__", None) or _LIBRARIES[0]
    of_notebook = module in ("", "__main__")
    return not of_notebook and any(place in file for place in _LIBRARIES)


def _array(values: torch.Tensor | np.ndarray | pd.Series) -> list[Any]:
    if isinstance(values, torch.Tensor):
        values = values.detach().cpu()
    array = np.asarray(values)
    if array.dtype == object:  # texts and missing values
        return ["texts", files.fingerprint([str(value) for value in array.tolist()])]
    array = np.ascontiguousarray(array, array.dtype.newbyteorder("="))
    return [str(array.dtype), list(np.shape(values)), files.bytes_digest(array.data)]
