"""Requests sent ahead on several connections from one thread."""

import select
from collections.abc import Callable
from typing import Generic, TypeVar

from ostler.io.http import MAX_BACKOFF_SECONDS, NO_HEADERS, Body, HttpFetcher, Sent
from ostler.io.http_body import BROKEN
from ostler.io.http_connection import Answer
from ostler.io.http_errors import NetworkError, PassingError
from ostler.io.http_url import redact

SMALL = 1024 * 1024
PATIENCE_SECONDS = 1.0

K = TypeVar("K")
T = TypeVar("T")


class Lanes(Generic[K]):
    """Up to `count` requests under way on as many connections, from one thread.

    `send` asks, `take` handles the first answer that comes; the time until it comes passes for all of them together.
    Whatever is no plain success (a redirect, a broken connection) is done over by the fetcher's usual means.
    """

    def __init__(self, fetcher: HttpFetcher, count: int) -> None:
        self._fetcher = fetcher
        self._count = count
        self._poll = select.poll()
        self._under_way: dict[int, tuple[K, str, int, Sent]] = {}
        self._ready: list[int] = []

    @property
    def free(self) -> bool:
        """Whether another request can be sent now."""
        return len(self._under_way) < self._count

    @property
    def pending(self) -> int:
        """Requests sent whose answers were not taken."""
        return len(self._under_way)

    def send(self, key: K, url: str, *, limit: int) -> None:
        """Ask for `url`, whose body may have `limit` bytes. Raises `NetworkError`."""
        shown = redact(url) if "@" in url else url
        try:
            sent = self._fetcher.send_request(url, url, NO_HEADERS, shown)
        except PassingError:
            sent = self._send_patiently(url, shown)
        number = sent.connection.sock.fileno()
        self._under_way[number] = (key, url, limit, sent)
        self._poll.register(number, 1)

    def _send_patiently(self, url: str, shown: str) -> Sent:
        fetcher = self._fetcher
        wait = fetcher.options.backoff_seconds
        for attempt in range(2, fetcher.options.attempts + 2):
            try:
                return fetcher.send_request(url, url, NO_HEADERS, shown)
            except PassingError as failure:
                if attempt > fetcher.options.attempts or fetcher.closed:
                    raise failure.error from failure.__cause__
                fetcher.pause(wait)
                wait = min(wait * 2, MAX_BACKOFF_SECONDS)
        raise AssertionError("one attempt at least was made")

    def take(self, consume: Callable[[K, Body], T]) -> tuple[K, T | NetworkError]:
        """Wait for an answer; return what `consume` makes of it, or the error that `Fetcher.get` would raise."""
        if not self._ready:
            self._ready = [number for number, _ in self._poll.poll(self._fetcher.options.timeout_seconds * 1000)]
        late = not self._ready
        number = next(iter(self._under_way)) if late else self._ready.pop()
        self._poll.unregister(number)
        key, url, limit, sent = self._under_way.pop(number)
        if late:
            _set_timeout(sent, 0.001)  # it had its time
        data = _small_body(sent, limit)
        if late:
            _set_timeout(sent, self._fetcher.options.timeout_seconds)
        try:
            if data is None:
                return key, self._fetcher.get_sent(url, lambda body: consume(key, body), limit, NO_HEADERS, sent)
            self._fetcher.give_back(sent, keep=not data.will_close)
            return key, consume(key, data)
        except NetworkError as error:
            return key, error

    def drop(self) -> None:
        """Give up all requests under way."""
        for _, _, _, sent in self._under_way.values():
            self._fetcher.give_back(sent, keep=False)
        self._under_way.clear()
        self._ready.clear()


class _WholeBody:
    """A `Body` that is here already."""

    def __init__(self, answer: Answer, data: bytes) -> None:
        self._headers = answer.headers
        self._data = data
        self.received = 0
        self.will_close = answer.will_close

    def header(self, name: str, /) -> str | None:
        """See `Body`."""
        return self._headers.get(name.lower())

    def read(self, size: int = -1, /) -> bytes:
        """See `Body`."""
        if size < 0 or len(self._data) <= size:
            data, self._data = self._data, b""
        else:
            data, self._data = self._data[:size], self._data[size:]
        self.received += len(data)
        return data


def _set_timeout(sent: Sent, seconds: float) -> None:
    try:
        sent.connection.set_timeout(seconds)
    except OSError:  # closed from another thread, which reading finds out too
        return


def _small_body(sent: Sent, limit: int) -> _WholeBody | None:
    """The body of a plain, small success that is here at once; else None, and `sent` notes what was found out."""
    try:
        answer = sent.outcome = sent.connection.receive()
        if answer.status == 200 and answer.left is not None and answer.left <= min(limit, SMALL):
            data = answer.read_all(PATIENCE_SECONDS)
            return None if data is None else _WholeBody(answer, data)
    except BROKEN as error:
        sent.outcome = error
    return None
