"""The parts of static deltas: what is in them, and the little program that makes objects of it.

Format: libostree's `ostree-repo-static-delta-private.h`. A part's file is one byte that names the compression, then
`(a(uuu)aa(ayay)ayay)`: tables of modes and of extended attributes, a blob, and operations, which write objects from
the blob and from file objects that are there already.
"""

import lzma
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, TypeAlias

from ostler.formats import gvariant
from ostler.formats.gvariant import FormatError
from ostler.formats.objects import ObjectType, Xattrs, decode_xattrs, encode_xattrs, swap32

_MODES_TYPE = "a(uuu)"
_XATTRS_TYPE = "aa(ayay)"

Buffer: TypeAlias = bytes | memoryview
ModeEntry: TypeAlias = tuple[int, int, int]
"""Owner, group and mode of a file."""


@dataclass(frozen=True, slots=True)
class Part:
    """A part, uncompressed: tables that operations refer to by position, the blob and the operations."""

    modes: tuple[ModeEntry, ...]
    xattrs: tuple[Xattrs, ...]
    blob: Buffer
    operations: bytes

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
        yield self.operations + b"".join([end.to_bytes(width, "little") for end in ends])

    @staticmethod
    def decode(data: Buffer) -> "Part":
        """Parse an uncompressed part, whose blob is then a view of `data`; raises `FormatError`."""
        view = memoryview(data)
        body, ends = _part_offsets(view)
        modes = gvariant.decode(_MODES_TYPE, bytes(view[: ends[2]]))
        xattrs = gvariant.decode(_XATTRS_TYPE, bytes(view[ends[2] : ends[1]]))
        return Part(
            tuple((swap32(uid), swap32(gid), swap32(mode)) for uid, gid, mode in modes),
            tuple(decode_xattrs(entry) for entry in xattrs),
            view[ends[1] : ends[0]],
            bytes(view[ends[0] : body]),
        )


def _offset_width(body: int) -> int:
    """Bytes of each of the three offsets at the end of a part with so many bytes before them."""
    for width in (1, 2, 4):
        if body + 3 * width < 1 << 8 * width:
            return width
    return 8


def _part_offsets(view: memoryview) -> tuple[int, tuple[int, int, int]]:
    """(where the offsets begin; where blob, attributes and modes end)."""
    size = len(view)
    width = 1 if size <= 0xFF else 2 if size <= 0xFFFF else 4 if size <= 0xFFFF_FFFF else 8
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


def read_operations(code: bytes, kinds: Iterator[ObjectType]) -> Iterator[Operation]:
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


def read_varint(data: bytes, at: int) -> tuple[int, int]:
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
