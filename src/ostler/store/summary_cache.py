"""Summaries of remotes kept from one pull to the next, so that the server need not send what did not change.

`FOLDER/REMOTE` and `FOLDER/REMOTE.sig` in `tmp/cache/summaries`, as libostree has them: the ETag is in the extended
attribute `user.etag`, the server's time of last change is the file's.
"""

import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from ostler.formats.refs import validate_remote
from ostler.io.files import atomic_write
from ostler.io.http import Conditional
from ostler.store.summary import MAX_SUMMARY

ETAG = "user.etag"
MAX_ETAG = 1024


@dataclass(frozen=True, slots=True)
class SummaryCache:
    """The cached files of one remote. What cannot be read or written is as if it were not there."""

    folder: Path
    remote: str

    def _path(self, suffix: str) -> Path:
        return self.folder / "summaries" / (validate_remote(self.remote) + suffix)

    def load(self, suffix: str = "") -> Conditional | None:
        """The cached file (`suffix` "" or ".sig") and what to ask the server with, if there is one."""
        try:
            with open(self._path(suffix), "rb") as file:
                data = file.read(MAX_SUMMARY + 1)
                modified = os.fstat(file.fileno()).st_mtime
                try:
                    etag = os.getxattr(file.fileno(), ETAG).decode("latin-1")
                except OSError:
                    etag = ""
        except OSError:
            return None
        if len(data) > MAX_SUMMARY:
            return None
        from email.utils import formatdate

        good = 0 < len(etag) <= MAX_ETAG and etag.isprintable()
        return Conditional(data, etag if good else None, formatdate(modified, usegmt=True))

    def save(self, found: Conditional, suffix: str = "") -> None:
        """Keep a file that came from the server."""
        assert found.data is not None
        path = self._path(suffix)
        with suppress(OSError):
            path.parent.mkdir(parents=True, exist_ok=True)
            atomic_write(path, found.data, durable=False)
            if found.etag is not None and len(found.etag) <= MAX_ETAG:
                with suppress(OSError):
                    os.setxattr(path, ETAG, found.etag.encode("latin-1", "replace"))
            seconds = _seconds(found.modified)
            if seconds is not None:
                os.utime(path, (seconds, seconds))

    def drop(self, suffix: str = "") -> None:
        """Forget a file."""
        with suppress(OSError):
            self._path(suffix).unlink(missing_ok=True)


def _seconds(date: str | None) -> float | None:
    if date is None:
        return None
    from email.utils import parsedate_to_datetime

    try:
        return parsedate_to_datetime(date).timestamp()
    except (TypeError, ValueError, OverflowError):
        return None
