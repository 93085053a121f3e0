"""The file `summary` of a repository: which refs it has, so that clients need not guess names.

Format `(a(s(taya{sv}))a{sv})`: per ref, ascending, the size of the commit object (in bytes, little-endian, unlike the
other numbers), its checksum and metadata; then metadata of the whole. See libostree's `ostree-repo.c`. Summaries come
from servers and may be large: reading one keeps its bytes and decodes an entry when it is asked for.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ostler.formats import gvariant
from ostler.formats.gvariant import FormatError, Variant
from ostler.formats.objects import Checksum

SUMMARY_TYPE = "(a(s(taya{sv}))a{sv})"
ENTRY_TYPE = "(s(taya{sv}))"
REFS_TYPE = f"a{ENTRY_TYPE}"
COLLECTIONS_TYPE = f"a{{s{REFS_TYPE}}}"
METADATA_TYPE = "a{sv}"
_MEMBER_TYPE = "{sv}"

LAST_MODIFIED = "ostree.summary.last-modified"
EXPIRES = "ostree.summary.expires"
MODE = "ostree.summary.mode"
TOMBSTONE_COMMITS = "ostree.summary.tombstone-commits"
INDEXED_DELTAS = "ostree.summary.indexed-deltas"
COLLECTION_ID = "ostree.summary.collection-id"
COLLECTION_MAP = "ostree.summary.collection-map"
COMMIT_TIMESTAMP = "ostree.commit.timestamp"
COMMIT_VERSION = "ostree.commit.version"


@dataclass(frozen=True, slots=True)
class SummaryEntry:
    """One ref in a summary; `size` is that of the commit object in bytes."""

    commit: Checksum
    size: int
    metadata: Mapping[str, Variant] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Summary:
    """The refs of a repository, and metadata of the repository as a whole."""

    refs: Mapping[str, SummaryEntry]
    metadata: Mapping[str, Variant] = field(default_factory=dict)

    def encode(self) -> bytes:
        """The bytes of the file `summary`."""
        return gvariant.encode(SUMMARY_TYPE, (encode_refs(self.refs), dict(self.metadata)))

    @staticmethod
    def decode(data: bytes) -> "Summary":
        """Parse a file `summary`; raises `FormatError`, for a bad entry as late as that entry is looked at."""
        width = _offset_width(len(data))
        end = int.from_bytes(data[-width:], "little")
        start = -(-end // 8) * 8
        if len(data) < width or start > len(data) - width or data[end:start].strip(b"\0"):
            raise FormatError("the summary is cut off, or something else than a summary")
        return Summary(_Refs(data[:end]), _Metadata(data[start : len(data) - width]))

    @property
    def collections(self) -> Mapping[str, Mapping[str, SummaryEntry]]:
        """The refs of other collections than the repository's own, by collection; raises `FormatError`."""
        found = self.metadata.get(COLLECTION_MAP)
        if found is None or found.type != COLLECTIONS_TYPE:
            return {}
        return {name: dict(map(_entry, entries)) for name, entries in found.value.items()}


def encode_refs(refs: Mapping[str, SummaryEntry]) -> list[tuple[str, tuple[int, bytes, dict[str, Variant]]]]:
    """The refs as a GVariant value of type `a(s(taya{sv}))`."""
    return [
        (name, (entry.size, bytes.fromhex(entry.commit), dict(entry.metadata)))
        for name, entry in sorted(refs.items(), key=lambda item: item[0].encode())
    ]


def big_endian(number: int) -> int:
    """A 64-bit number with its bytes swapped: GVariant is little-endian, OSTree's own numbers are not."""
    return int.from_bytes(number.to_bytes(8, "big"), "little")


def _entry(value: tuple[str, tuple[int, bytes, Mapping[str, Variant]]]) -> tuple[str, SummaryEntry]:
    name, (size, raw, metadata) = value
    if len(raw) != 32:
        raise FormatError(f"the summary has a checksum of {len(raw)} bytes for {name[:80]!r}")
    return name, SummaryEntry(Checksum(raw.hex()), size, metadata)


def _offset_width(total: int) -> int:
    return 1 if total <= 0xFF else 2 if total <= 0xFFFF else 4


class _Elements(Sequence[bytes]):
    """The elements of a serialised array whose elements begin at multiples of 8, each as bytes."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._width = _offset_width(len(data))
        self._table = int.from_bytes(data[-self._width :], "little") if data else 0
        if data and (self._table >= len(data) or (len(data) - self._table) % self._width):
            raise FormatError("the offsets of an array in the summary do not add up")

    def __len__(self) -> int:
        return (len(self._data) - self._table) // self._width if self._data else 0

    def __getitem__(self, index: Any) -> Any:
        if not 0 <= index < len(self):
            raise IndexError(index)
        previous = self._end(index - 1) if index else 0
        start, end = -(-previous // 8) * 8, self._end(index)
        if not start <= end <= self._table or self._data[previous:start].strip(b"\0"):
            raise FormatError("the offsets of an array in the summary are out of order")
        return self._data[start:end]

    def _end(self, index: int) -> int:
        at = self._table + index * self._width
        return int.from_bytes(self._data[at : at + self._width], "little")


class _Refs(Mapping[str, SummaryEntry]):
    def __init__(self, data: bytes) -> None:
        self._elements = _Elements(data)
        previous = b""
        for element in self._elements:
            name = element.partition(b"\0")[0]
            if name <= previous:
                raise FormatError(f"the ref {name!r} of a summary is empty, repeated or out of order")
            previous = name

    def __len__(self) -> int:
        return len(self._elements)

    def __iter__(self) -> Iterator[str]:
        for element in self._elements:
            yield _decode_entry(element)[0]

    def __getitem__(self, name: str) -> SummaryEntry:
        """Found by halving, as libostree does: the entries are sorted."""
        wanted = name.encode()
        low, high = 0, len(self._elements)
        while low < high:
            middle = (low + high) // 2
            found, entry = _decode_entry(self._elements[middle])
            if found == name:
                return entry
            low, high = (middle + 1, high) if found.encode() < wanted else (low, middle)
        raise KeyError(name)

    def items(self) -> Any:
        """(ref, entry) of each ref, in one pass."""
        return _Pairs(self._elements)


class _Pairs:
    def __init__(self, elements: _Elements) -> None:
        self._elements = elements

    def __len__(self) -> int:
        return len(self._elements)

    def __iter__(self) -> Iterator[tuple[str, SummaryEntry]]:
        return map(_decode_entry, self._elements)


def _decode_entry(element: bytes) -> tuple[str, SummaryEntry]:
    return _entry(gvariant.decode(ENTRY_TYPE, element))


class _Metadata(Mapping[str, Variant]):
    def __init__(self, data: bytes) -> None:
        self._places: dict[str, int] = {}
        self._elements = _Elements(data)
        for index, element in enumerate(self._elements):
            name, end, _ = element.partition(b"\0")
            try:
                key = name.decode()
            except UnicodeDecodeError as error:
                raise FormatError("a key of the summary's metadata is not UTF-8") from error
            if not end or key in self._places:
                raise FormatError("a key of the summary's metadata is not ended, or there twice")
            self._places[key] = index

    def __len__(self) -> int:
        return len(self._places)

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __getitem__(self, key: str) -> Variant:
        value = gvariant.decode(_MEMBER_TYPE, self._elements[self._places[key]])[1]
        assert isinstance(value, Variant)
        return value
