"""The stream of differences inside static deltas: bsdiff's, without header and compression.

It repeats three numbers (eight bytes each: magnitude, lowest byte first, sign in the highest bit) and what they
announce, until the new file is complete: n bytes to be added, modulo 256, to as many of the old file; m bytes to be
taken as they are; how far to move on in the old file after those n.

Bytes are added many at once, as one large integer.
"""

from collections.abc import Iterator
from typing import Protocol, TypeAlias, overload

from ostler.formats.gvariant import FormatError

CONTROL_SIZE = 24
Buffer: TypeAlias = bytes | memoryview
_CHUNK = 1 << 14
_PIECE = 1 << 20
_ZEROS = bytes(_CHUNK)
_LOW = int.from_bytes(b"\x7f" * _CHUNK, "little")
_HIGH = int.from_bytes(b"\x80" * _CHUNK, "little")
_SIGN = 1 << 63
_MAX_RUN = 0x7FFF_FFFF


class Content(Protocol):
    """The old file: bytes, or a file mapped into memory."""

    def __len__(self) -> int: ...
    @overload
    def __getitem__(self, index: int) -> int: ...
    @overload
    def __getitem__(self, index: slice) -> bytes: ...


def add(first: bytes, second: bytes) -> bytes:
    """The sums, modulo 256, of the bytes of two strings of equal length."""
    size = len(first)
    a, b = int.from_bytes(first, "little"), int.from_bytes(second, "little")
    low, high = (_LOW, _HIGH) if size == _CHUNK else _masks(size)
    return (((a & low) + (b & low)) ^ ((a ^ b) & high)).to_bytes(size, "little")


def subtract(first: bytes, second: bytes) -> bytes:
    """The differences, modulo 256, of the bytes of two strings of equal length."""
    size = len(first)
    a, b = int.from_bytes(first, "little"), int.from_bytes(second, "little")
    low, high = (_LOW, _HIGH) if size == _CHUNK else _masks(size)
    return (((a | high) - (b & low)) ^ ((a ^ b ^ high) & high)).to_bytes(size, "little")


def _masks(size: int) -> tuple[int, int]:
    if size > _CHUNK:
        return int.from_bytes(b"\x7f" * size, "little"), int.from_bytes(b"\x80" * size, "little")
    excess = 8 * (_CHUNK - size)
    return _LOW >> excess, _HIGH >> excess


def patch(old: Content, stream: Buffer, size: int) -> Iterator[bytes]:
    """The new file of `size` bytes, in pieces of at most 1 MiB; raises `FormatError`.

    Where a stream reaches beyond the old file, zeros are what is added to.
    """
    at = made = position = 0
    while made < size:
        if at + CONTROL_SIZE > len(stream):
            raise FormatError("a bsdiff stream ends too early")
        added, literal, seek = _control(bytes(stream[at : at + CONTROL_SIZE]))
        at += CONTROL_SIZE
        if not (0 <= added <= _MAX_RUN and 0 <= literal <= _MAX_RUN):
            raise FormatError("a bsdiff stream announces a negative or enormous run")
        if made + added + literal > size or at + added + literal > len(stream):
            raise FormatError("a bsdiff stream makes more than it should, or ends too early")
        for start in range(0, added, _PIECE):
            count = min(_PIECE, added - start)
            yield _sum(old, position + start, stream[at + start : at + start + count])
        at += added
        for start in range(at, at + literal, _PIECE):
            yield bytes(stream[start : min(start + _PIECE, at + literal)])
        at += literal
        made += added + literal
        position += added + seek


def _sum(old: Content, position: int, differences: Buffer) -> bytes:
    """`differences` added to what the old file has at `position`."""
    pieces = []
    for start in range(0, len(differences), _CHUNK):
        second = bytes(differences[start : start + _CHUNK])
        at = position + start
        if at < 0:
            lead = min(-at, len(second))
            first = bytes(lead) + old[0 : len(second) - lead]
        else:
            first = old[at : at + len(second)]
        if len(first) < len(second):
            first += bytes(len(second) - len(first))
        pieces.append(
            first if second == (_ZEROS if len(second) == _CHUNK else bytes(len(second))) else add(first, second)
        )
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)


def _control(data: bytes) -> tuple[int, int, int]:
    return _signed(data[:8]), _signed(data[8:16]), _signed(data[16:])


def _signed(data: bytes) -> int:
    number = int.from_bytes(data, "little")
    return _SIGN - number if number & _SIGN else number


def encode_control(added: int, literal: int, seek: int) -> bytes:
    """The three numbers before a run."""
    return b"".join(
        [(number if number >= 0 else _SIGN - number).to_bytes(8, "little") for number in (added, literal, seek)]
    )
