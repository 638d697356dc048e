"""How far a scoring has come: names of its files, and the JSON record beside the scores."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from helpers.commands.score.listing import Shard
from helpers.core import files


@dataclass(frozen=True)
class Mark:
    """How much of a file is whole."""

    size_bytes: int = 0
    crc32: int = 0


@dataclass(frozen=True)
class Progress:
    """How far a scoring has come, and what its scores depend on."""

    key: dict[str, Any]
    position: int = 0  # images of the list that were dealt with, those of other shards included
    digest: str = ""  # of their names
    scored: int = 0
    unreadable: int = 0
    scores_mark: Mark = Mark()
    unreadable_mark: Mark = Mark()
    complete: bool = False  # the whole list was dealt with
    generation: int = 0  # of a shard; only shards of one generation are joined
    joined: tuple[tuple[Mark, Mark], ...] = ()  # of a joined file: both marks of every shard


def shard_path(out: Path, shard: Shard) -> Path:
    """Where a shard's scores go: scores.csv itself, or scores.0of2.csv beside it."""
    if shard.count == 1:
        return out
    return out.with_name(f"{out.stem}.{shard.index}of{shard.count}{out.suffix}")


def unreadable_path(out: Path) -> Path:
    """The list of unreadable images that belongs to a file of scores."""
    return out.with_name(f"{out.stem}.unreadable{out.suffix}")


def progress_path(out: Path) -> Path:
    """The JSON that says how much of a file of scores is whole."""
    return out.with_name(f"{out.name}.progress.json")


def load_progress(out: Path) -> Progress | None:
    """How far a file of scores has come; None where it was never begun."""
    path = progress_path(out)
    if not path.is_file():
        return None
    content = files.load_json(path)
    try:
        marks = {name: Mark(**content[name]) for name in ("scores_mark", "unreadable_mark")}
        joined = tuple((Mark(**a), Mark(**b)) for a, b in content.get("joined", ()))
        return Progress(**(content | marks | {"joined": joined}))
    except (TypeError, KeyError, ValueError):
        raise files.ArtifactError(
            f"{path} is no record of a scoring; delete it and begin anew with --restart"
        ) from None


def save_progress(out: Path, progress: Progress) -> None:
    """Write the record atomically."""
    files.save_json(progress_path(out), dataclasses.asdict(progress))


def differences(there: dict[str, Any], here: dict[str, Any]) -> str:
    """What two scorings don't have in common, in words; "" for nothing."""
    names = [name for name in here | there if there.get(name) != here.get(name)]
    return "; ".join(f"{name} was {there.get(name)}, now {here.get(name)}" for name in names)
