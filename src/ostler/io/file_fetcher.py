"""A `Fetcher` for `file://` URLs, for those who fetch by URL what may as well lie on this machine."""

from collections.abc import Callable, Mapping
from typing import BinaryIO, TypeVar
from urllib.parse import unquote, urlsplit

from ostler.io.http import NO_HEADERS, Body, HttpStatusError, NetworkError

T = TypeVar("T")


class _FileBody:
    """A `Body` over an open file."""

    def __init__(self, file: BinaryIO, url: str, limit: int) -> None:
        self.received = 0
        self._file = file
        self._url = url
        self._limit = limit

    def header(self, name: str, /) -> str | None:
        """Files have none."""
        return None

    def read(self, size: int = -1, /) -> bytes:
        """See `Body`."""
        data = self._file.read(size if size >= 0 else self._limit + 1)
        self.received += len(data)
        if self.received > self._limit:
            raise NetworkError(f"{self._url}: the file is longer than the {self._limit} bytes that it may have")
        return data


class FileFetcher:
    """Reads files; what is not there is a `HttpStatusError` with status 404, as a server would say it."""

    def get(self, url: str, consume: Callable[[Body], T], *, limit: int, headers: Mapping[str, str] = NO_HEADERS) -> T:
        """See `Fetcher.get`."""
        path = unquote(urlsplit(url).path)
        try:
            with open(path, "rb") as file:
                return consume(_FileBody(file, url, limit))
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError) as error:
            raise HttpStatusError(f"{url}: there is no such file", status=404, url=url) from error
        except PermissionError as error:
            raise HttpStatusError(f"{url}: reading it is not allowed", status=403, url=url) from error
