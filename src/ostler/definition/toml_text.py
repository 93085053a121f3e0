"""Writing TOML values."""

import re
from collections.abc import Mapping

_BARE = re.compile(r"[A-Za-z0-9_-]+\Z", re.ASCII)
_ESCAPES = {'"': '\\"', "\\": "\\\\", "\b": "\\b", "\t": "\\t", "\n": "\\n", "\f": "\\f", "\r": "\\r"}
_SPECIAL = re.compile(r'["\\\x00-\x1f\x7f]')


def toml_string(text: str) -> str:
    """A basic string in double quotes."""
    return '"' + _SPECIAL.sub(lambda match: _ESCAPES.get(match[0], f"\\u{ord(match[0]):04x}"), text) + '"'


def toml_key(text: str) -> str:
    """A key, in quotes only if it needs them."""
    return text if _BARE.match(text) else toml_string(text)


def toml_value(value: str | int | list[str] | tuple[str, ...]) -> str:
    """Text, a whole number or a list of text, on one line."""
    if isinstance(value, str):
        return toml_string(value)
    if isinstance(value, int):
        return str(value)
    return "[" + ", ".join(map(toml_string, value)) + "]"


def toml_inline(values: Mapping[str, str | int | tuple[str, ...]]) -> str:
    """An inline table."""
    return "{ " + ", ".join(f"{toml_key(key)} = {toml_value(value)}" for key, value in values.items()) + " }"
