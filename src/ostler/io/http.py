"""Fetching documents over HTTP(S): kept connections, bounded bodies, few retries, one kind of error.

`Fetcher` is what the rest of Ostler asks for, so that tests and other transports can stand in; `HttpFetcher` is the
one that talks to servers. It may be used from many threads at once; each request takes a connection of its own.
"""

import base64
import http.client
import random
import socket
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Protocol, TypeVar
from urllib.parse import SplitResult, quote, unquote, urljoin, urlsplit, urlunsplit

from ostler import __version__
from ostler.errors import ExitCode, OstlerError

if TYPE_CHECKING:
    import ssl

T = TypeVar("T")

CHUNK = 256 * 1024
MAX_REDIRECTS = 5
MAX_RETRY_AFTER_SECONDS = 30.0
REDIRECTS = frozenset({301, 302, 303, 307, 308})
PASSING = frozenset({408, 429, 500, 502, 503, 504})  # answers that may be different in a moment
ABSENT = frozenset({403, 404, 410})  # S3 says 403 for a missing key unless the reader may list the bucket
NO_HEADERS: Mapping[str, str] = MappingProxyType({})
_NAME_NOT_KNOWN = frozenset({socket.EAI_NONAME, getattr(socket, "EAI_NODATA", socket.EAI_NONAME)})
_BROKEN = (OSError, http.client.HTTPException)


class NetworkError(OstlerError):
    """A server could not be reached, or what it said was not what was asked for."""

    exit_code = ExitCode.NETWORK


class HttpStatusError(NetworkError):
    """The server answered with an error status; `status` and `url` say which."""

    def __init__(self, message: str, *, status: int, url: str, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.status = status
        self.url = url

    @property
    def absent(self) -> bool:
        """Whether the answer means that nothing is there (403, 404, 410)."""
        return self.status in ABSENT


class _PassingError(Exception):
    """A failure worth another attempt; `error` is what to raise if that was the last one."""

    def __init__(self, error: NetworkError, wait_seconds: float | None = None) -> None:
        super().__init__(error.message)
        self.error = error
        self.wait_seconds = wait_seconds


class Body(Protocol):
    """The body of a successful answer, to be read once from front to end."""

    @property
    def received(self) -> int:
        """Bytes of the body read so far, as they came over the wire."""

    def read(self, size: int = -1, /) -> bytes:
        """At most `size` bytes (all that remain if negative); empty only at the end. Raises `NetworkError`."""


class Fetcher(Protocol):
    """Gets documents by URL."""

    def get(self, url: str, consume: Callable[[Body], T], *, limit: int, headers: Mapping[str, str] = NO_HEADERS) -> T:
        """Return what `consume` makes of the body of `url`; `headers` are sent besides the usual ones.

        `limit` is the largest body to accept, in bytes. `consume` runs again from the start when a broken
        connection was tried again, so it must undo its doing when `read` raises. Raises `HttpStatusError` for a
        final status other than success, and `NetworkError` for everything else that goes wrong on the way.
        """


def fetch_bytes(fetcher: Fetcher, url: str, *, limit: int) -> bytes:
    """The whole body of `url`, at most `limit` bytes. Raises `NetworkError`."""
    return fetcher.get(url, lambda body: body.read(), limit=limit)


def fetch_optional(fetcher: Fetcher, url: str, *, limit: int) -> bytes | None:
    """The whole body of `url`, or None if the server says that nothing is there. Raises `NetworkError`."""
    try:
        return fetch_bytes(fetcher, url, limit=limit)
    except HttpStatusError as error:
        if error.absent:
            return None
        raise


@dataclass(frozen=True, slots=True)
class HttpOptions:
    """How to talk to servers.

    `proxy` is a proxy's URL (`http://[user:password@]host:port`). `attempts` counts tries of one request, the first
    included; between them lie `backoff_seconds`, doubled each time. `timeout_seconds` bounds silence, not transfers.
    """

    proxy: str | None = None
    ca_file: Path | None = None
    client_certificate: Path | None = None
    client_key: Path | None = None
    verify: bool = True
    timeout_seconds: float = 30.0
    attempts: int = 4
    backoff_seconds: float = 0.5


@dataclass(frozen=True, slots=True)
class _Origin:
    scheme: str
    host: str
    port: int

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        usual = {"http": 80, "https": 443}[self.scheme]
        return host if self.port == usual else f"{host}:{self.port}"


@dataclass(slots=True)
class _Pool:
    """Idle connections by origin, and every open one, so that all can be ended from another thread."""

    idle: dict[_Origin, list[http.client.HTTPConnection]] = field(default_factory=dict)
    opened: set[http.client.HTTPConnection] = field(default_factory=set)
    lock: threading.Lock = field(default_factory=threading.Lock)
    closed: threading.Event = field(default_factory=threading.Event)


class _ResponseBody:
    """A `Body` over an answer of `http.client`, which knows how long it must be and how long it may be."""

    def __init__(self, response: http.client.HTTPResponse, url: str, limit: int) -> None:
        self._response = response
        self._url = url
        self._limit = limit
        self._received = 0
        self.finished = response.length == 0
        if response.length is not None and response.length > limit:
            raise self._too_long()

    @property
    def received(self) -> int:
        """Bytes read so far."""
        return self._received

    def read(self, size: int = -1, /) -> bytes:
        """At most `size` bytes; all that remain if negative."""
        if size < 0:
            parts = []
            while part := self.read(CHUNK):
                parts.append(part)
            return b"".join(parts)
        if self.finished or size == 0:
            return b""
        try:
            data = self._response.read(size)
        except _BROKEN as error:
            raise _PassingError(_transfer_error(self._url, error)) from error
        self._received += len(data)
        if self._received > self._limit:
            raise self._too_long()
        if self._response.length == 0 or not data:
            if self._response.length:
                raise _PassingError(
                    NetworkError(f"{self._url}: the connection ended {self._response.length} bytes early")
                )
            self.finished = True
        return data

    def _too_long(self) -> NetworkError:
        return NetworkError(
            f"{self._url}: the answer is longer than the {self._limit} bytes that it may have",
            hint="the server sends something else than what was asked for; look at the address in a browser",
        )


class HttpFetcher:
    """A `Fetcher` over HTTP/1.1 with kept connections. Close it, or use it as a context manager."""

    def __init__(self, options: HttpOptions | None = None) -> None:
        self.options = options or HttpOptions()
        self._pool = _Pool()
        self._tls: ssl.SSLContext | None = None
        self._proxy = urlsplit(self.options.proxy) if self.options.proxy else None

    def __enter__(self) -> "HttpFetcher":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End all connections, also those in use by other threads, whose reads then fail at once."""
        with self._pool.lock:
            self._pool.closed.set()
            opened = list(self._pool.opened)
            self._pool.opened.clear()
            self._pool.idle.clear()
        for connection in opened:
            if connection.sock is not None:
                try:
                    connection.sock.shutdown(socket.SHUT_RDWR)
                except OSError:
                    connection.close()

    def get(self, url: str, consume: Callable[[Body], T], *, limit: int, headers: Mapping[str, str] = NO_HEADERS) -> T:
        """See `Fetcher.get`."""
        wait = self.options.backoff_seconds
        for attempt in range(1, self.options.attempts + 1):
            try:
                return self._attempt(url, consume, limit, headers)
            except _PassingError as failure:
                if attempt == self.options.attempts or self._pool.closed.is_set():
                    raise failure.error from failure.__cause__
                pause = failure.wait_seconds if failure.wait_seconds is not None else wait
                # Spread out, so that parallel requests that failed together do not come back together.
                self._pool.closed.wait(pause * random.uniform(0.75, 1.25))
                wait *= 2
        raise AssertionError("at least one attempt is made")

    def _attempt(self, url: str, consume: Callable[[Body], T], limit: int, headers: Mapping[str, str]) -> T:
        origin_asked = _parse(url)[0]
        for _ in range(MAX_REDIRECTS + 1):
            origin, parts = _parse(url)
            shown = redact(url)
            sent = {"User-Agent": f"ostler/{__version__}", "Accept-Encoding": "identity"}
            if origin == origin_asked:  # credentials and the like stay with the server they were meant for
                sent.update(headers)
            if parts.username is not None:
                sent["Authorization"] = _basic(parts)
            connection, response = self._request(origin, parts, sent, shown)
            keep = False
            try:
                if response.status not in REDIRECTS:
                    if not 200 <= response.status < 300:
                        raise _status_error(response, shown)
                    body = _ResponseBody(response, shown, limit)
                    result = consume(body)
                    keep = body.finished and not response.will_close
                    return result
                url = _redirected(url, response.headers.get("Location"), shown)
            finally:
                self._give_back(origin, connection, keep=keep)
        raise NetworkError(f"{shown}: redirected more than {MAX_REDIRECTS} times")

    def _request(
        self, origin: _Origin, parts: SplitResult, headers: Mapping[str, str], shown: str
    ) -> tuple[http.client.HTTPConnection, http.client.HTTPResponse]:
        query = quote(parts.query, safe="/?%:@!$&'()*+,;=~[]")
        target = urlunsplit(("", "", quote(parts.path, safe="/%:@!$&'()*+,;=~") or "/", query, ""))
        if self._proxy is not None and origin.scheme == "http":
            target = f"http://{origin}{target}"
            if self._proxy.username is not None:
                headers = {**headers, "Proxy-Authorization": _basic(self._proxy)}
        while True:
            connection = self._idle(origin)
            reused = connection is not None
            try:
                if connection is None:
                    connection = self._connect(origin)
                connection.request("GET", target, headers=dict(headers))
                return connection, connection.getresponse()
            except _BROKEN as error:
                if connection is not None:
                    self._give_back(origin, connection, keep=False)
                # A server may close an idle connection at any time: that is no failure, ask again on another.
                if reused and not isinstance(error, TimeoutError) and not self._pool.closed.is_set():
                    continue
                raise _connection_error(shown, origin, error) from error
            except ValueError as error:  # such as a host name with a label that is empty or too long
                if connection is not None:
                    self._give_back(origin, connection, keep=False)
                raise NetworkError(f"{shown!r} cannot be asked for: {error}", hint="check the address") from error

    def _idle(self, origin: _Origin) -> http.client.HTTPConnection | None:
        with self._pool.lock:
            idle = self._pool.idle.get(origin)
            return idle.pop() if idle else None

    def _connect(self, origin: _Origin) -> http.client.HTTPConnection:
        timeout = self.options.timeout_seconds
        host, port = origin.host, origin.port
        if self._proxy is not None:
            host, port = self._proxy.hostname or "", self._proxy.port or 8080
        connection: http.client.HTTPConnection
        if origin.scheme == "https":
            connection = http.client.HTTPSConnection(host, port, timeout=timeout, context=self._context())
            if self._proxy is not None:
                extra = {} if self._proxy.username is None else {"Proxy-Authorization": _basic(self._proxy)}
                connection.set_tunnel(origin.host, origin.port, headers=extra)
        else:
            connection = http.client.HTTPConnection(host, port, timeout=timeout)
        connection.connect()
        with self._pool.lock:
            if not self._pool.closed.is_set():
                self._pool.opened.add(connection)
                return connection
        connection.close()
        raise ConnectionAbortedError("the fetcher is closed")

    def _give_back(self, origin: _Origin, connection: http.client.HTTPConnection, *, keep: bool) -> None:
        with self._pool.lock:
            if keep and not self._pool.closed.is_set():
                self._pool.idle.setdefault(origin, []).append(connection)
                return
            self._pool.opened.discard(connection)
        connection.close()

    def _context(self) -> "ssl.SSLContext":
        if self._tls is None:
            import ssl

            options = self.options
            context = ssl.create_default_context(cafile=str(options.ca_file) if options.ca_file else None)
            if not options.verify:
                context.check_hostname = False
                context.verify_mode = ssl.CERT_NONE
            if options.client_certificate is not None:
                context.load_cert_chain(options.client_certificate, options.client_key)
            self._tls = context
        return self._tls


def redact(url: str) -> str:
    """The URL without user name and password, for messages."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


def _parse(url: str) -> tuple[_Origin, SplitResult]:
    try:
        url.encode()
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise NetworkError(f"{url!r} is not a URL: {error}") from error
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise NetworkError(f"{redact(url)!r} is not an http:// or https:// URL")
    return _Origin(parts.scheme, parts.hostname, port or {"http": 80, "https": 443}[parts.scheme]), parts


def _basic(parts: SplitResult) -> str:
    credentials = f"{unquote(parts.username or '')}:{unquote(parts.password or '')}"
    return "Basic " + base64.b64encode(credentials.encode()).decode()


def _redirected(url: str, location: str | None, shown: str) -> str:
    if not location:
        raise NetworkError(f"{shown}: the server redirects to nowhere")
    try:
        target = urljoin(url, location)
        secure = urlsplit(target).scheme == "https"
    except ValueError as error:
        raise NetworkError(f"{shown}: the server redirects to {location!r}, which is not a URL: {error}") from error
    if urlsplit(url).scheme == "https" and not secure:
        raise NetworkError(f"{shown}: the server redirects from https to {redact(target)}, which is not followed")
    return target


def _status_error(response: http.client.HTTPResponse, shown: str) -> Exception:
    status = response.status
    hints = {
        401: "the server wants a user name and password: https://USER:PASSWORD@HOST/…",
        403: "the server forbids reading this, or nothing is there",
        404: "nothing is there: check the address",
        407: "the proxy wants a user name and password: http://USER:PASSWORD@HOST:PORT",
    }
    error = HttpStatusError(
        f"{shown}: the server answered {status} {response.reason}".rstrip(),
        status=status,
        url=shown,
        hint=hints.get(status),
    )
    if status not in PASSING:
        return error
    error.hint = "the server has trouble of its own; try again later"
    try:
        wait = min(float(response.headers.get("Retry-After", "")), MAX_RETRY_AFTER_SECONDS)
    except ValueError:
        return _PassingError(error)
    return _PassingError(error, max(wait, 0.0))


def _connection_error(shown: str, origin: _Origin, error: Exception) -> Exception:
    """The failure to reach a server in plain words, as a `NetworkError` if final, else wrapped for another attempt."""
    if isinstance(error, socket.gaierror):
        failure = NetworkError(
            f"{shown}: the name {origin.host} cannot be resolved ({error.strerror})",
            hint=f"check the address and this machine's network (`getent hosts {origin.host}`)",
        )
        return failure if error.errno in _NAME_NOT_KNOWN else _PassingError(failure)
    if isinstance(error, ConnectionRefusedError):
        failure = NetworkError(
            f"{shown}: nothing answers at {origin} (connection refused)",
            hint=f"is the server running, and the address right? `curl -I {shown}` should answer",
        )
        return _PassingError(failure)
    if isinstance(error, TimeoutError):
        failure = NetworkError(
            f"{shown}: {origin} did not answer in time",
            hint="check that the server is up and that no firewall lies between",
        )
        return _PassingError(failure)
    if type(error).__name__ == "SSLCertVerificationError":
        return NetworkError(
            f"{shown}: the certificate of {origin} cannot be trusted ({getattr(error, 'verify_message', error)})",
            hint="check this machine's clock; for a certificate authority of your own, set `tls-ca-path` of the remote",
        )
    return _PassingError(_transfer_error(shown, error))


def _transfer_error(shown: str, error: Exception) -> NetworkError:
    reason = str(error) or type(error).__name__
    return NetworkError(f"{shown}: the connection broke ({reason})", hint="try again; what has arrived is kept")
