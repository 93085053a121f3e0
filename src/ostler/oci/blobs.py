"""Reading blobs with their digest and size checked, and bringing them into a folder without copying where possible."""

import errno
import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Protocol

from ostler.errors import CorruptError, NotFoundError
from ostler.io.files import space_errors
from ostler.oci.descriptor import Descriptor, Digest, hex_of

DOCUMENT_LIMIT = 4 << 20
"""Bytes that an index, manifest or config may have: what registries accept at most (OCI distribution 1.1)."""

CHUNK = 1 << 20


class BlobSource(Protocol):
    """Where the blobs of an image come from: a layout folder, later a registry or an archive."""

    def open_blob(self, descriptor: Descriptor) -> BinaryIO:
        """The bytes of a blob, unverified (callers verify). Raises `NotFoundError`."""
        ...


def read_document(source: BlobSource, descriptor: Descriptor, what: str) -> bytes:
    """The content of a small blob (manifest, config), at most 4 MiB, verified. Raises `CorruptError`."""
    if descriptor.size > DOCUMENT_LIMIT:
        raise CorruptError(f"the {what} {descriptor.digest} has {descriptor.size} bytes; {DOCUMENT_LIMIT} are allowed")
    with source.open_blob(descriptor) as file:
        data = read_at_most(file, descriptor.size + 1)
    verify(descriptor, len(data), hashlib.sha256(data).hexdigest(), what)
    return data


def read_at_most(file: BinaryIO, limit: int) -> bytes:
    """Up to `limit` bytes, fewer only at the end of the file, whatever the size of single reads is."""
    parts: list[bytes] = []
    while limit > 0 and (part := file.read(limit)):
        parts.append(part)
        limit -= len(part)
    return b"".join(parts)


def verify(descriptor: Descriptor, size: int, sha256: str, what: str) -> None:
    """Raise `CorruptError` unless bytes of this size and hash are what `descriptor` points at."""
    if size != descriptor.size:
        raise CorruptError(
            f"the {what} {descriptor.digest} has not the {descriptor.size} bytes that it should have",
            hint="it was damaged or cut off on its way; fetch or build it again",
        )
    if sha256 != hex_of(descriptor.digest):
        raise CorruptError(
            f"the {what} {descriptor.digest} has the digest sha256:{sha256}",
            hint="it was damaged or replaced; fetch or build it again",
        )


def blob_file(folder: Path, digest: Digest) -> Path:
    """Where a folder of blobs keeps the one with `digest`."""
    return folder / "sha256" / hex_of(digest)


def open_file(path: Path, what: str) -> BinaryIO:
    """Open a regular file for reading; symlinks and special files are refused. Raises `NotFoundError`."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except FileNotFoundError as error:
        raise NotFoundError(f"{what} is missing: there is no {path}") from error
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise CorruptError(f"{path} is a symlink; {what} must be a file") from error
        raise
    file = os.fdopen(fd, "rb")
    if not os.path.isfile(fd):  # noqa: PTH113 (a descriptor, not a path)
        file.close()
        raise CorruptError(f"{path} is no regular file; {what} must be one")
    return file


@contextmanager
def new_file(path: Path) -> Iterator[BinaryIO]:
    """A file that takes the name `path` when the block ends well, and leaves nothing behind when it does not."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with space_errors(f"writing {path.name}", path.parent), temporary.open("wb") as file:
            yield file
        temporary.rename(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def link_or_copy(source: Path, target: Path) -> None:
    """Make `target` the same file as `source` by a hard link, or a copy where file systems or owners differ."""
    if target.exists():
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        target.hardlink_to(source)
    except FileExistsError:
        return
    except OSError as error:
        if error.errno not in (errno.EXDEV, errno.EPERM, errno.EMLINK, errno.EOPNOTSUPP):
            raise
        with source.open("rb") as reader, new_file(target) as writer:
            shutil.copyfileobj(reader, writer, CHUNK)
