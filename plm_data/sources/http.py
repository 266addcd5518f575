"""HTTP with retries: what is asked for comes whole, however often the connection breaks, or one error says why not."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from email.utils import parsedate_to_datetime
from time import sleep, time
from typing import Any, TypeVar
from urllib.parse import urlsplit

import httpx2

# Tries without a byte of progress between them, and the seconds waited after each: 1, 2, 4, 8, 16, 32.
TRIES, _FIRST_WAIT, _LONGEST_WAIT = 7, 1.0, 60.0
# A server may ask for a longer wait than ours, but not for ever.
_LONGEST_ASKED = 600.0
# Seconds to connect, and of silence within an answer.
_CONNECT, _SILENCE = 10.0, 60.0
_TRY_AGAIN = frozenset({408, 425, 429, 500, 502, 503, 504})
_UNASKABLE = (httpx2.UnsupportedProtocol, httpx2.LocalProtocolError, httpx2.TooManyRedirects, httpx2.InvalidURL)

# At INFO it would log every address, and those that storage is reached by are signed: whoever has one may read.
logging.getLogger("httpx2").setLevel(logging.WARNING)

T = TypeVar("T")


class HttpError(Exception):
    """Not to be had. ``status`` is the answer's, or None where the tries are used up; ``code`` the hub's own word."""

    def __init__(self, detail: str, status: int | None = None, code: str = ""):
        super().__init__(detail)
        self.status, self.code = status, code


class _Fault(Exception):
    """What may go better the next time."""

    def __init__(self, detail: str, wait: float | None = None):
        super().__init__(detail)
        self.wait = wait


class Http:
    """Requests to one host, and to those that it refers to. Only the host itself is shown the token."""

    def __init__(self, endpoint: str, token: str | None = None):
        self._origin = _origin(endpoint)
        self._token = token
        # Compressed on the way, a body has another length than the file.
        self._client = httpx2.Client(
            follow_redirects=True,
            headers={"accept-encoding": "identity", "user-agent": "plm"},
            timeout=httpx2.Timeout(_SILENCE, connect=_CONNECT),
        )

    def json(self, url: str) -> tuple[Any, str | None]:
        """The value at ``url``, and the address of the next page if there is one."""

        def get() -> tuple[Any, str | None]:
            with self._answer(url) as response:
                response.read()
                try:
                    return response.json(), response.links.get("next", {}).get("url")
                except ValueError as error:
                    raise _Fault("an answer that is not JSON") from error

        return self._tried(get)

    def stream(
        self, url: str, start: int, stop: int, size: int, check: Callable[[httpx2.Response], str | None]
    ) -> Iterator[bytes]:
        """The bytes from ``start`` to ``stop`` of a file of ``size``; after a fault from where it broke off.

        ``check`` says what is wrong with an answer's headers; the answers to redirects are its ``history``.
        """
        position, failed = start, 0
        while position < stop:
            before = position
            try:
                with self._answer(url, {"range": f"bytes={position}-{stop - 1}"}) as response:
                    if complaint := check(response):
                        raise HttpError(complaint, response.status_code)
                    ahead = position - _begins(response, position, size)
                    for block in response.iter_raw():
                        # A server that knows no ranges begins with the first byte.
                        useful = block[ahead:][: stop - position]
                        ahead = max(0, ahead - len(block))
                        position += len(useful)
                        if useful:
                            yield useful
                        # Read to its end, an answer leaves the connection to the next request.
                        if position == stop and response.status_code == 200:
                            return
                if position < stop:
                    raise _Fault(f"the answer ends at byte {position:,} of {size:,}")
            except (_Fault, httpx2.TransportError) as fault:
                if position == stop:
                    return
                failed = 1 if position > before else failed + 1
                _wait(fault, failed)

    def _tried(self, attempt: Callable[[], T]) -> T:
        failed = 0
        while True:
            try:
                return attempt()
            except (_Fault, httpx2.TransportError) as fault:
                failed += 1
                _wait(fault, failed)

    @contextmanager
    def _answer(self, url: str, headers: dict[str, str] | None = None) -> Iterator[httpx2.Response]:
        """An answer of which the body is still to be read; raises ``_Fault`` or ``HttpError`` for any other."""
        headers = dict(headers or {})
        if self._token and _origin(url) == self._origin:
            headers["authorization"] = f"Bearer {self._token}"
        try:
            with self._client.stream("GET", url, headers=headers) as response:
                # What the host refers to is addressed for a short while, and may be refused after it.
                refused = response.status_code not in (200, 206)
                if response.status_code in _TRY_AGAIN or (refused and _origin(str(response.url)) != self._origin):
                    raise _Fault(f"status {response.status_code}", _asked_wait(response))
                if refused:
                    code = re.sub(r"[^A-Za-z]", "", response.headers.get("x-error-code", ""))
                    raise HttpError(f"status {response.status_code}", response.status_code, code)
                yield response
        except _UNASKABLE as error:
            # Not its message: that may hold the request's headers or a signed address.
            raise HttpError(f"{type(error).__name__}: the address cannot be asked") from error


def _origin(url: str) -> tuple[str, str | None, int | None]:
    parts = urlsplit(url)
    return parts.scheme, parts.hostname, parts.port


def _begins(response: httpx2.Response, position: int, size: int) -> int:
    """The first byte of an answer's body; raises ``_Fault`` if its headers fit no answer to what was asked."""
    if response.status_code == 206:
        found = re.fullmatch(r"bytes (\d+)-\d+/(\d+)", response.headers.get("content-range", ""))
        if not found or int(found[1]) != position:
            raise _Fault(f"another range than the one asked for, from byte {position:,}")
        begin, whole = position, int(found[2])
    else:
        begin, whole = 0, int(response.headers.get("content-length", size))
    if whole != size:
        raise _Fault(f"a file of {whole:,} bytes; expected {size:,}")
    return begin


def _asked_wait(response: httpx2.Response) -> float | None:
    """Seconds that the server asks to wait; None if it says nothing that makes sense."""
    asked = response.headers.get("retry-after", "")
    if asked.isdecimal():
        return float(asked)
    try:
        return max(0.0, parsedate_to_datetime(asked).timestamp() - time())
    except ValueError:
        return None


def _wait(fault: _Fault | httpx2.TransportError, failed: int) -> None:
    """Wait before the next try; raises ``HttpError`` if there is to be none."""
    what = str(fault) if isinstance(fault, _Fault) else f"the connection broke ({type(fault).__name__})"
    if failed >= TRIES:
        raise HttpError(f"{what}, {failed} times in a row") from fault
    asked = fault.wait if isinstance(fault, _Fault) else None
    if asked is not None and asked > _LONGEST_ASKED:
        raise HttpError(f"{what}, and to come back in {asked:,.0f} seconds") from fault
    sleep(min(_FIRST_WAIT * 2 ** (failed - 1), _LONGEST_WAIT) if asked is None else asked)
