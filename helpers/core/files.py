"""Write files whole or not at all, and read them back without running code from them.

Every failure becomes an `ArtifactError` that names the file.
"""

import errno
import hashlib
import json
import os
import shutil
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import filelock
import numpy as np
import pandas as pd

from helpers.core import errors
from helpers.core.errors import UserError

COMMAS = "commas must separate the columns"  # advice for many errors in CSV files


class ArtifactError(UserError):
    """A file of a run is missing, damaged, of another kind, or cannot be written."""


class LockedError(UserError):
    """Another process holds the lock."""


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Run a block that writes `path`, and name the file if the system refuses."""
    full = "the disk or a quota is full. Make room and run the same command again"
    try:
        yield
    except OSError as error:
        is_full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        reason = full if is_full else error.strerror or error
        raise ArtifactError(f"{path} cannot be written: {reason}") from error


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a temporary path in the same folder, and rename it to `path` if the block succeeds."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield temporary
            with temporary.open("rb") as handle:
                os.fsync(handle.fileno())  # it survives a power failure too
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)


@contextmanager
def atomic_folder(folder: Path) -> Iterator[Path]:
    """Yield a new folder beside `folder`, and rename it to that if the block succeeds.

    If `folder` exists and is not empty, the block has to remove it. One process at a time.
    """
    temporary = folder.with_name(f".{folder.name}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)  # left by a killed process
    try:
        with writing(folder):
            temporary.mkdir(parents=True)
            yield temporary
            os.replace(temporary, folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def held(path: Path, wait: bool = True) -> filelock.AcquireReturnProxy:
    """Lock a file for a `with` block, or until this process ends, even if it is killed.

    If another process holds it, wait, or raise LockedError. The file stays.
    """
    lock = filelock.FileLock(path, timeout=-1 if wait else 0, thread_local=False)
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            return lock.acquire()
        except filelock.Timeout:
            raise LockedError(f"{path} is held by another process") from None


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file atomically."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(content)


@contextmanager
def reading(path: Path, kind: str = "") -> Iterator[None]:
    """Run a block that does nothing but read `path`, and name the file if that fails.

    `kind` is the wanted kind of file, if the user may have named a file of another kind.
    """
    try:
        yield
    except ArtifactError:
        raise
    except FileNotFoundError:
        raise ArtifactError(f"{path} is missing") from None
    except Exception as error:  # parsers of damaged files raise errors of many types
        if errors.is_full(error):  # the file may be whole
            raise
        # a damaged file may lead to a bad seek, which is EINVAL or has no number
        if isinstance(error, OSError) and error.errno not in (None, errno.EINVAL):
            raise ArtifactError(f"{path} cannot be read: {error.strerror or error}") from None
        raise damaged(path, error, kind) from None


def damaged(path: Path, error: object, kind: str = "") -> ArtifactError:
    """Return the error for a damaged file, or for one that is not of this kind."""
    reason = f"is not a {kind}, or is damaged: {error}" if kind else f"is damaged ({error})"
    return ArtifactError(f"{path} {reason}")


def save_json(path: Path, content: Any) -> None:
    """Write JSON atomically; NaN and infinity become null, because JSON has neither."""
    text = json.dumps(plain(content), indent=2, ensure_ascii=False, allow_nan=False)
    write_bytes(path, (text + "\n").encode())


def load_json(path: Path) -> Any:
    """Read a JSON file."""
    with reading(path):
        content = json.loads(path.read_text(encoding="utf-8"))
        json.dumps(content, ensure_ascii=False).encode()  # refuses half a surrogate pair
    return content


def save_arrays(path: Path, **arrays: np.ndarray) -> None:
    """Write named arrays as npz, atomically."""
    with atomic_path(path) as temporary, temporary.open("wb") as handle:
        np.savez(handle, **arrays)  # type: ignore[arg-type]


def load_arrays(path: Path, *names: str) -> dict[str, np.ndarray]:
    """Read the named arrays of an npz file, or all; pickles are refused."""
    with reading(path), np.load(path, allow_pickle=False) as archive:
        return {name: archive[name] for name in names or archive.files}


def csv_bytes(frame: pd.DataFrame) -> bytes:
    """Return a table as CSV, without its index, floats to 9 significant digits."""
    return frame.to_csv(index=False, float_format="%.9g", lineterminator="\n").encode()


def save_csv(path: Path, frame: pd.DataFrame) -> None:
    """Write a table as CSV, atomically."""
    write_bytes(path, csv_bytes(frame))


def load_csv(path: Path, columns: Sequence[str], text: Sequence[str] = ()) -> pd.DataFrame:
    """Read a CSV that must have these columns; ids and the columns `text` stay text ("007")."""
    with reading(path), warnings.catch_warnings():
        warnings.simplefilter("error", pd.errors.ParserWarning)
        try:
            frame = pd.read_csv(
                path,
                dtype=dict.fromkeys(("id", "path", "split", *text), str),
                low_memory=False,
                index_col=False,  # else it is the first column, if rows are longer than the header
                keep_default_na=False,  # an id may be "NA": only an empty cell is a missing value
                na_values=[""],
            )
        except pd.errors.ParserWarning:
            reason = f"has rows with more values than its header names ({COMMAS})"
            raise ArtifactError(f"{path} {reason}") from None
        except UnicodeDecodeError:
            raise ArtifactError(f'{path} is not in UTF-8: save it as "CSV UTF-8"') from None
        except (ValueError, TypeError, OverflowError) as error:
            raise ArtifactError(f"{path} is not a readable CSV: {error}") from None
    if missing := ", ".join(name for name in columns if name not in frame.columns):
        has = ", ".join(frame.columns) + (f" ({COMMAS})" if len(frame.columns) == 1 else "")
        raise ArtifactError(f"{path} lacks the column(s) {missing}; it has {has}")
    return frame


def refuse_marked(
    path: Path, frame: pd.DataFrame, checks: Mapping[str, pd.Series], way_out: str = ""
) -> None:
    """Raise an ArtifactError that names the first row of a CSV that a check marks.

    `checks` maps a problem, with names of columns in braces, to the marked rows.
    """
    for problem, wrong in checks.items():
        if wrong.any():
            row = int(np.flatnonzero(wrong)[0])  # 0 is on line 2
            text = problem.format(**frame.iloc[row])
            raise ArtifactError(f"{path}, line {row + 2}: {text}{way_out}")


def fingerprint(content: Any) -> str:
    """Return a short digest of settings or inputs that JSON can express."""
    return bytes_digest(json.dumps(plain(content), sort_keys=True, ensure_ascii=False).encode())


def bytes_digest(content: bytes | memoryview) -> str:
    """Return the digest that `file_digest` gives a file of these bytes."""
    return hashlib.blake2b(content, digest_size=10).hexdigest()


def file_digest(path: Path) -> str:
    """Return a short digest of a file's bytes."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, lambda: hashlib.blake2b(digest_size=10)).hexdigest()


def plain(value: Any) -> Any:
    """Return arrays, tensors, paths and tuples as values that JSON can express."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(item) for item in value]
    if hasattr(value, "tolist"):  # NumPy's arrays and scalars, and tensors
        return plain(value.tolist())
    if isinstance(value, Path):
        return value.as_posix()
    if isinstance(value, float) and not np.isfinite(value):
        return None
    return value
