"""TensorBoard's event files of trainings: `tensorboard --logdir data/runs/RUN/tensorboard`."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

Record = dict[str, Any]  # of one epoch, as in `Training.history`


@contextmanager
def event_file(
    folder: Path | None, history: Sequence[Record] = ()
) -> Iterator[Callable[[Record], None]]:
    """Write the numbers of a training's epochs for TensorBoard.

    A training that is continued writes its history again, in place of the file that it left, so no
    epoch is in it twice.

        with event_file(folder, history) as write:
            write(record)  # of the next epoch

    Args:
        folder: of this training alone; None writes nothing.
        history: the records of the epochs so far.
    """
    if folder is None:
        yield lambda record: None
        return
    from torch.utils.tensorboard import SummaryWriter  # needs the package tensorboard

    shutil.rmtree(folder, ignore_errors=True)
    with SummaryWriter(folder) as writer:

        def write(record: Record) -> None:
            for name, value in record.items():
                if isinstance(value, int | float) and name != "epoch":
                    writer.add_scalar(name, value, record["epoch"])
            writer.flush()

        for record in history:
            write(record)
        yield write
