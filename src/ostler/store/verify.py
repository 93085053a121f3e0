"""Does an object's file hold what its name says? The innermost loop of checking a repository, so it does little else.

Files up to 1 MiB are read at once; larger ones, and whatever looks odd, go the usual way through `Repo.open_file`,
which says what is wrong.
"""

# Plain strings and `os` below: this runs once for every object of a repository.

import errno
import os
import stat
from dataclasses import dataclass
from hashlib import sha256
from io import BytesIO
from typing import Any

from ostler.errors import CorruptError, NotFoundError
from ostler.formats import filez
from ostler.formats.gvariant import FormatError
from ostler.formats.objects import MAX_METADATA_SIZE, Checksum, ObjectType, decode_detached, decode_metadata
from ostler.store.content import RepoMode, VerifyingReader
from ostler.store.errors import ChecksumMismatchError
from ostler.store.repo import Repo

SMALL = 1 << 20
_CHUNK = 1 << 20
_FIRST = 1 << 16  # most files are smaller, and a buffer of 1 MiB costs more than reading them
_MEMO = 4096
_RAW = -15
_UNCHECKED = (ObjectType.TOMBSTONE,)
_FAULTS = (errno.EIO, errno.ELOOP, errno.EUCLEAN, errno.EBADMSG, errno.ENODATA)
_EXHAUSTED = (errno.EMFILE, errno.ENFILE, errno.ENOMEM)


@dataclass(frozen=True, slots=True)
class Damage:
    """What is wrong with an object; `actual` is the checksum that its bytes have, if that is what is wrong.

    An `unreadable` object may well be whole: nothing is known but that it could not be looked at.
    """

    message: str
    actual: Checksum | None = None
    unreadable: bool = False


class Verifier:
    """Verifies single objects of one repository."""

    def __init__(self, repo: Repo) -> None:
        self._repo = repo
        self._headers: dict[bytes, tuple[bytes, bool]] = {}
        self._inflater = _inflater()

    def verify(self, path: str, checksum: Checksum, kind: ObjectType) -> Damage | None:
        """What is wrong with the object in the file `path`, or None; raises `OSError` if memory or files run out."""
        try:
            if kind is ObjectType.FILE:
                if not (self._repo.mode is RepoMode.ARCHIVE and self._small_archive_file(path, checksum)):
                    self._file(checksum)
            elif kind not in _UNCHECKED:
                _metadata(path, checksum, kind)
        except ChecksumMismatchError as error:
            return Damage(error.message, Checksum(error.actual))
        except (CorruptError, NotFoundError) as error:
            return Damage(error.message)
        except OSError as error:
            if error.errno in _EXHAUSTED:
                raise
            return Damage(f"it cannot be read: {error.strerror}", unreadable=error.errno not in _FAULTS)
        return None

    def _file(self, checksum: Checksum) -> None:
        meta, size, content = self._repo.open_file_object(checksum)
        with content:
            if size > SMALL or self._repo.mode is RepoMode.ARCHIVE:
                verifying = VerifyingReader(content, meta, checksum)
                while verifying.read(_CHUNK):
                    pass
                return
            digest = sha256(meta.header())
            while data := content.read(size + 1):
                digest.update(data)
        if digest.hexdigest() != checksum:
            raise ChecksumMismatchError(checksum, digest.hexdigest(), "file object")

    def _small_archive_file(self, path: str, checksum: Checksum) -> bool:
        """Whether the object is whole; False also if that must be found out in another way."""
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        try:
            data = os.read(fd, _FIRST)
            if len(data) == _FIRST:
                data += os.read(fd, SMALL + 1 - _FIRST)
        finally:
            os.close(fd)
        content_at = 8 + int.from_bytes(data[:4], "big")
        if len(data) > SMALL or content_at > len(data) or content_at < 16 or data[4:8] != bytes(4):
            return False
        size = int.from_bytes(data[8:16], "big")
        if size > 8 * SMALL:
            return False
        header, is_symlink = self._header(data[:content_at])
        if is_symlink:
            return not size and len(data) == content_at and sha256(header).hexdigest() == checksum
        inflater = self._inflater(_RAW)
        try:
            content = inflater.decompress(memoryview(data)[content_at:], size + 1)
        except Exception:  # of one of two libraries, each with an error type of its own
            return False
        if len(content) != size or not inflater.eof or inflater.unused_data:
            return False
        digest = sha256(header)
        digest.update(content)
        return digest.hexdigest() == checksum

    def _header(self, start: bytes) -> tuple[bytes, bool]:
        """(what is hashed before the content, whether it is a symlink's) from all before the content in the file."""
        key = start[16:]
        known = self._headers.get(key)
        if known is None:
            meta, _ = filez.read_header(BytesIO(start).read)
            known = meta.header(), meta.is_symlink
            if len(self._headers) < _MEMO:
                self._headers[key] = known
        return known


def _metadata(path: str, checksum: Checksum, kind: ObjectType) -> None:
    with open(path, "rb", buffering=0) as file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise FormatError("it is no regular file")
        if status.st_size > MAX_METADATA_SIZE:
            raise FormatError(f"it is larger than the {MAX_METADATA_SIZE} bytes that metadata may have")
        data = file.read() or b""
    if kind is ObjectType.DETACHED:
        decode_detached(data)
        return
    actual = Checksum(sha256(data).hexdigest())
    if actual != checksum:
        raise ChecksumMismatchError(checksum, actual, f"{kind.extension} object")
    decode_metadata(kind, data)


def _inflater() -> Any:
    try:
        from zlib_ng import zlib_ng
    except ImportError:
        import zlib

        return zlib.decompressobj
    return zlib_ng.decompressobj
