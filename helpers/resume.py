"""The resume file of a training: taken up by the same training only, removed by it only."""

from __future__ import annotations

import contextlib
import dataclasses
from pathlib import Path
from typing import Any

from helpers import artifacts, memory, processes
from helpers.config import TrainSettings
from helpers.loop import Loop

_NO_STATE = (AttributeError, IndexError, KeyError, TypeError, RuntimeError)


def key_of(settings: TrainSettings, seed: int, inputs: Any) -> str:
    """What tells one training's resume file from another's."""
    return artifacts.fingerprint([dataclasses.asdict(settings), seed, inputs])


def take_up(loop: Loop, path: Path | None, key: str) -> bool:
    """Load a resume file of the same settings and inputs; False where there is none.

    The main process reads it for all.

    Raises:
        ArtifactError: it is damaged, or cannot be read.
    """

    if path is None:
        return False

    def read() -> Any:
        """The state; None where there is none."""
        if not path.is_file():
            return None
        found = artifacts.load_state(path)
        if not isinstance(found, dict) or not {"key", "loop"} <= found.keys():
            raise artifacts.damaged(path, "it holds no training")
        return found["loop"] if found["key"] == key else None

    state = processes.from_main(read)  # outside of the block: a lost process damages no file
    if state is None:
        return False
    try:
        loop.load(state)
    except _NO_STATE as error:
        if memory.is_full(error):
            raise
        raise artifacts.damaged(path, error) from None
    return True


def remove(path: Path, key: str) -> None:
    """Remove the resume file of a finished training; one of other settings is still of use."""
    if not path.is_file():
        return
    with contextlib.suppress(artifacts.ArtifactError, KeyError, TypeError):
        if artifacts.load_state(path)["key"] == key:
            path.unlink(missing_ok=True)
