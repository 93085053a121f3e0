"""Servers with the same content: whatever one of them lacks or fails at, the next is asked for."""

from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar
from urllib.parse import urlsplit

from ostler.io.http import NO_HEADERS, Body, Fetcher, HttpStatusError, NetworkError, fetch_bytes, redact
from ostler.store.place import MIRRORLIST

T = TypeVar("T")

MAX_MIRRORLIST = 1024 * 1024
MAX_MIRRORS = 256
MAX_CONFIG = 1024 * 1024


class Mirrors:
    """The servers at `urls`, the folders of repositories, in order of preference."""

    def __init__(self, fetcher: Fetcher, urls: Sequence[str]) -> None:
        self.urls = [url.rstrip("/") for url in urls]
        self._fetcher = fetcher

    @property
    def name(self) -> str:
        """The first URL, without password."""
        return redact(self.urls[0])

    def with_fetcher(self, fetcher: Fetcher) -> "Mirrors":
        """The same servers, talked to by another fetcher."""
        return Mirrors(fetcher, self.urls)

    def get(
        self,
        path: str,
        consume: Callable[[Body], T],
        *,
        limit: int,
        headers: Mapping[str, str] = NO_HEADERS,
        after: NetworkError | None = None,
    ) -> T:
        """As `Fetcher.get`, of a path below each URL until one has it. With `after` the first one had that error.

        Raises the last error; or, if some servers failed rather than say that nothing is there, the first such failure.
        """
        failures = [after] if after is not None else []
        for url in self.urls[len(failures) :]:
            try:
                return self._fetcher.get(f"{url}/{path}", consume, limit=limit, headers=headers)
            except NetworkError as error:
                if isinstance(error, HttpStatusError) and error.status == 304:
                    raise
                failures.append(error)
        raise next((e for e in failures if not (isinstance(e, HttpStatusError) and e.absent)), failures[-1])

    def load(self, path: str, *, limit: int) -> bytes:
        """The whole body of what is at `path`. Raises `NetworkError`."""
        return self.get(path, lambda body: body.read(), limit=limit)

    def load_optional(self, path: str, *, limit: int) -> bytes | None:
        """The same, or None if no server has it."""
        try:
            return self.load(path, limit=limit)
        except HttpStatusError as error:
            if error.absent:
                return None
            raise


class OverMirrors:
    """A `Fetcher` for paths instead of URLs, which it asks mirrors for."""

    def __init__(self, mirrors: Mirrors) -> None:
        self._mirrors = mirrors

    def get(self, url: str, consume: Callable[[Body], T], *, limit: int, headers: Mapping[str, str] = NO_HEADERS) -> T:
        """See `Fetcher.get`."""
        return self._mirrors.get(url, consume, limit=limit, headers=headers)


def find_mirrors(fetcher: Fetcher, url: str) -> Mirrors:
    """The servers that `url` stands for: itself, or those of the list behind `mirrorlist=`.

    In the list the first that is a repository leads; those before it are left out. Raises `NetworkError`.
    """
    if not url.startswith(MIRRORLIST):
        return Mirrors(fetcher, [url])
    where = url.removeprefix(MIRRORLIST)
    urls: list[str] = []
    for line in fetch_bytes(fetcher, where, limit=MAX_MIRRORLIST).decode("utf-8", "replace").splitlines():
        mirror = line.strip()
        if mirror.startswith("#") or not _is_http(mirror) or len(urls) == MAX_MIRRORS:
            continue
        if urls or _answers(fetcher, mirror):
            urls.append(mirror)
    if not urls:
        raise NetworkError(
            f"No valid mirrors were found in mirrorlist '{redact(where)}'",
            hint="it must name one repository a line, by http:// or https:// URLs, of which one at least answers",
        )
    return Mirrors(fetcher, urls)


def _is_http(url: str) -> bool:
    try:
        return urlsplit(url).scheme in ("http", "https")
    except ValueError:
        return False


def _answers(fetcher: Fetcher, mirror: str) -> bool:
    try:
        fetch_bytes(fetcher, mirror.rstrip("/") + "/config", limit=MAX_CONFIG)
    except NetworkError:
        return False
    return True
