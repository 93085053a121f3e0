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
from ostler.store.deflate import CHUNK, Buffer, Deflater, deflate

_CREATE = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
_FICLONE = 0x40049409


@dataclass(frozen=True, slots=True)
class ObjectForm:
    """How this repository writes file objects. `level` is the DEFLATE level of archives, 1 to 9."""

    mode: RepoMode
    level: int
    fsync_each: bool

    def write_whole(self, path: str, meta: FileMeta, content: bytes) -> int:
        """Write the object to the new file `path`; returns the bytes it takes there."""
        if meta.is_symlink and self.mode is RepoMode.BARE:
            _write_real_symlink(path, meta)
            return 0
        stored = self._stored_form(meta, content)
        fd = os.open(path, _CREATE, 0o600)
        try:
            _write_all(fd, stored)
            self._finish(fd, meta)
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
            self._finish(fd, meta)
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
        _write_all(fd, header)
        size, stored = 0, len(header)
        for chunk in chunks:
            digest.update(chunk)
            size += len(chunk)
            packed = deflater.compress(chunk)
            reserve(len(packed))
            _write_all(fd, packed)
            stored += len(packed)
        packed = deflater.finish()
        reserve(len(packed))
        _write_all(fd, packed)
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
                fcntl.ioctl(fd, _FICLONE, source)
            except OSError:
                os.unlink(path)
                return None
            digest = sha256(meta.header())
            size = 0
            with open(fd, "rb", buffering=0, closefd=False) as copy:
                for chunk in chunks_of(copy):
                    digest.update(chunk)
                    size += len(chunk)
            self._finish(fd, meta)
        finally:
            os.close(fd)
        return Checksum(digest.hexdigest()), size

    def write_prepared(self, path: str, chunks: Iterator[bytes]) -> None:
        """Write a file that already has its stored form: metadata objects, verified `filez`."""
        fd = os.open(path, _CREATE, 0o600)
        try:
            for chunk in chunks:
                _write_all(fd, chunk)
            os.fchmod(fd, 0o644)
            if self.fsync_each:
                os.fsync(fd)
        finally:
            os.close(fd)

    def _finish(self, fd: int, meta: FileMeta) -> None:
        if self.mode is RepoMode.ARCHIVE:
            os.fchmod(fd, 0o644)
        elif self.mode is RepoMode.BARE_USER:
            os.setxattr(fd, META_XATTR, encode_user_meta(meta))
            os.fchmod(fd, 0o644 if meta.is_symlink else (meta.mode & 0o775) | 0o400)
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
        _write_all(fd, chunk)
        size += len(chunk)
    return Checksum(digest.hexdigest()), size, size


def _write_real_symlink(path: str, meta: FileMeta) -> None:
    os.symlink(meta.target, path)
    os.chown(path, meta.uid, meta.gid, follow_symlinks=False)
    for name, value in meta.xattrs:
        os.setxattr(path, name, value, follow_symlinks=False)


def _write_all(fd: int, data: Buffer) -> None:
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
