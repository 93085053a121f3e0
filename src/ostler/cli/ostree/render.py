"""Commits and GVariants as `ostree` prints them."""

import time
from collections.abc import Iterator

from ostler.cli.ostree.options import Failure
from ostler.formats.objects import COMMIT_TYPE, Checksum, Commit


def commit_text(checksum: Checksum, commit: Commit) -> str:
    """A commit with its fields and message."""
    lines = [f"commit {checksum}"]
    if commit.parent:
        lines.append(f"Parent:  {commit.parent}")
    lines.append(f"ContentChecksum:  {commit.content_checksum}")
    lines.append(f"Date:  {_date(commit.timestamp)}")
    version = commit.metadata.get("version")
    if version is not None and version.type == "s":
        lines.append(f"Version: {version.value}")
    if commit.subject:
        lines += ["", *_indented(commit.subject)]
    else:
        lines.append("(no subject)")
    if commit.body:
        lines += ["", *_indented(commit.body)]
    return "\n".join([*lines, ""])


def _date(timestamp: int) -> str:
    try:
        signed = timestamp - 2**64 if timestamp >= 2**63 else timestamp
        return time.strftime("%Y-%m-%d %H:%M:%S +0000", time.gmtime(signed))
    except (OverflowError, ValueError, OSError) as error:
        raise Failure(f"Failed to read commit: Invalid timestamp: {timestamp}") from error


def _indented(text: str) -> Iterator[str]:
    return (f"    {line}" for line in text.removesuffix("\n").split("\n"))


def commit_variant(data: bytes, *, swap: bool = True) -> str:
    """The bytes of a commit as GVariant text, its numbers taken for big-endian if `swap`."""
    return variant_text(COMMIT_TYPE, data, swap=swap)


def variant_text(type: str, data: bytes, *, swap: bool = True) -> str:
    """The bytes of a value as GVariant text, its numbers taken for big-endian if `swap`."""
    from ostler.formats.gvariant import decode
    from ostler.formats.gvariant_text import byteswapped, format_text

    value = decode(type, data)
    return format_text(type, byteswapped(type, value) if swap else value)
