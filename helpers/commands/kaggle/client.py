"""The official client, imported late: importing it authenticates.

api = connect()
with asking("looking up the limits"):
    api.competition_get_submission_limits(COMPETITION)
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator
from typing import Any

from helpers.core.errors import UserError

COMPETITION = "semi-conductor-image-classification-first"
NO_CREDENTIALS = (
    "Kaggle credentials are missing or not valid. Make an API token at "
    "https://www.kaggle.com/settings/api, and save it as ~/.kaggle/access_token or give it by "
    "`export KAGGLE_API_TOKEN=...`."
)


class KaggleError(UserError):
    """A request to Kaggle that failed; the text says why and what to do."""


def connect() -> Any:
    """Import the official client, authenticate, and return its `KaggleApi`.

    Raises:
        KaggleError: the kaggle package or valid credentials are missing.
    """
    try:
        with asking("connecting to Kaggle"), contextlib.redirect_stdout(io.StringIO()):
            import kaggle

            kaggle.api.authenticate()  # without credentials it prints a help, and exits
    except ImportError as error:
        raise KaggleError(f"{error}: pip install --upgrade 'kaggle>=2.2.5' six") from None
    except SystemExit:
        raise KaggleError(NO_CREDENTIALS) from None
    return kaggle.api


@contextlib.contextmanager
def asking(what: str) -> Iterator[None]:
    """Turn the exceptions of a block of requests into KaggleErrors, which start with `what`."""
    try:
        yield
    except (UserError, ImportError):
        raise
    except Exception as error:
        raise KaggleError(f"While {what}: {_reason(error)}") from error


def _reason(error: Exception) -> str:
    """Say in words why a request failed."""
    import requests
    from kaggle.api.kaggle_api_extended import format_http_error

    response = getattr(error, "response", None)
    if getattr(response, "status_code", None) == 401:
        return NO_CREDENTIALS
    if isinstance(error, requests.HTTPError):
        return format_http_error(error)
    return str(error) if type(error) is ValueError else f"{type(error).__name__}: {error}"
