"""Unpack a zip that came from outside: whole and inside its folder, or not at all."""

from __future__ import annotations

import errno
import lzma
import shutil
import stat
import struct
import zipfile
import zlib
from pathlib import Path, PurePosixPath

from tqdm.auto import tqdm

_BROKEN = (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, NotImplementedError)
_DAMAGED = (*_BROKEN, ValueError, OverflowError, struct.error)  # what opening one may raise too


_FULL = (errno.ENOSPC, errno.EDQUOT)  # the disk, or the user's share of it


class ArchiveError(ValueError):
    """A zip that is damaged, does not fit on the disk, or reaches out of its folder."""


class NoRoomError(ArchiveError):
    """A zip whose files do not fit on the disk: the zip itself is good."""


def unpack(archive: Path, folder: Path) -> tuple[int, int]:
    """Unpack a zip into a new folder, and return the number of files and their bytes.

    Every member's name and kind is checked before the first byte is written, and every member's
    checksum while it is written. After any failure the folder is gone.

    Raises:
        NoRoomError: too large for the disk, or the disk filled while it was unpacked.
        ArchiveError: not a zip, damaged, encrypted, a path outside the folder, a link or another
            special file, or one name twice.
    """
    if folder.exists():
        raise ArchiveError(f"{folder} exists already: remove it first.")
    try:
        with zipfile.ZipFile(archive) as zipped:
            members = zipped.infolist()
            _check_members(archive, members, folder)
            return _write_members(archive.name, zipped, members, folder)
    except ArchiveError:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    except _DAMAGED as error:  # also on opening: the list at its end is missing, or nonsense
        shutil.rmtree(folder, ignore_errors=True)
        raise ArchiveError(f"{archive.name} is not a whole zip: {error}.") from None
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def _check_members(archive: Path, members: list[zipfile.ZipInfo], folder: Path) -> None:
    seen: set[str] = set()
    for member in members:
        problem = _problem(member)
        if member.filename in seen:
            problem = "stands in it twice"
        if problem:
            raise ArchiveError(f"{archive.name} is refused: {member.orig_filename!r} {problem}.")
        seen.add(member.filename)
    needed = sum(member.file_size for member in members)
    free = shutil.disk_usage(folder.parent).free
    if needed > free:
        raise NoRoomError(
            f"{archive.name} needs {needed / 1e9:.1f} GB, but {folder.parent} has "
            f"{free / 1e9:.1f} GB free: make room or choose another folder."
        )


def _problem(member: zipfile.ZipInfo) -> str | None:
    name = member.orig_filename
    path = PurePosixPath(name)
    kind = stat.S_IFMT(member.external_attr >> 16)
    if not path.parts or path.is_absolute() or ".." in path.parts:
        return "would be written outside the folder"
    if any(sign in name for sign in "\\:\0"):  # a drive, a Windows path, or a cut-off name
        return "has a backslash, a colon or a zero byte in its name"
    if kind == stat.S_IFLNK:
        return "is a symbolic link"
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        return "is neither a file nor a folder"
    if member.flag_bits & 1:
        return "is encrypted"
    return None


def _write_members(
    name: str, zipped: zipfile.ZipFile, members: list[zipfile.ZipInfo], folder: Path
) -> tuple[int, int]:
    folder.mkdir(parents=True)
    files = [member for member in members if not member.is_dir()]
    total = sum(member.file_size for member in files)
    with tqdm(total=total, desc="unpacking", unit="B", unit_scale=True) as bar:
        for member in files:
            target = folder / member.filename
            try:
                target.parent.mkdir(parents=True, exist_ok=True)
                with zipped.open(member) as source, open(target, "xb") as file:
                    shutil.copyfileobj(source, file, 1 << 20)
            except _BROKEN as error:
                raise ArchiveError(f"{name} is damaged at {member.filename!r} ({error}).") from None
            except OSError as error:
                problem = f"{name}: {member.filename!r} cannot be written"
                if error.errno in _FULL:  # another program may have filled it meanwhile
                    raise NoRoomError(
                        f"{problem} ({error.strerror}): make room in {folder.parent} or choose "
                        "another folder."
                    ) from None
                raise ArchiveError(f"{problem} ({error}).") from None
            bar.update(member.file_size)
    return len(files), total
