"""Reading file objects in each repository mode: metadata, and content as a stream.

`bare`: the inode is the metadata. `bare-user`: xattr `user.ostreemeta`, symlinks are regular files that hold target and
NUL. `bare-user-only`: the inode, yet every file is root's and has no extended attributes. `archive-z2`: the `filez`
header, then DEFLATE.
"""

# Plain strings and `os` below: this runs once for every file of a tree.
# ruff: noqa: PTH115

import errno
import io
import os
import stat
from collections.abc import Iterator
from enum import StrEnum
from functools import lru_cache
from hashlib import sha256
from typing import Any, BinaryIO, cast

from ostler.formats import filez, gvariant
from ostler.formats.gvariant import FormatError
from ostler.formats.objects import DIRMETA_TYPE, MAX_TARGET, FileMeta, ObjectType, Xattrs, file_meta_from
from ostler.store.deflate import InflateReader
from ostler.store.errors import ChecksumMismatchError, StoreError

META_XATTR = "user.ostreemeta"
_PIECE = 1 << 20


class RepoMode(StrEnum):
    """How a repository holds file objects."""

    BARE = "bare"
    BARE_USER = "bare-user"
    BARE_USER_ONLY = "bare-user-only"
    ARCHIVE = "archive-z2"

    @staticmethod
    def parse(name: str) -> "RepoMode":
        """The mode of that name, as configurations and options give it; raises `StoreError`."""
        if name == "archive":
            return RepoMode.ARCHIVE
        if name not in list(RepoMode):
            raise StoreError(
                f"Invalid mode '{name}' in repository configuration",
                hint=f"the modes that Ostler knows are archive, {', '.join(RepoMode)}",
            )
        return RepoMode(name)

    def extension(self, kind: ObjectType) -> str:
        """The suffix of an object's file name."""
        return "filez" if self is RepoMode.ARCHIVE and kind is ObjectType.FILE else kind.extension


def read_xattrs(path: str | int) -> Xattrs:
    """The extended attributes of a file (not followed if a symlink) in OSTree's order."""
    follow = isinstance(path, int)
    try:
        names = os.listxattr(path, follow_symlinks=follow)
    except OSError as error:
        if error.errno == errno.ENOTSUP:
            return ()
        raise
    if not names:
        return ()
    found = [(os.fsencode(name), os.getxattr(path, name, follow_symlinks=follow)) for name in names]
    return tuple(sorted(found))


def read_tree_xattrs(path: str) -> Xattrs:
    """Those attributes of a file on disk that a commit of it holds: without those that have no value, as libostree."""
    return tuple((name, value) for name, value in read_xattrs(path) if value)


def encode_user_meta(meta: FileMeta) -> bytes:
    """The value of `user.ostreemeta`."""
    uid, gid, mode, _, _, xattrs = meta.fields()
    return gvariant.encode(DIRMETA_TYPE, (uid, gid, mode, xattrs))


@lru_cache(maxsize=4096)
def decode_user_meta(data: bytes, target: str) -> FileMeta:
    """The metadata in `user.ostreemeta`; raises `FormatError`."""
    uid, gid, mode, xattrs = gvariant.decode(DIRMETA_TYPE, data)
    return file_meta_from((uid, gid, mode, 0, target, xattrs))


def open_object(path: str, mode: RepoMode) -> tuple[FileMeta, int, BinaryIO]:
    """(metadata, size in bytes, content) of the file object at `path`; the caller closes the content.

    The content of symlinks is empty. Raises `FileNotFoundError` and `FormatError`.
    """
    if mode is RepoMode.BARE:
        return _open_bare(path)
    if mode is RepoMode.BARE_USER_ONLY:
        return _open_bare(path, canonical=True)
    if mode is RepoMode.BARE_USER:
        return _open_bare_user(path)
    file = cast(BinaryIO, open(path, "rb", buffering=0))
    try:
        meta, size = filez.read_header(file.read)
    except BaseException:
        file.close()
        raise
    if meta.is_symlink:
        trailing = file.read(1)
        file.close()
        if trailing:
            raise FormatError("a symlink object has bytes behind its header")
        return meta, 0, io.BytesIO()
    return meta, size, cast(BinaryIO, InflateReader(file, size))


def _open_bare(path: str, *, canonical: bool = False) -> tuple[FileMeta, int, BinaryIO]:
    """`canonical`: owners and extended attributes are not part of the object."""
    status = os.lstat(path)
    if stat.S_ISLNK(status.st_mode):
        target = _text(os.fsencode(os.readlink(path)))
        if canonical:
            return FileMeta(0, 0, status.st_mode, (), target), 0, io.BytesIO()
        return FileMeta(status.st_uid, status.st_gid, status.st_mode, read_xattrs(path), target), 0, io.BytesIO()
    file = open(path, "rb", buffering=0, opener=_open_nofollow)
    try:
        status = os.fstat(file.fileno())
        if canonical:
            return FileMeta(0, 0, status.st_mode), status.st_size, cast(BinaryIO, file)
        meta = FileMeta(status.st_uid, status.st_gid, status.st_mode, read_xattrs(file.fileno()))
    except BaseException:
        file.close()
        raise
    return meta, status.st_size, cast(BinaryIO, file)


def _open_bare_user(path: str) -> tuple[FileMeta, int, BinaryIO]:
    file = open(path, "rb", buffering=0, opener=_open_nofollow)
    try:
        size = os.fstat(file.fileno()).st_size
        try:
            stored = os.getxattr(file.fileno(), META_XATTR)
        except OSError as error:
            if error.errno == errno.ENODATA:
                raise FormatError(f"{path} lacks the attribute {META_XATTR}") from error
            raise
        if not user_meta_is_symlink(stored):
            return decode_user_meta(stored, ""), size, cast(BinaryIO, file)
        content = file.read(MAX_TARGET + 2)
        file.close()
        if not content.endswith(b"\0"):
            raise FormatError(f"the symlink object {path} does not hold a target")
        return decode_user_meta(stored, _text(content[:-1])), 0, io.BytesIO()
    except BaseException:
        file.close()
        raise


def _open_nofollow(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW | os.O_CLOEXEC)


def user_meta_is_symlink(stored: bytes) -> bool:
    """Whether `user.ostreemeta` is that of a symlink."""
    return stat.S_ISLNK(int.from_bytes(stored[8:12], "big"))


def _text(raw: bytes) -> str:
    try:
        return raw.decode()
    except UnicodeDecodeError as error:
        raise FormatError(f"the symlink target {raw!r} is not UTF-8") from error


def pieces_of(content: BinaryIO, size: int, name: str) -> Iterator[bytes]:
    """The `size` bytes of a file object in pieces of a mebibyte at most; raises `FormatError` if there are fewer."""
    left = size
    while left > 0:
        data = content.read(min(left, _PIECE))
        if not data:
            raise FormatError(f"the file object {name} is shorter than it should be")
        left -= len(data)
        yield data
    content.read(1)  # at the end, and only there, the object is checked


class VerifyingReader(io.RawIOBase):
    """Passes a file object's content through and raises `ChecksumMismatchError` at its end if the object is corrupt."""

    def __init__(self, source: BinaryIO, meta: FileMeta, expected: str) -> None:
        super().__init__()
        self._source = source
        self._expected = expected
        self._hash = sha256(meta.header())

    def readable(self) -> bool:
        """True."""
        return True

    def readinto(self, buffer: Any, /) -> int:
        """Fill the buffer; 0 at the end, if all is well."""
        data = self._source.read(len(buffer))
        self._hash.update(data)
        if not data and self._hash.hexdigest() != self._expected:
            raise ChecksumMismatchError(self._expected, self._hash.hexdigest(), "file object")
        buffer[: len(data)] = data
        return len(data)

    def close(self) -> None:
        """Close the source too."""
        if not self.closed:
            self._source.close()
        super().close()
