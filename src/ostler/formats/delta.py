"""Static deltas: what brings a repository from one commit (or from nothing) to another in a few large files.

Format: libostree's `ostree-repo-static-delta-private.h`. A delta is a **superblock**, which holds the new commit and
lists the parts and the objects that each of them makes; **parts** (see `delta_parts`); and **fallbacks**, objects to be
fetched as they are. This module has the superblock, delta indexes, and the names and places of deltas.

Sizes and versions in the superblock are in the byte order of whoever wrote it. Newer deltas name it; for older ones it
is guessed.
"""

import base64
import binascii
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, TypeAlias

from ostler.formats import gvariant
from ostler.formats.gvariant import FormatError, Variant
from ostler.formats.objects import (
    COMMIT_TYPE,
    METADATA_TYPE,
    Checksum,
    ObjectType,
    parse_checksum,
)

PART_TYPE = "(uayttay)"
FALLBACK_TYPE = "(yaytt)"
SUPERBLOCK_TYPE = f"({METADATA_TYPE}tayay{COMMIT_TYPE}aya{PART_TYPE}a{FALLBACK_TYPE})"
SIGNED_TYPE = "(taya{sv})"
SIGNED_MAGIC = b"OSTSGNDT"
PART_VERSION = 0
DELTAS_KEY = "ostree.static-deltas"
"""The key of summaries and delta indexes for the digests of superblocks by the names of their deltas."""
ENDIANNESS_KEY = "ostree.endianness"
INLINE_PART_TYPE = "(yay)"

MAX_LISTED = 1 << 17
"""A superblock may list so many parts and fallbacks, and have so many metadata."""
MAX_VALUE = 16 * 1024 * 1024
"""The commit in a superblock, and each of its metadata but parts, take at most so many bytes."""

NAME_SIZE = 33
"""Bytes that an object takes in the list of a part: its type and its checksum."""
ObjectName: TypeAlias = tuple[ObjectType, Checksum]


# --- names and places


def delta_name(from_: Checksum | None, to: Checksum) -> str:
    """FROM-TO, or TO for a delta from nothing."""
    return f"{from_}-{to}" if from_ else to


def parse_delta_name(name: str) -> tuple[Checksum | None, Checksum]:
    """(from, to) of a delta's name; raises `FormatError`."""
    first, dash, second = name.partition("-")
    if dash:
        return parse_checksum(first), parse_checksum(second)
    return None, parse_checksum(first)


def delta_folder(from_: Checksum | None, to: Checksum) -> str:
    """Where in a repository the delta's files are: "deltas/Ab/cd…-Ef…"."""
    text = f"{_short(from_)}-{_short(to)}" if from_ else _short(to)
    return f"deltas/{text[:2]}/{text[2:]}"


def superblock_path(from_: Checksum | None, to: Checksum) -> str:
    """Where in a repository the superblock is."""
    return f"{delta_folder(from_, to)}/superblock"


def part_path(from_: Checksum | None, to: Checksum, number: int) -> str:
    """Where in a repository part `number` is; also the key of an inline part in the superblock's metadata."""
    return f"{delta_folder(from_, to)}/{number}"


def detached_key(from_: Checksum | None, to: Checksum) -> str:
    """The key in the superblock's metadata of the commit's detached metadata (`a{sv}`)."""
    return f"{delta_folder(from_, to)}/commitmeta"


def index_path(to: Checksum) -> str:
    """Where in a repository the index of the deltas to a commit is."""
    text = _short(to)
    return f"delta-indexes/{text[:2]}/{text[2:]}.index"


def parse_delta_folder(fanout: str, name: str) -> tuple[Checksum | None, Checksum]:
    """(from, to) of the folder "deltas/FANOUT/NAME"; raises `FormatError`."""
    first, dash, second = (fanout + name).partition("-")
    if dash:
        return _long(first), _long(second)
    return None, _long(first)


def parse_index_path(fanout: str, name: str) -> Checksum:
    """The commit of the file "delta-indexes/FANOUT/NAME"; raises `FormatError`."""
    if not name.endswith(".index"):
        raise FormatError(f"{fanout}/{name} is no delta index")
    return _long(fanout + name.removesuffix(".index"))


def _short(checksum: Checksum) -> str:
    return base64.b64encode(bytes.fromhex(checksum)).decode().rstrip("=").replace("/", "_")


def _long(text: str) -> Checksum:
    try:
        raw = base64.b64decode(text.replace("_", "/") + "=", validate=True)
    except (binascii.Error, ValueError) as error:
        raise FormatError(f"{text[:80]!r} is no checksum in base64") from error
    if len(text) != 43 or len(raw) != 32 or _short(Checksum(raw.hex())) != text:
        raise FormatError(f"{text[:80]!r} is no checksum in base64")
    return Checksum(raw.hex())


# --- the superblock


class Endianness(StrEnum):
    """The byte order of the sizes in a superblock, as `ostree.endianness` names it."""

    LITTLE = "l"
    BIG = "B"


@dataclass(frozen=True, slots=True)
class PartHeader:
    """What a superblock says of a part: sizes in bytes; `names` are its objects, in the order in which it makes them.

    `checksum` is that of the part's file, `size` the file's, `usize` that of the objects, uncompressed.
    """

    checksum: Checksum
    size: int
    usize: int
    names: bytes
    version: int = PART_VERSION

    def __len__(self) -> int:
        return len(self.names) // NAME_SIZE

    def objects(self) -> Iterator[ObjectName]:
        """The objects that the part makes, in order; raises `FormatError` for a type that is no object's."""
        for at in range(0, len(self.names), NAME_SIZE):
            yield _kind(self.names[at]), Checksum(self.names[at + 1 : at + NAME_SIZE].hex())


def encode_names(objects: Sequence[ObjectName]) -> bytes:
    """`PartHeader.names` of a list of objects."""
    return b"".join([bytes([kind]) + bytes.fromhex(checksum) for kind, checksum in objects])


@dataclass(frozen=True, slots=True)
class Fallback:
    """An object to be fetched by itself; its sizes in bytes as the server stores it, and uncompressed."""

    kind: ObjectType
    checksum: Checksum
    size: int
    usize: int


@dataclass(frozen=True, slots=True)
class Superblock:
    """The head of a delta. `commit` is the commit object `to`, as bytes; `timestamp` is in seconds since 1970.

    `endianness` None: the delta names one that does not exist. `guessed`: it names none.
    """

    to: Checksum
    commit: bytes
    from_: Checksum | None = None
    timestamp: int = 0
    parts: tuple[PartHeader, ...] = ()
    fallbacks: tuple[Fallback, ...] = ()
    metadata: Mapping[str, Variant] = field(default_factory=dict)
    before: bytes = b""
    endianness: Endianness | None = Endianness.LITTLE
    guessed: bool = False

    @property
    def name(self) -> str:
        """FROM-TO, or TO."""
        return delta_name(self.from_, self.to)

    def inline_part(self, number: int) -> bytes | None:
        """The bytes of part `number` if the superblock holds them itself."""
        held = self.metadata.get(part_path(self.from_, self.to, number))
        if held is None or held.type != INLINE_PART_TYPE:
            return None
        compression: int = held.value[0]
        data: bytes = held.value[1]
        return bytes([compression]) + data

    def detached(self) -> dict[str, Variant] | None:
        """The detached metadata of the commit (signatures), if the superblock has any."""
        held = self.metadata.get(detached_key(self.from_, self.to))
        return dict(held.value) if held is not None and held.type == METADATA_TYPE else None

    def encode(self) -> bytes:
        """The bytes of the file `superblock`; the metadata are written as they are, with the endianness last if new."""
        metadata = dict(self.metadata)
        if self.endianness is not None and not self.guessed:
            metadata.setdefault(ENDIANNESS_KEY, Variant("y", ord(self.endianness)))
        swapped = self.endianness is Endianness.BIG
        return gvariant.encode(
            SUPERBLOCK_TYPE,
            (
                metadata,
                _swap(self.timestamp, 8),
                bytes.fromhex(self.from_ or ""),
                bytes.fromhex(self.to),
                gvariant.decode(COMMIT_TYPE, self.commit),
                self.before,
                [
                    (
                        _ordered(part.version, 4, swapped),
                        bytes.fromhex(part.checksum),
                        _ordered(part.size, 8, swapped),
                        _ordered(part.usize, 8, swapped),
                        part.names,
                    )
                    for part in self.parts
                ],
                [
                    (f.kind, bytes.fromhex(f.checksum), _ordered(f.size, 8, swapped), _ordered(f.usize, 8, swapped))
                    for f in self.fallbacks
                ],
            ),
        )

    @staticmethod
    def decode(data: bytes) -> "Superblock":
        """Parse a superblock that is not signed; raises `FormatError`. The commit is not checked.

        The metadata are decoded when they are asked for, which may raise that too.
        """
        raw_metadata, raw_time, from_, to, commit, before, raw_parts, raw_fallbacks = gvariant.split(
            SUPERBLOCK_TYPE, data
        )
        if len(commit) > MAX_VALUE:
            raise FormatError(f"a delta's commit has more than {MAX_VALUE} bytes")
        gvariant.decode(COMMIT_TYPE, commit)
        metadata: Mapping[str, Variant] = _Metadata(raw_metadata)
        time = gvariant.decode("t", raw_time)
        parts = _listed(PART_TYPE, raw_parts)
        fallbacks = _listed(FALLBACK_TYPE, raw_fallbacks)
        if len(before) % 64:
            raise FormatError("a delta's list of deltas to apply before has a wrong length")
        for _, _, _, _, names in parts:
            if len(names) % NAME_SIZE:
                raise FormatError(f"the list of a delta part's objects has {len(names)} bytes")
        endianness, guessed = _endianness(metadata, parts)
        swapped = endianness is Endianness.BIG
        return Superblock(
            to=_checksum(to),
            commit=commit,
            from_=_checksum(from_) if from_ else None,
            timestamp=_swap(time, 8),
            parts=tuple(
                PartHeader(
                    _checksum(checksum),
                    _ordered(size, 8, swapped),
                    _ordered(usize, 8, swapped),
                    names,
                    _ordered(version, 4, swapped),
                )
                for version, checksum, size, usize, names in parts
            ),
            fallbacks=tuple(
                Fallback(_kind(kind), _checksum(c), _ordered(size, 8, swapped), _ordered(usize, 8, swapped))
                for kind, c, size, usize in fallbacks
            ),
            metadata=metadata,
            before=before,
            endianness=endianness,
            guessed=guessed,
        )


def _listed(type_string: str, data: bytes) -> list[Any]:
    """The elements of an array of that type, of which there may be `MAX_LISTED`."""
    return [gvariant.decode(type_string, raw) for raw in gvariant.split(f"a{type_string}", data, most=MAX_LISTED)]


class _Metadata(Mapping[str, Variant]):
    """Metadata as they were read: Python's form of what a server sends could be many times larger."""

    def __init__(self, data: bytes) -> None:
        self._elements: dict[str, bytes] = {}
        for element in gvariant.split(METADATA_TYPE, data, most=MAX_LISTED):
            end = element.find(b"\0")
            try:
                key = element[: max(end, 0)].decode()
            except UnicodeDecodeError as error:
                raise FormatError("a key of a delta's metadata is not UTF-8") from error
            if end < 0 or key in self._elements:
                raise FormatError("a key of a delta's metadata is not ended, or there twice")
            self._elements[key] = element

    def __len__(self) -> int:
        return len(self._elements)

    def __iter__(self) -> Iterator[str]:
        return iter(self._elements)

    def __getitem__(self, key: str) -> Variant:
        name, raw = gvariant.split("{sv}", self._elements[key])
        if name != key.encode() + b"\0":
            raise FormatError("a key of a delta's metadata is not ended")
        if len(raw) > MAX_VALUE and not raw.endswith(b"\0" + INLINE_PART_TYPE.encode()):
            raise FormatError(f"the metadata {key[:80]!r} of a delta take more than {MAX_VALUE} bytes")
        value = gvariant.decode("v", raw)
        assert isinstance(value, Variant)
        return value


def _endianness(
    metadata: Mapping[str, Variant], parts: Sequence[tuple[int, bytes, int, int, bytes]]
) -> tuple[Endianness | None, bool]:
    """(the byte order, whether that is a guess) of a superblock whose numbers were read as little-endian.

    The guess is the order in which the parts come out smaller, since the other makes petabytes of them. (libostree
    guesses by other signs, which fail for small deltas.)
    """
    named = metadata.get(ENDIANNESS_KEY)
    if named is not None and named.type == "y":
        code = chr(named.value)
        return (Endianness(code) if code in list(Endianness) else None), False
    sizes = [number for _, _, size, usize, _ in parts for number in (size, usize)]
    little = sum(sizes) <= sum(_swap(number, 8) for number in sizes)
    return (Endianness.LITTLE if little else Endianness.BIG), True


def _ordered(number: int, size: int, swapped: bool) -> int:
    return _swap(number, size) if swapped else number


def _swap(number: int, size: int) -> int:
    return int.from_bytes(number.to_bytes(size, "big"), "little")


def _checksum(raw: bytes) -> Checksum:
    if len(raw) != 32:
        raise FormatError(f"a checksum has {len(raw)} bytes instead of 32")
    return Checksum(raw.hex())


def _kind(number: int) -> ObjectType:
    try:
        return ObjectType(number)
    except ValueError as error:
        raise FormatError(f"a delta names an object of the unknown type {number}") from error


# --- signed superblocks and indexes


@dataclass(frozen=True, slots=True)
class SignedSuperblock:
    """A superblock (its bytes) with signatures over them: key of the signature type → list of signatures (`aay`)."""

    superblock: bytes
    signatures: Mapping[str, Variant]

    def encode(self) -> bytes:
        """The bytes of the file `superblock`."""
        magic = int.from_bytes(SIGNED_MAGIC, "little")
        return gvariant.encode(SIGNED_TYPE, (magic, self.superblock, self.signatures))

    @staticmethod
    def decode(data: bytes) -> "SignedSuperblock":
        """Parse a signed superblock; raises `FormatError`. The signatures are not checked."""
        if not is_signed(data):
            raise FormatError("no signatures in static-delta")
        _, superblock, signatures = gvariant.decode(SIGNED_TYPE, data)
        return SignedSuperblock(superblock, signatures)


def is_signed(data: bytes) -> bool:
    """Whether these are the bytes of a signed superblock."""
    return data[:8] == SIGNED_MAGIC


def decode_superblock(data: bytes) -> Superblock:
    """The superblock in a file that may be signed or not; raises `FormatError`. Signatures are not checked."""
    return Superblock.decode(SignedSuperblock.decode(data).superblock if is_signed(data) else data)


def encode_index(deltas: Mapping[str, Checksum]) -> bytes:
    """The bytes of a delta index: name of a delta → SHA-256 of its superblock's file."""
    return gvariant.encode(METADATA_TYPE, {DELTAS_KEY: digests_variant(deltas)})


def decode_index(data: bytes) -> dict[str, Checksum]:
    """The deltas in an index: name → SHA-256 of its superblock's file; raises `FormatError`."""
    return digests_in(gvariant.decode(METADATA_TYPE, data))


def digests_variant(deltas: Mapping[str, Checksum]) -> Variant:
    """The value of `DELTAS_KEY` in a summary or an index."""
    return Variant(METADATA_TYPE, {name: Variant("ay", bytes.fromhex(deltas[name])) for name in sorted(deltas)})


def digests_in(metadata: Mapping[str, Variant]) -> dict[str, Checksum]:
    """The deltas in the metadata of a summary or an index; raises `FormatError`. What is no delta's is passed over."""
    held = metadata.get(DELTAS_KEY)
    if held is None or held.type != METADATA_TYPE:
        return {}
    return {name: _checksum(value.value) for name, value in held.value.items() if value.type == "ay"}
