"""Fetching documents over HTTP(S): kept connections, bounded bodies, few retries, one kind of error.

`Fetcher` is what the rest of Ostler asks for, so that tests and other transports can stand in; `HttpFetcher` is the
one that talks to servers. It may be used from many threads at once; each request takes a connection of its own.
"""

import random
import re
import socket
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import quote, urlsplit, urlunsplit

from ostler import __version__
from ostler.io.fetching import (
    Body,
    Conditional,
    Fetcher,
    fetch_bytes,
    fetch_conditional,
    fetch_optional,
)
from ostler.io.http_body import BROKEN, AnswerBody
from ostler.io.http_connection import (
    Answer,
    HttpConnection,
    ProtocolError,
    open_tunnel,
    request_headers,
    request_line,
    wrap_tls,
)
from ostler.io.http_errors import (
    ABSENT,
    NO_HEADERS,
    HttpStatusError,
    NetworkError,
    PassingError,
    connection_error,
    status_error,
)
from ostler.io.http_url import Origin, basic, parse_url, redact, redirected, same_origin

if TYPE_CHECKING:
    import ssl

    from ostler.io.cookies import Cookie

__all__ = [
    "ABSENT",
    "NO_HEADERS",
    "Body",
    "Conditional",
    "Fetcher",
    "HttpFetcher",
    "HttpOptions",
    "HttpStatusError",
    "NetworkError",
    "T",
    "fetch_bytes",
    "fetch_conditional",
    "fetch_optional",
    "redact",
]

T = TypeVar("T")

MAX_REDIRECTS = 5
MAX_BACKOFF_SECONDS = 8.0
MAX_DRAINED = 64 * 1024
MAX_DRAIN_SECONDS = 1.0
MAX_RESUMES = 16
MAX_PREPARED = 1024
REDIRECTS = frozenset({301, 302, 303, 307, 308})

_CONTENT_RANGE = re.compile(r"bytes ([0-9]{1,18})-([0-9]{1,18})/([0-9]{1,18}|\*)")
_PLAIN_NAME = re.compile(r"[0-9A-Za-z][-._0-9A-Za-z]*")


@dataclass(frozen=True, slots=True)
class HttpOptions:
    """How to talk to servers.

    `proxy` is a proxy's URL (`http://[user:password@]host:port`). `attempts` counts tries of one request, the first
    included; between them lie `backoff_seconds`, doubled each time. `timeout_seconds` bounds silence, not transfers;
    those end (and are tried again) when they bring fewer than `low_speed_bytes` a second for `low_speed_seconds`.
    `headers` go with every request to the server asked (never to where it redirects); `cookies` is a file of them.
    """

    proxy: str | None = None
    ca_file: Path | None = None
    client_certificate: Path | None = None
    client_key: Path | None = None
    verify: bool = True
    timeout_seconds: float = 30.0
    attempts: int = 4
    backoff_seconds: float = 0.5
    low_speed_bytes: int = 0
    low_speed_seconds: float = 30.0
    user_agent: str = f"ostler/{__version__}"
    headers: Mapping[str, str] = field(default_factory=dict)
    cookies: Path | None = None


@dataclass(slots=True)
class _Pool:
    """Idle connections by origin, and every open one, so that all can be ended from another thread."""

    idle: dict[Origin, list[HttpConnection]] = field(default_factory=dict)
    opened: set[HttpConnection] = field(default_factory=set)
    lock: threading.Lock = field(default_factory=threading.Lock)
    closed: threading.Event = field(default_factory=threading.Event)


@dataclass(slots=True)
class Sent:
    """A request on its way: where, on which connection, and whether that had been used before.

    `outcome` is what came of it, if somebody has looked already.
    """

    origin: Origin
    connection: HttpConnection
    reused: bool
    outcome: Answer | Exception | None = None


class HttpFetcher:
    """A `Fetcher` over HTTP/1.1 with kept connections. Close it, or use it as a context manager."""

    def __init__(self, options: HttpOptions | None = None) -> None:
        self.options = options or HttpOptions()
        self._pool = _Pool()
        self._tls: ssl.SSLContext | None = None
        self._proxy = urlsplit(self.options.proxy) if self.options.proxy else None
        self._cookies: tuple[Cookie, ...] | None = None
        self._prepared: dict[str, tuple[Origin, str, bytes]] = {}

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
            try:
                connection.sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                connection.close()

    def afresh(self) -> "HttpFetcher":
        """A fetcher with the same settings and no connections, for another process."""
        return HttpFetcher(self.options)

    def get(self, url: str, consume: Callable[[Body], T], *, limit: int, headers: Mapping[str, str] = NO_HEADERS) -> T:
        """See `Fetcher.get`."""
        return self.get_sent(url, consume, limit, headers, None)

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return self._pool.closed.is_set()

    def get_sent(
        self, url: str, consume: Callable[[Body], T], limit: int, headers: Mapping[str, str], sent: Sent | None
    ) -> T:
        """As `get`, with the first request sent already."""
        wait = self.options.backoff_seconds
        for attempt in range(1, self.options.attempts + 1):
            try:
                return self._attempt(url, consume, limit, headers, sent)
            except PassingError as failure:
                if attempt == self.options.attempts or self.closed:
                    raise failure.error from failure.__cause__
                sent = None
                self.pause(failure.wait_seconds if failure.wait_seconds is not None else wait)
                wait = min(wait * 2, max(MAX_BACKOFF_SECONDS, self.options.backoff_seconds))
        raise AssertionError("at least one attempt is made")

    def pause(self, seconds: float) -> None:
        """Wait about so long, or until the fetcher is closed."""
        # Spread out, so that parallel requests that failed together do not come back together.
        self._pool.closed.wait(seconds * random.uniform(0.75, 1.25))

    def _attempt(
        self, url: str, consume: Callable[[Body], T], limit: int, headers: Mapping[str, str], sent: Sent | None
    ) -> T:
        asked = url
        for _ in range(MAX_REDIRECTS + 1):
            shown = redact(url) if "@" in url else url
            if sent is None:
                sent = self.send_request(url, asked, headers, shown)
            sent, answer = self._receive(sent, url, asked, headers, shown)
            body: AnswerBody | None = None
            keep = False
            try:
                if answer.status not in REDIRECTS:
                    if not 200 <= answer.status < 300:
                        keep = _drained(answer)
                        raise status_error(answer.status, answer.reason, answer.headers, shown)
                    if answer.status == 206 and "Range" not in headers:
                        raise NetworkError(f"{shown}: the server sends a part, which nobody asked for")
                    body = self._body(answer, sent, url, asked, headers, limit, shown)
                    result = consume(body)
                    keep = body.finished and not body.answer.will_close
                    return result
                keep = _drained(answer)
                url = redirected(url, answer.headers.get("location"), shown)
            finally:
                self.give_back(sent, keep=keep)
                sent = None
        raise NetworkError(f"{shown}: redirected more than {MAX_REDIRECTS} times")

    def _body(
        self,
        answer: Answer,
        sent: Sent,
        url: str,
        asked: str,
        headers: Mapping[str, str],
        limit: int,
        shown: str,
    ) -> AnswerBody:
        """The body of the answer; should its connection break, the rest comes on another if the server can do that."""
        validator = answer.headers.get("etag") or answer.headers.get("last-modified")
        resumable = validator is not None and not validator.startswith("W/") and "Range" not in headers
        total = answer.left
        resumes = 0

        def resume(start: int, body: AnswerBody) -> Answer | None:
            nonlocal resumes
            resumes += 1
            if not resumable or self.options.attempts == 1 or resumes > MAX_RESUMES or self.closed:
                return None
            self.give_back(sent, keep=False)
            self.pause(self.options.backoff_seconds)
            assert validator is not None
            more = {**headers, "Range": f"bytes={start}-", "If-Range": validator}
            again = self.send_request(url, asked, more, shown)
            again, rest = self._receive(again, url, asked, more, shown)
            sent.origin, sent.connection, sent.reused = again.origin, again.connection, again.reused
            return rest if _is_rest(rest, start, total) else None

        return AnswerBody(answer, shown, limit, resume, (self.options.low_speed_bytes, self.options.low_speed_seconds))

    # --- requests

    def send_request(self, url: str, asked: str, headers: Mapping[str, str], shown: str) -> Sent:
        """Ask for `url` (to which `asked` may have redirected). Raises `PassingError` and `NetworkError`."""
        origin, request = self._request(url, asked, headers, shown)
        while True:
            connection = self._idle(origin)
            reused = connection is not None
            try:
                if connection is None:
                    connection = self._connect(origin)
                connection.send_bytes(request)
                return Sent(origin, connection, reused)
            except BROKEN as error:
                if connection is not None:
                    self.give_back(Sent(origin, connection, reused), keep=False)
                if reused and not isinstance(error, TimeoutError) and not self.closed:
                    continue
                raise connection_error(shown, origin.host, str(origin), error) from error
            except ValueError as error:  # such as a host name with a label that is empty or too long
                if connection is not None:
                    self.give_back(Sent(origin, connection, reused), keep=False)
                raise NetworkError(f"{shown!r} cannot be asked for: {error}", hint="check the address") from error

    def _receive(self, sent: Sent, url: str, asked: str, headers: Mapping[str, str], shown: str) -> tuple[Sent, Answer]:
        while True:
            try:
                if isinstance(sent.outcome, Exception):
                    raise sent.outcome
                return sent, sent.outcome or sent.connection.receive()
            except BROKEN as error:
                self.give_back(sent, keep=False)
                # A server may close an idle connection at any time: that is no failure, ask again on another.
                if sent.reused and isinstance(error, ConnectionError) and not self.closed:
                    sent = self.send_request(url, asked, headers, shown)
                    continue
                raise connection_error(shown, sent.origin.host, str(sent.origin), error) from error

    def _request(self, url: str, asked: str, headers: Mapping[str, str], shown: str) -> tuple[Origin, bytes]:
        """The server to ask, and the request. What URLs of one folder have in common is worked out once."""
        base, _, name = url.rpartition("/")
        prepared = self._prepared.get(base)
        if prepared is not None and url is asked and not headers and _PLAIN_NAME.fullmatch(name):
            return prepared[0], f"GET {prepared[1]}{name} HTTP/1.1\r\n".encode() + prepared[2]
        private = same_origin(url, asked)
        origin, target, own = self._work_out(url, private=private)
        if private:  # credentials and the like stay with the server they were meant for
            own = {**own, **headers}
        try:
            line, rest = request_line("GET", target), request_headers(str(origin), own)
        except ValueError as error:
            raise NetworkError(f"{shown!r} cannot be asked for: {error}", hint="check the address") from error
        if url is asked and not headers and self.options.cookies is None and _PLAIN_NAME.fullmatch(name):
            if len(self._prepared) >= MAX_PREPARED:
                self._prepared.clear()
            self._prepared[base] = (origin, target.removesuffix(name), rest)
        return origin, line + rest

    def _work_out(self, url: str, *, private: bool) -> tuple[Origin, str, dict[str, str]]:
        origin, parts = parse_url(url)
        query = quote(parts.query, safe="/?%:@!$&'()*+,;=~[]")
        path = quote(parts.path, safe="/%:@!$&'()*+,;=~") or "/"
        target = urlunsplit(("", "", path, query, ""))
        headers = {"User-Agent": self.options.user_agent, "Accept-Encoding": "identity"}
        if private:
            headers.update(self.options.headers)
        if parts.username is not None:
            headers["Authorization"] = basic(parts)
        cookie = self._cookie(origin, path)
        if cookie is not None:
            headers["Cookie"] = cookie
        if self._proxy is not None and origin.scheme == "http":
            target = f"http://{origin}{target}"
            if self._proxy.username is not None:
                headers["Proxy-Authorization"] = basic(self._proxy)
        return origin, target, headers

    def _cookie(self, origin: Origin, path: str) -> str | None:
        if self.options.cookies is None:
            return None
        from ostler.io.cookies import MAX_COOKIES, cookie_header, parse_cookies

        if self._cookies is None:
            with open(self.options.cookies, "rb") as file:
                self._cookies = parse_cookies(file.read(MAX_COOKIES).decode(errors="replace"))
        return cookie_header(self._cookies, origin.host, path, secure=origin.scheme == "https")

    # --- connections

    def _idle(self, origin: Origin) -> HttpConnection | None:
        with self._pool.lock:
            idle = self._pool.idle.get(origin)
            return idle.pop() if idle else None

    def _connect(self, origin: Origin) -> HttpConnection:
        timeout = self.options.timeout_seconds
        host, port = origin.host, origin.port
        if self._proxy is not None:
            host, port = self._proxy.hostname or "", self._proxy.port or 8080
        sock = socket.create_connection((host, port), timeout)
        try:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if origin.scheme == "https":
                if self._proxy is not None:
                    self._tunnel(HttpConnection(sock, f"{origin.host}:{origin.port}", timeout), origin)
                    sock.settimeout(timeout)
                sock = wrap_tls(self._context(), sock, origin.host)
            connection = HttpConnection(sock, str(origin), timeout)
        except BaseException:
            sock.close()
            raise
        with self._pool.lock:
            if not self.closed:
                self._pool.opened.add(connection)
                return connection
        connection.close()
        raise ConnectionAbortedError("the fetcher is closed")

    def _tunnel(self, connection: HttpConnection, origin: Origin) -> None:
        assert self._proxy is not None
        headers = {"User-Agent": self.options.user_agent}
        if self._proxy.username is not None:
            headers["Proxy-Authorization"] = basic(self._proxy)
        host = f"[{origin.host}]" if ":" in origin.host else origin.host
        answer = open_tunnel(connection, f"{host}:{origin.port}", headers)
        if answer.status != 200:
            raise ProtocolError(f"the proxy answered {answer.status} {answer.reason}".rstrip())

    def give_back(self, sent: Sent, *, keep: bool) -> None:
        """A request is done with; its connection may be used for others if `keep`."""
        connection = sent.connection
        with self._pool.lock:
            if keep and not self.closed and connection.idle:
                self._pool.idle.setdefault(sent.origin, []).append(connection)
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


def _is_rest(answer: Answer, start: int, total: int | None) -> bool:
    """Whether the body is the end, from `start` on, of a document of `total` bytes (None: of unknown size)."""
    found = _CONTENT_RANGE.fullmatch(answer.headers.get("content-range", ""))
    if answer.status != 206 or found is None or answer.left is None:
        return False
    first, last, stated = found.groups()
    end = int(last) + 1
    whole = end if stated == "*" else int(stated)
    return int(first) == start and end == start + answer.left and whole == end and total in (None, end)


def _drained(answer: Answer) -> bool:
    """Read a short rest of an answer, so that its connection can be used again; False if that is not to be had."""
    if answer.will_close or answer.left is None or answer.left > MAX_DRAINED:
        return answer.ended and not answer.will_close
    try:
        return answer.read_all(MAX_DRAIN_SECONDS) is not None
    except BROKEN:
        return False
