"""Names of OSTree refs for container images and their layers, escaped as bootc's ostree-ext does.

In a ref, ASCII letters, digits and `-` stand for themselves; `_` is doubled; `/` stays if an ASCII letter or digit
precedes it and something follows; every other character becomes `_` + its code point in hex + `_`.
"""

import re

from ostler.errors import OstlerError

BLOB_PREFIX = "ostree/container/blob"
IMAGE_PREFIX = "ostree/container/image"
BASE_IMAGE_PREFIX = "ostree/container/baseimage"

_ESCAPE = re.compile(r"_(?:_|([0-9A-Fa-f]{2,6})_)")


class RefEscapeError(OstlerError):
    """A name cannot be written as an OSTree ref, or a ref is not an escaped name."""


def _is_alphanumeric(character: str) -> bool:
    return character.isascii() and character.isalnum()


def escape_ref(name: str) -> str:
    """`name` in the form that an OSTree ref can carry. Raises `RefEscapeError` if it is empty or has a NUL."""
    if not name or "\0" in name:
        raise RefEscapeError(f"the name {name!r} cannot be part of an OSTree ref: it is empty or contains NUL")
    parts: list[str] = []
    previous = ""
    for position, character in enumerate(name):
        passes = _is_alphanumeric(character) or character == "-"
        divides = character == "/" and _is_alphanumeric(previous) and position + 1 < len(name)
        if passes or divides:
            parts.append(character)
        elif character == "_":
            parts.append("__")
        else:
            parts.append(f"_{ord(character):02X}_")
        previous = character
    return "".join(parts)


def unescape_ref(escaped: str) -> str:
    """The name that `escape_ref` made `escaped` of. Raises `RefEscapeError` for what it cannot have made."""
    if not escaped:
        raise RefEscapeError("an empty text is no escaped name")
    parts: list[str] = []
    position = 0
    while position < len(escaped):
        character = escaped[position]
        if character != "_":
            if not (_is_alphanumeric(character) or character in "-/"):
                raise RefEscapeError(f"{escaped!r} is no escaped name: it contains {character!r}")
            parts.append(character)
            position += 1
            continue
        match = _ESCAPE.match(escaped, position)
        if match is None:
            raise RefEscapeError(f"{escaped!r} is no escaped name: a lone `_` at position {position}")
        parts.append("_" if match[1] is None else _character(match[1], escaped))
        position = match.end()
    return "".join(parts)


def _character(digits: str, escaped: str) -> str:
    code = int(digits, 16)
    if not 0 < code <= 0x10FFFF or 0xD800 <= code <= 0xDFFF:
        raise RefEscapeError(f"{escaped!r} is no escaped name: {digits} is no character")
    return chr(code)


def blob_ref(digest: str) -> str:
    """The ref of the commit that holds the layer whose compressed bytes have `digest` ("sha256:HEX")."""
    return f"{BLOB_PREFIX}/{escape_ref(digest)}"


def image_ref(reference: str) -> str:
    """The ref of the merge commit of the image `reference` ("docker://HOST/NAME:TAG", "oci:PATH:TAG" …)."""
    return f"{IMAGE_PREFIX}/{escape_ref(reference)}"


def image_of_ref(ref: str) -> str | None:
    """The image reference that the OSTree ref `ref` stands for, or None if it is no image's ref."""
    if not ref.startswith(IMAGE_PREFIX + "/"):
        return None
    return unescape_ref(ref.removeprefix(IMAGE_PREFIX + "/"))
