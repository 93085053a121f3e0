"""Summaries as `ostree` prints them."""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from ostler.cli.ostree.call import Call
from ostler.cli.ostree.render import variant_text
from ostler.cli.ostree.sizes import format_size
from ostler.formats.gvariant import Variant, decode
from ostler.formats.gvariant_text import format_text

SUMMARY_TYPE = "(a(s(taya{sv}))a{sv})"
MODES = ("bare", "bare-user", "bare-user-only", "archive", "archive-z2", "bare-split-xattrs")
NAMES = {
    "ostree.static-deltas": "Static Deltas",
    "ostree.summary.last-modified": "Last-Modified",
    "ostree.summary.expires": "Expires",
    "ostree.summary.collection-id": "Collection ID",
    "ostree.summary.collection-map": "Collection Map",
    "ostree.summary.mode": "Repository Mode",
    "ostree.summary.tombstone-commits": "Has Tombstone Commits",
}
_REF_NAMES = {"ostree.commit.timestamp": "Timestamp", "ostree.commit.version": "Version"}

_Refs = Iterable[tuple[str, tuple[int, bytes, Mapping[str, Variant]]]]


def print_summary(call: Call, data: bytes, *, raw: bool) -> None:
    """Print the file `summary`; raises `FormatError`."""
    if raw:
        call.out(variant_text(SUMMARY_TYPE, data))
        return
    refs, metadata = decode(SUMMARY_TYPE, data)
    own = metadata.get("ostree.summary.collection-id")
    _print_refs(call, None if own is None else own.value, refs)
    others = metadata.get("ostree.summary.collection-map")
    if others is not None and others.type == "a{sa(s(taya{sv}))}":
        for collection, mirrored in others.value.items():
            _print_refs(call, collection, mirrored)
    for key, value in metadata.items():
        name = f"{NAMES[key]} ({key})" if key in NAMES else key
        call.out(f"{name}: {_value(key, value)}")


def _print_refs(call: Call, collection: str | None, refs: _Refs) -> None:
    for ref, (size, checksum, metadata) in refs:
        call.out(f"* {ref}" if collection is None else f"* ({collection}, {ref})")
        call.out(f"    Latest Commit ({format_size(size)}):")
        call.out(f"      {checksum.hex()}")
        for key, value in metadata.items():
            name = f"{_REF_NAMES[key]} ({key})" if key in _REF_NAMES else key
            call.out(f"    {name}: {_value(key, value)}")
        call.out("")


def _value(key: str, value: Variant) -> str:
    match key:
        case "ostree.summary.last-modified" | "ostree.summary.expires" | "ostree.commit.timestamp":
            return _local_time(value.value)
        case "ostree.summary.collection-id" | "ostree.commit.version":
            return str(value.value)
        case "ostree.summary.collection-map":
            return "(printed above)"
        case "ostree.summary.mode":
            return str(value.value) if value.value in MODES else f"Invalid (‘{value.value}’)"
        case "ostree.summary.tombstone-commits":
            return "Yes" if value.value else "No"
    return format_text(value.type, value.value, annotate=False)


def _local_time(stored: Any) -> str:
    """A big-endian number of seconds since 1970 as local time, with the zone's offset as short as can be."""
    try:
        seconds = int.from_bytes(stored.to_bytes(8, "big"), "little")
        local = datetime.fromtimestamp(seconds).astimezone()
    except (OverflowError, ValueError, OSError, AttributeError):
        return "invalid"
    offset = local.strftime("%z")
    return local.strftime("%Y-%m-%dT%H:%M:%S") + (offset[:3] if offset[3:] == "00" else f"{offset[:3]}:{offset[3:]}")
