"""Objects of any repository in the form that an archive has them in, ready to be sent somewhere.

Each is verified while it is read: what is damaged here must not get out.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from ostler.errors import CorruptError, NotFoundError
from ostler.formats.filez import SIZE_OFFSET, encode_header
from ostler.formats.objects import ObjectType, encode_detached
from ostler.store.content import RepoMode
from ostler.store.deflate import CHUNK, Deflater, deflate
from ostler.store.reach import ObjectName
from ostler.store.repo import Repo
from ostler.store.transfer import damaged, missing

IN_MEMORY = 8 * 1024 * 1024
"""Larger objects go through a temporary file."""
LEVEL = 6


@dataclass(frozen=True, slots=True)
class ArchivedObject:
    """An object to store: its path in the repository, and its bytes or a file that holds them.

    `content_bytes` is its size uncompressed, `size` what it takes in the archive.
    """

    path: str
    data: bytes | Path
    content_bytes: int
    size: int


def archive_path(name: ObjectName) -> str:
    """Where an object lies in an archive repository."""
    checksum, kind = name
    return f"objects/{checksum[:2]}/{checksum[2:]}.{RepoMode.ARCHIVE.extension(kind)}"


@contextmanager
def archived(repo: Repo, name: ObjectName, spool: Path) -> Iterator[ArchivedObject]:
    """An object in archive form; large ones in a file in the folder `spool`, which is gone when the block ends.

    Raises `CorruptError` or `NotFoundError`, both naming the repository.
    """
    checksum, kind = name
    path = archive_path(name)
    try:
        if kind is ObjectType.FILE:
            with _file(repo, name, path, spool) as made:
                yield made
            return
        data = encode_detached(repo.load_detached(checksum)) if kind is ObjectType.DETACHED else _load(repo, name)
    except NotFoundError as error:
        raise missing(str(repo.path), checksum, kind) from error
    except CorruptError as error:
        raise damaged(str(repo.path), checksum, kind, error) from error
    yield ArchivedObject(path, data, len(data), len(data))


def _load(repo: Repo, name: ObjectName) -> bytes:
    return repo.load_bytes(*name)


@contextmanager
def _file(repo: Repo, name: ObjectName, path: str, spool: Path) -> Iterator[ArchivedObject]:
    meta, size, content = repo.open_file_object(name[0], verify=True)
    with content:
        if size <= IN_MEMORY:
            data = b"".join(_pieces(content))
            header = encode_header(meta, len(data))
            packed = header if meta.is_symlink else header + deflate(data, LEVEL)
            yield ArchivedObject(path, packed, len(data), len(packed))
            return
        spooled = spool / f"{name[0]}.filez"
        try:
            with spooled.open("wb") as file:
                file.write(encode_header(meta, 0))
                written = _deflate_into(content, file.write)
                file.seek(SIZE_OFFSET)
                file.write(written.to_bytes(8, "big"))
            yield ArchivedObject(path, spooled, written, spooled.stat().st_size)
        finally:
            spooled.unlink(missing_ok=True)


def _pieces(content: BinaryIO) -> Iterator[bytes]:
    while piece := content.read(CHUNK):
        yield piece


def _deflate_into(content: BinaryIO, write: Callable[[bytes], object]) -> int:
    deflater = Deflater(LEVEL)
    size = 0
    for piece in _pieces(content):
        size += len(piece)
        write(deflater.compress(piece))
    write(deflater.finish())
    return size


def in_order(names: Sequence[ObjectName]) -> list[ObjectName]:
    """Objects in the order in which they may become visible: what refers to others comes after them."""
    rank = {
        ObjectType.FILE: 0,
        ObjectType.DIRMETA: 1,
        ObjectType.DIRTREE: 2,
        ObjectType.DETACHED: 3,
        ObjectType.COMMIT: 4,
    }
    return sorted(names, key=lambda name: (rank.get(name[1], 0), name[0]))


def stored_size(repo: Repo, name: ObjectName) -> int:
    """The size of an object's content, uncompressed, in bytes."""
    checksum, kind = name
    if kind is ObjectType.FILE:
        return repo.file_size(checksum)
    return os.stat(repo.find_object(checksum, kind)).st_size  # noqa: PTH116
