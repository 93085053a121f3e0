"""Files that a repository of mode `bare-user-only` cannot hold, or a caller does not want: refused as they come."""

from collections.abc import Callable
from typing import BinaryIO

from ostler.formats import filez
from ostler.formats.objects import Checksum, FileMeta
from ostler.store.errors import StoreError

SAFE_BITS = 0o775


class UnsafeModeError(StoreError):
    """A file has mode bits beyond 0775 (set-id, sticky, writable for everyone), which were not to come in."""


def check_user_only(checksum: Checksum, meta: FileMeta) -> None:
    """Raise `UnsafeModeError` for a regular file with mode bits outside of 0775."""
    beyond = meta.mode & 0o7777 & ~SAFE_BITS
    if beyond and not meta.is_symlink:
        raise UnsafeModeError(
            f"Content object {checksum}: invalid mode 0{meta.mode:o} with bits 0{beyond:o}",
            hint="the commit was not made for this; its publisher can commit with canonical permissions",
        )


class CheckedFilez:
    """A `.filez` stream whose header is checked for `check_user_only` before anything of it is passed on."""

    def __init__(self, source: BinaryIO, checksum: Checksum) -> None:
        self._source = source
        self._held = b""
        meta, _ = filez.read_header(self._gather)
        check_user_only(checksum, meta)

    def _gather(self, size: int) -> bytes:
        read: Callable[[int], bytes] = self._source.read
        parts = []
        while size > 0 and (data := read(size)):
            parts.append(data)
            size -= len(data)
        gathered = b"".join(parts)
        self._held += gathered
        return gathered

    def read(self, size: int) -> bytes:
        """At most `size` bytes, from the start."""
        if self._held:
            data, self._held = self._held[:size], self._held[size:]
            return data
        return self._source.read(size)

    def close(self) -> None:
        """The stream belongs to the caller."""
