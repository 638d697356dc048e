"""One connection to Kaggle: imported late, silent, with time-outs, and retries where safe."""

from __future__ import annotations

import contextlib
import io
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

from helpers.commands.kaggle.errors import (
    NEW_TOKEN,
    NO_CREDENTIALS,
    KaggleError,
    explain,
    is_transient,
    known_secrets,
)

if TYPE_CHECKING:
    from requests import PreparedRequest, Response


COMPETITION = "semi-conductor-image-classification-first"
TIMEOUT_S = 60  # of silence, then a connection counts as lost; the SDK would wait for ever


T = TypeVar("T")


@dataclass(frozen=True)
class Retry:
    """How often a safe request is repeated after a 5xx or a lost connection, and the waits between.

    Attributes:
        attempts: tries in all.
        first_delay_s: wait after the first failure; it doubles each time, up to a minute.
        sleep: called with the seconds to wait.
    """

    attempts: int = 5
    first_delay_s: float = 1.0
    sleep: Callable[[float], None] = field(default=time.sleep, compare=False)

    def pause(self, failures: int) -> None:
        """Wait after the n-th failure in a row (n counted from 1)."""
        self.sleep(min(60.0, self.first_delay_s * 2 ** (failures - 1)))


class Client:
    """An authenticated `KaggleApi` whose failures are KaggleErrors; made by `connect`."""

    def __init__(self, api: Any, retry: Retry) -> None:
        self.api = api
        self.retry = retry
        # The client's own policy repeats everything, also what must not arrive twice, for minutes.
        api.with_retry = lambda send, **_: send
        build = api.build_kaggle_client
        api.build_kaggle_client = lambda: _with_timeouts(build())

    @property
    def username(self) -> str:
        """The account that the credentials belong to."""
        return self.api.config_values.get("username", "")

    def call(self, doing: str, slug: str, send: Callable[[Any], T], safe: bool = True) -> T:
        """Send one request and return its answer.

        Args:
            doing: what it is for, as "listing files"; opens the error's sentence.
            slug: what it is about; errors name it.
            send: called with the SDK's client, and again on a retry.
            safe: the request may arrive twice without harm, so it may be retried.

        Raises:
            KaggleError: whatever the client raised, in words.
        """
        failures = 0
        while True:
            try:
                return self.attempt(send)
            except KaggleError:
                raise
            except Exception as error:
                failures += 1
                if not safe or not is_transient(error) or failures >= self.retry.attempts:
                    raise self.explain(error, doing, slug) from None
            self.retry.pause(failures)

    def attempt(self, send: Callable[[Any], T]) -> T:
        """Send one request once, with the client's chatter caught; its exceptions pass through."""
        with quiet(), self.api.build_kaggle_client() as sdk:
            return send(sdk)

    def explain(self, error: BaseException, doing: str, slug: str) -> KaggleError:
        """Turn an exception of the client into a KaggleError without credentials."""
        return explain(error, doing, slug, known_secrets(self.api.config_values))


def connect(retry: Retry | None = None) -> Client:
    """Import the client, authenticate, and return the connection.

    Raises:
        KaggleError: the kaggle package or the credentials are missing, or not valid.
    """
    try:
        with quiet():
            from kaggle.api.kaggle_api_extended import KaggleApi
            from kagglesdk.kaggle_env import get_access_token_from_env

            api = KaggleApi()
    except ImportError as error:
        raise KaggleError(
            f"The Kaggle client cannot be imported ({error}): pip install 'kaggle>=2.2' six"
        ) from None
    except OSError as error:  # it makes its settings folder on import
        raise KaggleError(
            f"The Kaggle client cannot make its settings folder ({error}): set KAGGLE_CONFIG_DIR "
            "to a folder that you can write to."
        ) from None
    try:
        with quiet():
            api.authenticate()
    except SystemExit:
        if get_access_token_from_env()[0]:
            raise KaggleError(
                f"Kaggle does not accept the API token: wrong or expired. {NEW_TOKEN}", 401
            ) from None
        raise KaggleError(NO_CREDENTIALS) from None
    except Exception as error:
        secrets = known_secrets(getattr(api, "config_values", {}))
        raise explain(error, "checking the credentials", COMPETITION, secrets) from None
    return Client(api, retry or Retry())


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Drop what the client prints: warnings, help texts, and with VERBOSE=1 the credentials."""
    with contextlib.redirect_stdout(io.StringIO()):
        yield


def _with_timeouts(sdk: Any) -> Any:
    from requests.adapters import HTTPAdapter

    class TimeoutAdapter(HTTPAdapter):
        """Sends requests that would wait for ever with a time limit."""

        def send(
            self,
            request: PreparedRequest,
            stream: bool = False,
            timeout: Any = None,
            verify: bool | str = True,
            cert: Any = None,
            proxies: Any = None,
        ) -> Response:
            """As the adapter does, with TIMEOUT_S where the caller sets no limit."""
            return super().send(request, stream, timeout or TIMEOUT_S, verify, cert, proxies)

    http = sdk.http_client()
    http.__enter__()  # opens the session, which the SDK keeps until it is closed
    session = getattr(http, "_session", None)
    if session is not None:
        session.mount("https://", TimeoutAdapter())
        session.mount("http://", TimeoutAdapter())
    return sdk
