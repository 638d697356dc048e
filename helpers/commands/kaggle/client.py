"""The official client: imported late, because importing it authenticates, and shown without keys.

api = connect()
with asking("looking up the limits"):
    api.competition_get_submission_limits(COMPETITION)
"""

from __future__ import annotations

import base64
import contextlib
import io
import re
import sys
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
    """A request to Kaggle that failed; the text says why and what to do.

    Attributes:
        status: the HTTP status of Kaggle's answer; None if none came.
    """

    def __init__(self, text: str, status: int | None = None) -> None:
        super().__init__(text)
        self.status = status


def connect() -> Any:
    """Import the official client, authenticate, and return its `KaggleApi`.

    Raises:
        KaggleError: the kaggle package or valid credentials are missing.
    """
    try:
        with asking("connecting to Kaggle"), contextlib.redirect_stdout(io.StringIO()):
            import kaggle

            kaggle.api.authenticate()  # without credentials it prints a help, and exits
    except SystemExit:
        raise KaggleError(NO_CREDENTIALS) from None
    return kaggle.api


class _Redacted:
    """A stream that shows what the client prints without credentials and signatures."""

    def __init__(self, stream: Any) -> None:
        self.stream = stream

    def write(self, text: str) -> int:
        return self.stream.write(_redact(text))

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)


@contextlib.contextmanager
def asking(what: str) -> Iterator[None]:
    """Run a block of requests; turn its exceptions into KaggleErrors, and hide credentials.

    Args:
        what: what the block is for; the error starts with it.

    Raises:
        KaggleError: the block raised an exception, which is its `__context__`.
    """
    out: Any = _Redacted(sys.stdout)
    err: Any = _Redacted(sys.stderr)
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            yield
    except UserError:
        raise
    except Exception as error:
        response = getattr(error, "response", None)
        if response is None:  # the client may wrap an error
            response = getattr(error.__cause__, "response", None)
        text = _redact(f"While {what}: {_explain(error, response)}")
        raise KaggleError(text, getattr(response, "status_code", None)) from None


def _explain(error: Exception, response: Any) -> str:
    """Say in words why a request failed and what to do."""
    if isinstance(error, ImportError | AttributeError):  # missing or too old
        return f"{error}: pip install --upgrade 'kaggle>=2.2.5' six"
    import requests
    from kaggle.api.kaggle_api_extended import format_http_error

    if isinstance(error, requests.exceptions.JSONDecodeError):
        return "a web page came back instead of data: a proxy or a login portal is in between"
    if isinstance(error, requests.exceptions.InvalidURL):  # its text may hold a password
        return "HTTPS_PROXY is not a valid address: percent-encode its password (%23 for #)"
    if response is None:
        return str(error) if type(error) is ValueError else f"{type(error).__name__}: {error}"
    if response.status_code == 401:
        return NO_CREDENTIALS
    said = ""
    with contextlib.suppress(Exception):  # the client leaves out this shape of a message
        said = f"Kaggle says {response.json()['error']['message'][:500]!r}. "
    is_http = isinstance(error, requests.HTTPError)
    return said + (format_http_error(error) if is_http else str(error))


def _redact(text: str) -> str:
    """Replace each credential, and the query of each signed address, by asterisks."""
    if api := getattr(sys.modules.get("kaggle"), "api", None):
        from kagglesdk.kaggle_env import get_access_token_from_env

        user = api.config_values.get("username", "")
        keys = (*map(api.config_values.get, ("key", "token")), get_access_token_from_env()[0])
        for key in filter(None, keys):
            basic = base64.b64encode(f"{user}:{key}".encode()).decode()
            text = text.replace(key, "***").replace(basic, "***")
    return re.sub(r"\?[\w-]+=[^\s'\")]+", "?***", text)
