"""A run that a notebook has open: its images, results, findings and record.

    run = runs.open("03_finetuning", globals())
    fits = run.train({Model("fbp"): trainings(members, network, images, run.split, settings.fbp)})
    run.add(Model("fbp"), fits[Model("fbp")])
    run.save_figure(figure, "03_curve")
    run.finish()

Called again, `train` finds what is done, see `memo`.
"""

import dataclasses
import os
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import filelock
import pandas as pd

from helpers.core import files, paths, style
from helpers.core.finding import Finding, Head
from helpers.core.members import Member
from helpers.core.rules import SettingsError
from helpers.datasets import DataError, sources
from helpers.datasets.cache import ImageCache, open_cache
from helpers.datasets.settings import SplitSettings
from helpers.datasets.split_file import read_split
from helpers.models.record import Model
from helpers.results import submission
from helpers.results.predictions import Scored
from helpers.runs import memo, record, settings

if TYPE_CHECKING:
    from IPython.display import HTML
    from matplotlib.figure import Figure

OPEN: dict[Path, filelock.AcquireReturnProxy] = {}  # the notebooks that this process has open


@dataclass
class Run(memo.Memo):
    """A run, opened by one notebook; `finish` writes the notebook's record into run.json."""

    notes: dict[str, Any] = field(default_factory=dict)
    head: Head = field(default_factory=Head)
    added: list[str] = field(default_factory=list)  # slugs of models that this call has added

    @property
    def is_smoke(self) -> bool:
        """Return True if the numbers of this run mean nothing."""
        return self.preset == "smoke"

    @property
    def record(self) -> dict[str, Any]:
        """Return the content of run.json: what the notebooks of the run have recorded."""
        return record.load_run(self.paths)

    @property
    def source(self) -> dict[str, Any]:
        """Return what 01 has recorded of the data, such as `settings`; empty before 01."""
        return self.record.get("stages", {}).get(settings.FIRST, {})

    @cached_property
    def split(self) -> pd.DataFrame:
        """Return the run's split.csv: `id, path, label, split` and the source's own columns."""
        split = read_split(self.paths.split_csv)
        if split.empty or os.path.exists(split.path.iloc[0]):
            return split
        # the images have moved, as with a new Python: look them up by id in the data set
        known = {field.name for field in dataclasses.fields(SplitSettings)} - {"labels_csv", "mask"}
        given = {n: value for n, value in self.source.get("settings", {}).items() if n in known}
        try:
            here = sources.load(SplitSettings(**given)).table.set_index("id").path
        except DataError:  # decoded images may be in the cache
            return split
        found = here.reindex(split.id).fillna(split.set_index("id").path)
        return split.assign(path=found.to_numpy())

    def images(self, size_px: int = 0) -> ImageCache:
        """Return the images of the split at one size; 0: that of notebook 01, already decoded."""
        source = self.source
        size_px = size_px or source["settings"]["image_size_px"]
        how = source.get("fit", "squash"), source.get("mask", "")
        return open_cache(self.split, size_px, paths.cache_root(), True, *how)

    def train(
        self,
        models: Mapping[Model, Mapping[Member, memo.Call]],
        what: str = "trainings",
        folder: str = "checkpoints",
    ) -> dict[Model, dict[Member, Any]]:
        """Do what `each` does for trainings; results are kept as `folder`/SLUG/seed0_fold1, ..."""
        place = {
            (model, member): f"{folder}/{model.slug}/{paths.training_name(*member)}"
            for model, own in models.items()
            for member in own
        }
        calls = {name: models[model][member] for (model, member), name in place.items()}
        titles = {
            name: model.title + (f", {member}" if len(models[model]) > 1 else "")
            for (model, member), name in place.items()
        }
        found = self.each(calls, what, titles=titles)
        return {
            model: {member: found[place[model, member]] for member in own}
            for model, own in models.items()
        }

    def trained(self, slug: str) -> dict[Member, Any]:
        """Return the finished trainings of a model of this run; empty if it has none here."""
        made, steps = (self.record.get(name, {}) for name in ("models", "steps"))
        members = Model.from_json(made[slug]["model"]).members if slug in made else ()
        names = {m: f"checkpoints/{slug}/{paths.training_name(*m)}" for m in members}
        return {
            member: memo.load(steps[name], self.paths.root / name)
            for member, name in names.items()
            if name in steps and "own" not in steps[name]["kinds"].values()  # a user's module
        }

    def add(self, model: Model, fits: Mapping[Member, Any] | pd.DataFrame, **costs: Any) -> None:
        """Make a model a row of the results: write its predictions, and what it is.

        `fits` are its trainings, each with `scores` and `seconds`, or the content of a predictions
        file. `costs` are columns of the results: `seconds` of all trainings, `parameters`, ...
        """
        if not isinstance(fits, pd.DataFrame):
            first = next(iter(fits.values()))
            known = {n: getattr(first, n) for n in ("parameters", "device") if hasattr(first, n)}
            seconds = round(sum(fitted.seconds for fitted in fits.values()), 1)
            costs = {"seconds": seconds} | known | costs
            model = dataclasses.replace(model, members=tuple(fits))
            fits = record.joined({member: fitted.scores for member, fitted in fits.items()})
        if not re.fullmatch(r"\w[\w@.-]*", model.slug):
            raise SettingsError(f"a model cannot be called {model.slug!r}: letters, digits and _")
        if not fits.defect_score.between(0, 1).all():
            raise SettingsError(f"{model.slug}: scores are from 0 to 1, the probability of bad")
        path, content = self.paths.predictions(model.slug), files.csv_bytes(fits)
        digest = files.bytes_digest(content)
        ours = self.record.get("models", {}).get(model.slug, {}).get("digest")
        if path.exists() and files.file_digest(path) not in (ours, digest):  # a kill leaves ours
            raise files.ArtifactError(
                f"{path} has the name of a model of this run but was not made here, or changed "
                "since: rename it to keep it as a model of your own, or delete it"
            )
        files.write_bytes(self.output(path), content)
        with record.edit_run(self.paths) as run:
            about = {"stage": self.name, "digest": digest, "costs": costs}
            run.setdefault("models", {})[model.slug] = about | {"model": model.to_json()}
        self.added.append(model.slug)

    def models(self) -> dict[str, Scored]:
        """Load the models of this notebook and earlier ones, and a user's own, by slug.

        Without those of later notebooks a notebook that is run again shows the same models.
        """
        return record.read_models(self.paths, until=self.name)

    def write_submission(self, scored: Scored) -> Path:
        """Write the submission of a model whole or not at all, and return its path.

        Without a test set it holds the scores of all images, each out of fold. It is called
        `<run>.incomplete.csv` if 01 left out test images: a contest would refuse it.
        """
        path, is_whole = self.paths.submission, not self.source.get("test_left_out")
        path = path if is_whole else path.with_suffix(".incomplete.csv")
        if scored.test.empty:
            table = submission.submission_table(scored.val)
        else:
            about = self.source.get("submission")
            table = submission.submission_table(scored.test, about, is_whole)
        files.save_csv(path, table)
        return path

    def save_split(self, table: pd.DataFrame) -> None:
        """Write split.csv and remove what was made of another: predictions, cells, tables.

        Training images of that split may be validation images now. The user's files are kept.
        """
        content = files.csv_bytes(table)
        run, root, digest = self.record, self.paths.root, files.bytes_digest(content)
        # compared with the record, so that making a damaged split.csv again removes nothing
        if run.get("split") not in (None, digest):
            models = run.get("models", {}).items()
            made = {f"predictions/{slug}.csv": about["digest"] for slug, about in models}
            for step in run.get("steps", {}).values():
                made |= {n: d for n, d in step["outputs"].items() if n.startswith("genotypes/")}
            stale = [root / n for n, d in made.items() if record.are_intact(self.paths, {n: d})]
            tables = [*root.glob("metrics/0[2-8]_*.csv"), *root.glob("figures/0[2-8]_*.png")]
            tables += [self.paths.table("results"), self.paths.table("table2")]
            for file in (*stale, *tables, self.paths.submission):
                file.unlink(missing_ok=True)  # first: if killed here, the old split is on record
        files.write_bytes(self.output(self.paths.split_csv), content)
        with record.edit_run(self.paths) as run:
            if run.get("split") != digest:
                run["models"] = {}
            run["split"] = digest

    def note(self, **facts: Any) -> None:
        """Add facts to the notebook's record in run.json."""
        self.notes |= facts

    def found(self, *findings: Finding, head: bool = True) -> None:
        """Show findings under this cell, and if `head` at the head when the notebook finishes."""
        self.head.add(*findings, head=head)

    def settings_table(self) -> "HTML":
        """Return the folded table of all settings of the notebook: name, value, what it is for."""
        table = settings.settings_table(self.settings, self.preset)
        given = table.Setting[table.Value.str.endswith("(given)")]
        title = f"Run {self.paths.name}, preset {self.preset}, {len(table)} settings"
        title += f" ({', '.join(given)} given)" if len(given) else ""
        return style.folded(title, table)

    def output(self, path: Path) -> Path:
        """Register a file as an output of this notebook, and return its path."""
        self.outputs.append(path)
        return path

    def save_figure(self, figure: "Figure", name: str, credit: str = "") -> None:
        """Write a figure as an output of the notebook, with run, backbone and `credit` below it."""
        backbone = self.notes.get("backbone") and f"backbone {self.notes['backbone']}"
        footnote = "; ".join(filter(None, [f"run {self.paths.name}", backbone, credit]))
        figure.text(0, -0.01, footnote, va="top", fontsize=9, color="0.35", wrap=True)
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
        """Write seconds, findings and outputs into run.json, and show the findings at the head.

        They are beside the `picture` of that name, if this call has saved it. Predictions that only
        an earlier call has made, as of another backbone, are removed, and a line names them; their
        trainings are kept.
        """
        shown = self.paths.figure(picture)
        self.head.close(shown if shown in self.outputs else None)
        with record.edit_run(self.paths) as content:
            models = content.setdefault("models", {})
            mine = [slug for slug, about in models.items() if about["stage"] == self.name]
            old = [slug for slug in mine if slug not in self.added]
            for slug in old:
                del models[slug]
                self.paths.predictions(slug).unlink(missing_ok=True)
            if old:
                print(f"removed: predictions of {', '.join(old)}, which this call has not made")
            content["stages"][self.name] |= {
                "status": "done",
                "seconds": round(time.time() - self.started_s, 1),
                "findings": [dataclasses.asdict(finding) for finding in self.head.findings],
                "outputs": record.digests_of(self.paths, self.outputs),
                "reused": self.reused,
                **self.notes,
            }
        if held := OPEN.pop(record.lock_file(self.paths, self.name), None):
            held.lock.release()
