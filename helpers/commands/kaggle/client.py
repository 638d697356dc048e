"""One connection to Kaggle: imported late, silent, with a time limit, and with errors in words.

No error text holds a credential or a signature: `_redact` removes them.
"""

from __future__ import annotations

import base64
import contextlib
import io
import json
import logging
import re
import sys
from collections.abc import Iterator
from typing import Any

from helpers.core.errors import UserError

COMPETITION = "semi-conductor-image-classification-first"
TIMEOUT_S = 60  # a silent connection then counts as lost; the client would wait for ever

NEW_TOKEN = "Make a new token at https://www.kaggle.com/settings/api and replace the old one."
NO_CREDENTIALS = """No Kaggle credentials found. Make an API token at https://www.kaggle.com/settings/api,
and save it as ~/.kaggle/access_token or give it by `export KAGGLE_API_TOKEN=...`.
`kaggle auth login` works too, and so does a legacy key in KAGGLE_USERNAME and KAGGLE_KEY or in
kaggle.json (in ~/.kaggle or the folder KAGGLE_CONFIG_DIR)."""
WEB_PAGE = (
    "a web page came back instead of data. A proxy, a login portal or a filter is in between: open "
    "https://www.kaggle.com in a browser, and check HTTPS_PROXY"
)


class Printed(io.TextIOBase):
    """What the client prints, without credentials and signatures; also shown, or not."""

    def __init__(self, shown: bool) -> None:
        self.out, self.text = sys.stdout if shown else io.StringIO(), ""

    def write(self, text: str) -> int:
        """Keep a text and show it."""
        clean = _redact(text)
        self.text += clean
        return self.out.write(clean)


class KaggleError(UserError):
    """A request to Kaggle that failed; the text says why and what to do.

    Attributes:
        status: the HTTP status, or None if no answer came.
        is_refusal: Kaggle or its client refused, so that nothing was done.
    """

    def __init__(self, text: str, status: int | None = None, is_refusal: bool = False) -> None:
        super().__init__(text)
        self.status, self.is_refusal = status, is_refusal


def connect() -> Any:
    """Import the official client, authenticate, and return its `KaggleApi`.

    Raises:
        KaggleError: the kaggle package or the credentials are missing, or not valid.
    """
    with doing("loading the Kaggle client", COMPETITION):
        import kaggle
        from kagglesdk.kaggle_env import get_access_token_from_env
    try:
        with doing("checking the credentials", COMPETITION):
            kaggle.api.authenticate()
    except SystemExit:  # the client's answer to missing credentials and to a refused token
        if get_access_token_from_env()[0]:
            text = f"Kaggle does not accept the API token: it is wrong or expired. {NEW_TOKEN}"
            raise KaggleError(text, 401) from None
        raise KaggleError(NO_CREDENTIALS) from None
    return kaggle.api


@contextlib.contextmanager
def doing(what: str, slug: str, shown: bool = False) -> Iterator[Printed]:
    """Run a block of requests, turn exceptions into KaggleErrors, and yield what was printed.

        with doing("pushing x.ipynb", "me/x"):
            api.kernels_push(folder)

    Args:
        what: what the block is for; the error starts with it.
        slug: the contest, or owner/name of a notebook or data set; errors name it.
        shown: show what the client prints; by default it is dropped.

    Raises:
        KaggleError: the block raised an exception.
    """
    printed = Printed(shown)
    try:
        with contextlib.redirect_stdout(printed), _redacted_logs(), _time_limit():
            yield printed
    except KaggleError:
        raise
    except Exception as error:
        status = getattr(_response(error), "status_code", None)
        refused = type(error) is ValueError if status is None else status < 500
        text = _redact(f"While {what}: {_explain(error, slug)}")
        raise KaggleError(text, status, refused) from None


@contextlib.contextmanager
def _redacted_logs() -> Iterator[None]:
    """Keep signed addresses out of what urllib3 logs about lost connections."""

    def redact(record: logging.LogRecord) -> bool:
        record.msg, record.args = _redact(record.getMessage()), ()
        return True

    loggers = [logging.getLogger(f"urllib3.{name}") for name in ("connectionpool", "util.retry")]
    for logger in loggers:
        logger.addFilter(redact)
    try:
        yield
    finally:
        for logger in loggers:
            logger.removeFilter(redact)


@contextlib.contextmanager
def _time_limit() -> Iterator[None]:
    """Give every request that sets no time limit one of TIMEOUT_S."""
    from requests.adapters import HTTPAdapter

    adapter: Any = HTTPAdapter
    send = adapter.send

    def limited(*args: Any, stream: bool = False, timeout: Any = None, **rest: Any) -> Any:
        return send(*args, stream=stream, timeout=timeout or TIMEOUT_S, **rest)

    adapter.send = limited
    try:
        yield
    finally:
        adapter.send = send


def _response(error: Exception) -> Any:
    """Return Kaggle's answer to a failed request, also if the client gives it in its own words."""
    found = getattr(error, "response", None)  # false if its status is an error
    return getattr(error.__cause__, "response", None) if found is None else found


def _explain(error: Exception, slug: str) -> str:
    """Say in words why a request failed and what to do."""
    if isinstance(error, ImportError | AttributeError):  # missing or too old
        return f"{error}: pip install --upgrade 'kaggle>=2.2.5' kagglehub six"
    import requests
    import urllib3

    response = _response(error)
    if response is not None:
        said = ""
        with contextlib.suppress(Exception):  # not JSON, or the connection broke
            body = response.json()
            message = body.get("error", body)["message"]  # Kaggle has both shapes
            said = f", Kaggle says {message[:500]!r}"
        return f"HTTP {response.status_code}{said}.\n{_way_out(response.status_code, slug)}"
    if isinstance(error, requests.exceptions.JSONDecodeError | json.JSONDecodeError):
        return f"{WEB_PAGE}."
    if isinstance(error, requests.RequestException | urllib3.exceptions.HTTPError):
        if isinstance(error, ValueError):  # a malformed address; its text may hold a password
            return "HTTPS_PROXY is not a valid address: percent-encode its password (%23 for #)."
        return (
            f"no connection, or it broke ({error}).\nCheck the network, the clock, HTTPS_PROXY and "
            "REQUESTS_CA_BUNDLE, then run the same command again."
        )
    if type(error) is ValueError:  # in the client's own words
        return str(error)
    return f"{type(error).__name__}: {error}"


def _way_out(status: int, slug: str) -> str:
    if status == 401:
        return f"The credentials are not valid (any more). {NEW_TOKEN}"
    if status in (403, 404) and "/" in slug:
        return (
            f"This account cannot find or change {slug!r}. Check owner and name against "
            "https://www.kaggle.com/work, and that the account is verified by phone, which GPUs "
            "need: https://www.kaggle.com/settings."
        )
    if status in (403, 404):
        return (
            f"This account cannot use the contest {slug!r}. Check the name, which is the last part "
            "of the page's address, and accept the rules at "
            f"https://www.kaggle.com/competitions/{slug}/rules. If that page offers no way to "
            "join, the contest is closed to this account."
        )
    if status == 429 or status >= 500:
        return "Kaggle has too much to do or is out of order: run the same command again later."
    return "Kaggle does not accept the request; its message above says why."


def _redact(text: str) -> str:
    """Replace each credential, and the query of each signed address, by asterisks."""
    if "kaggle" in sys.modules:
        from kagglesdk.kaggle_env import get_access_token_from_env

        config = sys.modules["kaggle"].api.config_values
        user = config.get("username", "")
        for secret in (config.get("key"), config.get("token"), get_access_token_from_env()[0]):
            if secret:
                basic = base64.b64encode(f"{user}:{secret}".encode()).decode()
                text = text.replace(secret, "***").replace(basic, "***")
    return re.sub(r"\?[^\s'\")]{4,}", "?***", text)
