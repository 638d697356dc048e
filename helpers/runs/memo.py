"""The memo of a run: finished work is not done again.

A call is recognised by its function's code and its arguments (`core.keys`). Its result is saved by
its kind, each field of a dataclass on its own; no file runs code when it is loaded.
"""

import dataclasses
import functools
import importlib
import math
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import nn

from helpers.core import errors, files, keys, rules, tensors, work
from helpers.core.paths import RunPaths
from helpers.models import backbones
from helpers.models.backbones import Network
from helpers.runs import record, workers

KINDS: dict[str, tuple[str, Callable[..., Any]]] = {  # of values: suffix of the file, and writer
    "network": (".safetensors", backbones.save_model),
    "own": (".weights.safetensors", backbones.save_model),  # its class is the user's
    "tensors": (".safetensors", tensors.save_tensors),
    "table": (".csv", files.save_csv),
    "arrays": (".npz", lambda path, arrays: files.save_arrays(path, **arrays)),
    "plain": (".json", files.save_json),
}
Call = functools.partial[Any]  # of a function that computes something: not made yet
Names = Iterable[str]


@dataclass
class Memo:
    """The finished work of a run, as one notebook sees it."""

    name: str  # of the notebook
    paths: RunPaths
    preset: str
    settings: Any  # named in advice when memory is full
    started_s: float = field(default_factory=time.time)
    reused: list[str] = field(default_factory=list)  # names of calls that were not made again
    outputs: list[Path] = field(default_factory=list)

    def once(self, name: str, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Call a function, or load the result of an equal earlier call; return the result.

        Calls are equal if function, code and arguments are the same; the files must be unchanged
        too. The result is saved by its kind as `name` in the run's folder, see `save`.
        """
        call = functools.partial(function, *args, **kwargs)
        return self.each({name: call}, side_by_side=False)[name]

    def each(
        self,
        calls: Mapping[str, Call],
        what: str = "trainings",
        ignore: Names = (),
        titles: Mapping[str, str] | None = None,
        side_by_side: bool = True,
    ) -> dict[str, Any]:
        """Do what `once` does for independent calls, side by side; return the results by name.

        Each has a core (or GPU) of its own and one thread, so that the results are the same for
        any number of workers. `what` is shown by the progress bar, `titles` of the calls by theirs.
        Without `side_by_side` this process does them one by one, on all cores. `ignore` names
        keywords, and fields of settings, on which no result depends.
        """
        root, ignore = self.paths.root, tuple(ignore)
        key_of = {name: keys.key_of(call, ignore) for name, call in calls.items()}
        # other arguments have another resume file
        resume_of = {name: root / f"{name}.{key}.resume" for name, key in key_of.items()}
        minutes = getattr(self.settings, "time_budget_min", 0.0)
        deadline_s = self.started_s + 60 * minutes if minutes else None  # a clock machines share
        recorded = record.load_run(self.paths).get("steps", {})
        steps = {
            name: step
            for name, key in key_of.items()
            if (step := recorded.get(name)) and step["key"] == key and step.get("kinds")
            if record.are_intact(self.paths, step["outputs"])
        }
        self.reused += steps
        waiting: dict[str, Call] = {}
        for name in [name for name in calls if name not in steps]:
            job = (titles or {}).get(name, name), resume_of[name], deadline_s
            given = calls[name], root / name, self.settings, job, key_of[name], ignore
            waiting[name] = functools.partial(make, *given, rules.contents())
        if waiting and time.time() > (deadline_s or math.inf):
            raise errors.OutOfTime(  # a training checks the time again before each epoch
                f"{next(iter(waiting))}: the time budget is used up; finished work is kept: run "
                "the same command again to continue"
            )
        made: Iterable[tuple[str, dict[str, Any]]] = ((n, call()) for n, call in waiting.items())
        if waiting and side_by_side:
            threads = {name: threads_of(calls[name]) for name in waiting}
            made = workers.side_by_side(waiting, what, root, threads)
        for name, step in made:
            step |= {"key": key_of[name], "stage": self.name}
            step["outputs"] = record.digests_of(self.paths, places_of(step, root / name).values())
            with record.edit_run(self.paths) as run:
                run.setdefault("steps", {})[name] = steps[name] = step
            resume_of[name].unlink(missing_ok=True)  # not before the step is on record
        for name in calls:
            self.outputs += places_of(steps[name], root / name).values()
        return {name: load(steps[name], root / name, call) for name, call in calls.items()}


def threads_of(call: Call) -> int:
    """Return the number of threads that the settings among a call's arguments ask for."""
    return max(getattr(given, "threads", 1) for given in (1, *call.args, *call.keywords.values()))


def make(
    call: Call, place: Path, settings: Any, job: Any, key: str, ignore: Names, held: Any
) -> dict[str, Any]:
    """Make a call and save its result at `place`; return what `load` needs, and the seconds.

    `job` is for `work.doing`, and `held` the registries of the notebook. Its `key` of the call
    shows whether this process, which may be another one, has the same code.
    """
    rules.restore(held)
    if keys.key_of(call, ignore) != key:
        raise errors.UserError(
            f"{place.name}: the package's code has changed since this notebook imported it, or was "
            "changed in a cell, where other processes cannot see it: restart the kernel, and pass "
            "an object of your own as an argument instead of assigning it"
        )
    started_s = time.monotonic()
    with files.writing(place):
        place.parent.mkdir(parents=True, exist_ok=True)
    with errors.enough_for(place.name, settings), work.doing(*job):
        stored = save(call(), place)
    return stored | {"seconds": round(time.monotonic() - started_s, 2)}


def kind_of(value: Any) -> str:
    """Return how a value is stored: a key of `KINDS`."""
    if isinstance(value, Network):
        return "own" if value.spec.kind == backbones.OWN else "network"
    if isinstance(value, pd.DataFrame):
        return "table"
    if isinstance(value, Mapping) and value:
        if all(isinstance(item, torch.Tensor) for item in value.values()):
            return "tensors"
        if all(isinstance(item, np.ndarray) for item in value.values()):
            return "arrays"
    return "plain"


def places_of(stored: Mapping[str, Any], place: Path) -> dict[str, Path]:
    """Return the file of each field.

    Plain fields share a file. If a field is the only one of its kind, its file is `place` with the
    kind's suffix; else the field's name is added.
    """
    kinds = stored["kinds"]
    often = [kind for kind in KINDS if [*kinds.values()].count(kind) > 1 and kind != "plain"]
    return {
        name: place.with_name(place.name + (f"_{name}" if kind in often else "") + KINDS[kind][0])
        for name, kind in kinds.items()
    }


def save(value: Any, place: Path) -> dict[str, Any]:
    """Write a value, or each field of a dataclass, at `place`; return what `load` needs.

    These are `kinds` of the fields ("": the value itself), `class` of a dataclass, and `types` of
    the columns of tables.
    """
    fields: dict[str, Any] = {"": value}
    stored: dict[str, Any] = {}
    if dataclasses.is_dataclass(value):
        fields = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
        stored["class"] = f"{type(value).__module__}:{type(value).__qualname__}"
    stored["kinds"] = {name: kind_of(item) for name, item in fields.items()}
    tables = {name: item for name, item in fields.items() if stored["kinds"][name] == "table"}
    stored["types"] = {
        name: {str(column): str(dtype) for column, dtype in table.dtypes.items()}
        for name, table in tables.items()
    }
    plain = {name: item for name, item in fields.items() if stored["kinds"][name] == "plain"}
    # plain fields share a file
    contents = {path: (name, fields[name]) for name, path in places_of(stored, place).items()}
    for path, (name, item) in contents.items():
        KINDS[stored["kinds"][name]][1](path, plain.get("", plain) if name in plain else item)
    return stored


def load(stored: Mapping[str, Any], place: Path, call: Call | None = None) -> Any:
    """Return the value that `save` wrote; the `call` holds the network whose class is a user's."""
    given = (*call.args, *call.keywords.values()) if call else ()
    module = next((item for item in given if isinstance(item, nn.Module)), None)
    values: dict[str, Any] = {}
    for name, path in places_of(stored, place).items():
        kind = stored["kinds"][name]
        with files.reading(path):
            if kind in ("network", "own"):
                values[name] = backbones.load_model(path, module)
            elif kind == "tensors":
                values[name] = tensors.load_tensors(path)[0]
            elif kind == "arrays":
                values[name] = files.load_arrays(path)
            elif kind == "table":
                types = stored["types"][name]
                texts = [column for column, dtype in types.items() if dtype in ("object", "str")]
                values[name] = files.load_csv(path, list(types), text=texts).astype(types)
            else:
                content = files.load_json(path)
                values[name] = content[name] if name else content
    return values[""] if "" in values else class_of(stored["class"])(**values)


def class_of(name: str) -> type:
    """Return the dataclass that a record names; nothing else is imported or called."""
    module, _, inner = name.partition(":")
    if module.startswith("helpers."):
        importlib.import_module(module)
    found = getattr(sys.modules.get(module), inner, None)
    if not (isinstance(found, type) and dataclasses.is_dataclass(found)):
        raise files.ArtifactError(f"run.json names {name}, which is not a dataclass known here")
    return found
