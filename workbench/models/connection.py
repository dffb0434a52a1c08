"""The HTTP connection to a server, whose answers are limited in size and time.

A read timeout of httpx begins anew with every byte, so the whole answer has a deadline: when it has passed, the socket
is closed. What httpx and httpcore log during a request is dropped, since it contains headers and words of the server.
"""

from __future__ import annotations

import logging
import math
import re
import ssl
import threading
import time
import weakref
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from http.cookiejar import CookieJar, DefaultCookiePolicy
from socket import SHUT_RDWR
from typing import Any

from workbench.errors import InputError
from workbench.models.secrets import Secret
from workbench.reading import printable

LARGEST_ERROR = 1 << 16
"""Bytes of an error's answer that are read."""
CONNECT = 10.0
"""Seconds to connect, at most."""
LOOPBACK = ("127.0.0.1", "localhost", "[::1]")
LOGGERS = ("httpx", *(f"httpcore.{part}" for part in ("connection", "http11", "http2", "proxy", "socks")))
_thread = threading.local()


def _no_request(record: logging.LogRecord) -> bool:
    return not getattr(_thread, "sending", False)


for _name in LOGGERS:
    logging.getLogger(_name).addFilter(_no_request)


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back for a request."""

    status: int = 0
    """HTTP status; 0 if there is no answer that can be used."""
    content: bytes = b""
    location: str = ""
    """Where a redirect leads, as the server wrote it."""
    pause: float | None = None
    """Seconds that `Retry-After` demands."""
    problem: str = ""
    """Why there is no answer; continues "The server at ..."."""
    lasting: bool = False
    """Whether the same request would fail in the same way."""


class Connection:
    """Sends requests to one server, from several threads."""

    def __init__(self, base: str, secret: Secret, timeout: float) -> None:
        """Open nothing yet.

        Args:
            base: URL of the API.
            secret: The key to send.
            timeout: Seconds for a whole answer.
        """
        import httpx

        self.base, self.timeout = base, timeout
        try:
            context = httpx.create_ssl_context()
        except OSError as error:  # SSL_CERT_FILE
            reason = printable(error.strerror or error)
            raise InputError(
                f"Cannot read the certificates named by SSL_CERT_FILE or SSL_CERT_DIR: {reason}."
            ) from None
        self._settings: dict[str, Any] = {
            "headers": secret.headers() | {"Accept-Encoding": "gzip"},
            "timeout": httpx.Timeout(timeout, connect=min(CONNECT, timeout)),
            "limits": httpx.Limits(max_connections=1, max_keepalive_connections=1),
            "trust_env": not base.partition("://")[2].startswith(LOOPBACK),
            "verify": context,
        }
        self._idle: list[_Line] = []
        weakref.finalize(self, _close, self._idle)

    def request(self, method: str, path: str, body: dict[str, Any] | None, largest: int) -> Answer:
        """Return the answer to one request, or what is wrong with it.

        Args:
            method: Of HTTP.
            path: Behind the base.
            body: JSON to send.
            largest: Most bytes that an answer with success may have, unpacked.
        """
        line = None
        with _silent():
            try:
                try:
                    line = self._idle.pop()
                except IndexError:
                    line = _Line(self._settings)
                return line.request(method, f"{self.base}/{path}", body, largest, self.timeout)
            except Exception as error:  # of httpx, h11, ssl or zlib; their texts may quote the server
                return _failed(error, line is not None and line.cut, self.timeout)
            finally:
                if line is not None and not line.client.is_closed:
                    self._idle.append(line)


class _Line:
    """One connection at a time, which can be cut from another thread."""

    def __init__(self, settings: dict[str, Any]) -> None:
        import httpx

        self.client = httpx.Client(**settings, cookies=CookieJar(DefaultCookiePolicy(allowed_domains=())))
        self.cut = False
        self._stream: Any = None

    def request(self, method: str, url: str, body: dict[str, Any] | None, largest: int, timeout: float) -> Answer:
        self.cut, deadline = False, time.monotonic() + timeout
        watch = threading.Timer(timeout, self._cut)
        watch.daemon = True
        watch.start()
        try:
            with self.client.stream(method, url, json=body, extensions={"trace": self._note}) as response:
                good = response.status_code < 300
                content = bytearray()
                for part in _unpacked(response, largest if good else LARGEST_ERROR):
                    content += part
                    if time.monotonic() > deadline:
                        self.cut = True
                    if self.cut:
                        raise TimeoutError
                    if len(content) > largest and good:
                        problem = f"sends more than the {largest:,} bytes that this answer can have"
                        return Answer(problem=f"{problem}; check the address", lasting=True)
                    if len(content) > LARGEST_ERROR and not good:
                        break
            if self._left_over():
                self.client.close()
                return Answer(problem="sends more than its answer, so that answers can be mistaken for one another")
            headers = response.headers
            pause, location = _seconds(headers.get("retry-after", "")), headers.get("location", "")
            return Answer(response.status_code, bytes(content), location, pause)
        finally:
            watch.cancel()

    def _left_over(self) -> bool:
        """Whether bytes came behind the answer, which httpcore would take for the answer to the next request."""
        transports: list[Any] = [self.client._transport, *self.client._mounts.values()]
        for line in (line for each in transports if each for line in each._pool.connections):
            while hasattr(line, "_connection"):
                line = line._connection
            if hasattr(line, "_h11_state") and line._h11_state.trailing_data[0].strip():
                return True
        return False

    def _note(self, event: str, info: dict[str, Any]) -> None:
        """Keep the socket, as httpcore reports it to its trace."""
        if hasattr(stream := info.get("return_value"), "get_extra_info"):
            self._stream = stream

    def _cut(self) -> None:
        self.cut = True
        with suppress(Exception):
            self._stream.get_extra_info("socket").shutdown(SHUT_RDWR)


def _close(lines: list[_Line]) -> None:
    for line in lines:
        line.client.close()


@contextmanager
def _silent() -> Iterator[None]:
    _thread.sending = True
    try:
        yield
    finally:
        _thread.sending = False


def _unpacked(response: Any, most: int) -> Iterator[bytes]:
    """Yield the body, unpacked in parts of at most `most` + 1 bytes."""
    encoding = response.headers.get("content-encoding", "identity").strip().lower()
    if encoding not in ("identity", "", "gzip", "x-gzip", "deflate"):
        raise zlib.error("another encoding than was requested")
    unpacking = None if encoding in ("identity", "") else zlib.decompressobj(47)  # zlib or gzip
    for part in response.iter_raw():
        yield unpacking.decompress(part, most + 1) if unpacking else part


def _failed(error: Exception, cut: bool, timeout: float) -> Answer:
    """Return what is wrong, from the type of an error alone."""
    import httpx

    kind, reason = type(error).__name__, _tls(error)
    if cut:
        return Answer(problem=f"does not finish its answer within {timeout:g} s (timeout= in the address sets it)")
    if isinstance(reason, ssl.SSLCertVerificationError):
        problem = f"has a certificate that this machine does not accept ({printable(reason.verify_message, 100)})"
        way_out = "name the file of its authority in SSL_CERT_FILE, or correct the host in the address"
        return Answer(problem=f"{problem}; {way_out}", lasting=True)
    if reason is not None and not isinstance(reason, ssl.SSLEOFError) and isinstance(error, httpx.ConnectError):
        return Answer(
            problem=f"does not speak TLS as https needs it ({reason.reason}); check the address", lasting=True
        )
    if isinstance(error, zlib.error):
        return Answer(problem="sends a compressed answer that cannot be unpacked; check the address", lasting=True)
    if isinstance(error, httpx.ProtocolError):
        return Answer(problem=f"breaks off, or does not answer in HTTP ({kind})")
    if isinstance(error, httpx.TransportError):
        return Answer(problem=f"does not answer ({kind})")
    return Answer(problem=f"cannot be sent a request ({kind}); check the address", lasting=True)


def _tls(error: BaseException | None) -> ssl.SSLError | None:
    """The error of TLS behind an error."""
    while error is not None and not isinstance(error, ssl.SSLError):
        error = error.__cause__ or error.__context__
    return error


def _seconds(text: str) -> float | None:
    """Return the pause that `Retry-After` demands as seconds or as a date, in seconds; None without a valid one."""
    if re.fullmatch(r"[0-9]{1,12}(\.[0-9]{1,12})?", text):
        return float(text)
    seconds = math.nan
    with suppress(Exception):  # dates that are none raise whatever their parts do
        seconds = parsedate_to_datetime(text).timestamp() - time.time()
    return max(0.0, seconds) if math.isfinite(seconds) else None
