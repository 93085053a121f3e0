"""TOML files as values that know their file and line."""

import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ostler.definition.errors import DefinitionError, Findings, Problem, nearest
from ostler.definition.toml_positions import Path as KeyPath
from ostler.definition.toml_positions import scan

MAX_BYTES = 16 * 1024 * 1024
_AT_LINE = re.compile(r" ?\(at line (\d+), column \d+\)")
_AT_END = re.compile(r" ?\(at end of document\)")
_CONFLICT = re.compile(r"(<<<<<<<|=======|>>>>>>>|\|\|\|\|\|\|\|)( |$)")
_KEY_VALUE = re.compile(r"\s*[^=\s]+\s*=\s*(?P<value>[^\"'\[{\s].*?)\s*(#.*)?$")


@dataclass(slots=True)
class Document:
    """A parsed TOML file; `shown` is its path as messages name it."""

    shown: str
    text: str
    values: dict[str, object]
    _lines: dict[KeyPath, int] | None = field(default=None, repr=False)

    @property
    def root(self) -> "Node":
        """The whole document as a node."""
        return Node(self, (), self.values)

    def line(self, path: KeyPath) -> int | None:
        """The line of a key or array element, or of the nearest thing around it; None for the document."""
        if self._lines is None:
            self._lines = scan(self.text)
        for length in range(len(path), 0, -1):
            if path[:length] in self._lines:
                return self._lines[path[:length]]
        return None


@dataclass(frozen=True, slots=True)
class Node:
    """A value in a document, with its path there."""

    document: Document
    path: KeyPath
    value: object

    @property
    def key(self) -> str:
        """The last part of the path that is a name."""
        return next((part for part in reversed(self.path) if isinstance(part, str)), "")

    @property
    def line(self) -> int | None:
        """The line (from 1) on which this begins."""
        return self.document.line(self.path)

    def members(self) -> Iterator["Node"]:
        """The values of a table by key, or of an array in order; nothing for other values."""
        if isinstance(self.value, dict):
            for name, value in self.value.items():
                yield Node(self.document, (*self.path, name), value)
        elif isinstance(self.value, list):
            for index, value in enumerate(self.value):
                yield Node(self.document, (*self.path, index), value)

    def child(self, name: str) -> "Node | None":
        """The value of one key of a table, or None."""
        table = self.value
        return (
            Node(self.document, (*self.path, name), table[name]) if isinstance(table, dict) and name in table else None
        )

    def error(self, findings: Findings, message: str, hint: str | None = None) -> None:
        """Note that something is wrong here."""
        findings.error(self.document.shown, self.line, message, hint)


def kind_of(value: object) -> str:
    """What TOML calls the type of a value, with an article."""
    names: Mapping[type, str] = {str: "text", bool: "true or false", int: "a number", float: "a number"}
    names = {**names, list: "a list", dict: "a table"}
    return names.get(type(value), "a date or time")


def parse_document(data: bytes, shown: str) -> Document:
    """Parse the content of a TOML file. Raises `DefinitionError` with file and line for anything that is not TOML."""
    text = decode_text(data, shown).removeprefix("\ufeff")
    try:
        return Document(shown, text, tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        raise DefinitionError([_syntax_problem(str(error), text, shown)]) from error
    except RecursionError as error:
        raise DefinitionError([Problem(shown, None, "lists or tables are nested too deeply")]) from error


def read_document(path: Path, shown: str) -> Document:
    """Read and parse a TOML file. Raises `DefinitionError`, and `OSError` if it cannot be read."""
    with path.open("rb") as file:
        data = file.read(MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        raise DefinitionError([Problem(shown, None, f"is larger than {MAX_BYTES // 1024 // 1024} MiB")])
    return parse_document(data, shown)


def decode_text(data: bytes, shown: str) -> str:
    """UTF-8 text. Raises `DefinitionError` with the line of the first byte that is not."""
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        problem = Problem(shown, line, f"is not UTF-8 text (byte 0x{data[error.start]:02x})", "save the file as UTF-8")
        raise DefinitionError([problem]) from error


def _syntax_problem(message: str, text: str, shown: str) -> Problem:
    """`tomllib`'s complaint with a line and, for the usual mistakes, what to write."""
    lines = text.split("\n")
    for number, line in enumerate(lines, 1):
        if _CONFLICT.match(line):
            return Problem(shown, number, "a merge conflict is left here", "keep one of the two sides")
    found = _AT_LINE.search(message)
    number = int(found[1]) if found else len(lines) - (1 if text.endswith("\n") and len(lines) > 1 else 0)
    line = lines[number - 1] if number <= len(lines) else ""
    plain = _AT_END.sub("", _AT_LINE.sub("", message)).strip()
    where = "" if found else " at the end of the file"
    hint = None
    if plain == "Cannot overwrite a value":
        plain, hint = "a key is given a second time", "each key may stand once; remove one of the two"
    elif twice := re.match(r"Cannot declare \((.*?),?\) twice", plain):
        name = ".".join(part.strip(" '\"") for part in twice[1].split(","))
        plain = f"the table [{name}] begins a second time"
        hint = f"put all keys of [{name}] below one such line"
    else:
        hint = _syntax_hint(line)
        plain = f"not valid TOML: {plain[:1].lower()}{plain[1:]}"
    return Problem(shown, number, plain + where, hint)


def _syntax_hint(line: str) -> str | None:
    unquoted = _KEY_VALUE.match(line)
    if unquoted:
        value = unquoted["value"]
        literal = (
            nearest(value, ("true", "false")) if value.lower() in ("true", "false", "yes", "no", "on", "off") else None
        )
        return f"write {literal}" if literal else f'text stands in double quotes: "{value}"'
    if re.match(r"\s*[A-Za-z0-9_-]+\s*:", line):
        return 'TOML has `key = "value"`, not `key: value`'
    if re.match(r"\s*\[[^\]]*$", line) and "=" not in line:
        return "a table begins with its name in brackets: [boot]"
    return None
