"""What went wrong at Kaggle, in words, with the next step; never with a credential in it."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import re
from collections.abc import Iterable
from datetime import datetime, timedelta
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from requests import Response


NO_CREDENTIALS = """No Kaggle credentials found. Any one of these is enough:
  - an API token from https://www.kaggle.com/settings/api ("Generate New Token"), given as
      export KAGGLE_API_TOKEN=...        (the token, or the path of a file that holds it)
    or saved in ~/.kaggle/access_token
  - a legacy key from the same page, given as
      export KAGGLE_USERNAME=... KAGGLE_KEY=...
    or as kaggle.json ({"username": ..., "key": ...}) in $KAGGLE_CONFIG_DIR, ~/.kaggle or
    ~/.config/kaggle
  - a login in the browser: kaggle auth login   (kept in ~/.kaggle/credentials.json)
Then run the command again."""

NEW_TOKEN = "Make a new token at https://www.kaggle.com/settings/api and replace the old one."


class KaggleError(RuntimeError):
    """A request to Kaggle that failed; the text says why and what to do.

    Attributes:
        status: the HTTP status, or None when no answer came.
        retry_after_s: seconds after which Kaggle asks to come back, when it said so.
    """

    def __init__(
        self, text: str, status: int | None = None, retry_after_s: float | None = None
    ) -> None:
        super().__init__(text)
        self.status = status
        self.retry_after_s = retry_after_s


def rules_url(slug: str) -> str:
    """Return the page where a participant accepts the contest's rules."""
    return f"https://www.kaggle.com/competitions/{slug}/rules"


def is_transient(error: BaseException) -> bool:
    """Tell whether the same request may well succeed in a moment: a lost connection, or a 5xx."""
    import requests
    import urllib3

    if isinstance(error, requests.HTTPError):
        return error.response is not None and error.response.status_code >= 500
    lost = (
        requests.ConnectionError,
        requests.Timeout,
        requests.exceptions.ChunkedEncodingError,
        urllib3.exceptions.HTTPError,
    )
    hopeless = (requests.exceptions.SSLError, requests.exceptions.InvalidURL)
    return isinstance(error, lost) and not isinstance(error, hopeless)


def explain(error: BaseException, doing: str, slug: str, secrets: Iterable[str]) -> KaggleError:
    """Turn an exception of the client into a KaggleError.

    Args:
        error: what the client raised.
        doing: what was being done, as "listing files", to open the sentence with.
        slug: the contest, or owner/name of a notebook or data set.
        secrets: texts that must not appear in the message.
    """
    import requests

    status, wait_s = None, None
    response = getattr(error, "response", None)
    if isinstance(error, requests.HTTPError) and response is not None:
        status, wait_s = response.status_code, _retry_after_s(response)
        why = _explain_status(status, wait_s, slug)
        said = _server_message(response)
        if getattr(response.request, "method", "") == "PUT":
            why = (
                "The store behind Kaggle refused the file, and nothing was submitted. Run the same "
                "command again: it asks for a new address to send the file to."
            )
        why = f"HTTP {status}" + (f", Kaggle says {said!r}" if said else "") + f".\n{why}"
    elif isinstance(error, requests.exceptions.JSONDecodeError | json.JSONDecodeError):
        why = (
            "a web page came back instead of data.\nA proxy, a login portal or a filter sits in "
            "between: open https://www.kaggle.com in a browser, and check HTTPS_PROXY."
        )
    elif isinstance(error, requests.exceptions.SSLError):
        why = (
            f"the secure connection was refused ({error}).\nCheck the clock and REQUESTS_CA_BUNDLE."
        )
    elif is_transient(error):
        why = (
            f"no connection, or it broke ({_short(error)}).\nCheck the network and HTTPS_PROXY, "
            "then run the same command again. (A Kaggle notebook with the internet off reads the "
            "attached files under /kaggle/input instead.)"
        )
    else:
        why = f"{type(error).__name__}: {error}"
    return KaggleError(redact(f"While {doing}: {why}", secrets), status, wait_s)


def redact(text: str, secrets: Iterable[str]) -> str:
    """Replace each secret, and the query of each signed address, by asterisks."""
    for secret in sorted(set(secrets), key=len, reverse=True):
        text = text.replace(secret, "***")
    return re.sub(r"(https?://[^\s?'\"]+|/[^\s?'\"]*)\?[^\s'\")]+", r"\1?***", text)


def known_secrets(config: dict[str, str]) -> list[str]:
    """List the credentials in the client's settings and in the environment, in each spelling.

    Args:
        config: the client's `config_values`.
    """
    found = [config.get("key"), config.get("token"), os.environ.get("KAGGLE_KEY")]
    token = os.environ.get("KAGGLE_API_TOKEN")
    for path in (token, "~/.kaggle/access_token"):
        if path:
            file = Path(path).expanduser()
            with contextlib.suppress(OSError, ValueError):
                found.append(file.read_text().strip() if file.is_file() else None)
    if token and not Path(token).exists():
        found.append(token)
    user = config.get("username") or os.environ.get("KAGGLE_USERNAME", "")
    secrets = [secret for secret in found if secret]
    basic = [base64.b64encode(f"{user}:{secret}".encode()).decode() for secret in secrets]
    return secrets + basic


def _explain_status(status: int, wait_s: float | None, slug: str) -> str:
    if status == 401:
        return f"The credentials are not valid (any more). {NEW_TOKEN}"
    if status in (403, 404) and "/" in slug:
        return (
            f"This account finds or may change no {slug!r}. Check owner and name against "
            "https://www.kaggle.com/work, and that the account is verified by phone, which GPUs "
            "need: https://www.kaggle.com/settings."
        )
    if status == 403:
        return (
            f"Most often the rules are not accepted yet: open {rules_url(slug)}, press "
            '"Join Competition" or "I Understand and Accept", and run the command again. '
            "Otherwise the credentials belong to an account that may not do this."
        )
    if status == 404:
        return (
            f"Kaggle knows no {slug!r}. Copy the name from the page's address, "
            "https://www.kaggle.com/competitions/NAME, and give it with --competition."
        )
    if status == 429:
        if wait_s is None:
            return "Too many requests, and Kaggle names no time: come back in an hour."
        at = datetime.now() + timedelta(seconds=wait_s)
        return f"Too many requests: come back in {wait_s:.0f} s, at {at:%H:%M:%S}."
    if status >= 500:
        return "The trouble is on Kaggle's side: run the same command again in some minutes."
    return "Kaggle does not accept the request as it is; its message above says why."


def _retry_after_s(response: Response) -> float | None:
    value = response.headers.get("Retry-After")
    if value is None:
        return None
    try:
        return max(0.0, float(value))
    except ValueError:
        pass
    try:  # the header's other form: a date (RFC 9110, 10.2.3)
        at = parsedate_to_datetime(value)
        return max(0.0, (at - datetime.now(at.tzinfo)).total_seconds())
    except ValueError:
        return None


def _server_message(response: Response) -> str:
    """Read the server's words from either shape: {"message"} or {"error": {"code", "message"}}."""
    try:
        body = response.json()
    except Exception:  # no JSON, or the connection broke: then only short plain text is worth it
        text = "" if "html" in response.headers.get("Content-Type", "") else _text(response)
        return re.sub(r"<[^>]*>|\s+", " ", text).strip()[:200]
    if isinstance(body, dict) and isinstance(body.get("error"), dict):
        body = body["error"]
    if not isinstance(body, dict):
        return ""
    said = body.get("message") or body.get("error") or ""
    return str(said).strip()[:500]


def _text(response: Response) -> str:
    try:
        return response.text
    except Exception:
        return ""


def _short(error: BaseException) -> str:
    """Return the innermost reason of a nested network error, which tells more than its shell."""
    seen = str(error)
    reason = re.findall(r"\[Errno[^\]]*\][^'\")]*|timed out|IncompleteRead\([^)]*\)", seen)
    return reason[-1].strip() if reason else type(error).__name__
