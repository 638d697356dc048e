"""A run that a notebook has open: its images, models and outputs, and the memo of finished work.

    run = stages.begin("03_finetuning", globals())
    arrays = run.once("features/resnet18", features.embed_all, weights, images, run.split)
    run.save_figure(figures.learning_curves(curve), "03_curve")
    run.finish()

Finished work is not done again: a call is recognised by its function's code and its arguments (see
`keys`), and its result is saved by its kind, each field of a dataclass on its own.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import os
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import filelock
import numpy as np
import pandas as pd
import torch

from helpers import datasets
from helpers.core import environment, files, paths, style, tensors, work
from helpers.core.errors import OutOfTime
from helpers.datasets.cache import ImageCache, open_cache
from helpers.datasets.settings import SplitSettings
from helpers.datasets.split_file import read_split
from helpers.models import backbones, weights
from helpers.models.record import Model
from helpers.models.spec import Network
from helpers.results import submission
from helpers.results.predictions import Scored, read_predictions
from helpers.runs import keys, settings, workers
from helpers.runs.findings import Findings
from helpers.runs.record import (
    digests_of,
    edit_run,
    load_run,
    lock_file,
    models_of,
    outputs_are_intact,
)

if TYPE_CHECKING:
    from IPython.display import HTML
    from matplotlib.figure import Figure

OPEN: dict[Path, filelock.AcquireReturnProxy] = {}  # the stages that this process has open
SUFFIXES = {  # of the files of each kind of value
    "network": ".safetensors",
    "tensors": ".safetensors",
    "table": ".csv",
    "arrays": ".npz",
    "plain": ".json",
}
Call = functools.partial[Any]  # of a function that computes something: not made yet


def source_of(run_paths: paths.RunPaths) -> dict[str, Any]:
    """Return what notebook 01 has recorded of the data; empty if it has not been run."""
    return load_run(run_paths).get("stages", {}).get(settings.FIRST, {})


def split_of(run_paths: paths.RunPaths) -> pd.DataFrame:
    """Return the split of a run, with the paths that its images have on this machine."""
    split = read_split(run_paths.split_csv)
    if split.empty or os.path.exists(split.path.iloc[0]):
        return split
    # the images have moved, as with a new Python: look them up by id in the data set
    known = {field.name for field in dataclasses.fields(SplitSettings)} - {"labels_csv", "mask"}
    recorded = source_of(run_paths).get("settings", {})
    try:
        given = {name: value for name, value in recorded.items() if name in known}
        here = datasets.load(SplitSettings(**given)).table.set_index("id").path
    except datasets.DataError:  # decoded images may be in the cache
        return split
    return split.assign(path=here.reindex(split.id).fillna(split.set_index("id").path).to_numpy())


def images_of(run_paths: paths.RunPaths, split: pd.DataFrame, size_px: int) -> ImageCache:
    """Return the decoded images of a run at one size; decode them if they are not cached."""
    recorded = source_of(run_paths)
    how = recorded.get("fit", "squash"), recorded.get("region", "")
    return open_cache(split, size_px, paths.cache_root(), True, *how)


def read_all_predictions(run_paths: paths.RunPaths, until: str = "") -> dict[str, Scored]:
    """Load the scores of all models of a run by slug, in the table's order.

    `until` names a stage: models of later ones are left out.

    Raises:
        ArtifactError: there are no predictions, or a file does not fit the split.
    """
    split = read_split(run_paths.split_csv)
    made = load_run(run_paths).get("models", {})
    later = {name for name, about in made.items() if until and about["stage"] > until}
    models = {name: model for name, model in models_of(run_paths).items() if name not in later}
    if not models:
        raise files.ArtifactError(
            f"{run_paths.predictions_root} holds no predictions; run notebook 02 or 03 first"
        )
    return {
        name: read_predictions(run_paths.predictions(name), split, model)
        for name, model in models.items()
    }


@dataclass
class Run:
    """A run, opened by one notebook; `finish` writes the notebook's record into run.json."""

    name: str  # of the notebook
    paths: paths.RunPaths
    preset: str
    settings: Any
    key: str
    notes: dict[str, Any] = field(default_factory=dict)
    outputs: list[Path] = field(default_factory=list)
    started_s: float = field(default_factory=time.time)
    findings: Findings = field(default_factory=Findings)
    added: list[str] = field(default_factory=list)  # slugs of models that this call has added

    @property
    def is_smoke(self) -> bool:
        """True if the numbers of this run mean nothing."""
        return self.preset == "smoke"

    @property
    def deadline_s(self) -> float | None:
        """Time at which trainings have to stop, by a clock that machines share; None: never."""
        minutes = getattr(self.settings, "time_budget_min", 0.0)
        return self.started_s + 60 * minutes if minutes else None

    @property
    def source(self) -> dict[str, Any]:
        """Return what 01 has recorded of the data: `settings`, `kinds`, `attribution`, ..."""
        return source_of(self.paths)

    @cached_property
    def split(self) -> pd.DataFrame:
        """The run's split.csv: `id, path, label, split` and the source's own columns."""
        return split_of(self.paths)

    def images(self, size_px: int = 0) -> ImageCache:
        """Return the images of the split at one size; 0: that of notebook 01, already decoded."""
        size_px = size_px or self.source["settings"]["image_size_px"]
        return images_of(self.paths, self.split, size_px)

    def note(self, **facts: Any) -> None:
        """Add facts to the stage's record in run.json."""
        self.notes |= facts

    def say(self, *sentences: str, head: bool = True) -> None:
        """Show findings under this cell, and if `head` at the head when the stage finishes."""
        self.findings.add(*sentences, head=head)

    def settings_table(self) -> HTML:
        """Return the folded table of all settings of the stage: name, value, what it is for."""
        table = settings.settings_table(self.settings, self.preset)
        given = table.Setting[table.Value.str.endswith("(given)")]
        title = f"Run {self.paths.name}, preset {self.preset}, {len(table)} settings"
        title += f" ({', '.join(given)} given)" if len(given) else ""
        return style.folded(title, table)

    def output(self, path: Path) -> Path:
        """Register a file as an output of this stage, and return its path."""
        self.outputs.append(path)
        return path

    def save_figure(self, figure: Figure, name: str, credit: str = "") -> None:
        """Write a figure as an output of the stage, with run, backbone and `credit` below it."""
        backbone = self.notes.get("backbone")
        used = f"backbone {weights.titles(backbone)}" if backbone else ""
        footnote = "; ".join(filter(None, [f"run {self.paths.name}", used, credit]))
        figure.text(0, -0.01, footnote, ha="left", va="top", fontsize=8, color="0.35")
        if self.is_smoke:
            text = style.SMOKE_NOTE
            figure.text(0, 1.01, text, ha="left", va="bottom", fontsize=9, color="firebrick")
        with files.atomic_path(self.output(self.paths.figure(name))) as temporary:
            figure.savefig(temporary, format="png", bbox_inches="tight")

    def save_table(self, name: str, table: pd.DataFrame) -> None:
        """Write a table as an output of the stage; columns name its run, preset and backbone."""
        backbone = self.notes.get("backbone") or "none"
        table = table.assign(run=self.paths.name, preset=self.preset, backbone=backbone)
        files.save_csv(self.output(self.paths.table(name)), table)

    def once(self, name: str, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Call a function, or load the result of an equal earlier call; return the result.

        Calls are equal if function, code and arguments are the same; the files must be unchanged
        too. The result is saved by its kind as `name` in the run's folder: a network as
        safetensors, a table as CSV, arrays as npz, plain values as JSON, and a dataclass by its
        fields. A long training finds its deadline and its resume file in `work.current()`.

        Raises:
            MemoryFullError: the work does not fit into memory; the message names what to lower.
            OutOfTime: the deadline has passed; nothing new is started.
        """
        return self.once_each({name: functools.partial(function, *args, **kwargs)})[name]

    def once_each(
        self,
        calls: Mapping[str, Call],
        what: str = "trainings",
        titles: Mapping[str, str] | None = None,
    ) -> dict[str, Any]:
        """Do what `once` does for independent calls, side by side; return the results by name.

        Each has a core (or GPU) of its own and one thread, so that the results are the same for
        any number of workers; a single call has all cores. `what` is shown by the progress bar,
        and `titles` of the calls by theirs and in messages.
        """
        key_of = {name: keys.key_of(call) for name, call in calls.items()}
        recorded = load_run(self.paths).get("steps", {})
        steps = {
            name: step
            for name, key in key_of.items()
            if (step := recorded.get(name)) and step["key"] == key and step.get("kinds")
            if outputs_are_intact(self.paths, step["outputs"])
        }
        self.notes.setdefault("reused", []).extend(steps)
        place_of = {name: self.paths.root / name for name in calls}
        # of an interrupted training; other arguments have another file
        resume_of = {n: self.paths.root / f"{n}.{key}.resume" for n, key in key_of.items()}
        waiting = {
            name: functools.partial(
                call_and_save,
                call,
                place_of[name],
                self.settings,
                work.Work((titles or {}).get(name, name), resume_of[name], self.deadline_s),
            )
            for name, call in calls.items()
            if name not in steps
        }
        if waiting and time.time() > (self.deadline_s or math.inf):
            raise OutOfTime(  # a training checks the time again before each epoch
                f"{next(iter(waiting))}: the time budget is used up; finished work is kept: run "
                "the same command again to continue"
            )
        saved: Iterable[tuple[str, dict[str, Any]]] = ((n, call()) for n, call in waiting.items())
        if len(calls) > 1 and waiting:  # even if one is left: one thread gives the same bits
            saved = workers.side_by_side(waiting, what, self.paths.root)
        for name, step in saved:
            step |= {"key": key_of[name], "stage": self.name}
            step["outputs"] = digests_of(self.paths, files_of(step, place_of[name]))
            with edit_run(self.paths) as run:
                run.setdefault("steps", {})[name] = steps[name] = step
            resume_of[name].unlink(missing_ok=True)  # not before the step is on record
        for name in calls:
            self.outputs += files_of(steps[name], place_of[name])
        return {name: load(steps[name], place_of[name], calls[name].func) for name in calls}

    def add_model(self, model: Model, scores: pd.DataFrame, **costs: Any) -> None:
        """Make a model a row of the results: write its predictions, and what it is.

        `scores` has the columns of a predictions file, see `results.predictions`. `costs` are
        columns of the results: `parameters` of one network, `seconds` of all trainings, `device`.
        """
        path = self.output(self.paths.predictions(model.slug))
        files.save_csv(path, scores)
        with edit_run(self.paths) as run:
            about = {"stage": self.name, "digest": files.file_digest(path), "costs": costs}
            run.setdefault("models", {})[model.slug] = about | {"model": model.to_json()}
        self.added.append(model.slug)

    def models(self) -> dict[str, Scored]:
        """Load the models that this notebook and earlier ones have made, and a user's own.

        They are named by slug, in the table's order. Models of later notebooks are left out, so a
        notebook that is run again shows the same models.
        """
        return read_all_predictions(self.paths, until=self.name)

    def write_submission(self, scored: Scored) -> Path:
        """Write the submission of a model whole or not at all, and return its path.

        Without a test set it holds the scores of all images, each out of fold. If notebook 01 left
        out images of the test set, as `smoke` does, a contest would refuse the file: it is then
        called `<run>.incomplete.csv`.
        """
        path = self.paths.submission
        if self.source.get("test_left_out"):
            path = path.with_name(f"{self.paths.name}.incomplete.csv")
        scores = scored.val if scored.test.empty else scored.test
        table = submission.submission_table(scores, self.source.get("submission"))
        files.write_bytes(path, table.to_csv(index=False, lineterminator="\n").encode())
        if self.name == settings.DECISION:  # it writes the file of notebook 03 again
            self.output(path)
        return path

    def save_split(self, table: pd.DataFrame) -> None:
        """Write split.csv and remove what was made of another split: predictions, cells, tables.

        Training images of that split may be validation images now. The user's files are kept.
        """
        path, content = self.output(self.paths.split_csv), files.csv_bytes(table)
        run, root, digest = load_run(self.paths), self.paths.root, files.bytes_digest(content)
        # compared with the record, so that making a damaged split.csv again removes nothing
        if run.get("split") not in (None, digest):
            made = {
                f"predictions/{slug}.csv": about["digest"]
                for slug, about in run.get("models", {}).items()
            }
            for step in run.get("steps", {}).values():
                made |= {n: d for n, d in step["outputs"].items() if n.startswith("genotypes/")}
            stale = [root / n for n, d in made.items() if outputs_are_intact(self.paths, {n: d})]
            tables = [self.paths.table("results"), self.paths.table("table2")]
            tables += [*root.glob("metrics/0[2-8]_*.csv"), *root.glob("figures/0[2-8]_*.png")]
            for file in (*stale, *tables, self.paths.submission):
                file.unlink(missing_ok=True)  # first: if killed here, the old split is on record
        files.write_bytes(path, content)
        with edit_run(self.paths) as run:
            if run.get("split") != digest:
                run["models"] = {}
            run["split"] = digest

    def finish(self, picture: str = "") -> None:
        """Write seconds, findings and outputs of the stage into run.json.

        The head of the notebook shows the findings, beside the `picture` that this call has saved
        by that name (`save_figure`).

        Predictions that an earlier call of the stage made and this one did not, such as those of
        another backbone, are removed, since this call has no such rows. Their trainings are kept.
        """
        shown = self.paths.figure(picture)
        self.findings.close(shown if shown in self.outputs else None)
        with edit_run(self.paths) as run:
            models = run.setdefault("models", {})
            for slug in [s for s, about in models.items() if about["stage"] == self.name]:
                if slug not in self.added:
                    del models[slug]
                    self.paths.predictions(slug).unlink(missing_ok=True)
            run["stages"][self.name] |= {
                "status": "done",
                "seconds": round(time.time() - self.started_s, 1),
                "findings": self.findings.sentences,
                "outputs": digests_of(self.paths, self.outputs),
                **self.notes,
            }
        if held := OPEN.pop(lock_file(self.paths, self.name), None):
            held.lock.release()


def call_and_save(call: Call, place: Path, settings: Any, named: work.Work) -> dict[str, Any]:
    """Make a call and save its result at `place`; return what `load` needs, and the seconds."""
    started_s = time.monotonic()
    with files.writing(place):
        place.parent.mkdir(parents=True, exist_ok=True)
    doing = work.doing(named.name, named.resume, named.deadline_s)
    with environment.enough_for(place.name, settings), doing:
        stored = save(call(), place)
    return stored | {"seconds": round(time.monotonic() - started_s, 2)}


def kind_of(value: Any) -> str:
    """Return how a value is stored: a key of `SUFFIXES`."""
    if isinstance(value, Network):
        return "network"
    if isinstance(value, pd.DataFrame):
        return "table"
    if isinstance(value, Mapping) and value:
        if all(isinstance(item, torch.Tensor) for item in value.values()):
            return "tensors"
        if all(isinstance(item, np.ndarray) for item in value.values()):
            return "arrays"
    return "plain"


def places_of(stored: Mapping[str, Any], place: Path) -> dict[str, Path]:
    """Return the file of each field; plain ones share one, a kind's only field is named `place`."""
    kinds = stored["kinds"]
    often = [kind for kind in SUFFIXES if [*kinds.values()].count(kind) > 1 and kind != "plain"]
    return {
        name: place.with_name(place.name + (f"_{name}" if kind in often else "") + SUFFIXES[kind])
        for name, kind in kinds.items()
    }


def files_of(stored: Mapping[str, Any], place: Path) -> list[Path]:
    """Return the files that `save` wrote."""
    return [*dict.fromkeys(places_of(stored, place).values())]


def save(value: Any, place: Path) -> dict[str, Any]:
    """Write a value, or each field of a dataclass, in files named after `place`.

    Returns:
        `kinds` of the fields ("" is the value itself), and `types` of the columns of tables.
    """
    fields: dict[str, Any] = {"": value}
    plain: dict[str, Any] = {}
    if dataclasses.is_dataclass(value):
        fields = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    stored: dict[str, Any] = {"kinds": {n: kind_of(item) for n, item in fields.items()}}
    for name, path in places_of(stored, place).items():
        item, kind = fields[name], stored["kinds"][name]
        if kind == "network":
            backbones.save_model(path, item)
        elif kind == "tensors":
            tensors.save_tensors(path, item)
        elif kind == "arrays":
            files.save_arrays(path, **item)
        elif kind == "table":
            files.save_csv(path, item)
            types = {str(column): str(dtype) for column, dtype in item.dtypes.items()}
            stored.setdefault("types", {})[name] = types
        else:
            plain[name] = item
    if plain:
        files.save_json(place.with_name(f"{place.name}.json"), plain.get("", plain))
    return stored


def load(stored: Mapping[str, Any], place: Path, function: Callable[..., Any]) -> Any:
    """Return the value that `save` wrote; `function` has computed it.

    Raises:
        ArtifactError: a file is missing or damaged.
    """
    values: dict[str, Any] = {}
    for name, path in places_of(stored, place).items():
        kind = stored["kinds"][name]
        if kind == "network":
            values[name] = backbones.load_model(path)
        elif kind == "tensors":
            values[name] = tensors.load_tensors(path)[0]
        elif kind == "arrays":
            values[name] = files.load_arrays(path)
        elif kind == "table":
            types = stored["types"][name]
            texts = [column for column, dtype in types.items() if dtype in ("object", "str")]
            table = files.load_csv(path, list(types), text=texts)
            with files.reading(path):
                values[name] = table.astype(types)
        else:
            content = files.load_json(path)
            with files.reading(path):
                values[name] = content[name] if name else content
    if "" in values:
        return values[""]
    return getattr(sys.modules[function.__module__], function.__annotations__["return"])(**values)
