"""A run that a notebook has open: paths, settings, images, notes, and the memo of finished work.

run = runs.open("03_finetuning", globals())
fits = run.train({Model("fbp"): trainings(members, network, images, run.split, settings.fbp)})
run.add(Model("fbp"), fits[Model("fbp")])
run.save_figure(figures.learning_curves(curve), "03_curve")
run.finish()
"""

from __future__ import annotations

import dataclasses
import functools
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import filelock
import pandas as pd

from helpers.core import environment, files, paths, style
from helpers.core.devices import default_device, default_precision, device_name
from helpers.core.errors import UserError
from helpers.core.finding import Finding, Head
from helpers.core.members import Member
from helpers.core.registry import Registry
from helpers.core.rules import SettingsError
from helpers.datasets import split_file
from helpers.datasets.cache import ImageCache
from helpers.models.record import Model
from helpers.results.predictions import Scored
from helpers.runs import memo, record, scores, settings
from helpers.runs.memo import Call
from helpers.runs.record import edit_run, load_run
from helpers.runs.settings import FIRST
from helpers.runs.source import images_of, source_of, split_of

if TYPE_CHECKING:
    from IPython.display import HTML
    from matplotlib.figure import Figure

Names = Iterable[str]
OPEN: dict[Path, filelock.AcquireReturnProxy] = {}  # the notebooks that this process has open


class StageError(UserError):
    """A notebook cannot start; the message says which one to run first."""


def open_run(name: str, names: Mapping[str, Any]) -> Run:
    """Open a run from a notebook's global names; call it right after the parameters cell.

    Raises:
        SettingsError: a parameter that the notebook does not have (a misspelt `-p`, for example).
        StageError: an earlier notebook has not been run for this run, or it has no bad images.
        RunError: another process has this notebook open; this process holds it until `finish`.
        ArtifactError: run.json is damaged, or a file of an earlier notebook has changed.
    """
    run = prepare(name, names)
    lock = record.lock_file(run.paths, name)  # a notebook's first cells may be run twice
    if not (lock in OPEN and lock.exists()):
        OPEN[lock] = record.lock(run.paths, name)
    files.remove_leftovers(run.paths.root, paths.submissions_root())
    header = {"run": run.paths.name, "preset": run.preset}
    if name == FIRST:
        header["dataset"] = run.settings.dataset
    with edit_run(run.paths) as content:
        content.update(header)
        content.setdefault("stages", {})[name] = {
            "status": "started",
            "settings": dataclasses.asdict(run.settings),
            "started": time.strftime("%Y-%m-%d %H:%M:%S"),
            "device": device_name(default_device()),
            "precision": default_precision(default_device()),
            "versions": environment.versions(),
            "commit": environment.commit(),
        }
    run.head.open()
    if what := waits_for(name, run.paths):
        print(
            f"This run waits for {what}. `python -m helpers.run` leaves out the cells that need "
            "both classes; they fail by hand."
        )
    return run


def prepare(name: str, names: Mapping[str, Any]) -> Run:
    """Return a run as `open_run` does, but leave no trace in run.json."""
    given = {
        name: value
        for name, value in names.items()  # a module may be called F, a registry OPS
        if name.isupper() and not name.startswith("_")
        if not isinstance(value, ModuleType | Registry)
    }
    preset = given.pop("PRESET", None) or default_preset()
    run_name = given.pop("RUN", None) or default_run(given.get("DATASET") or "elpv", preset)
    check_run_name(run_name)
    run_paths = paths.RunPaths(run_name)
    content = load_run(run_paths)
    if name != FIRST:
        preset = content.get("preset") or default_preset()
    resolved = settings.resolve(name, preset, {n.lower(): v for n, v in given.items()})
    settings.check_places(resolved)
    if name == FIRST:
        check_same_dataset(run_name, content, resolved.dataset)
    else:
        require_earlier(name, run_paths, content)
        if name in settings.BOTH_CLASSES and (what := waits_for(name, run_paths)):
            raise StageError(f"{name} waits for {what}")
    return Run(name, run_paths, preset, resolved)


def default_preset() -> str:
    return "full" if default_device().type == "cuda" else "quick"


def default_run(dataset: str, preset: str) -> str:
    """Return `<dataset>-<preset>`; a folder is represented by its last name."""
    kind, _, place = dataset.partition(":")
    return f"{kind}-{Path(place).name}-{preset}" if place else f"{kind}-{preset}"


def check_run_name(name: str) -> None:
    """Raise SettingsError for a name that leads out of the folder of runs."""
    if name != Path(name).name or name.startswith("."):
        raise SettingsError(f"RUN={name!r} must be a plain folder name")


def check_same_dataset(run: str, content: Mapping[str, Any], dataset: str) -> None:
    """Raise SettingsError if a run was started with another data set, whose models it would lose.

    A folder that has moved is the same data set.
    """
    before = content.get("dataset") or dataset
    (kind, old), (other_kind, new) = map(_kind_and_place, (before, dataset))
    has_moved = bool(old.name) and old.name == new.name and not old.exists()
    if kind != other_kind or (old != new and not has_moved):
        raise SettingsError(
            f"run {run!r} was started with --dataset {before}, not {dataset}, and would lose its "
            "predictions: give this one another name with --name (RUN in a notebook)"
        )


def _kind_and_place(dataset: str) -> tuple[str, Path]:
    kind, _, place = dataset.partition(":")
    return kind, Path(place).expanduser().resolve() if place else Path()


def waits_for(name: str, run_paths: paths.RunPaths) -> str:
    """Return what a notebook, or its cells that need both classes, waits for; "" if for nothing."""
    if name == FIRST or not run_paths.split_csv.is_file():
        return ""
    return split_file.waits_for(split_file.read_split(run_paths.split_csv))


def require_earlier(name: str, run_paths: paths.RunPaths, content: Mapping[str, Any]) -> None:
    """Check for a later notebook that the split exists, and that images and files are unchanged."""
    order = list(settings.STAGES)
    if content.get("stages", {}).get(FIRST, {}).get("status") != "done":
        existing = sorted(path.parent.name for path in paths.runs_root().glob("[!.]*/split.csv"))
        known = f" (there are: {', '.join(existing)})" if existing else ""
        raise StageError(
            f"{name} needs the split of run {run_paths.name!r}, which does not exist{known}: "
            f"run notebooks/{FIRST}.ipynb first, or name another run (--name; RUN in a notebook)"
        )
    record.refuse_changed_files(content, order[: order.index(name)], run_paths.root)
    size_px = content["stages"][FIRST].get("settings", {}).get("image_size_px")
    if size_px and run_paths.split_csv.is_file():
        split = split_of(run_paths)
        if "digest" not in split:  # the user's own split.csv
            return
        if changed := images_of(run_paths, split, size_px).changed_images(split):
            raise StageError(
                f"{len(changed)} image(s) of run {run_paths.name!r} have changed since notebook "
                f"01, e.g. {changed[0]!r}: run 01 again (`python -m helpers.run` without --from "
                "and --only)"
            )


@dataclass
class Run:
    """A run, opened by one notebook; `finish` writes the notebook's record into run.json."""

    name: str  # of the notebook
    paths: paths.RunPaths
    preset: str
    settings: Any
    notes: dict[str, Any] = field(default_factory=dict)
    started_s: float = field(default_factory=time.time)
    head: Head = field(default_factory=Head)
    added: list[str] = field(default_factory=list)  # slugs of models that this call has added

    @cached_property
    def memo(self) -> memo.Memo:
        """The finished work of the run."""
        minutes = getattr(self.settings, "time_budget_min", 0.0)
        deadline_s = self.started_s + 60 * minutes if minutes else None
        return memo.Memo(self.paths, self.name, self.settings, deadline_s)

    @property
    def is_smoke(self) -> bool:
        """True if the numbers of this run mean nothing."""
        return self.preset == "smoke"

    @property
    def source(self) -> dict[str, Any]:
        """What 01 has recorded of the data: `settings`, `kinds`, `attribution`, ..."""
        return source_of(self.paths)

    @property
    def record(self) -> dict[str, Any]:
        """The content of run.json: what the notebooks of the run have recorded."""
        return load_run(self.paths)

    @cached_property
    def split(self) -> pd.DataFrame:
        """The run's split.csv: `id, path, label, split` and the source's own columns."""
        return split_of(self.paths)

    def images(self, size_px: int = 0) -> ImageCache:
        """Return the images of the split at one size; 0: that of notebook 01, already decoded."""
        size_px = size_px or self.source["settings"]["image_size_px"]
        return images_of(self.paths, self.split, size_px)

    def once(
        self, name: str, function: Callable[..., Any], *args: Any, ignore: Names = (), **kwargs: Any
    ) -> Any:
        """Call a function, or load the result of an equal earlier call; return the result.

        The result is saved by its kind as `name` in the run's folder, see `memo.save`. `ignore`
        names keywords, and fields of settings, on which the result does not depend.
        """
        call = functools.partial(function, *args, **kwargs)
        return self.memo.steps({name: call}, "", ignore, {}, alone=True)[name]

    def each(
        self,
        calls: Mapping[str, Call],
        what: str = "trainings",
        ignore: Names = (),
        titles: Mapping[str, str] | None = None,
    ) -> dict[str, Any]:
        """Do what `once` does for independent calls, side by side; return the results by name.

        Each has a core (or GPU) of its own and one thread, so that the results are the same for
        any number of workers. `what` is shown by the progress bar, `titles` of the calls by theirs.
        """
        return self.memo.steps(calls, what, ignore, titles or {}, alone=False)

    def train(
        self,
        models: Mapping[Model, Mapping[Member, Call]],
        what: str = "trainings",
        ignore: Names = (),
        folder: str = "checkpoints",
    ) -> dict[Model, dict[Member, Any]]:
        """Do what `each` does for the trainings of models: one call for each seed and fold.

        A result is kept as `folder`/SLUG/seed0_fold1, and so on.
        """
        place = {
            (model, member): f"{folder}/{model.slug}/{paths.training_name(*member)}"
            for model, calls in models.items()
            for member in calls
        }
        calls = {place[model, member]: models[model][member] for model, member in place}
        titles = {
            name: model.title + (f", {member}" if len(models[model]) > 1 else "")
            for (model, member), name in place.items()
        }
        found = self.each(calls, what, ignore, titles)
        return {
            model: {member: found[place[model, member]] for member in calls}
            for model, calls in models.items()
        }

    def trained(self, model: Model | str) -> dict[Member, Any]:
        """Return the finished trainings of a model of this run; empty if it has none here."""
        slug = model if isinstance(model, str) else model.slug
        content = load_run(self.paths)
        made = content.get("models", {}).get(slug)
        members = Model.from_json(made["model"]).members if made else ()
        places = {m: f"checkpoints/{slug}/{paths.training_name(*m)}" for m in members}
        steps = content.get("steps", {})
        return {
            member: memo.load(steps[name], self.paths.root / name)
            for member, name in places.items()
            if "own" not in steps.get(name, {"kinds": {"": "own"}})["kinds"].values()
        }

    def add(self, model: Model, fits: Mapping[Member, Any] | pd.DataFrame, **costs: Any) -> None:
        """Make a model a row of the results: write its predictions, and what it is.

        `fits` are its trainings, each with `scores` and `seconds`, or the content of a predictions
        file, see `results.predictions`. `costs` are columns of the results: `parameters` of one
        network, `seconds` of all trainings, `device`.
        """
        path = scores.add_model(self.paths, self.name, model, fits, costs)
        self.memo.outputs.append(path)
        self.added.append(model.slug)

    def models(self) -> dict[str, Scored]:
        """Load the models that this notebook and earlier ones have made, and a user's own.

        They are named by slug, in the table's order. Models of later notebooks are left out, so a
        notebook that is run again shows the same models.
        """
        return scores.read_models(self.paths, until=self.name)

    def write_submission(self, scored: Scored) -> Path:
        """Write the submission of a model whole or not at all, and return its path."""
        return scores.write_submission(self.paths, scored, self.source)

    def save_split(self, table: pd.DataFrame) -> None:
        """Write split.csv, and remove what was made of another split; the user's files are kept."""
        scores.save_split(self.paths, table)
        self.memo.outputs.append(self.paths.split_csv)

    def note(self, **facts: Any) -> None:
        """Add facts to the notebook's record in run.json."""
        self.notes |= facts

    def found(self, *findings: Finding, head: bool = True) -> None:
        """Show findings under this cell, and if `head` at the head when the notebook finishes."""
        self.head.add(*findings, head=head)

    def settings_table(self) -> HTML:
        """Return the folded table of all settings of the notebook: name, value, what it is for."""
        table = settings.settings_table(self.settings, self.preset)
        given = table.Setting[table.Value.str.endswith("(given)")]
        title = f"Run {self.paths.name}, preset {self.preset}, {len(table)} settings"
        title += f" ({', '.join(given)} given)" if len(given) else ""
        return style.folded(title, table)

    def output(self, path: Path) -> Path:
        """Register a file as an output of this notebook, and return its path."""
        self.memo.outputs.append(path)
        return path

    def save_figure(self, figure: Figure, name: str, credit: str = "") -> None:
        """Write a figure as an output of the notebook, with run, backbone and `credit` below it."""
        backbone = self.notes.get("backbone")
        used = f"backbone {backbone}" if backbone else ""
        footnote = "; ".join(filter(None, [f"run {self.paths.name}", used, credit]))
        figure.text(0, -0.01, footnote, ha="left", va="top", fontsize=8, color="0.35")
        if self.is_smoke:
            text = style.SMOKE_NOTE
            figure.text(0, 1.01, text, ha="left", va="bottom", fontsize=9, color="firebrick")
        with files.atomic_path(self.output(self.paths.figure(name))) as temporary:
            figure.savefig(temporary, format="png", bbox_inches="tight")

    def save_table(self, name: str, table: pd.DataFrame) -> None:
        """Write a table as an output of the notebook; columns name its run, preset and backbone."""
        backbone = self.notes.get("backbone") or "none"
        table = table.assign(run=self.paths.name, preset=self.preset, backbone=backbone)
        files.save_csv(self.output(self.paths.table(name)), table)

    def finish(self, picture: str = "") -> None:
        """Write seconds, findings and outputs of the notebook into run.json.

        The head of the notebook shows the findings, beside the `picture` that this call has saved
        by that name (`save_figure`).
        """
        shown = self.paths.figure(picture)
        self.head.close(shown if shown in self.memo.outputs else None)
        scores.forget_others(self.paths, self.name, self.added)
        with edit_run(self.paths) as content:
            content["stages"][self.name] |= {
                "status": "done",
                "seconds": round(time.time() - self.started_s, 1),
                "findings": [dataclasses.asdict(finding) for finding in self.head.findings],
                "outputs": record.digests_of(self.paths, self.memo.outputs),
                "reused": self.memo.reused,
                **self.notes,
            }
        if held := OPEN.pop(record.lock_file(self.paths, self.name), None):
            held.lock.release()
