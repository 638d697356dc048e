"""The resume file of a training: taken up by the same training only, removed by it only.

Trainings of one name with different settings share the file's name. The one that begins moves the
file of another aside, to a name that contains that one's key; trained again, that one takes it
back. A finished training removes its own files. Those of an interrupted training that is never
given again stay until somebody deletes them, which costs nothing but its epochs.
"""

from __future__ import annotations

import contextlib
import dataclasses
from pathlib import Path
from typing import Any

from helpers.core import files, memory, processes, tensors
from helpers.core.files import writing
from helpers.runs.settings import TrainSettings
from helpers.training.loop import Loop

_NO_STATE = (AttributeError, IndexError, KeyError, TypeError, RuntimeError)


def key_of(settings: TrainSettings, seed: int, inputs: Any) -> str:
    """What tells one training's resume file from another's."""
    return files.fingerprint([dataclasses.asdict(settings), seed, inputs])


def take_up(loop: Loop, path: Path | None, key: str) -> bool:
    """Load a resume file of the same settings and inputs; False where there is none.

    Afterwards `path` is free for this training: a file of another one has been moved aside. The
    main process reads and moves for all.

    Raises:
        ArtifactError: the file is damaged, or cannot be read or moved.
    """

    if path is None:
        return False

    def read() -> Any:
        """The state; None where there is none."""
        held = _load(path) if path.is_file() else None
        if held and held["key"] != key:
            _move(path, _aside(path, held["key"]))
            held = None
        if held is None and (own := _aside(path, key)).is_file():
            _move(own, path)
            held = _load(path)
        return held["loop"] if held else None

    state = processes.from_main(read)  # outside of the block: a lost process damages no file
    if state is None:
        return False
    try:
        loop.load(state)
    except _NO_STATE as error:
        if memory.is_full(error):
            raise
        raise files.damaged(path, error) from None
    return True


def remove(path: Path, key: str) -> None:
    """Remove the resume file of a finished training; those of other settings are still of use."""
    for file in (path, _aside(path, key)):
        if file.is_file():
            with contextlib.suppress(files.ArtifactError):
                if _load(file)["key"] == key:
                    file.unlink(missing_ok=True)


def _aside(path: Path, key: str) -> Path:
    """Where the resume file of a training waits while another one writes `path`."""
    return path.with_suffix(f".{key}{path.suffix}")


def _move(file: Path, to: Path) -> None:
    with writing(to):
        file.replace(to)


def _load(path: Path) -> dict[str, Any]:
    """A resume file's key and state."""
    found = tensors.load_state(path)
    if not isinstance(found, dict) or not {"key", "loop"} <= found.keys():
        raise files.damaged(path, "it holds no training")
    return found
