"""Extended attributes in EROFS images: their form, and the filter by which the kernel rules out names fast."""

import struct
from functools import lru_cache
from typing import TypeAlias

Pair: TypeAlias = tuple[bytes, bytes]
"""(name, value)."""

_XATTR_ENTRY = struct.Struct("<BBH")
_FILTER_SEED = 0x25BBE08F
_PREFIXES = (
    (b"user.", 1), (b"system.posix_acl_access", 2), (b"system.posix_acl_default", 3), (b"trusted.", 4),
    (b"security.", 6),
)  # fmt: skip


def name_index(name: bytes) -> tuple[int, bytes]:
    """The number that stands for the beginning of a name (0: none does), and the rest of it."""
    for prefix, index in _PREFIXES:
        if name.startswith(prefix):
            return index, name[len(prefix) :]
    return 0, name


def entry_size(pair: Pair) -> int:
    """The bytes that the encoded attribute takes."""
    size = _XATTR_ENTRY.size + len(name_index(pair[0])[1]) + len(pair[1])
    return size + -size % 4


def encode_xattr(pair: Pair) -> bytes:
    """The attribute as it lies in an image."""
    index, suffix = name_index(pair[0])
    data = _XATTR_ENTRY.pack(len(suffix), index, len(pair[1])) + suffix + pair[1]
    return data + bytes(-len(data) % 4)


def name_filter(xattrs: list[Pair]) -> int:
    """32 bits; one that is set says that no attribute has a name whose hash selects it."""
    found = 0
    for name, _ in xattrs:
        found |= 1 << _filter_bit(name)
    return ~found & 0xFFFF_FFFF


@lru_cache(maxsize=4096)
def _filter_bit(name: bytes) -> int:
    index, suffix = name_index(name)
    return xxh32(suffix, _FILTER_SEED + index) & 31


# --- the hash of names

_PRIME_1, _PRIME_2, _PRIME_3, _PRIME_4, _PRIME_5 = 2654435761, 2246822519, 3266489917, 668265263, 374761393
_WORD = 0xFFFF_FFFF


def xxh32(data: bytes, seed: int) -> int:
    """The 32-bit xxHash of `data`."""
    position = 0
    if len(data) >= 16:
        lanes = [seed + _PRIME_1 + _PRIME_2, seed + _PRIME_2, seed, seed - _PRIME_1]
        for position in range(0, len(data) - 15, 16):
            words = struct.unpack_from("<4I", data, position)
            lanes = [
                _rotate(lane + word * _PRIME_2, 13) * _PRIME_1 & _WORD for lane, word in zip(lanes, words, strict=True)
            ]
        position += 16
        total = sum(_rotate(lane, turn) for lane, turn in zip(lanes, (1, 7, 12, 18), strict=True))
    else:
        total = seed + _PRIME_5
    total += len(data)
    while position + 4 <= len(data):
        word = int.from_bytes(data[position : position + 4], "little")
        total = _rotate(total + word * _PRIME_3, 17) * _PRIME_4
        position += 4
    for byte in data[position:]:
        total = _rotate(total + byte * _PRIME_5, 11) * _PRIME_1
    total &= _WORD
    for shift, prime in ((15, _PRIME_2), (13, _PRIME_3)):
        total = (total ^ total >> shift) * prime & _WORD
    return total ^ total >> 16


def _rotate(number: int, turn: int) -> int:
    number &= _WORD
    return (number << turn | number >> (32 - turn)) & _WORD
