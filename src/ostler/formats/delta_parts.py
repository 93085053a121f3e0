"""The parts of static deltas: what is in them, and the little program that makes objects of it.

Format: libostree's `ostree-repo-static-delta-private.h`. A part's file is one byte that names the compression, then
`(a(uuu)aa(ayay)ayay)`: tables of modes and of extended attributes, a blob, and operations, which write objects from
the blob and from file objects that are there already.
"""

import lzma
import struct
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, TypeAlias, TypeVar, overload

from ostler.formats import gvariant
from ostler.formats.gvariant import FormatError
from ostler.formats.objects import ObjectType, Xattrs, decode_xattrs, encode_xattrs, swap32

_MODES_TYPE = "a(uuu)"
_XATTRS_TYPE = "aa(ayay)"
_ENTRY_TYPE = "a(ayay)"
_MODE = struct.Struct(">III")

MAX_XATTRS = 16 * 1024 * 1024
"""The extended attributes of one file take at most so many bytes, as in its header."""
_COPIED = 16 * 1024 * 1024

Buffer: TypeAlias = bytes | memoryview
ModeEntry: TypeAlias = tuple[int, int, int]
"""Owner, group and mode of a file."""


@dataclass(frozen=True, slots=True)
class Part:
    """A part, uncompressed: tables that operations refer to by position, the blob and the operations."""

    modes: Sequence[ModeEntry]
    xattrs: Sequence[Xattrs]
    blob: Buffer
    operations: Buffer

    def encode(self) -> Iterator[bytes]:
        """The part's bytes, in pieces, before compression."""
        return self.encode_around(len(self.blob), iter([bytes(self.blob)]))

    def encode_around(self, size: int, blob: Iterator[bytes]) -> Iterator[bytes]:
        """The same with a blob of `size` bytes that comes in pieces, in place of the part's own."""
        modes = gvariant.encode(_MODES_TYPE, [tuple(map(swap32, entry)) for entry in self.modes])
        xattrs = gvariant.encode(_XATTRS_TYPE, [encode_xattrs(entry) for entry in self.xattrs])
        ends = [len(modes) + len(xattrs) + size, len(modes) + len(xattrs), len(modes)]
        width = _offset_width(ends[0] + len(self.operations))
        yield modes + xattrs
        yield from blob
        yield bytes(self.operations) + b"".join([end.to_bytes(width, "little") for end in ends])

    @staticmethod
    def decode(data: Buffer) -> "Part":
        """Parse an uncompressed part, whose blob is then a view of `data`; raises `FormatError`.

        The tables are views too, whose entries are decoded (and may raise that) when they are asked for.
        """
        view = memoryview(data)
        body, ends = _part_offsets(view)
        operations = view[ends[0] : body]
        return Part(
            _modes(view[: ends[2]]),
            _xattrs(view[ends[2] : ends[1]]),
            view[ends[1] : ends[0]],
            bytes(operations) if len(operations) <= _COPIED else operations,
        )


Entry = TypeVar("Entry")


class _Table(Sequence[Entry]):
    """A table of `count` entries, each decoded when it is asked for: hostile ones would fill the memory."""

    def __init__(self, count: int, entry: Callable[[int], Entry]) -> None:
        self._count = count
        self._entry = entry
        self._last: tuple[int, Entry] | None = None

    def __len__(self) -> int:
        return self._count

    @overload
    def __getitem__(self, index: int) -> Entry: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Entry]: ...
    def __getitem__(self, index: int | slice) -> Entry | Sequence[Entry]:
        if isinstance(index, slice):
            return [self[at] for at in range(*index.indices(self._count))]
        if not 0 <= index < self._count:
            raise IndexError(index)
        if self._last is None or self._last[0] != index:  # neighbours often share an entry
            self._last = index, self._entry(index)
        return self._last[1]


def _modes(table: memoryview) -> Sequence[ModeEntry]:
    if len(table) % _MODE.size:
        raise FormatError("a delta part's table of modes ends within an entry")

    def entry(index: int) -> ModeEntry:
        uid, gid, mode = _MODE.unpack_from(table, index * _MODE.size)
        return uid, gid, mode

    return _Table(len(table) // _MODE.size, entry)


def _xattrs(table: memoryview) -> Sequence[Xattrs]:
    size = len(table)
    if not size:
        return ()
    width = _width_within(size)
    offsets = int.from_bytes(table[size - width :], "little")
    if offsets >= size or (size - offsets) % width:
        raise FormatError("the offsets of a delta part's extended attributes do not add up")

    def end(index: int) -> int:
        at = offsets + index * width
        return int.from_bytes(table[at : at + width], "little")

    def entry(index: int) -> Xattrs:
        first, last = end(index - 1) if index else 0, end(index)
        if not first <= last <= offsets:
            raise FormatError("the offsets of a delta part's extended attributes are out of order")
        if last - first > MAX_XATTRS:
            raise FormatError(f"a file in a delta part has more than {MAX_XATTRS} bytes of extended attributes")
        return decode_xattrs(gvariant.decode(_ENTRY_TYPE, bytes(table[first:last])))

    return _Table((size - offsets) // width, entry)


def _width_within(size: int) -> int:
    """Bytes of each offset in a container of `size` bytes, the offsets included."""
    return 1 if size <= 0xFF else 2 if size <= 0xFFFF else 4 if size <= 0xFFFF_FFFF else 8


def _offset_width(body: int) -> int:
    """Bytes of each of the three offsets at the end of a part with so many bytes before them."""
    for width in (1, 2, 4):
        if body + 3 * width < 1 << 8 * width:
            return width
    return 8


def _part_offsets(view: memoryview) -> tuple[int, tuple[int, int, int]]:
    """(where the offsets begin; where blob, attributes and modes end)."""
    size = len(view)
    width = _width_within(size)
    body = size - 3 * width
    if body < 0 or _offset_width(body) != width:
        raise FormatError("the offsets of a delta part do not add up")
    ends = [int.from_bytes(view[at : at + width], "little") for at in range(body, size, width)]
    if not 0 <= ends[2] <= ends[1] <= ends[0] <= body:
        raise FormatError("a member of a delta part lies outside it")
    return body, (ends[0], ends[1], ends[2])


class Compression(StrEnum):
    """The first byte of a part."""

    NONE = "\0"
    XZ = "x"


def inflate_part(pieces: Iterator[Buffer], *, memory: int) -> Iterator[bytes]:
    """A part uncompressed, in pieces of at most 1 MiB, from the pieces of its file.

    `memory` bounds what the decompressor may use, in bytes. Raises `FormatError`.
    """
    piece: bytes = bytes(next(pieces, b""))
    code, piece = piece[:1], piece[1:]
    if code == Compression.NONE.encode():
        yield piece
        for more in pieces:
            yield bytes(more)
        return
    if code != Compression.XZ.encode():
        raise FormatError(f"a delta part has the unknown compression {code!r}")
    inflater = lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=memory)
    try:
        while True:
            if inflater.needs_input:
                while not piece:
                    following = next(pieces, None)
                    if following is None:
                        raise FormatError("a delta part ends too early")
                    piece = bytes(following)
            data = inflater.decompress(piece, 1 << 20)
            piece = b""
            if data:
                yield data
            if inflater.eof:
                break
    except (lzma.LZMAError, EOFError) as error:
        raise FormatError(f"a delta part cannot be decompressed: {error}") from error
    if inflater.unused_data or any(len(more) for more in pieces):
        raise FormatError("a delta part has bytes behind its content")


# --- operations


class Op(StrEnum):
    """The operations of a part's program, by their codes."""

    SPLICE = "S"
    OPEN = "o"
    WRITE = "w"
    SET_SOURCE = "r"
    UNSET_SOURCE = "R"
    CLOSE = "c"
    PATCH = "B"


_OPERANDS = {Op.OPEN: 3, Op.WRITE: 2, Op.SET_SOURCE: 1, Op.UNSET_SOURCE: 0, Op.CLOSE: 0, Op.PATCH: 2}
_OPERANDS_BY_BYTE = {ord(code): (code, count) for code, count in _OPERANDS.items()}
_SPLICE = ord(Op.SPLICE)
_MAX_NUMBER = 1 << 63

Operation: TypeAlias = tuple[Any, ...]
"""(Op, operands…): SPLICE (length, offset) for metadata or (mode, xattrs, length, offset) for a file; OPEN (mode,
xattrs, size); WRITE (length, offset); SET_SOURCE (offset of a checksum); PATCH (offset, length)."""


def read_operations(code: Buffer, kinds: Iterator[ObjectType]) -> Iterator[Operation]:
    """The operations of a part; `kinds` are the types of its objects in order. Raises `FormatError`."""
    at, end = 0, len(code)
    while at < end:
        op = code[at]
        at += 1
        if op == _SPLICE:
            name, count = Op.SPLICE, 4 if _next_kind(kinds) is ObjectType.FILE else 2
        else:
            try:
                name, count = _OPERANDS_BY_BYTE[op]
            except KeyError:
                raise FormatError(f"a delta part has the unknown operation {op} at {at - 1}") from None
            if name is Op.CLOSE:
                _next_kind(kinds)
        operation: list[Any] = [name]
        for _ in range(count):
            number, at = read_varint(code, at)
            operation.append(number)
        yield tuple(operation)


def _next_kind(kinds: Iterator[ObjectType]) -> ObjectType:
    kind = next(kinds, None)
    if kind is None:
        raise FormatError("a delta part makes more objects than it lists")
    return kind


def encode_operation(op: Op, *operands: int) -> bytes:
    """The bytes of one operation."""
    return op.encode() + b"".join(map(encode_varint, operands))


def encode_varint(number: int) -> bytes:
    """Seven bits a byte, the lowest first."""
    encoded = bytearray()
    while number >= 0x80:
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)


def read_varint(data: Buffer, at: int) -> tuple[int, int]:
    """(the number at `at`, where it ends); raises `FormatError` at the end of the data and for 2⁶³ and more."""
    number = shift = 0
    try:
        while (byte := data[at]) >= 0x80:
            number |= (byte & 0x7F) << shift
            shift += 7
            at += 1
            if shift > 63:
                raise FormatError("a number in a delta part is too long")
    except IndexError:
        raise FormatError("a delta part's program ends within a number") from None
    number |= byte << shift
    if number >= _MAX_NUMBER:
        raise FormatError("a number in a delta part is too large")
    return number, at + 1
