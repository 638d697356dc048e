"""run.json, the record of a run: settings, times, models, digests of the files of each step."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import filelock
import pandas as pd
from pydantic import BaseModel, ValidationError

from helpers.core import files
from helpers.core.errors import UserError
from helpers.core.members import Member
from helpers.core.paths import RunPaths
from helpers.core.rules import SettingsError
from helpers.datasets.split_file import read_split
from helpers.models.record import Model
from helpers.results.predictions import Scored, read_predictions


class RunError(UserError):
    """The series stopped; the message says where, why, and how to continue."""


class _Stage(BaseModel, strict=True):
    status: str = ""
    started: str = ""
    seconds: float = 0
    fit: Literal["squash", "pad"] = "squash"  # of 01: how images became squares
    outputs: dict[str, str] = {}


class _Step(BaseModel, strict=True):
    key: str
    stage: str
    outputs: dict[str, str]
    seconds: float
    kinds: dict[str, Literal["network", "own", "tensors", "table", "arrays", "plain"]] = {}
    types: dict[str, dict[str, str]] = {}  # of the columns of tables


class _Made(BaseModel):
    stage: str
    digest: str  # of its predictions file
    model: Model
    costs: dict[str, str | float | None] = {}


class _Run(BaseModel, strict=True):
    """The fields of run.json that readers rely on; it may hold more."""

    preset: str = ""
    dataset: str = ""
    split: str = ""
    stages: dict[str, _Stage] = {}
    steps: dict[str, _Step] = {}
    models: dict[str, _Made] = {}


def check_run_name(name: str) -> None:
    """Raise SettingsError for a name that leads out of the folder of runs."""
    if not name or name != Path(name).name or name.startswith("."):
        raise SettingsError(f"RUN={name!r} must be a plain folder name")


def load_run(run_paths: RunPaths) -> dict[str, Any]:
    """Return run.json, or an empty record if the run has not started."""
    if not run_paths.run_json.exists():
        return {}
    record = files.load_json(run_paths.run_json)
    try:
        _Run.model_validate(record)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(map(str, first["loc"])) or "all of it"
        raise files.damaged(run_paths.run_json, f"{place}: {first['msg']}") from None
    return record | {"run": run_paths.name}  # the folder may have been renamed


@contextmanager
def edit_run(run_paths: RunPaths) -> Iterator[dict[str, Any]]:
    """Yield run.json to be changed, and write it if the block succeeds; other processes wait."""
    with files.held(run_paths.root / ".run.json.lock"):
        run = load_run(run_paths)
        yield run
        files.save_json(run_paths.run_json, run)


def lock_file(run_paths: RunPaths, stage: str = "") -> Path:
    """Return the lock of one stage, or of the run if `stage` is empty."""
    return run_paths.root / (f".{stage}.lock" if stage else ".lock")


def lock(run_paths: RunPaths, stage: str = "") -> filelock.AcquireReturnProxy:
    """Hold the run, or a stage, for a `with` block or until this process ends; else RunError."""
    try:
        return files.held(lock_file(run_paths, stage), wait=False)
    except files.LockedError:
        raise RunError(
            f"another process works on run {run_paths.name!r}: wait for it (if it is an open "
            "notebook that has stopped, restart its kernel), or give this one another name"
        ) from None


def digests_of(run_paths: RunPaths, written: Iterable[Path]) -> dict[str, str]:
    """Return digests of files by their names relative to the run's folder."""
    return {p.relative_to(run_paths.root).as_posix(): files.file_digest(p) for p in written}


def are_intact(run_paths: RunPaths, digests: Mapping[str, str]) -> bool:
    """Return True if every recorded file still exists with the same bytes."""
    places = {run_paths.root / name: digest for name, digest in digests.items()}
    return all(p.is_file() and files.file_digest(p) == digest for p, digest in places.items())


def refuse_changed_files(record: Mapping[str, Any], before: str, root: Path) -> None:
    """Raise ArtifactError if a split, predictions or a cell of notebooks `before` one have changed.

    Outputs of finished steps count too: a notebook that was started again and killed lists none.
    """
    stages = sorted(record.get("stages", {}).items())
    makers = [stage for name, stage in stages if name < before]
    written: dict[str, str] = {}
    for maker in (*makers, *record.get("steps", {}).values()):
        written |= maker.get("outputs", {})  # steps last: a later one may have written a file again
    for name, digest in written.items():
        file = root / name
        is_read = name.startswith(("split.csv", "predictions/", "genotypes/"))
        if is_read and file.is_file() and files.file_digest(file) != digest:
            raise files.ArtifactError(
                f"{file} is not as it was written: damaged, or changed by hand. Keep it under "
                "another name if it is yours, delete it, and run the notebook that wrote it again "
                "(`python -m helpers.run` does)"
            )


def joined(scores: Mapping[Member, pd.DataFrame]) -> pd.DataFrame:
    """Return the content of a predictions file from the scores of a model's members."""
    several = len({member.seed for member in scores}) > 1
    blocks = []
    for member, block in scores.items():
        seed = {"seed": member.seed} if several else {}
        fold = {} if member.fold is None else {"fold": member.fold}
        blocks.append(block.assign(**seed, **fold))
    return pd.concat(blocks, ignore_index=True)


def read_models(run_paths: RunPaths, until: str = "") -> dict[str, Scored]:
    """Load the scores of all models of a run by slug, in the table's order.

    `until` names a notebook: models of later ones are left out. A file that the run has not made is
    a model of the user's, called as its file; if it does not fit the split, it is left out with a
    line that says why.
    """
    split, folder = read_split(run_paths.split_csv), run_paths.predictions_root
    made = load_run(run_paths).get("models", {})
    models = {
        name: Model.from_json(made[name]["model"]) if name in made else Model(name)
        for name in (path.stem for path in folder.glob("*.csv"))
        if name not in made or not until or made[name]["stage"] <= until
    }
    found = {}
    for name, model in sorted(models.items(), key=lambda item: item[1].order):
        try:
            found[name] = read_predictions(run_paths.predictions(name), split, model)
        except files.ArtifactError as error:
            if name in made:
                raise
            print(f"left out: {error}")
    if not found:
        raise files.ArtifactError(f"{folder} holds no predictions; run notebook 02 or 03 first")
    return found
