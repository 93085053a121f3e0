"""Publishing into an S3-compatible bucket, from which machines fetch over HTTP.

Each object is written whole or not at all by the server, so nothing has to be staged; what a broken attempt has written
is there for the next one. Caches between the bucket and machines are told what never changes and what may.
"""

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import TypeVar
from urllib.parse import unquote, urlsplit

from ostler.io.progress import Reporter
from ostler.publish.archive_form import archived
from ostler.publish.destination import PublishError
from ostler.publish.remote import RemoteRepository, SendReport
from ostler.publish.s3_client import S3Client, S3Options
from ostler.store.reach import ObjectName
from ostler.store.repo import Repo

CONNECTIONS = 16
LOOKED_FOR_ONE_BY_ONE = 500
"""With more objects to look for it is quicker to list what is there."""
_AHEAD = 4 * CONNECTIONS
_TYPE = {"Content-Type": "application/octet-stream"}
LASTING = {**_TYPE, "Cache-Control": "public, max-age=31536000, immutable"}
CHANGING = {**_TYPE, "Cache-Control": "no-cache"}

Job = TypeVar("Job")
Result = TypeVar("Result")


class S3Destination(RemoteRepository):
    """A bucket, or what is below a prefix in it, as `Destination`: `s3://BUCKET[/PREFIX]`."""

    def __init__(self, url: str, options: S3Options) -> None:
        super().__init__()
        try:
            parts = urlsplit(url)
        except ValueError as error:
            raise PublishError(f"{url} is no address: {error}", hint="write s3://BUCKET/PREFIX") from error
        if parts.scheme != "s3" or not parts.hostname:
            raise PublishError(f"{url} is no place in a bucket", hint="write s3://BUCKET/PREFIX")
        prefix = unquote(parts.path).strip("/")
        self._name = f"s3://{parts.netloc}/{prefix}".rstrip("/")
        self._prefix = f"{prefix}/" if prefix else ""
        self._client = S3Client(parts.netloc, options)
        self._pool = ThreadPoolExecutor(CONNECTIONS, thread_name_prefix="s3")

    @property
    def name(self) -> str:
        """The URL."""
        return self._name

    def close(self) -> None:
        """End the connections."""
        self._client.close()
        self._pool.shutdown(wait=False, cancel_futures=True)

    def give_up(self) -> None:
        """Break off all requests; later ones get one short attempt."""
        self._client.give_up()
        self._pool.shutdown(wait=False, cancel_futures=True)
        self._pool = ThreadPoolExecutor(CONNECTIONS, thread_name_prefix="s3")

    def _each(self, jobs: Iterable[Job], work: Callable[[Job], Result]) -> Iterator[Result]:
        """The results of `work` over several connections, in order; few jobs are begun ahead of what is taken."""
        remaining = iter(jobs)
        ahead = [self._pool.submit(work, job) for job in islice(remaining, _AHEAD)]
        try:
            while ahead:
                yield ahead.pop(0).result()
                ahead += [self._pool.submit(work, job) for job in islice(remaining, 1)]
        finally:
            for future in ahead:
                future.cancel()

    def is_empty(self) -> bool:
        """Whether nothing is there."""
        return next(self.names(""), None) is None

    def read(self, paths: Iterable[str]) -> dict[str, bytes]:
        """The content of those of these objects that exist."""
        wanted = list(paths)
        found = self._each(wanted, lambda path: self._client.get(self._prefix + path))
        return {path: data for path, data in zip(wanted, found, strict=True) if data is not None}

    def missing(self, paths: Sequence[str]) -> set[str]:
        """Those that do not exist: asked for one by one, or if there are many, by listing."""
        if len(paths) > LOOKED_FOR_ONE_BY_ONE:
            folders = sorted({path.rpartition("/")[0] for path in paths})
            absent = set(paths)
            for names in self._each(folders, lambda folder: list(self.names(folder))):
                absent.difference_update(names)
            return absent
        known = self._each(paths, lambda path: self._client.has(self._prefix + path))
        return {path for path, there in zip(paths, known, strict=True) if not there}

    def names(self, folder: str) -> Iterator[str]:
        """The paths below a folder ("": all)."""
        start = f"{self._prefix}{folder}/" if folder else self._prefix
        for key in self._client.list(start):
            yield key.removeprefix(self._prefix)

    def read_below(self, folder: str) -> dict[str, bytes]:
        """The content of all objects below a folder."""
        return self.read(self.names(folder))

    def add_files(self, files: Mapping[str, Path], report: Reporter) -> int:
        """Write files that nobody refers to yet, in this order."""
        for path, source in files.items():
            self.renew()
            self._client.put(self._prefix + path, source, CHANGING)  # a delta may be removed, and made again otherwise
        return sum(source.stat().st_size for source in files.values())

    def replace(self, files: Mapping[str, bytes]) -> None:
        """Write small files, in this order."""
        for path, data in files.items():
            self._client.put(self._prefix + path, data, CHANGING)

    def remove(self, paths: Iterable[str]) -> None:
        """Remove objects."""
        for _ in self._each(paths, lambda path: self._client.delete(self._prefix + path)):
            self.renew()

    def send(self, source: Repo, names: Sequence[ObjectName], spool: Path, report: SendReport) -> None:
        """Compress and put objects over several connections."""
        lock = threading.Lock()

        def put(name: ObjectName) -> None:
            with archived(source, name, spool) as made:
                self._client.put(self._prefix + made.path, made.data, LASTING)
                with lock:
                    report(made)

        for _ in self._each(names, put):
            pass
