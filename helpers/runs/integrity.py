"""What run.json and the files that it speaks of must be before a stage builds on them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from helpers.core import files
from helpers.core.paths import RunPaths

# What later stages read as it is; all else is made again by the step that it belongs to.
_READ_AS_IT_IS = ("split.csv", "predictions/", "genotypes/")


def refuse_changed_files(record: Mapping[str, Any], earlier: list[str], root: Path) -> None:
    """Refuse to build on a file of the `earlier` stages that has other bytes than were written.

    Files of their finished steps count too: a stage that was begun anew and killed lists no others.

    Checkpoints, features and caches carry digests of their own; a file that is gone is missed by
    whoever reads it.

    Raises:
        ArtifactError: the first such file, and what to do with it.
    """
    for name, digest in _written(record, earlier):
        file = root / name
        if file.is_file() and files.file_digest(file) != digest:
            raise files.ArtifactError(
                f"{file} is not as it was written: damaged, or changed by hand. Keep it under "
                "another name if it is yours, delete it, and run the notebook that wrote it again "
                "(`python -m helpers.run` does)"
            )


def is_new_split(record: Mapping[str, Any], split_csv: Path, content: bytes) -> bool:
    """Whether `content` is another split than the one that the run's predictions were made for.

    The record tells, so that a damaged split.csv which is made again takes nothing with it.
    """
    before = split_of(record).get("split")
    if before is None and split_csv.is_file():
        before = files.file_digest(split_csv)
    return before not in (None, files.bytes_digest(content))


def split_of(record: Mapping[str, Any]) -> dict[str, str]:
    """`split`, the digest of the split that the run was made for; empty where nothing tells.

    Records from before it was noted have it among the outputs of the stage that wrote the split.
    """
    outputs = (stage.get("outputs", {}) for stage in record.get("stages", {}).values())
    written = next((found["split.csv"] for found in outputs if "split.csv" in found), None)
    split = record.get("split") or written
    return {"split": split} if split else {}


def maker_of(record: Mapping[str, Any], name: str) -> str:
    """The stage that wrote a file of the run, called as in run.json; "" where nothing tells."""
    makers = [step.get("stage", "") for step in _steps(record) if name in step["outputs"]]
    stages = record.get("stages", {}).items()
    makers += [stage for stage, entry in stages if name in entry.get("outputs", {})]
    return next(filter(None, makers), "")


def made_for_a_split(run_paths: RunPaths, record: Mapping[str, Any]) -> list[Path]:
    """Predictions and tables that stages have written, and the submission; not a user's own."""
    written = [run_paths.root / name for step in _steps(record) for name in step["outputs"]]
    found = [p for p in written if p.parent == run_paths.predictions_root]
    found += [run_paths.table("results"), run_paths.table("table2"), run_paths.submission]
    for number in ("05", "06"):  # tables and figures of all models
        found += (run_paths.root / "metrics").glob(f"{number}_*.csv")
        found += (run_paths.root / "figures").glob(f"{number}_*.png")
    return found


def _steps(record: Mapping[str, Any]) -> list[dict[str, Any]]:
    return list(record.get("steps", {}).values())


def _written(record: Mapping[str, Any], earlier: list[str]) -> Iterator[tuple[str, str]]:
    stages = record.get("stages", {})
    latest: dict[str, str] = {}  # a step of a later stage may have written the file once more
    found: dict[str, str] = {}
    for step in _steps(record):
        latest |= step["outputs"]
        found |= step["outputs"] if step.get("stage") in earlier else {}
    for stage in earlier:
        found |= stages.get(stage, {}).get("outputs", {})
    for name, digest in found.items():
        if name.startswith(_READ_AS_IT_IS):
            yield name, latest.get(name, digest)


def problem_of(record: Any) -> str:
    """Why this is not the record of a run; "" when it is one."""
    if not isinstance(record, dict):
        return "it holds no record of a run"
    if not isinstance(record.get("preset", ""), str):
        return "preset is no text"
    for kind in ("stages", "steps"):
        entries = record.get(kind, {})
        if not isinstance(entries, dict):
            return f"{kind} is no object"
        for name, entry in entries.items():
            if not isinstance(entry, dict) or not _is_texts(entry.get("outputs", {})):
                return f"{kind}: {name} is no record"
            if kind == "steps" and not {"key", "outputs"} <= set(entry):
                return f"{kind}: {name} lacks its key or outputs"
            for fact, is_right in _FACTS.items():
                if fact in entry and not is_right(entry[fact]):
                    return f"{kind}: {name}: {fact} is {entry[fact]!r:.40}"
    return ""


def _is_texts(value: Any) -> bool:
    return isinstance(value, dict) and all(isinstance(item, str) for item in value.values())


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float)


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


# what the readers of run.json take for granted of an entry, where it is there
_FACTS = {
    **dict.fromkeys(("status", "stage", "started", "device"), _is_text),
    **dict.fromkeys(("seconds", "reused_seconds", "peak_memory_mb"), _is_number),
    "images_per_s": lambda v: isinstance(v, dict) and all(map(_is_number, v.values())),
    "reused": lambda v: isinstance(v, list) and all(map(_is_text, v)),
}
