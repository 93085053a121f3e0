"""What those who need documents from elsewhere ask for, and the few ways in which they do."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol, TypeVar

from ostler.io.http_errors import NO_HEADERS, HttpStatusError

T = TypeVar("T")


class Body(Protocol):
    """The body of a successful answer, to be read once from front to end."""

    @property
    def received(self) -> int:
        """Bytes of the body read so far, as they came over the wire."""

    def header(self, name: str, /) -> str | None:
        """The value of a header of the answer."""

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
class Conditional:
    """A document, and what to ask with next time; `data` None: it is the one that the asker has."""

    data: bytes | None
    etag: str | None
    modified: str | None


def fetch_conditional(
    fetcher: Fetcher, url: str, *, limit: int, etag: str | None, modified: str | None
) -> Conditional | None:
    """The whole body of `url` unless it is still the one of that `etag` or time; None if nothing is there."""
    headers = {}
    if etag is not None:
        headers["If-None-Match"] = etag
    if modified is not None:
        headers["If-Modified-Since"] = modified

    def consume(body: Body) -> Conditional:
        return Conditional(body.read(), body.header("ETag"), body.header("Last-Modified"))

    try:
        return fetcher.get(url, consume, limit=limit, headers=headers)
    except HttpStatusError as error:
        if error.status == 304 and headers:
            return Conditional(None, etag, modified)
        if error.absent:
            return None
        raise
