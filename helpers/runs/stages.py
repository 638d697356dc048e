"""What a notebook opens and closes: settings, the record in run.json, and "done is not done again".

A stage's key is a digest of what it is made from (see `stage_inputs`). A step's key (one model,
say) covers only what that step depends on. Work whose key and files are still the same is not
repeated.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from helpers.core import devices, environment, files, memory, paths, processes
from helpers.runs import attached
from helpers.runs import record as run_record
from helpers.runs import settings as config
from helpers.runs.keys import stage_key as stage_key
from helpers.runs.record import digests_of, edit_run, load_run, outputs_are_intact


class StageError(RuntimeError):
    """A notebook cannot start; the message says which one to run first."""


class OutOfTime(RuntimeError):
    """The time budget is used up; what is done is kept, and the same call goes on from there."""


def default_preset() -> str:
    """`full` on a GPU, `quick` on a CPU."""
    return "full" if devices.default_device().type == "cuda" else "quick"


def default_run(dataset: str, preset: str) -> str:
    """`<dataset>-<preset>`; of a folder, its last name."""
    kind, _, place = dataset.partition(":")
    return f"{kind}-{Path(place).name}-{preset}" if place else f"{kind}-{preset}"


@dataclass
class Stage:
    """An opened stage of a run; `finish` writes its record into run.json."""

    name: str
    paths: paths.RunPaths
    preset: str
    settings: Any
    key: str
    notes: dict[str, Any] = field(default_factory=dict)
    outputs: list[Path] = field(default_factory=list)
    started_s: float = field(default_factory=time.monotonic)

    @property
    def is_smoke(self) -> bool:
        """True when the numbers of this run mean nothing."""
        return self.preset == "smoke"

    @property
    def deadline_s(self) -> float | None:
        """When trainings have to stop, on `time.monotonic`'s clock; None: never."""
        minutes = getattr(self.settings, "time_budget_min", 0.0)
        return self.started_s + 60 * minutes if minutes else None

    def note(self, **facts: Any) -> None:
        """Facts for run.json: weights used, images per second, choices made."""
        self.notes |= facts

    def rate(self, work: str, images_per_s: float | None) -> None:
        """Note for run.json how fast a part of the stage went; None where nothing was measured."""
        if images_per_s is not None:
            self.notes.setdefault("images_per_s", {})[work] = round(images_per_s, 1)

    def output(self, path: Path) -> Path:
        """Register a file that this stage leaves behind, and return it."""
        self.outputs.append(path)
        return path

    @contextmanager
    def step(
        self, name: str, inputs: Any, outputs: list[Path], sizes: Sequence[str] | None = None
    ) -> Iterator[bool]:
        """Do a part of the stage once.

        Yields True when the work has to be done; False when `outputs` exist from equal `inputs`.
        All processes of a training do the step, the main one writes; `sizes`: see `memory`.

        Raises:
            MemoryFullError: the work does not fit; the message names what to lower.
        """
        self.outputs += outputs
        key = files.fingerprint(inputs)
        if (spent_s := processes.from_main(self._seconds_if_done, name, key)) is not None:
            self.notes.setdefault("reused", []).append(name)
            self.note(reused_seconds=round(self.notes.get("reused_seconds", 0.0) + spent_s, 1))
            yield False
            return
        self._check_time(name)
        started = time.monotonic()
        with memory.enough_for(name, self.settings, sizes):
            yield True
        if processes.is_main():
            seconds = round(time.monotonic() - started, 2)
            digests = digests_of(self.paths, outputs)
            with edit_run(self.paths) as run:
                record = {"key": key, "outputs": digests, "seconds": seconds, "stage": self.name}
                run.setdefault("steps", {})[name] = record
        processes.wait()

    def _check_time(self, name: str) -> None:
        """Begin nothing after the deadline; a training looks at it again before each epoch."""
        late = self.deadline_s is not None and time.monotonic() > self.deadline_s
        if processes.from_main(lambda: late):
            raise OutOfTime(
                f"{name}: the time budget is used up; what is done is kept: run the same again to "
                "go on from there"
            )

    def _seconds_if_done(self, name: str, key: str) -> float | None:
        """What the step took when it was done; None when it has to be done."""
        record = load_run(self.paths).get("steps", {}).get(name)
        same = record is not None and record["key"] == key
        done = same and outputs_are_intact(self.paths, record["outputs"])
        return record.get("seconds", 0.0) if done else None

    def save_split(self, table: pd.DataFrame) -> None:
        """Write split.csv; what was predicted on another split no longer belongs to the run.

        Removed are the predictions and tables that stages have written, not a user's own files.
        """
        path, content = self.output(self.paths.split_csv), files.csv_bytes(table)
        record = load_run(self.paths)
        if run_record.is_new_split(record, content):
            for file in run_record.made_for_a_split(self.paths, record):
                file.unlink(missing_ok=True)  # first: killed in between, the old split is on record
        files.write_bytes(path, content)
        with edit_run(self.paths) as run:
            run["split"] = files.bytes_digest(content)

    def finish(self) -> None:
        """Write seconds, peak memory, versions and outputs of the stage into run.json."""
        with edit_run(self.paths) as run:
            run["stages"][self.name] |= {
                "status": "done",
                "seconds": round(time.monotonic() - self.started_s, 1),
                "peak_memory_mb": environment.peak_memory_mb(),
                "outputs": digests_of(self.paths, self.outputs),
                **self.notes,
            }
        run_record.close_lock(self.paths, self.name)


def begin(name: str, names: Mapping[str, Any]) -> Stage:
    """Open a stage from a notebook's global names; call it right after the parameters cell.

    Raises:
        SettingsError: a parameter that the stage does not have (a misspelt `-p`, say).
        StageError: an earlier notebook has not been run for this run.
        RunError: another process has this stage open; it is this one's until `finish`.
        ArtifactError: run.json is damaged, or what an earlier notebook wrote has changed.
    """
    stage = open_stage(name, names)
    settings = stage.settings
    if processes.is_main():
        run_record.open_lock(stage.paths, name)
    files.remove_leftovers(stage.paths.root, paths.submissions_root())
    header = {"run": stage.paths.name, "preset": stage.preset}
    if name == next(iter(config.STAGES)):
        header["dataset"] = settings.dataset
    with edit_run(stage.paths) as run:
        run.update(header)
        run.setdefault("stages", {})[name] = {
            "status": "started",
            "key": stage.key,
            "settings": dataclasses.asdict(settings),
            "started": time.strftime("%Y-%m-%d %H:%M:%S"),
            "device": devices.device_name(devices.default_device()),
            "precision": devices.default_precision(devices.default_device()),
            "versions": environment.versions(),
            "commit": environment.commit(),
        }
    return stage


def open_stage(name: str, names: Mapping[str, Any]) -> Stage:
    """As `begin`, without a trace in run.json: for work that is not the notebook's."""
    given = {n: v for n, v in names.items() if n.isupper() and not n.startswith("_")}
    run_name, preset, values = resolve_run(name, given)
    run_paths = paths.RunPaths(run_name)
    record = load_run(run_paths)
    if name != next(iter(config.STAGES)):
        require_earlier(name, run_paths, record)
    settings = config.resolve(name, preset, values)
    return Stage(name, run_paths, preset, settings, stage_key(name, settings, record))


def resolve_run(name: str, given: Mapping[str, Any]) -> tuple[str, str, dict[str, Any]]:
    """The run's name, its preset, and the stage's own values, from a notebook's parameters.

    On Kaggle, a run of that name in an attached notebook's output is brought here first.
    """
    values = dict(given)
    run_name, preset = values.pop("RUN", "") or "", values.pop("PRESET", None) or ""
    first = name == next(iter(config.STAGES))
    allowed = parameter_names(name)
    for parameter in values:
        if parameter not in allowed:
            raise config.unknown_parameter(parameter, sorted(allowed), f"no cell of {name}")
    if first:
        preset = preset or default_preset()
        run_name = run_name or default_run(values.get("DATASET") or "elpv", preset)
    else:
        run_name = run_name or default_run("elpv", preset or default_preset())
    check_run_name(run_name)
    attached.adopt(paths.RunPaths(run_name))
    if not first:
        preset = load_run(paths.RunPaths(run_name)).get("preset") or default_preset()
    return run_name, preset, {parameter.lower(): value for parameter, value in values.items()}


def check_run_name(name: str) -> None:
    """Refuse a name that would leave the folder of runs."""
    if name != Path(name).name or name.startswith("."):
        raise config.SettingsError(f"RUN={name!r} must be a plain folder name")


def parameter_names(name: str) -> set[str]:
    """The parameters that a stage's notebook takes."""
    own = {field.name.upper() for field in dataclasses.fields(config.STAGES[name])}
    return own | ({"RUN", "PRESET"} if name == next(iter(config.STAGES)) else {"RUN"})


def is_current(name: str, settings: Any, run_paths: paths.RunPaths, code: str = "") -> bool:
    """True when the stage is done with these settings and inputs, and its files are intact.

    `code` is a digest of the notebook's code cells; a stage run by hand has recorded none.
    """
    run = load_run(run_paths)
    record = run.get("stages", {}).get(name, {})
    return (
        record.get("status") == "done"
        and record.get("notebook", code) == code
        and record.get("key") == stage_key(name, settings, run)
        and outputs_are_intact(run_paths, record.get("outputs", {}))
    )


def record_notebook(name: str, run_paths: paths.RunPaths, code: str) -> None:
    """Note which code the stage's notebook ran, so that a changed notebook is run again."""
    with edit_run(run_paths) as run:
        run["stages"][name]["notebook"] = code


def require_earlier(name: str, run_paths: paths.RunPaths, record: Mapping[str, Any]) -> None:
    """Refuse a stage (not the first) whose run has no split, or changed files of earlier ones."""
    order = list(config.STAGES)
    if record.get("stages", {}).get(order[0], {}).get("status") != "done":
        existing = sorted(path.parent.name for path in paths.runs_root().glob("*/split.csv"))
        known = f" (there are: {', '.join(existing)})" if existing else ""
        raise StageError(
            f"{name} needs the split of run {run_paths.name!r}, which is not there{known}: "
            f"run notebooks/{order[0]}.ipynb first, or name another run (--name; RUN in a notebook)"
        )
    run_record.refuse_changed_files(record, order[: order.index(name)], run_paths.root)
