"""Download a contest's files: resumed where it broke off, checked, and unpacked in one piece."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

from helpers.commands.kaggle.archive import ArchiveError, NoRoomError, unpack
from helpers.commands.kaggle.client import COMPETITION, TIMEOUT_S, Client, Retry, connect
from helpers.commands.kaggle.errors import KaggleError, is_transient
from helpers.core import paths

CHUNK_BYTES = 1 << 16  # a connection that breaks loses at most so much of what has arrived
MARKER = ".download.json"  # in the contest's folder; it is there only when the folder is whole


def download(
    slug: str = COMPETITION,
    root: str | os.PathLike | None = None,
    *,
    force: bool = False,
    retry: Retry | None = None,
    client: Client | None = None,
) -> Path:
    """Download and unpack a contest's files into `root/slug`, and return that folder.

    A folder that an earlier call has finished is returned without a request. What a broken
    download has fetched is kept in `root/.slug.download`, and the next call goes on from there.

    Args:
        slug: the contest's name in its address.
        root: folder of raw data; None: where the notebooks look for it.
        force: download again and replace the folder.
        retry: how often a lost connection is taken up again without any progress.
        client: a connection to use instead of a new one.

    Raises:
        KaggleError: no credentials, a refusal, a broken connection, or a bad zip; nothing
            half-written is left in `root/slug`.
    """
    _check_slug(slug)
    root = paths.raw_root() if root is None else Path(root)
    folder, work = root / slug, root / f".{slug}.download"
    if folder.exists() and not force:
        _check_whole(folder)
        return folder
    client = client or connect(retry)
    work.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(work / "unpacked", ignore_errors=True)  # left by a killed run
    archive = work / f"{slug}.zip"
    _fetch(client, slug, archive)
    try:
        files, size_bytes = unpack(archive, work / "unpacked")
    except NoRoomError as error:
        raise KaggleError(
            f"{error}\nThe zip is kept: run the same command when there is room."
        ) from None
    except ArchiveError as error:
        shutil.rmtree(work)
        raise KaggleError(
            f"{error}\nThe zip was removed and nothing was unpacked; run the same command to "
            "download it again."
        ) from None
    marker = {"slug": slug, "files": files, "bytes": size_bytes, "zip_bytes": _size(archive)}
    (work / "unpacked" / MARKER).write_text(json.dumps(marker, indent=1))
    _put_in_place(work / "unpacked", folder)
    shutil.rmtree(work)
    return folder


def _check_slug(slug: str) -> None:
    if not slug or not all(sign.isalnum() or sign in "-_" for sign in slug):
        raise KaggleError(
            f"{slug!r} is not a contest's name: give the last part of its address, "
            "https://www.kaggle.com/competitions/NAME."
        )


def _check_whole(folder: Path) -> None:
    again = "Move it away, or give --force to download again and replace it."
    try:
        marker = json.loads((folder / MARKER).read_text())
        expected = (marker["files"], marker["bytes"])
    except (OSError, ValueError, KeyError):
        raise KaggleError(
            f"{folder} exists, but was not finished by this command ({MARKER} is missing). {again}"
        ) from None
    found = [path.stat().st_size for path in folder.rglob("*") if path.is_file()]
    found_counts = (len(found) - 1, sum(found) - _size(folder / MARKER))
    if found_counts != expected:
        raise KaggleError(
            f"{folder} has changed: {expected[0]} files with {expected[1]} bytes were unpacked, "
            f"{found_counts[0]} with {found_counts[1]} bytes are there. {again}"
        )


def _fetch(client: Client, slug: str, archive: Path) -> None:
    """Fetch the zip; after a lost connection go on from the bytes that are there.

    Only tries that bring nothing count as failures: two gigabytes may break off many times.
    """
    doing = f"downloading {slug}"
    failures, best_size = 0, _size(archive)
    while True:
        try:
            client.attempt(lambda sdk: _stream(client.api, sdk, slug, archive))
            return
        except KaggleError:
            raise
        except Exception as error:
            failures = 1 if _size(archive) > best_size else failures + 1
            best_size = max(best_size, _size(archive))
            if not is_transient(error) or failures >= client.retry.attempts:
                raise _broken_off(client.explain(error, doing, slug), archive) from None
        client.retry.pause(failures)


def _stream(api: Any, sdk: Any, slug: str, archive: Path) -> None:
    from kagglesdk.competitions.types.competition_api_service import ApiDownloadDataFilesRequest

    request = ApiDownloadDataFilesRequest()
    request.competition_name = slug
    response = sdk.competitions.competition_api_client.download_data_files(request)
    if "text/html" in response.headers.get("Content-Type", ""):
        response.close()
        raise KaggleError(
            f"While downloading {slug}: a web page came back instead of a zip.\nA proxy, a login "
            "portal or a filter sits in between: open https://www.kaggle.com in a browser, and "
            "check HTTPS_PROXY."
        )
    identity = {
        "etag": response.headers.get("ETag") or response.headers.get("Last-Modified"),
        "bytes": int(response.headers.get("Content-Length", -1)),
    }
    whole = archive.with_suffix(".whole.json")
    if _is_same(whole, identity) and _size(archive) == identity["bytes"]:
        response.close()  # fetched by a run that was killed before it had unpacked
        return
    whole.unlink(missing_ok=True)
    # No retries inside: each new call here gets a fresh signed address, and resumes as well.
    api.download_file(
        response,
        str(archive),
        sdk.http_client(),
        quiet=False,  # its progress bar; what it prints is caught
        resume=True,
        chunk_size=CHUNK_BYTES,
        max_retries=0,
        timeout=TIMEOUT_S,
    )
    whole.write_text(json.dumps(identity))


def _is_same(whole: Path, identity: dict) -> bool:
    try:
        return identity["etag"] is not None and json.loads(whole.read_text()) == identity
    except (OSError, ValueError):
        return False


def _broken_off(error: KaggleError, archive: Path) -> KaggleError:
    if not _size(archive):
        return error
    kept = f"{_size(archive) / 1e6:.1f} MB have arrived and are kept in {archive.parent}"
    text = f"{error}\n{kept}; the same command goes on from there."
    return KaggleError(text, error.status, error.retry_after_s)


def _put_in_place(unpacked: Path, folder: Path) -> None:
    old = unpacked.with_name("replaced")
    shutil.rmtree(old, ignore_errors=True)
    if folder.exists():
        os.replace(folder, old)
    os.replace(unpacked, folder)


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0
