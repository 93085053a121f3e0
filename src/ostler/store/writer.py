"""Putting one file object on disk in the form of each repository mode, at a temporary path.

Content comes whole (small files) or in chunks; either way it is read, hashed and written in one pass.
"""

# Plain strings and `os` below: this runs once for every file of a tree.
# ruff: noqa: PTH108, PTH211

import fcntl
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from hashlib import sha256
from typing import BinaryIO

from ostler.formats import filez
from ostler.formats.objects import Checksum, FileMeta
from ostler.store.content import META_XATTR, RepoMode, encode_user_meta
from ostler.store.deflate import CHUNK, WHOLE, Buffer, Deflater, deflate
from ostler.store.errors import StoreError

_CREATE = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
FICLONE = 0x40049409
_REAL_SYMLINKS = (RepoMode.BARE, RepoMode.BARE_USER_ONLY)


@dataclass(frozen=True, slots=True)
class ObjectForm:
    """How this repository writes file objects. `level` is the DEFLATE level of archives, 1 to 9."""

    mode: RepoMode
    level: int
    fsync_each: bool

    @property
    def whole_limit(self) -> int:
        """Up to this size in bytes content had better be given whole."""
        return WHOLE if self.mode is RepoMode.ARCHIVE else CHUNK

    def write_whole(self, path: str, meta: FileMeta, content: bytes, reserve: Callable[[int], None]) -> int:
        """Write the object to the new file `path`; returns the bytes it takes there, which `reserve` is told before."""
        if meta.is_symlink and self.mode in _REAL_SYMLINKS:
            _write_real_symlink(path, meta, owned=self.mode is RepoMode.BARE)
            return 0
        stored = self._stored_form(meta, content)
        reserve(len(stored))
        fd = os.open(path, _CREATE, 0o600)
        try:
            write_all(fd, stored)
            self.finish(fd, meta)
        finally:
            os.close(fd)
        return len(stored)

    def _stored_form(self, meta: FileMeta, content: bytes) -> bytes:
        if self.mode is RepoMode.ARCHIVE:
            header = filez.encode_header(meta, len(content))
            return header if meta.is_symlink else header + deflate(content, self.level)
        return meta.target.encode() + b"\0" if meta.is_symlink else content

    def write_stream(
        self, path: str, meta: FileMeta, chunks: Iterator[Buffer], reserve: Callable[[int], None]
    ) -> tuple[Checksum, int, int]:
        """Write a regular file's object to the new file `path` from chunks of its content.

        Returns (checksum, bytes of content, bytes on disk). `reserve` is told of bytes before they are written.
        """
        fd = os.open(path, _CREATE, 0o600)
        try:
            if self.mode is RepoMode.ARCHIVE:
                result = self._stream_archive(fd, meta, chunks, reserve)
            else:
                result = _stream_raw(fd, meta, chunks, reserve)
            self.finish(fd, meta)
        finally:
            os.close(fd)
        return result

    def _stream_archive(
        self, fd: int, meta: FileMeta, chunks: Iterator[Buffer], reserve: Callable[[int], None]
    ) -> tuple[Checksum, int, int]:
        digest = sha256(meta.header())
        deflater = Deflater(self.level)
        header = filez.encode_header(meta, 0)
        reserve(len(header))
        write_all(fd, header)
        size, stored = 0, len(header)
        for chunk in chunks:
            digest.update(chunk)
            size += len(chunk)
            packed = deflater.compress(chunk)
            reserve(len(packed))
            write_all(fd, packed)
            stored += len(packed)
        packed = deflater.finish()
        reserve(len(packed))
        write_all(fd, packed)
        os.pwrite(fd, size.to_bytes(8, "big"), filez.SIZE_OFFSET)
        return Checksum(digest.hexdigest()), size, stored + len(packed)

    def clone(self, path: str, meta: FileMeta, source: int) -> tuple[Checksum, int] | None:
        """Share the blocks of the open file `source`, where mode and file system allow; (checksum, size) of the copy.

        The copy is what is hashed, so a source that changes meanwhile does no harm.
        """
        if self.mode is RepoMode.ARCHIVE:
            return None
        fd = os.open(path, _CREATE, 0o600)
        try:
            try:
                fcntl.ioctl(fd, FICLONE, source)
            except OSError:
                os.unlink(path)
                return None
            digest = sha256(meta.header())
            size = 0
            with open(fd, "rb", buffering=0, closefd=False) as copy:
                for chunk in chunks_of(copy):
                    digest.update(chunk)
                    size += len(chunk)
            self.finish(fd, meta)
        finally:
            os.close(fd)
        return Checksum(digest.hexdigest()), size

    def write_prepared(self, path: str, chunks: Iterator[bytes]) -> None:
        """Write a file that already has its stored form: metadata objects, verified `filez`."""
        fd = os.open(path, _CREATE, 0o600)
        try:
            for chunk in chunks:
                write_all(fd, chunk)
            os.fchmod(fd, 0o644)
            if self.fsync_each:
                os.fsync(fd)
        finally:
            os.close(fd)

    def finish(self, fd: int, meta: FileMeta) -> None:
        """Give an open file that holds the content its object's mode, owner, attributes and time."""
        if self.mode is RepoMode.ARCHIVE:
            os.fchmod(fd, 0o644)
        elif self.mode is RepoMode.BARE_USER:
            os.setxattr(fd, META_XATTR, encode_user_meta(meta))
            os.fchmod(fd, 0o644 if meta.is_symlink else (meta.mode & 0o775) | 0o400)
            os.utime(fd, (0, 0))
        elif self.mode is RepoMode.BARE_USER_ONLY:
            check_user_only(meta)
            os.fchmod(fd, meta.mode & 0o775)
            os.utime(fd, (0, 0))
        else:
            # chown and writes clear set-id bits and capabilities, so those come after them.
            os.fchown(fd, meta.uid, meta.gid)
            for name, value in meta.xattrs:
                os.setxattr(fd, name, value)
            os.fchmod(fd, meta.mode & 0o7777)
            os.utime(fd, (0, 0))
        if self.fsync_each:
            os.fsync(fd)


def _stream_raw(
    fd: int, meta: FileMeta, chunks: Iterator[Buffer], reserve: Callable[[int], None]
) -> tuple[Checksum, int, int]:
    digest = sha256(meta.header())
    size = 0
    for chunk in chunks:
        digest.update(chunk)
        reserve(len(chunk))
        write_all(fd, chunk)
        size += len(chunk)
    return Checksum(digest.hexdigest()), size, size


def check_user_only(meta: FileMeta) -> None:
    """Raise `StoreError` for a mode that no `bare-user-only` repository holds: set-id and sticky bits, world-writable.

    Owners and extended attributes are lost there without an error, as with libostree: whoever pulls into such a
    repository says that they do not matter.
    """
    bad = meta.mode & 0o7777 & ~0o775
    if bad and not meta.is_symlink:
        raise StoreError(
            f"Content object: invalid mode 0{meta.mode & 0o177777:04o} with bits 0{bad:04o}",
            hint="a bare-user-only repository holds files of modes up to 0775 only",
        )


def _write_real_symlink(path: str, meta: FileMeta, *, owned: bool) -> None:
    os.symlink(meta.target, path)
    if not owned:
        return
    os.chown(path, meta.uid, meta.gid, follow_symlinks=False)
    for name, value in meta.xattrs:
        os.setxattr(path, name, value, follow_symlinks=False)


def write_all(fd: int, data: Buffer) -> None:
    """Write the bytes, however many calls it takes."""
    written = os.write(fd, data)
    while written < len(data):
        data = memoryview(data)[written:]
        written = os.write(fd, data)


def chunks_of(source: BinaryIO) -> Iterator[Buffer]:
    """The content in pieces of 1 MiB (the last may be smaller), each valid until the next is asked for."""
    buffer = memoryview(bytearray(CHUNK))
    filled = 0
    while count := _read_into(source, buffer[filled:]):
        filled += count
        if filled == CHUNK:
            yield buffer
            filled = 0
    if filled:
        yield buffer[:filled]


def _read_into(source: BinaryIO, buffer: memoryview) -> int:
    readinto = getattr(source, "readinto", None)
    if readinto is not None:
        return int(readinto(buffer) or 0)
    data = source.read(len(buffer))
    buffer[: len(data)] = data
    return len(data)


class CountingReader:
    """Counts the bytes that are read from a stream."""

    def __init__(self, source: BinaryIO) -> None:
        self._source = source
        self.count = 0

    def read(self, size: int) -> bytes:
        """At most `size` bytes."""
        data = self._source.read(size)
        self.count += len(data)
        return data

    def read_exactly(self, size: int) -> bytes:
        """`size` bytes, fewer at the end of the stream only."""
        parts = []
        while size > 0 and (data := self.read(size)):
            parts.append(data)
            size -= len(data)
        return b"".join(parts)

    def close(self) -> None:
        """The stream belongs to the caller."""
