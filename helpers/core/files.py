"""Atomic writing and safe loading of the files between stages.

A killed run leaves the old file or the new one (`helpers.core.writing`). Nothing that is loaded
can run code: JSON, CSV, npz without pickles, safetensors.
"""

from __future__ import annotations

import contextlib
import csv
import errno
import hashlib
import json
import warnings
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from helpers.core import memory, paths
from helpers.core.writing import ArtifactError as ArtifactError
from helpers.core.writing import atomic_path as atomic_path
from helpers.core.writing import write_bytes as write_bytes

# what numpy and zipfile raise on a damaged archive
_BAD_ARCHIVE = (
    KeyError,
    ValueError,
    TypeError,
    OSError,
    EOFError,
    RuntimeError,
    NotImplementedError,
    zipfile.BadZipFile,
    zlib.error,
)
_OF_DAMAGE = (None, errno.EINVAL)  # an OSError's number after a seek to where a damaged file says


def save_json(path: Path, content: Any) -> None:
    """Write JSON atomically; NaN and infinity, which JSON has no words for, become null."""
    text = json.dumps(_plain(content), indent=2, ensure_ascii=False, allow_nan=False)
    write_bytes(path, (text + "\n").encode())


def load_json(path: Path) -> Any:
    """Read JSON, or say which file is missing or damaged."""
    with _reading(path):
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            json.dumps(content, ensure_ascii=False).encode()  # half a character cannot be written
        except (ValueError, RecursionError) as error:
            raise damaged(path, error) from None
    return content


def save_csv(path: Path, frame: pd.DataFrame) -> None:
    """Write a table atomically, without its index, floats to 9 significant digits."""
    write_bytes(path, csv_bytes(frame))


def csv_bytes(frame: pd.DataFrame) -> bytes:
    """What `save_csv` writes of a table."""
    return frame.to_csv(index=False, float_format="%.9g", lineterminator="\n").encode()


def load_csv(path: Path, columns: tuple[str, ...], **options: Any) -> pd.DataFrame:
    """Read a table that must have these columns; ids stay text ("007" is not 7)."""
    text = {"id": str, "path": str, "split": str}
    dtype = options.pop("dtype", {})
    dtype = text | dtype if isinstance(dtype, dict) else dtype
    # An id may be "NA": only an empty cell is a missing value. Of rows longer than the header
    # pandas would take the first column for an index, or drop the last.
    options = {"keep_default_na": False, "na_values": [""], "index_col": False} | options
    with _reading(path), warnings.catch_warnings():
        warnings.simplefilter("error", pd.errors.ParserWarning)
        try:
            frame = pd.read_csv(path, dtype=dtype, **options)
        except (ValueError, TypeError, OverflowError, pd.errors.ParserWarning) as error:
            raise ArtifactError(_table_problem(path, error)) from None
    missing = [name for name in columns if name not in frame.columns]
    if missing:
        raise ArtifactError(
            f"{path} lacks the column(s) {', '.join(missing)}; it has {', '.join(frame.columns)}"
        )
    return frame


def line_of(path: Path, row: int) -> int:
    """The line of a CSV that a row (counted from 0) ends on; the header is line 1."""
    for number, (line, _) in enumerate(_records(path), start=-1):
        if number == row:
            return line
    return row + 2


def _records(path: Path) -> Iterator[tuple[int, int]]:
    """The last line and the number of values of the header and of each row of a CSV."""
    lines: list[str] = []  # of one record, as they stand in the file

    def kept(file: Iterable[str]) -> Iterator[str]:
        """The file's lines, each noted."""
        for line in file:
            lines.append(line)
            yield line

    with (
        path.open(encoding="utf-8", errors="replace", newline="") as file,
        contextlib.suppress(csv.Error),
    ):
        reader = csv.reader(kept(file))
        for values in reader:
            if "".join(lines).strip(" \t\r\n\ufeff"):  # pandas passes over lines of blanks
                yield reader.line_num, len(values)
            lines.clear()


def _table_problem(path: Path, error: Exception) -> str:
    """Why a CSV is none: the first row that is longer than the header, or what pandas says."""
    records = _records(path)
    _, columns = next(records, (0, 0))
    for line, values in records:
        if values > columns:
            return f"{path}, line {line}, has {values} values where the header names {columns}"
    return f"{path} is not a readable CSV: {error}"


def save_arrays(path: Path, **arrays: np.ndarray) -> None:
    """Write named arrays as npz, atomically."""
    with atomic_path(path) as temporary, temporary.open("wb") as handle:
        named: dict[str, Any] = dict(arrays)  # numpy has options of other types beside them
        np.savez(handle, **named)


def load_arrays(path: Path, *names: str) -> dict[str, np.ndarray]:
    """Read the named arrays of an npz; pickles are refused."""
    with _parsing(path, _BAD_ARCHIVE), np.load(path, allow_pickle=False) as archive:
        return {name: archive[name] for name in names}


def damaged(path: Path, error: object, kind: str = "") -> ArtifactError:
    """The error for a damaged file; a user's own may be something else than the `kind` wanted."""
    roots = (paths.runs_root().resolve(), paths.cache_root().resolve())
    if any(path.resolve().is_relative_to(root) for root in roots):  # can be made again
        return ArtifactError(f"{path} is damaged ({error}); delete it and run again")
    reason = f"is no {kind}, or a damaged one: {error}" if kind else f"is damaged ({error})"
    return ArtifactError(f"{path} {reason}")


def fingerprint(content: Any) -> str:
    """A short digest of settings or inputs (JSON-able): equal content, equal digest."""
    text = json.dumps(_plain(content), sort_keys=True, ensure_ascii=False)
    return bytes_digest(text.encode())


def bytes_digest(content: bytes) -> str:
    """The digest of a file that holds these bytes."""
    return hashlib.blake2b(content, digest_size=10).hexdigest()


def file_digest(path: Path) -> str:
    """A short digest of a file's bytes."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, lambda: hashlib.blake2b(digest_size=10)).hexdigest()


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError:
        raise ArtifactError(f"{path} is missing") from None
    except OSError as error:
        if memory.is_full(error):
            raise
        raise ArtifactError(f"{path} cannot be read: {error.strerror or error}") from None


@contextmanager
def _parsing(path: Path, errors: tuple[type[Exception], ...], kind: str = "") -> Iterator[None]:
    """Take these errors for damage, but not what the system or the memory says."""
    with _reading(path):
        try:
            yield
        except errors as error:
            from_system = isinstance(error, OSError) and error.errno not in _OF_DAMAGE
            if from_system or memory.is_full(error):
                raise
            raise damaged(path, error, kind) from None


def _plain(value: Any) -> Any:
    """Turn NumPy scalars, paths and tuples into what JSON knows."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(item) for item in value]
    if isinstance(value, np.ndarray | torch.Tensor):
        return _plain(value.tolist())
    if isinstance(value, np.generic):
        return _plain(value.item())
    if isinstance(value, Path):
        return value.as_posix()
    if isinstance(value, float) and not np.isfinite(value):
        return None
    return value
