"""Download a contest's files by kagglehub, which resumes, compares checksums and unpacks."""

from __future__ import annotations

import os
import re
import shutil
import sys
from pathlib import Path

from helpers.commands.kaggle.client import COMPETITION, WEB_PAGE, KaggleError, connect, doing
from helpers.core import paths

CACHE = "KAGGLEHUB_CACHE"  # the environment variable that tells kagglehub where to write


def download(slug: str = COMPETITION) -> Path:
    """Download and unpack a contest's files into `data/raw/slug`, and return that folder.

    The folder appears whole or not at all; one that exists is returned without a request. What a
    broken download has fetched is kept in `data/raw/.slug.download`, where the next call continues.
    On Kaggle's machines the files are attached instead, and the folder of the mount is returned.
    `slug` is the contest's name in its address.

    Raises:
        KaggleError: no credentials, a refusal, a broken connection, or a damaged archive.
    """
    if not re.fullmatch(r"[\w-]+", slug):
        raise KaggleError(
            f"{slug!r} is not a contest's name: give the last part of its address, "
            "https://www.kaggle.com/competitions/NAME."
        )
    root = paths.raw_root()
    folder, work = root / slug, root / f".{slug}.download"
    if folder.exists():
        print(f"{folder} exists; delete it to download again", file=sys.stderr)
        return folder
    with doing(f"downloading {slug}", slug):
        import kagglehub
        from kagglesdk.kaggle_env import is_in_kaggle_notebook

        if is_in_kaggle_notebook():
            return Path(kagglehub.competition_download(slug))
    account = connect().config_values
    if account.get("token"):  # kagglehub does not look everywhere that the client does
        kagglehub.config.set_kaggle_api_token(account["token"])
    else:
        kagglehub.config.set_kaggle_credentials(account["username"], account["key"])
    archive, unpacked = work / f"competitions/{slug}.archive", work / "competitions" / slug
    cache = {name: value for name, value in os.environ.items() if name == CACHE}
    os.environ[CACHE] = str(work)
    try:
        with doing(f"downloading {slug}", slug):
            _fetch(slug, archive)
        os.replace(unpacked, folder)
    except KaggleError as error:
        shutil.rmtree(unpacked, ignore_errors=True)  # the disk may be full
        text = str(error)
        if archive.is_file() and archive.stat().st_size:
            kept = f"{archive.stat().st_size / 1e6:.1f} MB have arrived and are kept in {work}"
            text += f"\n{kept}; the same command continues there."
        raise KaggleError(text, error.status) from None
    finally:
        kagglehub.config.clear_kaggle_credentials()
        del os.environ[CACHE]
        os.environ.update(cache)
    shutil.rmtree(work)
    return folder


def _fetch(slug: str, archive: Path) -> None:
    """Download and unpack into kagglehub's cache."""
    from kagglehub import competition_download

    try:
        competition_download(slug)
    except OSError:  # a refusal by Kaggle or by the disk, or a lost connection; the archive is good
        raise
    except Exception as error:  # it is cut short, damaged, or not an archive
        archive.unlink(missing_ok=True)
        reason = " ".join(str(error).split())
        raise KaggleError(
            f"What was downloaded for {slug} is not a whole archive ({reason}). It was "
            f"removed: run the same command again. If that fails too, perhaps {WEB_PAGE}."
        ) from None
