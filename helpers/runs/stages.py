"""A stage of a run: what a notebook opens and closes, and "what is done is not done again".

A stage's key is a digest of everything it is made from (see `keys`), the key of a part of a stage
(one model, for example) of what this part depends on. Work with the same key whose files are
unchanged is not repeated.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import os
import re
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import filelock
import pandas as pd

from helpers import datasets
from helpers.core import environment, files, paths, style
from helpers.core.devices import default_device, default_precision, device_name
from helpers.core.errors import OutOfTime, UserError
from helpers.core.rules import SettingsError
from helpers.datasets.cache import ImageCache, open_cache
from helpers.datasets.settings import SplitSettings
from helpers.datasets.split_file import read_split
from helpers.models.libraries import titles
from helpers.models.record import Model
from helpers.results.predictions import Scored
from helpers.runs import memo, record, settings, workers
from helpers.runs.findings import Findings
from helpers.runs.keys import stage_key
from helpers.runs.record import (
    digests_of,
    edit_run,
    load_run,
    outputs_are_intact,
)
from helpers.runs.run_models import read_all_predictions
from helpers.training.settings import Steering

if TYPE_CHECKING:
    from IPython.display import HTML
    from matplotlib.figure import Figure

FIRST = next(iter(settings.STAGES))
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_OPEN: dict[Path, filelock.AcquireReturnProxy] = {}  # the stages that this process has open


class StageError(UserError):
    """A notebook cannot start; the message says which one to run first."""


def default_preset() -> str:
    """Return `full` on a GPU, `quick` on a CPU."""
    return "full" if default_device().type == "cuda" else "quick"


def default_run(dataset: str, preset: str) -> str:
    """Return `<dataset>-<preset>`; a folder is represented by its last name."""
    kind, _, place = dataset.partition(":")
    return f"{kind}-{Path(place).name}-{preset}" if place else f"{kind}-{preset}"


def split_of(run_paths: paths.RunPaths) -> pd.DataFrame:
    """Return the split of a run, with the paths that its images have on this machine."""
    split = read_split(run_paths.split_csv)
    if split.empty or os.path.exists(split.path.iloc[0]):
        return split
    # moved, as packages are with another Python: look the images up by id in the data set
    settings_of_01 = load_run(run_paths).get("stages", {}).get(FIRST, {}).get("settings", {})
    known = {field.name for field in dataclasses.fields(SplitSettings)} - {"labels_csv"}
    try:
        given = {name: value for name, value in settings_of_01.items() if name in known}
        here = datasets.load(SplitSettings(**given)).table.set_index("id").path
    except datasets.DataError:  # decoded images may be in the cache
        return split
    return split.assign(path=here.reindex(split.id).fillna(split.set_index("id").path).to_numpy())


def images_of(run_paths: paths.RunPaths, split: pd.DataFrame, size_px: int) -> ImageCache:
    """Return the decoded images of a run at one size; decode them if they are not cached."""
    fit = load_run(run_paths).get("stages", {}).get(FIRST, {}).get("fit", "squash")
    return open_cache(split, size_px, paths.cache_root(), skip_unreadable=True, fit=fit)


@dataclass
class Run:
    """A run, opened by one notebook; `finish` writes the notebook's record into run.json.

    Example, the frame of every notebook::

        run = stages.begin("03_finetuning", globals())
        found = run.once("features/resnet18", features.embed_all, weights, images, run.split)
        run.save_figure(figures.learning_curves(curve), "03_curve")
        run.finish()
    """

    name: str
    paths: paths.RunPaths
    preset: str
    settings: Any
    key: str
    notes: dict[str, Any] = field(default_factory=dict)
    outputs: list[Path] = field(default_factory=list)
    started_s: float = field(default_factory=time.monotonic)
    findings: Findings = field(default_factory=Findings)
    added: list[str] = field(default_factory=list)  # slugs of models that this call has added

    @property
    def is_smoke(self) -> bool:
        """True if the numbers of this run mean nothing."""
        return self.preset == "smoke"

    @property
    def deadline_s(self) -> float | None:
        """Time on `time.monotonic`'s clock at which trainings have to stop; None: never."""
        minutes = getattr(self.settings, "time_budget_min", 0.0)
        return self.started_s + 60 * minutes if minutes else None

    @cached_property
    def split(self) -> pd.DataFrame:
        """The run's split.csv: `id, path, label, split` and the source's own columns."""
        return split_of(self.paths)

    def images(self, size_px: int) -> ImageCache:
        """Return the decoded images of the split at one size."""
        return images_of(self.paths, self.split, size_px)

    def images_of_split(self) -> ImageCache:
        """Return the images at the size of notebook 01, at which they are decoded already."""
        first = load_run(self.paths)["stages"][FIRST]
        return self.images(first["settings"]["image_size_px"])

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
        """Register a file that this stage leaves behind, and return it."""
        self.outputs.append(path)
        return path

    def save_figure(self, figure: Figure, name: str, credit: str = "") -> None:
        """Write a figure as an output of the stage, with run, backbone and `credit` below it."""
        backbone = self.notes.get("backbone")
        used = f"backbone {titles(backbone)}" if backbone else ""
        about = [f"run {self.paths.name}", used, credit]
        footnote = "; ".join(filter(None, about))
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
        """Call a function of the science, unless that is done; return its result.

        It is done if the same function, with the same code, was called with the same arguments and
        its files are unchanged. The result is saved by its kind as `name` in the run's folder:
        a network as safetensors, a table as CSV, arrays as npz, plain values as JSON, and a
        dataclass by its fields; see `memo`. A long training takes the parameter
        `steering`, with the file from which it continues after a kill.

        Raises:
            MemoryFullError: the work does not fit into memory; the message names what to lower.
            OutOfTime: the deadline has passed; nothing new is started.
        """
        return self.once_each({name: memo.task(function, *args, **kwargs)})[name]

    def once_each(self, tasks: Mapping[str, memo.Task], what: str = "trainings") -> dict[str, Any]:
        """Do what `once` does for independent tasks, side by side; return the results by name.

        Each has a core (or GPU) of its own and one thread, so that the results are the same for
        any number of workers; a single task has all cores. `what` is shown by the progress bar.
        """
        keys = {name: memo.key_of(work) for name, work in tasks.items()}
        steps = load_run(self.paths).get("steps", {})
        stored = {name: self._if_done(steps.get(name), key) for name, key in keys.items()}
        waiting = {name: tasks[name] for name, step in stored.items() if step is None}
        reused = [name for name in tasks if name not in waiting]
        self.notes.setdefault("reused", []).extend(reused)
        spent_s = sum(step["seconds"] for step in stored.values() if step)
        self.note(reused_seconds=round(self.notes.get("reused_seconds", 0.0) + spent_s, 1))
        if waiting:
            self._check_time(next(iter(waiting)))
            calls = {n: self._call(n, keys[n], work) for n, work in waiting.items()}
            done: Iterable[tuple[str, Any]] = ((name, call()) for name, call in calls.items())
            if len(tasks) > 1:  # also if one is left of them: its bits are those of one thread
                done = workers.side_by_side(calls, what, self.paths.root)
            for name, (kinds, seconds) in done:
                stored[name] = self._record(name, keys[name], kinds, seconds)
        results = {}
        for name, work in tasks.items():
            place, step = self.paths.root / name, stored[name]
            assert step is not None
            self.outputs += memo.paths_of(step["stored"], place)
            results[name] = memo.load(step["stored"], place, memo.result_class(work))
        return results

    def _if_done(self, step: dict[str, Any] | None, key: str) -> dict[str, Any] | None:
        if step is None or step["key"] != key or "stored" not in step:
            return None
        return step if outputs_are_intact(self.paths, step["outputs"]) else None

    def _call(self, name: str, key: str, work: memo.Task) -> Callable[[], Any]:
        steering = Steering(work.title or name, self._resume(name, key), self.deadline_s)
        return functools.partial(
            call_and_save, work, self.paths.root / name, self.settings, steering
        )

    def _resume(self, name: str, key: str) -> Path:
        """Return the file of an interrupted training; other arguments have another file."""
        return self.paths.root / f"{name}.{key}.resume"

    def _record(self, name: str, key: str, kinds: dict[str, Any], seconds: float) -> dict[str, Any]:
        written = memo.paths_of(kinds, self.paths.root / name)
        step = {
            "key": key,
            "outputs": digests_of(self.paths, written),
            "stored": kinds,
            "seconds": round(seconds, 2),
            "stage": self.name,
        }
        with edit_run(self.paths) as run:
            run.setdefault("steps", {})[name] = step
        self._resume(name, key).unlink(missing_ok=True)  # not before the step is on record
        return step

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

    def models(self, ensembles: bool = False) -> dict[str, Scored]:
        """Load the scores of all models of the run by slug, in the table's order."""
        return read_all_predictions(self.paths, ensembles)

    def _check_time(self, name: str) -> None:  # a training checks it again before each epoch
        if time.monotonic() > (self.deadline_s or math.inf):
            raise OutOfTime(
                f"{name}: the time budget is used up; finished work is kept: run the same command "
                "again to continue"
            )

    def save_split(self, table: pd.DataFrame) -> None:
        """Write split.csv and remove what was made of another split: predictions, cells, tables.

        What was training there may be validation here. The user's files stay.
        """
        path, content = self.output(self.paths.split_csv), files.csv_bytes(table)
        run, root, digest = load_run(self.paths), self.paths.root, files.bytes_digest(content)
        # the record decides, so a damaged split.csv that is made again takes nothing with it
        if run.get("split") not in (None, digest):
            made = {
                f"predictions/{slug}.csv": about["digest"]
                for slug, about in run.get("models", {}).items()
            }
            for step in run.get("steps", {}).values():
                made |= {n: d for n, d in step["outputs"].items() if n.startswith("genotypes/")}
            stale = [root / n for n, d in made.items() if outputs_are_intact(self.paths, {n: d})]
            tables = [self.paths.table("results"), self.paths.table("table2")]
            tables += [*root.glob("metrics/0[2-7]_*.csv"), *root.glob("figures/0[2-7]_*.png")]
            for file in (*stale, *tables, self.paths.submission):
                file.unlink(missing_ok=True)  # first: if killed here, the old split is on record
        files.write_bytes(path, content)
        with edit_run(self.paths) as run:
            if run.get("split") != digest:
                run["models"] = {}
            run["split"] = digest

    def finish(self) -> None:
        """Write seconds, memory, versions, findings and outputs of the stage into run.json.

        Predictions that an earlier call of the stage made and this one did not, such as those of
        another backbone, are removed: they would be rows of a table that this call does not have.
        Their trainings stay.
        """
        self.findings.close()
        with edit_run(self.paths) as run:
            models = run.setdefault("models", {})
            for slug in [s for s, about in models.items() if about["stage"] == self.name]:
                if slug not in self.added:
                    del models[slug]
                    self.paths.predictions(slug).unlink(missing_ok=True)
            run["stages"][self.name] |= {
                "status": "done",
                "seconds": round(time.monotonic() - self.started_s, 1),
                "peak_memory_mb": environment.peak_memory_mb(),
                "findings": self.findings.sentences,
                "outputs": digests_of(self.paths, self.outputs),
                **self.notes,
            }
        if held := _OPEN.pop(self.paths.stage_lock(self.name), None):
            held.lock.release()


def call_and_save(
    work: memo.Task, place: Path, settings: Any, steering: Steering
) -> tuple[dict[str, Any], float]:
    """Do a task, save its result at `place`, and return what `memo.load` needs and the seconds."""
    started_s = time.monotonic()
    with files.writing(place):
        place.parent.mkdir(parents=True, exist_ok=True)
    with environment.enough_for(place.name, settings):
        kinds = memo.save(work.call(steering), place)
    return kinds, time.monotonic() - started_s


def begin(name: str, names: Mapping[str, Any]) -> Run:
    """Open a stage from a notebook's global names; call it right after the parameters cell.

    Raises:
        SettingsError: a parameter that the stage does not have (a misspelt `-p`, for example).
        StageError: an earlier notebook has not been run for this run.
        RunError: another process has this stage open; this process holds it until `finish`.
        ArtifactError: run.json is damaged, or a file of an earlier notebook has changed.
    """
    stage = open_stage(name, names)
    lock = stage.paths.stage_lock(name)  # a notebook's first cells may be run twice
    if not (lock in _OPEN and lock.exists()):
        _OPEN[lock] = record.lock(stage.paths, name)
    files.remove_leftovers(stage.paths.root, paths.submissions_root())
    header = {"run": stage.paths.name, "preset": stage.preset}
    if name == FIRST:
        header["dataset"] = stage.settings.dataset
    with edit_run(stage.paths) as run:
        run.update(header)
        run.setdefault("stages", {})[name] = {
            "status": "started",
            "key": stage.key,
            "settings": dataclasses.asdict(stage.settings),
            "started": time.strftime("%Y-%m-%d %H:%M:%S"),
            "device": device_name(default_device()),
            "precision": default_precision(default_device()),
            "versions": environment.versions(),
            "commit": environment.commit(),
        }
    stage.findings.open()
    return stage


def open_stage(name: str, names: Mapping[str, Any]) -> Run:
    """Open a stage like `begin`, but leave no trace in run.json."""
    given = {
        name: value
        for name, value in names.items()  # a module may be called F
        if name.isupper() and not name.startswith("_") and not isinstance(value, ModuleType)
    }
    preset = given.pop("PRESET", None) or default_preset()
    run_name = given.pop("RUN", None) or default_run(given.get("DATASET") or "elpv", preset)
    check_run_name(run_name)
    run_paths = paths.RunPaths(run_name)
    run = load_run(run_paths)
    if name != FIRST:
        preset = run.get("preset") or default_preset()
    values = {parameter.lower(): value for parameter, value in given.items()}
    resolved = settings.resolve(name, preset, values)
    if name != FIRST:
        require_earlier(name, run_paths, run)
    return Run(name, run_paths, preset, resolved, stage_key(name, resolved, run))


def check_run_name(name: str) -> None:
    """Refuse a name that would leave the folder of runs, or that a file system does not take."""
    if name != Path(name).name or name.startswith(".") or _CONTROL.search(name):
        raise SettingsError(f"RUN={name!r} must be a plain folder name")
    if (size := len(os.fsencode(name))) > paths.LONGEST_NAME:
        raise SettingsError(
            f"RUN={name!r} has {size} bytes, and may have {paths.LONGEST_NAME}: choose a shorter "
            "name (--name; RUN in a notebook)"
        )


def parameter_names(name: str) -> set[str]:
    """Return the parameters that a stage's notebook takes."""
    own = {field.name.upper() for field in dataclasses.fields(settings.STAGES[name])}
    return own | ({"RUN", "PRESET"} if name == FIRST else {"RUN"})


def is_current(name: str, resolved: Any, run_paths: paths.RunPaths, code: str = "") -> bool:
    """Return True if the stage is done with these settings and inputs, and its files are intact.

    `code` is the digest of the notebook's code; a notebook that was run by hand has recorded none,
    and is run again: its finished work is not repeated.
    """
    run = load_run(run_paths)
    stage = run.get("stages", {}).get(name, {})
    return (
        stage.get("status") == "done"
        and (not code or stage.get("notebook") == code)
        and stage.get("key") == stage_key(name, resolved, run)
        and outputs_are_intact(run_paths, stage.get("outputs", {}))
    )


def record_notebook(name: str, run_paths: paths.RunPaths, code: str) -> None:
    """Note which code the stage's notebook ran, so that a changed notebook is run again."""
    with edit_run(run_paths) as run:
        run["stages"][name]["notebook"] = code


def require_earlier(name: str, run_paths: paths.RunPaths, run: Mapping[str, Any]) -> None:
    """Refuse a stage (not the first) if its run has no split, or earlier files have changed."""
    order = list(settings.STAGES)
    if run.get("stages", {}).get(FIRST, {}).get("status") != "done":
        existing = sorted(path.parent.name for path in paths.runs_root().glob("[!.]*/split.csv"))
        known = f" (there are: {', '.join(existing)})" if existing else ""
        raise StageError(
            f"{name} needs the split of run {run_paths.name!r}, which does not exist{known}: "
            f"run notebooks/{FIRST}.ipynb first, or name another run (--name; RUN in a notebook)"
        )
    record.refuse_changed_files(run, order[: order.index(name)], run_paths.root)
    size_px = run["stages"][FIRST].get("settings", {}).get("image_size_px")
    if size_px and run_paths.split_csv.is_file():
        refuse_changed_images(run_paths, split_of(run_paths), size_px)


def refuse_changed_images(run_paths: paths.RunPaths, split: pd.DataFrame, size_px: int) -> None:
    """Refuse to go on with images that are not those that notebook 01 has split.

    Raises:
        StageError: images were overwritten or removed; one table would compare old and new ones.
    """
    if "digest" not in split:  # the user's own split.csv
        return
    if changed := images_of(run_paths, split, size_px).changed_images(split):
        raise StageError(
            f"{len(changed)} image(s) of run {run_paths.name!r} have changed since notebook 01, "
            f"e.g. {changed[0]!r}: run 01 again (`python -m helpers.run` without --from and --only)"
        )
