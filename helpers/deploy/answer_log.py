"""A CSV with an answer for each image: what an earlier call has written there is not done again."""

import os
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import pandas as pd
from tqdm.auto import tqdm

import helpers
from helpers.core import files
from helpers.core.errors import UserError
from helpers.deploy.predictor import Opened, TrainedModel

TOGETHER = 512  # images that a kill can cost: seconds of work on a CPU
TEXT = ("verdict", "warning", "reason", "seal", "model", "by", "time", "changed_ns")


class Entry(NamedTuple):
    """One image that is asked about."""

    path: str  # as the user names it; below the folder or the CSV that lists it
    id: str  # of the CSV, or the path without its extension
    file: str  # to open

    @property
    def state(self) -> tuple[str, str]:
        """Return the path, and the time of the file's last change: "" if it is not there."""
        try:
            about = os.stat(self.file)
        except OSError:
            return self.path, ""
        return self.path, str(max(about.st_mtime_ns, about.st_ctime_ns))


class AnswerLog:
    """The answers of one model, in a CSV if it has a `path`, else in memory alone.

    A row tells when its image was changed last, so an image that is replaced is judged again. All
    rows are of one model, of one precision and of one version of this package.
    """

    def __init__(self, path: Path | None, model: TrainedModel, opened: Opened, name: str) -> None:
        self.path, self.model = path, model
        about, digests = model.description, [*map(files.file_digest, opened.checkpoints)]
        seal = getattr(about, "digest", None)  # not the file's own: it may have been edited
        by = files.fingerprint([digests, vars(opened.facts), seal, helpers.__version__])
        self.facts = {fact: getattr(about, fact, None) for fact in ("pass_below", "reject_from")}
        self.facts |= {"seal": seal, "model": f"{about.run}/{about.model}" if about else name}
        self.facts["by"] = by
        self.rows = _read(path, by) if path else pd.DataFrame()
        columns = ("path", "changed_ns")
        self.done = {*zip(*(self.rows.get(name, ()) for name in columns), strict=True)}
        self.several_frames = 0  # files with further pages or frames, in this call

    def lacks(self, entry: Entry, latest_ns: int) -> bool:
        """Return True if an image has no row, is there, and was changed last before a time."""
        changed_ns = entry.state[1]
        return entry.state not in self.done and bool(changed_ns) and int(changed_ns) < latest_ns

    def judge(self, asked: Sequence[Entry]) -> pd.DataFrame:
        """Return a row for each image, with its `file`; those that are new are judged and written.

        The other columns are those of `TrainedModel.predict` and the thresholds, seal, model, time.
        """
        states = [entry.state for entry in asked]
        new = [i for i, state in enumerate(states) if state not in self.done]
        with tqdm(desc="score", unit="img", total=len(asked), leave=False, disable=None) as bar:
            bar.update(len(asked) - len(new))
            for start in range(0, len(new), TOGETHER):
                some = new[start : start + TOGETHER]
                self._write([asked[i] for i in some], [states[i] for i in some])
                bar.update(len(some))
        if not asked:
            return self.rows
        last = self.rows.drop_duplicates("path", keep="last").set_index("path")
        found = last.loc[[entry.path for entry in asked]].reset_index()
        return found.assign(id=[e.id for e in asked], file=[e.file for e in asked])

    def _write(self, asked: Sequence[Entry], states: Iterable[tuple[str, str]]) -> None:
        """Judge some images, and append their rows, which survive a power failure."""
        named = [entry.file for entry in asked]
        answers = [*self.model.answers(named)]
        self.several_frames += sum(answer.has_more for answer in answers)
        table = self.model.judged(named, answers).drop(columns="file")
        rows = pd.DataFrame(asked).drop(columns="file").join(table).assign(**self.facts)
        rows["time"] = datetime.now(UTC).isoformat(timespec="seconds")
        rows["changed_ns"] = [changed for _, changed in states]
        if self.path:
            with files.writing(self.path), self.path.open("ab") as handle:
                content = files.csv_bytes(rows)
                handle.write(content if handle.tell() == 0 else content.partition(b"\n")[2])
                handle.flush()
                os.fsync(handle.fileno())
        self.rows = pd.concat([self.rows, rows], ignore_index=True) if len(self.rows) else rows
        self.done.update(zip(rows.path, rows.changed_ns, strict=True))


def _read(path: Path, by: str) -> pd.DataFrame:
    """Return the rows of a CSV of answers, without a line that a kill left half."""
    if path.is_dir() or (path.exists() and b"changed_ns" not in path.open("rb").readline()):
        raise UserError(f"--out {path} exists already: name another file, or delete it")
    if not path.exists():
        return pd.DataFrame()
    os.truncate(path, path.read_bytes().rfind(b"\n") + 1)
    rows = files.load_csv(path, ("path", "id", "score", *TEXT), text=TEXT)
    if (rows.by != by).any():
        which = "another model, precision, thresholds or version"
        raise files.ArtifactError(f"--out {path} has scores of {which}: name another file")
    return rows.fillna(dict.fromkeys(TEXT, ""))
