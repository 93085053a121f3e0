"""Names of refs, and refspecs (`REMOTE:REF`)."""

import re

from ostler.formats.gvariant import FormatError

_FRAGMENT = r"[\w][-._\w]*"
_REF = re.compile(rf"{_FRAGMENT}(?:/{_FRAGMENT})*")
_REMOTE = re.compile(_FRAGMENT)
_COLLECTION = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(?:\.[A-Za-z_][A-Za-z0-9_]*)+")


class BadRefError(FormatError):
    """A string is no name of a ref or a remote."""


def validate_ref(name: str) -> str:
    """`name` if it is a ref: fragments of letters, digits, `-._`, separated by `/`, none starting with `-` or `.`."""
    if not _REF.fullmatch(name) or len(name) > 4096:
        raise BadRefError(
            f"Invalid ref name {name}",
            hint="a ref is made of letters, digits, '-', '.', '_' and '/'; no part starts with '-' or '.'",
        )
    return name


def validate_remote(name: str) -> str:
    """`name` if it can name a remote."""
    if not _REMOTE.fullmatch(name):
        raise BadRefError(f"Invalid remote name {name}", hint="a remote's name is letters, digits, '-', '.', '_'")
    return name


def validate_collection(name: str) -> str:
    """`name` if it can be a collection id: two or more parts like those of a D-Bus name, joined by dots."""
    if not _COLLECTION.fullmatch(name) or len(name) > 255:
        raise BadRefError(
            f"Invalid collection ID {name}",
            hint="a collection id is a reversed domain name such as org.example.Os",
        )
    return name


def split_refspec(text: str) -> tuple[str | None, str]:
    """(remote or None, ref) of `REMOTE:REF` or `REF`; raises `BadRefError`."""
    remote, colon, ref = text.rpartition(":")
    return (validate_remote(remote) if colon else None), validate_ref(ref)


def join_refspec(remote: str | None, ref: str) -> str:
    """The opposite of `split_refspec`."""
    return f"{remote}:{ref}" if remote else ref
