"""Applying the parts of a delta: each makes the objects that the superblock lists for it.

Nothing in a part is believed: every object is written under the checksum that it is listed by, or not at all. What a
part inflates to is kept in memory if small, else in an unnamed file of the repository's `tmp`; large objects are
written in pieces.
"""

import io
import mmap
import os
import stat
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha256
from typing import BinaryIO, TypeAlias, cast

from ostler.errors import CorruptError, NotFoundError
from ostler.formats.bsdiff import patch
from ostler.formats.delta import PART_VERSION, PartHeader, Superblock
from ostler.formats.delta_parts import Buffer, Op, Operation, Part, inflate_part, read_operations
from ostler.formats.gvariant import FormatError
from ostler.formats.objects import MAX_METADATA_SIZE, MAX_TARGET, Checksum, FileMeta, ObjectType, checksum_of
from ostler.io.files import space_errors
from ostler.store.delta.errors import BadPartError, DeltaError
from ostler.store.errors import ChecksumMismatchError
from ostler.store.repo import Repo
from ostler.store.space import SpaceBudget
from ostler.store.transaction import Transaction

_CHUNK = 1 << 20
_IN_MEMORY = 16 << 20
_INFLATER_MEMORY = 256 << 20
_SMALL = 16 << 20
_PER_OBJECT = 4096 + 256
_MAX_INFLATED = 16 << 30  # many times what the largest file in an image needs; a bound where only the disk is one

Held: TypeAlias = bytes | mmap.mmap


def check_commit(superblock: Superblock) -> None:
    """Raise `ChecksumMismatchError` unless the commit in the superblock is the one it says it is."""
    actual = checksum_of(superblock.commit)
    if actual != superblock.to:
        raise ChecksumMismatchError(superblock.to, actual, "commit in a static delta")


def parts_needed(superblock: Superblock, transaction: Transaction) -> list[int]:
    """The numbers of the parts that make some object which is not there yet; raises `FormatError`.

    Raises `DeltaError` for a part that only a later version of the format can apply.
    """
    needed = []
    for number, header in enumerate(superblock.parts):
        if header.version > PART_VERSION:
            raise DeltaError(f"Delta part has too new version {header.version}")
        if not all(transaction.has(checksum, kind) for kind, checksum in header.objects()):
            needed.append(number)
    return needed


def apply_part(
    repo: Repo,
    transaction: Transaction,
    superblock: Superblock,
    number: int,
    data: bytes | BinaryIO | None = None,
) -> int:
    """Write the objects of part `number` into the transaction; returns how many were new.

    `data` is the part's file (a stream must be seekable), whose checksum is verified first; None for an inline part.
    Raises `BadPartError` for a part that is malformed or does not make what is listed, `NotFoundError` if an object
    that it needs is missing.
    """
    header = superblock.parts[number]
    if data is None:
        data = superblock.inline_part(number)
        if data is None:
            raise FormatError(f"the delta {superblock.name} has no inline part {number}")
    else:
        _verify(header, data, f"part {number} of the delta {superblock.name}")
    try:
        part_data = inflate_held(repo, header, data)
        part = Part.decode(memoryview(part_data))
        try:
            return _Program(repo, transaction, header, part).run()
        finally:
            _release(part, part_data)
    except CorruptError as error:
        raise BadPartError(f"part {number} of the delta {superblock.name}: {error.message}", hint=error.hint) from error


def _release(part: Part, data: Held) -> None:
    if isinstance(data, mmap.mmap):
        with suppress(BufferError):  # something else still looks at it; it goes with the last of them
            cast(memoryview, part.blob).release()
            data.close()


def _pieces(data: bytes | BinaryIO) -> Iterator[Buffer]:
    if isinstance(data, bytes):
        yield data
        return
    data.seek(0)
    while piece := data.read(_CHUNK):
        yield piece


def _verify(header: PartHeader, data: bytes | BinaryIO, what: str) -> None:
    digest = sha256()
    for piece in _pieces(data):
        digest.update(piece)
    if digest.hexdigest() != header.checksum:
        raise ChecksumMismatchError(header.checksum, digest.hexdigest(), what)


def inflate_held(repo: Repo, header: PartHeader, data: bytes | BinaryIO) -> Held:
    """A part uncompressed, in bounded memory; its digest is not checked. Raises `FormatError`."""
    limit = min(4 * header.usize + _PER_OBJECT * len(header) + _IN_MEMORY, _MAX_INFLATED)
    return hold(repo, inflate_part(_pieces(data), memory=_INFLATER_MEMORY), limit, "a delta part")


def hold(repo: Repo, pieces: Iterator[bytes], limit: int, what: str) -> Held:
    """Join pieces in memory, or beyond 16 MiB in an unnamed file; raises `FormatError` at more than `limit` bytes."""
    gathered: list[bytes] = []
    size = 0
    file: BinaryIO | None = None
    budget = None
    try:
        for piece in pieces:
            size += len(piece)
            if size > limit:
                raise FormatError(f"{what} inflates to more than {limit} bytes")
            gathered.append(piece)
            if file is None and size > _IN_MEMORY:
                file = _unnamed_file(repo)
                budget = SpaceBudget(repo.path, repo.config)
            if file is not None and budget is not None:
                with space_errors("unpacking a delta", repo.path):
                    for part in gathered:
                        budget.reserve(len(part))
                        file.write(part)
                gathered.clear()
        if file is None:
            return b"".join(gathered)
        file.flush()
        return mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)
    finally:
        if file is not None:
            file.close()


def _unnamed_file(repo: Repo) -> BinaryIO:
    folder = repo.path / "tmp"
    try:
        fd = os.open(folder, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600)
    except OSError:
        import tempfile

        fd, path = tempfile.mkstemp(dir=folder)
        os.unlink(path)  # noqa: PTH108
    return cast(BinaryIO, open(fd, "w+b", buffering=0))


def open_source(repo: Repo, checksum: Checksum) -> Held:
    """The content of a regular file's object for reading at any place; raises `NotFoundError` and `FormatError`."""
    meta, size, content = repo.open_file_object(checksum)
    with content:
        if meta.is_symlink:
            raise FormatError(f"a delta reads from {checksum}, which is a symlink")
        if isinstance(content, io.FileIO):
            if size <= _CHUNK:
                return content.readall() or b""
            return mmap.mmap(content.fileno(), size, prot=mmap.PROT_READ)
        return hold(repo, iter(lambda: content.read(_CHUNK), b""), size, f"the file object {checksum}")


@dataclass(slots=True)
class _Reader:
    """A stream of pieces, for `Transaction.write_file`."""

    pieces: Iterator[bytes]
    rest: bytes = b""

    def read(self, size: int) -> bytes:
        while not self.rest:
            piece = next(self.pieces, None)
            if piece is None:
                return b""
            self.rest = piece
        data, self.rest = self.rest[:size], self.rest[size:]
        return data


class _Program:
    """A part on its way through its operations."""

    def __init__(self, repo: Repo, transaction: Transaction, header: PartHeader, part: Part) -> None:
        self._repo = repo
        self._transaction = transaction
        self._part = part
        self._header = header
        self._objects = header.objects()
        self._done = 0
        self._written = 0
        self._source: Held | None = None
        self._source_name: Checksum | None = None
        self._metas: dict[tuple[int, int], tuple[int, int, int]] = {}

    def run(self) -> int:
        kinds = (kind for kind, _ in self._header.objects())
        operations = read_operations(self._part.operations, kinds)
        for operation in operations:
            op = operation[0]
            if op is Op.SPLICE:
                self._splice(operation)
            elif op is Op.OPEN:
                self._open(operation, operations)
            elif op is Op.SET_SOURCE:
                self._set_source(operation[1])
            elif op is Op.UNSET_SOURCE:
                self._source_name = None
            else:
                raise FormatError(f"the operation {op} stands outside of an object")
        if self._done != len(self._header):
            raise FormatError(f"it makes {self._done} of the {len(self._header)} objects that it lists")
        return self._written

    def _next_object(self) -> tuple[ObjectType, Checksum]:
        following = next(self._objects, None)
        if following is None:
            raise FormatError("it makes more objects than it lists")
        self._done += 1
        return following

    def _splice(self, operation: Operation) -> None:
        kind, checksum = self._next_object()
        self._source_name = None
        if kind is ObjectType.FILE:
            _, mode, xattrs, length, offset = operation
            meta, size = self._file_meta(mode, xattrs, length, offset)
            if not self._transaction.has(checksum, kind):
                self._write(meta, self._from_blob(length, offset) if size else iter(()), size, checksum)
            return
        if kind not in (ObjectType.DIRTREE, ObjectType.DIRMETA):
            raise FormatError(f"it makes a {kind.extension} object, which has no place in a delta")
        _, length, offset = operation
        if length > MAX_METADATA_SIZE:
            raise FormatError(f"it makes a {kind.extension} object of {length} bytes")
        if not self._transaction.has(checksum, kind):
            data = bytes(self._blob(length, offset))
            self._transaction.write_metadata_bytes(kind, data, expected=checksum)
            self._written += 1

    def _file_meta(self, mode: int, xattrs: int, length: int, offset: int) -> tuple[FileMeta, int]:
        """(metadata, size of the content) of a file that is spliced; what is spliced of a symlink is its target."""
        part = self._part
        if mode >= len(part.modes) or xattrs >= len(part.xattrs):
            raise FormatError("a file refers to an entry that the tables of the part lack")
        uid, gid, st_mode = part.modes[mode]
        if not stat.S_ISLNK(st_mode):
            return FileMeta(uid, gid, st_mode, part.xattrs[xattrs]), length
        if length > MAX_TARGET:
            raise FormatError(f"the target of a symlink has {length} bytes")
        try:
            target = bytes(self._blob(length, offset)).decode()
        except UnicodeDecodeError as error:
            raise FormatError("the target of a symlink is not UTF-8") from error
        return FileMeta(uid, gid, st_mode, part.xattrs[xattrs], target), 0

    def _open(self, operation: Operation, operations: Iterator[Operation]) -> None:
        kind, checksum = self._next_object()
        _, mode, xattrs, size = operation
        if kind is not ObjectType.FILE:
            raise FormatError(f"it opens a {kind.extension} object as a file")
        if mode >= len(self._part.modes) or xattrs >= len(self._part.xattrs):
            raise FormatError("a file refers to an entry that the tables of the part lack")
        uid, gid, st_mode = self._part.modes[mode]
        if not stat.S_ISREG(st_mode):
            raise FormatError("it opens something that is no regular file")
        wanted = not self._transaction.has(checksum, kind)
        pieces = self._content(operations, size, wanted=wanted)
        if wanted:
            self._write(FileMeta(uid, gid, st_mode, self._part.xattrs[xattrs]), pieces, size, checksum)
        for _ in pieces:
            raise FormatError(f"the object {checksum} is longer than the part says")

    def _write(self, meta: FileMeta, pieces: Iterator[bytes], size: int, checksum: Checksum) -> None:
        if size <= _SMALL:
            content: bytes | BinaryIO = b"".join(pieces)
        else:
            content = cast(BinaryIO, _Reader(pieces))
        self._transaction.write_file(meta, content, expected=checksum)
        self._written += 1

    def _content(self, operations: Iterator[Operation], size: int, *, wanted: bool) -> Iterator[bytes]:
        """The content that the operations up to the next CLOSE make; nothing if it is not wanted."""
        made = 0
        for operation in operations:
            op = operation[0]
            if op is Op.CLOSE:
                break
            if op is Op.SET_SOURCE:
                self._set_source(operation[1])
                continue
            if op is Op.UNSET_SOURCE:
                self._source_name = None
                continue
            if op is Op.WRITE:
                pieces = self._from(operation[1], operation[2])
            elif op is Op.PATCH:
                pieces = patch(self._opened(), self._blob(operation[2], operation[1]), size)
            else:
                raise FormatError(f"the operation {op} stands inside of an object")
            if wanted:
                for piece in pieces:
                    made += len(piece)
                    if made > size:
                        raise FormatError("an object is longer than the part says")
                    yield piece
        else:
            raise FormatError("an object is not finished")
        self._source_name = None
        if wanted and made != size:
            raise FormatError("an object is shorter than the part says")

    # --- where content comes from

    def _blob(self, length: int, offset: int) -> Buffer:
        blob = self._part.blob
        if offset + length > len(blob):
            raise FormatError(f"{length} bytes at {offset} lie outside of the part's blob of {len(blob)}")
        return blob[offset : offset + length]

    def _from_blob(self, length: int, offset: int) -> Iterator[bytes]:
        self._blob(length, offset)
        return _slices(self._part.blob, offset, length)

    def _from(self, length: int, offset: int) -> Iterator[bytes]:
        if self._source_name is None:
            return self._from_blob(length, offset)
        source = self._opened()
        if offset + length > len(source):
            raise FormatError(f"it reads beyond the end of {self._source_name}")
        return _slices(source, offset, length)

    def _set_source(self, offset: int) -> None:
        self._source_name = Checksum(bytes(self._blob(32, offset)).hex())
        self._source = None

    def _opened(self) -> Held:
        """The content of the source, opened when something is first read from it."""
        if self._source_name is None:
            raise FormatError("it patches without a source")
        if self._source is None:
            try:
                self._source = open_source(self._repo, self._source_name)
            except NotFoundError as error:
                raise NotFoundError(
                    f"the delta needs the file object {self._source_name}, which is not here",
                    hint="pull without deltas, or pull the commit that it starts from first",
                ) from error
        return self._source


def _slices(data: Held | Buffer, offset: int, length: int) -> Iterator[bytes]:
    for start in range(offset, offset + length, _CHUNK):
        yield bytes(data[start : min(start + _CHUNK, offset + length)])
