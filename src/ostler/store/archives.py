"""An archive in any form that `ostree commit --tree=tar=…` takes: tar or cpio, compressed or not, told by its start."""

import sys
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO, cast

from ostler.formats import cpio, tar
from ostler.formats.gvariant import FormatError
from ostler.store.errors import StoreError
from ostler.store.ingest_tar import Members, Parents, ingest_members
from ostler.store.modifier import Filter
from ostler.store.transaction import Transaction
from ostler.store.tree import Directory

_LONGEST_MAGIC = 6


def ingest_archive(
    transaction: Transaction,
    source: BinaryIO,
    *,
    filter: Filter | None = None,
    autocreate_parents: bool = False,
    pathname: Callable[[str], str] | None = None,
    onto: Directory | None = None,
    threads: int | None = None,
) -> Directory:
    """Store the files of an archive and return its tree, or lay them over the tree `onto`.

    gzip, xz, bzip2 and zstd are undone. Directories that the archive lacks are an error, or (`autocreate_parents`)
    made with the owner of the member that needs them. The rest is as `ingest_members` has it. Raises `FormatError` for
    what is no archive, or a damaged one.
    """
    parents = Parents.OWNED_LIKE_MEMBER if autocreate_parents else Parents.REQUIRED
    with open_archive(source) as members:
        return ingest_members(
            transaction, members, filter=filter, threads=threads, parents=parents, pathname=pathname, onto=onto
        )


@contextmanager
def open_archive(source: BinaryIO) -> Iterator[Members]:
    """The members of an archive of any known form, while the block lasts; see `ingest_archive`."""
    try:
        plain = _decompressed(_Ahead(source))
        yield cpio.read_members(plain) if plain.start in cpio.MAGICS else tar.read_members(cast(BinaryIO, plain))
    except Exception as error:
        if isinstance(error, _library_errors()) or (isinstance(error, OSError) and error.errno is None):
            raise FormatError(f"the compressed archive is damaged: {error}") from error
        raise


class _Ahead:
    """A stream whose first bytes are known before they are read."""

    def __init__(self, source: Any) -> None:
        self._source = source
        self.start = b""
        while len(self.start) < _LONGEST_MAGIC and (data := source.read(_LONGEST_MAGIC - len(self.start))):
            self.start += data
        self._waiting = self.start

    def read(self, size: int = -1) -> bytes:
        if not self._waiting:
            data: bytes = self._source.read(size)
            return data
        taken, self._waiting = self._waiting[:size], self._waiting[size:]
        return taken


def _decompressed(source: _Ahead) -> Any:
    start = source.start
    if start.startswith(b"\x1f\x8b"):
        import gzip

        return _Ahead(gzip.GzipFile(fileobj=cast(BinaryIO, source)))
    if start == b"\xfd7zXZ\0":
        import lzma

        return _Ahead(lzma.LZMAFile(cast(BinaryIO, source)))
    if start.startswith(b"BZh"):
        import bz2

        return _Ahead(bz2.BZ2File(cast(BinaryIO, source)))
    if start.startswith(b"\x28\xb5\x2f\xfd"):
        return _Ahead(_zstandard().ZstdDecompressor().stream_reader(source, read_across_frames=True))
    return source


def _zstandard() -> Any:
    try:
        import zstandard
    except ImportError as error:
        raise StoreError(
            "the archive is compressed with zstd, which needs the Python package zstandard",
            hint="install it (Debian: python3-zstandard), or compress the archive otherwise",
        ) from error
    return zstandard


def _library_errors() -> tuple[type[Exception], ...]:
    """What the compression libraries that are in use raise for damaged input (some raise a bare `OSError`)."""
    modules = (("lzma", "LZMAError"), ("zstandard", "ZstdError"))
    found = [getattr(sys.modules[module], name) for module, name in modules if module in sys.modules]
    return (EOFError, zlib.error, *found)
