"""Sizes of objects in a commit's metadata, so that a client can tell how much it will fetch (`ostree.sizes`).

Each entry: checksum, size in the archive and unpacked size as variable-length integers, number of the object type.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from ostler.formats.gvariant import FormatError, Variant
from ostler.formats.objects import Checksum, ObjectType

SIZES_KEY = "ostree.sizes"
SIZES_TYPE = "aay"
_COUNTED = (ObjectType.FILE, ObjectType.DIRTREE, ObjectType.DIRMETA)
_MAX_VARINT = 10


@dataclass(frozen=True, slots=True)
class ObjectSize:
    """One entry: bytes of the stored form and unpacked. Old writers say nothing about the type of the object."""

    checksum: Checksum
    stored: int
    unpacked: int
    kind: ObjectType | None


class SizeLog:
    """The sizes of all objects that a transaction came across, new or not."""

    def __init__(self) -> None:
        self._found: dict[Checksum, ObjectSize] = {}

    def add(self, kind: ObjectType, checksum: Checksum, *, unpacked: int, stored: int) -> None:
        """Note an object; commits are left out, and so is what was noted before."""
        if kind in _COUNTED and checksum not in self._found:
            self._found[checksum] = ObjectSize(checksum, stored, unpacked, kind)

    def take(self) -> dict[str, Variant]:
        """The metadata to add to a commit, empty if there are no objects; starts anew."""
        sizes, self._found = self._found, {}
        return {SIZES_KEY: encode_sizes(sizes.values())} if sizes else {}


def encode_sizes(sizes: Iterable[ObjectSize]) -> Variant:
    """The value of `ostree.sizes`, ascending by checksum."""
    return Variant(SIZES_TYPE, [_encode(size) for size in sorted(sizes, key=lambda size: size.checksum)])


def decode_sizes(metadata: Mapping[str, Variant]) -> list[ObjectSize] | None:
    """The sizes in a commit's metadata, None if it has none; raises `FormatError`."""
    value = metadata.get(SIZES_KEY)
    if value is None:
        return None
    if value.type != SIZES_TYPE:
        raise FormatError(f"{SIZES_KEY} has the type {value.type} instead of {SIZES_TYPE}")
    return [_decode(entry) for entry in value.value]


def _encode(size: ObjectSize) -> bytes:
    kind = b"" if size.kind is None else bytes([size.kind])
    return bytes.fromhex(size.checksum) + _varint(size.stored) + _varint(size.unpacked) + kind


def _decode(entry: bytes) -> ObjectSize:
    if len(entry) < 34:
        raise FormatError(f"an entry of {SIZES_KEY} has {len(entry)} bytes only")
    stored, at = _read_varint(entry, 32)
    unpacked, at = _read_varint(entry, at)
    rest = entry[at:]
    if len(rest) > 1 or (rest and rest[0] not in list(ObjectType)):
        raise FormatError(f"an entry of {SIZES_KEY} ends in {rest[:8]!r} instead of the type of an object")
    return ObjectSize(Checksum(entry[:32].hex()), stored, unpacked, ObjectType(rest[0]) if rest else None)


def _varint(number: int) -> bytes:
    parts = bytearray()
    while number >= 0x80:
        parts.append(number & 0x7F | 0x80)
        number >>= 7
    parts.append(number)
    return bytes(parts)


def _read_varint(data: bytes, at: int) -> tuple[int, int]:
    number = 0
    for index in range(_MAX_VARINT):
        if at + index >= len(data):
            break
        byte = data[at + index]
        number |= (byte & 0x7F) << (7 * index)
        if byte < 0x80:
            return number, at + index + 1
    raise FormatError(f"a size in {SIZES_KEY} is cut off or too large")
