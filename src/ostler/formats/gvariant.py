"""GVariant serialisation, as OSTree uses it: little-endian framing, normal form only.

Specification: the GVariant paper and GLib's `gvariant-serialiser.c`. Python values for the types:

| type            | value                               |
|-----------------|-------------------------------------|
| `y n q i u x t` | `int` within the type's range       |
| `b`, `d`        | `bool`, `float`                     |
| `s o g`         | `str` without NUL                   |
| `v`             | `Variant`                           |
| `ay`            | `bytes`                             |
| `a{K V}`        | `dict` (order kept), other `aT` `list` (any sequence is accepted for encoding) |
| `mT`            | `None` or the value of `T`          |
| `(…)`, `{K V}`  | `tuple`                             |

`decode` accepts exactly the bytes that `encode` produces, so `encode(t, decode(t, data)) == data` whenever it returns.
"""

import struct
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from ostler.errors import CorruptError

MAX_DEPTH = 64
"""Containers and variants may be nested this deep; OSTree's own formats need 7."""

MAX_VARIANTS = 16
"""Variants may be nested this deep in each other: each level copies what it holds."""

_VARIANT_LEVELS = MAX_DEPTH // MAX_VARIANTS


class FormatError(CorruptError):
    """Bytes are not a well-formed value of the format they claim to be."""


class GVariantError(FormatError):
    """Bytes are no GVariant in normal form, or a value does not fit its type."""


@dataclass(frozen=True, slots=True)
class Variant:
    """A value together with its GVariant type: what `v` holds."""

    type: str
    value: Any


def encode(type_string: str, value: object) -> bytes:
    """The normal form of `value`; raises `GVariantError` if it is not of the type."""
    try:
        return parse_type(type_string).encode(value)
    except (TypeError, ValueError, AttributeError, struct.error) as error:
        raise GVariantError(f"value does not fit the GVariant type {type_string}: {error}") from error


def decode(type_string: str, data: bytes) -> Any:
    """The value of `data`; raises `GVariantError` unless that is the normal form of a value of the type."""
    return parse_type(type_string).decode(bytes(data), 0)


def split(type_string: str, data: bytes, *, most: int | None = None) -> list[bytes]:
    """The members of a structure, or the elements of an array, each as bytes that are not looked at.

    For values whose Python form would be far larger. Raises `GVariantError` unless they are framed as in normal form,
    and for an array of more than `most` elements.
    """
    whole = parse_type(type_string)
    if not isinstance(whole, _Tuple | _Array):
        raise GVariantError(f"a value of the GVariant type {type_string} has no parts")
    return list(whole.framing(most).decode(bytes(data), 0))


class Type(ABC):
    """A type as codec. `alignment` in bytes; `size` in bytes if every value has the same, else None."""

    alignment: int = 1
    size: int | None = None

    @abstractmethod
    def encode(self, value: Any) -> bytes:
        """Serialise; may raise TypeError, ValueError or struct.error for a value that does not fit."""

    @abstractmethod
    def decode(self, data: bytes, depth: int) -> Any:
        """Parse exactly `data`."""


class _Number(Type):
    def __init__(self, code: str) -> None:
        self._struct = struct.Struct("<" + code)
        self.size = self.alignment = self._struct.size

    def encode(self, value: Any) -> bytes:
        return self._struct.pack(value)

    def decode(self, data: bytes, depth: int) -> Any:
        if len(data) != self.size:
            raise GVariantError(f"a number of {self.size} bytes has {len(data)}")
        return self._struct.unpack(data)[0]


class _Boolean(Type):
    size = 1

    def encode(self, value: Any) -> bytes:
        if not isinstance(value, bool):
            raise TypeError(f"{value!r} is no boolean")
        return b"\1" if value else b"\0"

    def decode(self, data: bytes, depth: int) -> bool:
        if data not in (b"\0", b"\1"):
            raise GVariantError("a boolean is neither 0 nor 1")
        return data == b"\1"


class _Text(Type):
    def __init__(self, code: str) -> None:
        self._code = code

    def _check(self, text: str) -> None:
        if self._code == "g":
            split_types(text)
        elif self._code == "o" and not _is_object_path(text):
            raise GVariantError(f"{text!r} is no object path")

    def encode(self, value: Any) -> bytes:
        if not isinstance(value, str):
            raise TypeError(f"{value!r} is no string")
        if "\0" in value:
            raise ValueError("a string holds a NUL")
        self._check(value)
        return value.encode() + b"\0"

    def decode(self, data: bytes, depth: int) -> str:
        if not data or data.find(b"\0") != len(data) - 1:
            raise GVariantError("a string does not end at its first NUL")
        try:
            text = data[:-1].decode()
        except UnicodeDecodeError as error:
            raise GVariantError(f"a string is not UTF-8: {error}") from error
        self._check(text)
        return text


class _AnyType(Type):
    alignment = 8

    def encode(self, value: Any) -> bytes:
        if not isinstance(value, Variant):
            raise TypeError(f"{value!r} is no Variant")
        return parse_type(value.type).encode(value.value) + b"\0" + value.type.encode()

    def decode(self, data: bytes, depth: int) -> Variant:
        _check_depth(depth)
        split = data.rfind(b"\0")
        if split < 0:
            raise GVariantError("a variant names no type")
        try:
            type_string = data[split + 1 :].decode("ascii")
        except UnicodeDecodeError as error:
            raise GVariantError("the type of a variant is not ASCII") from error
        return Variant(type_string, parse_type(type_string).decode(data[:split], depth + _VARIANT_LEVELS))


class _Raw(Type):
    """Stands for another type, whose values stay bytes."""

    def __init__(self, stands_for: Type) -> None:
        self.alignment = stands_for.alignment
        self.size = stands_for.size

    def encode(self, value: Any) -> bytes:
        return bytes(value)

    def decode(self, data: bytes, depth: int) -> bytes:
        return data


class _Bytes(Type):
    def encode(self, value: Any) -> bytes:
        if not isinstance(value, (bytes, bytearray, memoryview)):
            raise TypeError(f"{value!r} is not bytes")
        return bytes(value)

    def decode(self, data: bytes, depth: int) -> bytes:
        return data


class _Maybe(Type):
    def __init__(self, element: Type) -> None:
        self._element = element
        self.alignment = element.alignment

    def encode(self, value: Any) -> bytes:
        if value is None:
            return b""
        return self._element.encode(value) + (b"" if self._element.size is not None else b"\0")

    def decode(self, data: bytes, depth: int) -> Any:
        _check_depth(depth)
        if not data:
            return None
        if self._element.size is None:
            if data[-1]:
                raise GVariantError("a maybe does not end in NUL")
            data = data[:-1]
        return self._element.decode(data, depth + 1)


class _Array(Type):
    def __init__(self, element: Type, *, dictionary: bool) -> None:
        self._element = element
        self._dictionary = dictionary
        self._most: int | None = None
        self.alignment = element.alignment

    def framing(self, most: int | None) -> Type:
        """The same with `most` elements, which stay bytes."""
        framing = _Array(_Raw(self._element), dictionary=False)
        framing._most = most
        return framing

    def encode(self, value: Any) -> bytes:
        items: Sequence[Any]
        if self._dictionary:
            if not isinstance(value, Mapping):
                raise TypeError(f"{value!r} is no mapping")
            items = list(value.items())
        else:
            if isinstance(value, (str, bytes)) or not isinstance(value, Sequence):
                raise TypeError(f"{value!r} is no sequence")
            items = value
        body = bytearray()
        ends = []
        for item in items:
            _pad(body, self.alignment)
            body += self._element.encode(item)
            ends.append(len(body))
        if self._element.size is None:
            _append_offsets(body, ends)
        return bytes(body)

    def decode(self, data: bytes, depth: int) -> Any:
        _check_depth(depth)
        if self._element.size is not None:
            values = self._decode_fixed(data, self._element.size, depth + 1)
        else:
            values = self._decode_variable(data, depth + 1)
        if not self._dictionary:
            return values
        result = dict(values)
        if len(result) != len(values):
            raise GVariantError("a dictionary names a key twice")
        return result

    def _decode_fixed(self, data: bytes, size: int, depth: int) -> list[Any]:
        if len(data) % size:
            raise GVariantError(f"an array of {size}-byte elements has {len(data)} bytes")
        self._check_count(len(data) // size)
        return [self._element.decode(data[at : at + size], depth) for at in range(0, len(data), size)]

    def _decode_variable(self, data: bytes, depth: int) -> list[Any]:
        if not data:
            return []
        width = _offset_width(len(data))
        table = int.from_bytes(data[-width:], "little")
        if table >= len(data) or (len(data) - table) % width:
            raise GVariantError("the offsets of an array do not add up")
        count = (len(data) - table) // width
        if _container_width(table, count) != width:
            raise GVariantError("the offsets of an array are wider than they need be")
        self._check_count(count)
        values = []
        position = 0
        for at in range(table, len(data), width):
            end = int.from_bytes(data[at : at + width], "little")
            start = _skip_padding(data, position, self.alignment, table)
            if not start <= end <= table:
                raise GVariantError("the offsets of an array are out of order")
            values.append(self._element.decode(data[start:end], depth))
            position = end
        return values

    def _check_count(self, count: int) -> None:
        if self._most is not None and count > self._most:
            raise GVariantError(f"an array has {count} elements instead of {self._most} at most")


class _Tuple(Type):
    def __init__(self, members: Sequence[Type]) -> None:
        self._members = tuple(members)
        self.alignment = max((member.alignment for member in members), default=1)
        self._offsets = sum(member.size is None for member in members[:-1])
        self.size = self._fixed_size()

    def framing(self, most: int | None) -> Type:
        """The same with members that stay bytes."""
        return _Tuple([_Raw(member) for member in self._members])

    def _fixed_size(self) -> int | None:
        position = 0
        for member in self._members:
            if member.size is None:
                return None
            position = _aligned(position, member.alignment) + member.size
        return _aligned(position, self.alignment) if self._members else 1

    def encode(self, value: Any) -> bytes:
        if not isinstance(value, (tuple, list)) or len(value) != len(self._members):
            raise TypeError(f"{value!r} is no tuple of {len(self._members)}")
        body = bytearray()
        ends = []
        for member, item in zip(self._members, value, strict=True):
            _pad(body, member.alignment)
            body += member.encode(item)
            if member.size is None:
                ends.append(len(body))
        if self.size is not None:
            return bytes(body.ljust(self.size, b"\0"))
        _append_offsets(body, ends[: self._offsets][::-1])
        return bytes(body)

    def decode(self, data: bytes, depth: int) -> tuple[Any, ...]:
        _check_depth(depth)
        if self.size is not None and len(data) != self.size:
            raise GVariantError(f"a structure of {self.size} bytes has {len(data)}")
        width = _offset_width(len(data)) if self._offsets else 0
        limit = len(data) - width * self._offsets
        if limit < 0 or (self._offsets and _container_width(limit, self._offsets) != width):
            raise GVariantError("the offsets of a structure do not add up")
        values = []
        position, offset_at = 0, len(data)
        for index, member in enumerate(self._members):
            start = _skip_padding(data, position, member.alignment, limit)
            if member.size is not None:
                end = start + member.size
            elif index == len(self._members) - 1:
                end = limit
            else:
                offset_at -= width
                end = int.from_bytes(data[offset_at : offset_at + width], "little")
            if not start <= end <= limit:
                raise GVariantError("a member of a structure lies outside it")
            values.append(member.decode(data[start:end], depth + 1))
            position = end
        if data[position:limit].strip(b"\0") or (self.size is None and position != limit):
            raise GVariantError("a structure has bytes behind its last member")
        return tuple(values)


def _check_depth(depth: int) -> None:
    if depth > MAX_DEPTH:
        raise GVariantError(f"values are nested deeper than {MAX_DEPTH}")


def _aligned(position: int, alignment: int) -> int:
    return -(-position // alignment) * alignment


def _pad(body: bytearray, alignment: int) -> None:
    body.extend(bytes(-len(body) % alignment))


def _skip_padding(data: bytes, position: int, alignment: int, limit: int) -> int:
    start = _aligned(position, alignment)
    if start > limit or data[position:start].strip(b"\0"):
        raise GVariantError("padding is missing or not zero")
    return start


def _offset_width(total: int) -> int:
    return 1 if total <= 0xFF else 2 if total <= 0xFFFF else 4 if total <= 0xFFFF_FFFF else 8


def _container_width(body: int, offsets: int) -> int:
    """The smallest width that can express the size of the container, the offsets included."""
    for width in (1, 2, 4):
        if _offset_width(body + offsets * width) <= width:
            return width
    return 8


def _append_offsets(body: bytearray, ends: Sequence[int]) -> None:
    if ends:
        width = _container_width(len(body), len(ends))
        body += b"".join([end.to_bytes(width, "little") for end in ends])


def _is_object_path(text: str) -> bool:
    parts = text.split("/")
    return text == "/" or (
        parts[0] == ""
        and len(parts) > 1
        and all(p and p.isascii() and p.replace("_", "a").isalnum() for p in parts[1:])
    )


_NUMBERS = {"y": "B", "n": "h", "q": "H", "i": "i", "u": "I", "x": "q", "t": "Q", "d": "d"}


@lru_cache(maxsize=512)
def parse_type(type_string: str) -> Type:
    """The codec of one complete, definite type; raises `GVariantError`."""
    if len(type_string) > 255:
        raise GVariantError("a GVariant type is longer than 255 characters")
    parsed, rest = _parse(type_string, 0)
    if rest:
        raise GVariantError(f"{type_string!r} is more than one GVariant type")
    return parsed


def split_types(signature: str) -> int:
    """The number of complete types in a signature (`g`); raises `GVariantError` if it is none."""
    if len(signature) > 255:
        raise GVariantError("a signature is longer than 255 characters")
    count = 0
    while signature:
        _, signature = _parse(signature, 0)
        count += 1
    return count


def _parse(text: str, depth: int) -> tuple[Type, str]:
    _check_depth(depth)
    code, rest = text[:1], text[1:]
    if code in _NUMBERS:
        return _Number(_NUMBERS[code]), rest
    if code == "b":
        return _Boolean(), rest
    if code and code in "sog":
        return _Text(code), rest
    if code == "v":
        return _AnyType(), rest
    if code == "m":
        if rest[:1] == "m":
            raise GVariantError("a maybe of a maybe cannot be told apart as Python value")
        element, rest = _parse(rest, depth + 1)
        return _Maybe(element), rest
    if code == "a":
        return _parse_array(rest, depth)
    if code == "(":
        members: list[Type] = []
        while rest[:1] != ")":
            member, rest = _parse(rest, depth + 1)
            members.append(member)
        return _Tuple(members), rest[1:]
    if code == "{" and rest[:1] in set("ybnqiuxtdsog"):
        key, rest = _parse(rest, depth + 1)
        value, rest = _parse(rest, depth + 1)
        if rest[:1] == "}":
            return _Tuple([key, value]), rest[1:]
    raise GVariantError(f"{text!r} does not start with a GVariant type")


def _parse_array(text: str, depth: int) -> tuple[Type, str]:
    if text[:1] == "y":
        return _Bytes(), text[1:]
    element, rest = _parse(text, depth + 1)
    return _Array(element, dictionary=text[0] == "{"), rest
