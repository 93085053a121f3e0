"""GVariant values as text, in the form that GLib prints and parses: `{'version': <'1.2'>, 'size': <uint32 7>}`.

Specification: GLib's "GVariant text format". Values are printed with the type annotations they need to be read back.
"""

import struct
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from ostler.formats.gvariant import FormatError, Variant, encode, parse_type

_MAX_DEPTH = 64
_ESCAPES = {"\a": "\\a", "\b": "\\b", "\f": "\\f", "\n": "\\n", "\r": "\\r", "\t": "\\t", "\v": "\\v", "\\": "\\\\"}
_UNESCAPES = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}
_NUMBER_NAMES = {"n": "int16", "q": "uint16", "i": "int32", "u": "uint32", "x": "int64", "t": "uint64"}
_KEYWORD_TYPES = {name: code for code, name in _NUMBER_NAMES.items()} | {
    "boolean": "b",
    "byte": "y",
    "double": "d",
    "string": "s",
    "objectpath": "o",
    "signature": "g",
}
_STRUCTS = {"n": "h", "q": "H", "i": "i", "u": "I", "x": "q", "t": "Q", "d": "d"}


def split_types(types: str) -> list[str]:
    """The complete types that a sequence of types consists of: ["a{sv}", "u"] of "a{sv}u"."""
    found = []
    start = at = depth = 0
    while at < len(types):
        code = types[at]
        at += 1
        depth += (code in "({") - (code in ")}")
        if depth == 0 and code not in "am":
            found.append(types[start:at])
            start = at
    return found


# --- printing


def format_text(type: str, value: Any, *, annotate: bool = True) -> str:
    """`value` of a GVariant type as text; without `annotate` types are left out where only they would tell them."""
    return "".join(_format(type, value, annotate))


def _format(type: str, value: Any, annotate: bool) -> Iterator[str]:
    code = type[0]
    if type == "ay":
        yield _format_bytes(value, annotate)
    elif code == "a":
        yield from _format_array(type, value, annotate)
    elif code == "(":
        yield "("
        for number, (member, item) in enumerate(zip(split_types(type[1:-1]), value, strict=True)):
            yield ", " if number else ""
            yield from _format(member, item, annotate)
        yield ",)" if len(value) == 1 else ")"
    elif code == "v":
        yield "<"
        yield from _format(value.type, value.value, True)
        yield ">"
    elif code == "m":
        yield f"@{type} " if annotate else ""
        if value is None:
            yield "nothing"
        else:
            yield from _format(type[1:], value, False)
    else:
        yield _format_basic(code, value, annotate)


def _format_basic(code: str, value: Any, annotate: bool) -> str:
    if code == "b":
        return "true" if value else "false"
    if code == "y":
        return f"byte 0x{value:02x}" if annotate else f"0x{value:02x}"
    if code == "d":
        return _format_double(value)
    if code in "sog":
        names = {"o": "objectpath ", "g": "signature "}
        return (names.get(code, "") if annotate else "") + _quoted(value)
    return f"{_NUMBER_NAMES[code]} {value}" if annotate and code != "i" else str(value)


def _format_double(value: float) -> str:
    text = f"{value:.17g}"
    return text if any(char in text for char in ".enai") else text + ".0"


def _quoted(text: str) -> str:
    quote = '"' if "'" in text else "'"
    parts = []
    for char in text:
        if char in _ESCAPES:
            parts.append(_ESCAPES[char])
        elif char == quote:
            parts.append("\\" + char)
        elif char.isprintable() or char == " ":
            parts.append(char)
        else:
            parts.append(f"\\u{ord(char):04x}" if ord(char) < 0x10000 else f"\\U{ord(char):08x}")
    return quote + "".join(parts) + quote


def _format_bytes(value: bytes, annotate: bool) -> str:
    if value and value.find(b"\0") == len(value) - 1:
        quote = '"' if b"'" in value else "'"
        return f"b{quote}{''.join(_escaped_byte(byte) for byte in value[:-1])}{quote}"
    if not value:
        return "@ay []" if annotate else "[]"
    first = "byte " if annotate else ""
    return f"[{first}{', '.join(f'0x{byte:02x}' for byte in value)}]"


def _escaped_byte(byte: int) -> str:
    char = chr(byte)
    if char == '"' or (char in _ESCAPES and char != "\a"):
        return _ESCAPES.get(char, "\\" + char)
    return char if 0x20 <= byte < 0x7F else f"\\{byte:03o}"


def _format_array(type: str, value: Any, annotate: bool) -> Iterator[str]:
    element = type[1:]
    dictionary = element[0] == "{"
    if not value:
        yield f"@{type} " if annotate else ""
        yield "{}" if dictionary else "[]"
        return
    yield "{" if dictionary else "["
    for number, item in enumerate(value.items() if dictionary else value):
        yield ", " if number else ""
        if dictionary:
            key_type, value_type = split_types(element[1:-1])
            yield from _format(key_type, item[0], annotate)
            yield ": "
            yield from _format(value_type, item[1], annotate)
        else:
            yield from _format(element, item, annotate)
        annotate = False  # the first tells what the others are
    yield "}" if dictionary else "]"


def byteswapped(type: str, value: Any) -> Any:
    """The value with the bytes of every number in it, however deep, reversed: what was stored big-endian, as itself."""
    code = type[0]
    if code in _STRUCTS:
        return struct.unpack("<" + _STRUCTS[code], struct.pack(">" + _STRUCTS[code], value))[0]
    if code == "v":
        return Variant(value.type, byteswapped(value.type, value.value))
    if code == "m":
        return None if value is None else byteswapped(type[1:], value)
    if code == "(":
        return tuple(byteswapped(t, item) for t, item in zip(split_types(type[1:-1]), value, strict=True))
    if code == "a" and type != "ay":
        if isinstance(value, Mapping):
            key_type, value_type = split_types(type[2:-1])
            return {byteswapped(key_type, k): byteswapped(value_type, v) for k, v in value.items()}
        return [byteswapped(type[1:], item) for item in value]
    return value


# --- parsing


def parse_text(text: str) -> Variant:
    """The value that `text` stands for, with the type that it has or that GLib would infer; raises `FormatError`."""
    parser = _Parser(text)
    node = parser.value(0)
    parser.expect_end()
    type = node.infer()
    value = node.build(type)
    encode(type, value)  # numbers may be out of range
    return Variant(type, value)


class _Node:
    """A piece of text whose type is yet to be settled. `weak`: its type is a guess that others may overrule."""

    weak = False

    def infer(self) -> str:
        """The type that it has by itself; raises `FormatError` if that cannot be told."""
        raise NotImplementedError

    def build(self, type: str) -> Any:
        """The value as one of `type`; raises `FormatError` if it is none."""
        raise NotImplementedError


class _Literal(_Node):
    def __init__(self, types: str, value: Any, *, weak: bool = False) -> None:
        self._types = types
        self._value = value
        self.weak = weak

    def infer(self) -> str:
        return self._types.split(" ")[0]

    def build(self, type: str) -> Any:
        if type[0] == "m" and len(type) > 1:
            return self.build(type[1:])
        if type not in self._types.split(" "):
            raise FormatError(f"{self._value!r} is no value of the type {type}")
        return float(self._value) if type == "d" else self._value


class _Typed(_Node):
    def __init__(self, type: str, node: _Node) -> None:
        self._type = type
        self._node = node

    def infer(self) -> str:
        return self._type

    def build(self, type: str) -> Any:
        if type != self._type and type != "m" + self._type:
            raise FormatError(f"a value of the type {self._type} is none of {type}")
        return self._node.build(self._type)


class _Boxed(_Node):
    def __init__(self, node: _Node) -> None:
        self._node = node

    def infer(self) -> str:
        return "v"

    def build(self, type: str) -> Any:
        if type == "mv":
            return self.build("v")
        if type != "v":
            raise FormatError(f"a variant is no value of the type {type}")
        inner = self._node.infer()
        return Variant(inner, self._node.build(inner))


class _Maybe(_Node):
    weak = True

    def __init__(self, node: _Node | None) -> None:
        self._node = node

    def infer(self) -> str:
        if self._node is None:
            raise FormatError("the type of `nothing` cannot be told; write it, as in `@ms nothing`")
        return "m" + self._node.infer()

    def build(self, type: str) -> Any:
        if type[0] != "m":
            raise FormatError(f"a maybe is no value of the type {type}")
        return None if self._node is None else self._node.build(type[1:])


class _Tuple(_Node):
    def __init__(self, members: list[_Node]) -> None:
        self._members = members
        self.weak = any(member.weak for member in members)

    def infer(self) -> str:
        return f"({''.join(member.infer() for member in self._members)})"

    def build(self, type: str) -> Any:
        if type[:2] == "m(":
            return self.build(type[1:])
        types = split_types(type[1:-1]) if type[0] == "(" else []
        if type[0] != "(" or len(types) != len(self._members):
            raise FormatError(f"a tuple of {len(self._members)} is no value of the type {type}")
        return tuple(member.build(t) for member, t in zip(self._members, types, strict=True))


class _Array(_Node):
    weak = True

    def __init__(self, items: list[_Node]) -> None:
        self._items = items

    def infer(self) -> str:
        if not self._items:
            raise FormatError("the type of an empty array cannot be told; write it, as in `@as []`")
        return "a" + _common_type(self._items)

    def build(self, type: str) -> Any:
        if type[:2] == "ma":
            return self.build(type[1:])
        if type[0] != "a" or type[1] == "{":
            raise FormatError(f"an array is no value of the type {type}")
        items = [item.build(type[1:]) for item in self._items]
        if type != "ay":
            return items
        try:
            return bytes(items)
        except ValueError as error:
            raise FormatError("a byte is not from 0 to 255") from error


class _Dictionary(_Node):
    weak = True

    def __init__(self, items: list[tuple[_Node, _Node]]) -> None:
        self._items = items

    def infer(self) -> str:
        if not self._items:
            raise FormatError("the type of an empty dictionary cannot be told; write it, as in `@a{sv} {}`")
        keys, values = ([item[side] for item in self._items] for side in (0, 1))
        return f"a{{{_common_type(keys)}{_common_type(values)}}}"

    def build(self, type: str) -> Any:
        if type[:3] == "ma{":
            return self.build(type[1:])
        if type[:2] != "a{":
            raise FormatError(f"a dictionary is no value of the type {type}")
        key_type, value_type = split_types(type[2:-1])
        return {key.build(key_type): value.build(value_type) for key, value in self._items}


def _common_type(nodes: Iterable[_Node]) -> str:
    """The type that all of them can have: the first firm one, else one of those that they would have alone."""
    nodes = list(nodes)
    candidates = []
    for node in sorted(nodes, key=lambda node: node.weak):
        try:
            candidates.append(node.infer())
        except FormatError:
            continue
    for candidate in dict.fromkeys([*candidates, *("m" + candidate for candidate in candidates)]):
        try:
            for node in nodes:
                node.build(candidate)
        except FormatError:
            continue
        return candidate
    raise FormatError("unable to find a common type" if candidates else "unable to infer type")


class _Parser:
    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0

    def _skip(self) -> str:
        """The next character that is no space, without taking it."""
        while self._at < len(self._text) and self._text[self._at].isspace():
            self._at += 1
        return self._text[self._at : self._at + 1]

    def _take(self, char: str) -> bool:
        if self._skip() != char:
            return False
        self._at += 1
        return True

    def _expect(self, char: str) -> None:
        if not self._take(char):
            raise FormatError(f"{self._at}: expected `{char}`")

    def expect_end(self) -> None:
        if self._skip():
            raise FormatError(f"{self._at}: expected end of input")

    def _word(self) -> str:
        start = self._at
        while self._at < len(self._text) and not (self._text[self._at].isspace() or self._text[self._at] in ",:)>]}"):
            self._at += 1
        return self._text[start : self._at]

    def value(self, depth: int) -> _Node:
        char = self._skip()
        if depth > _MAX_DEPTH:
            raise FormatError(f"values are nested deeper than {_MAX_DEPTH}")
        if not char:
            raise FormatError(f"{self._at}: expected value")
        if char == "@":
            self._at += 1
            return _Typed(self._type(), self.value(depth + 1))
        if char == "[":
            return _Array(self._items("[", "]", depth))
        if char == "(":
            return _Tuple(self._items("(", ")", depth))
        if char == "{":
            return self._dictionary(depth)
        if self._take("<"):
            inner = self.value(depth + 1)
            self._expect(">")
            return _Boxed(inner)
        if char in "'\"":
            return _Literal("s o g", self._string())
        if self._text[self._at : self._at + 2] in ("b'", 'b"'):
            self._at += 1
            return _Literal("ay", self._bytes())
        if char.isdigit() or char in "+-.":
            return self._number()
        return self._keyword(depth)

    def _type(self) -> str:
        start = self._at
        depth = 0
        while self._at < len(self._text):
            code = self._text[self._at]
            self._at += 1
            depth += (code in "({") - (code in ")}")
            if depth == 0 and code not in "am":
                break
        type = self._text[start : self._at]
        parse_type(type)
        return type

    def _items(self, opening: str, closing: str, depth: int) -> list[_Node]:
        self._expect(opening)
        items: list[_Node] = []
        while not self._take(closing):
            if items:
                self._expect(",")
                if opening == "(" and len(items) == 1 and self._take(closing):
                    return items
            items.append(self.value(depth + 1))
        return items

    def _dictionary(self, depth: int) -> _Node:
        self._expect("{")
        items: list[tuple[_Node, _Node]] = []
        while not self._take("}"):
            if items:
                self._expect(",")
            key = self.value(depth + 1)
            self._expect(":")
            items.append((key, self.value(depth + 1)))
        return _Dictionary(items)

    def _number(self) -> _Node:
        start = self._at
        word = self._word()
        digits = word.lstrip("+-")
        base = 16 if digits[:2].lower() == "0x" else 8 if digits[:1] == "0" and digits.isdigit() else 10
        try:
            return _Literal("i y n q u x t d", int(word, base), weak=True)
        except ValueError:
            pass
        try:
            return _Literal("d", float(word))
        except ValueError as error:
            raise FormatError(f"{start}-{self._at}: invalid character in number") from error

    def _keyword(self, depth: int) -> _Node:
        start = self._at
        word = self._word()
        if word in ("true", "false"):
            return _Literal("b", word == "true")
        if word in ("nan", "inf"):
            return _Literal("d", float(word))
        if word == "nothing":
            return _Maybe(None)
        if word == "just":
            return _Maybe(self.value(depth + 1))
        if word in _KEYWORD_TYPES:
            return _Typed(_KEYWORD_TYPES[word], self.value(depth + 1))
        raise FormatError(f"{start}-{self._at}: unknown keyword")

    def _quoted(self) -> Iterator[tuple[str, bool]]:
        """(character, whether a backslash stood before it) up to the closing quote."""
        quote = self._text[self._at]
        self._at += 1
        while self._at < len(self._text):
            char = self._text[self._at]
            self._at += 1
            if char == quote:
                return
            if char == "\\" and self._at < len(self._text):
                self._at += 1
                yield self._text[self._at - 1], True
            else:
                yield char, False
        raise FormatError(f"{self._at}: unterminated string constant")

    def _digits(self, count: int, alphabet: str) -> str:
        start = self._at
        while self._at < min(len(self._text), start + count) and self._text[self._at].lower() in alphabet:
            self._at += 1
        return self._text[start : self._at]

    def _string(self) -> str:
        parts = []
        for char, escaped in self._quoted():
            if escaped and char in "uU":
                width = 4 if char == "u" else 8
                digits = self._digits(width, "0123456789abcdef")
                if len(digits) != width or not 0 < int(digits, 16) < 0x110000:
                    raise FormatError(f"{self._at}: invalid {width}-character unicode escape")
                char = chr(int(digits, 16))
            elif escaped:
                char = "" if char == "\n" else _UNESCAPES.get(char, char)
            parts.append(char)
        return "".join(parts)

    def _bytes(self) -> bytes:
        parts = bytearray()
        for char, escaped in self._quoted():
            if escaped and char in "01234567":
                parts.append(int(char + self._digits(2, "01234567"), 8) & 0xFF)
            else:
                parts += (_UNESCAPES.get(char, char) if escaped else char).encode(errors="surrogateescape")
        return bytes(parts) + b"\0"
