"""Where each key of a TOML document stands.

`tomllib` gives values without places. This scanner walks over a document that `tomllib` has accepted and notes where
each key and each array element begins; it decides nothing about validity. Source of the grammar: TOML 1.0.
"""

import re
import tomllib
from bisect import bisect_right

Path = tuple[str | int, ...]

_BLANK = re.compile(r"(?:[ \t\n]|#[^\n]*)*")
_SPACE = re.compile(r"[ \t]*")
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
_BASIC = re.compile(r'"(?:[^"\\\n]|\\.)*"')
_LITERAL = re.compile(r"'[^'\n]*'")
_LONG_BASIC = re.compile(r'"""(?:[^"\\]|\\[\s\S]|"(?!""))*"{3,5}')
_LONG_LITERAL = re.compile(r"'''(?:[^']|'(?!''))*'{3,5}")
_PLAIN_VALUE = re.compile(r"[^,\]}#\n]*")


def scan(text: str) -> dict[Path, int]:
    """The line (from 1) of every table, key and array element of `text`, by path: ("boot", "kernel-arguments", 0).

    An implicit table has the place where it is first mentioned. `text` must be valid TOML.
    """
    text = text.replace("\r\n", "\n")
    starts = [0, *(match.end() for match in re.finditer("\n", text))]
    scanner = _Scanner(text)
    scanner.document()
    return {path: bisect_right(starts, offset) for path, offset in scanner.offsets.items()}


class _Scanner:
    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self.offsets: dict[Path, int] = {}
        self._array_tables: dict[Path, int] = {}

    def document(self) -> None:
        table: Path = ()
        self._skip(_BLANK)
        while self.at < len(self.text):
            table = self._header() if self._ahead("[") else self._key_value(table)
            self._skip(_BLANK)

    def _header(self) -> Path:
        begin = self.at
        array = self._ahead("[[")
        self.at += 2 if array else 1
        keys = self._dotted_key()
        self.at += 2 if array else 1
        path: Path = ()
        for number, (name, _offset) in enumerate(keys, 1):
            path = (*path, name)
            self.offsets.setdefault(path, begin)
            if array and number == len(keys):
                self._array_tables[path] = self._array_tables.get(path, 0) + 1
            if path in self._array_tables:
                path = (*path, self._array_tables[path] - 1)
                self.offsets.setdefault(path, begin)
        return path

    def _key_value(self, table: Path) -> Path:
        """Read `key = value`; returns the table that the next key belongs to, which is the same."""
        path = table
        for name, offset in self._dotted_key():
            path = (*path, name)
            self.offsets.setdefault(path, offset)
        self.at += 1  # the equals sign
        self._skip(_SPACE)
        self._value(path)
        return table

    def _dotted_key(self) -> list[tuple[str, int]]:
        """The parts of a key with their offsets; ends before what follows the key."""
        parts = []
        while True:
            self._skip(_SPACE)
            offset = self.at
            parts.append((self._key_part(), offset))
            self._skip(_SPACE)
            if not self._ahead("."):
                return parts
            self.at += 1

    def _key_part(self) -> str:
        if self._ahead('"'):
            raw = self._skip(_BASIC)
            return str(tomllib.loads(f"k = {raw}")["k"]) if "\\" in raw else raw[1:-1]
        if self._ahead("'"):
            return self._skip(_LITERAL)[1:-1]
        return self._skip(_BARE_KEY)

    def _value(self, path: Path) -> None:
        for opening, pattern in (('"""', _LONG_BASIC), ("'''", _LONG_LITERAL), ('"', _BASIC), ("'", _LITERAL)):
            if self._ahead(opening):
                self._skip(pattern)
                return
        if self._ahead("["):
            self._array(path)
        elif self._ahead("{"):
            self._inline_table(path)
        else:
            self._skip(_PLAIN_VALUE)

    def _array(self, path: Path) -> None:
        self.at += 1
        index = 0
        self._skip(_BLANK)
        while not self._ahead("]"):
            self.offsets[(*path, index)] = self.at
            self._value((*path, index))
            index += 1
            self._comma()
        self.at += 1

    def _inline_table(self, path: Path) -> None:
        self.at += 1
        self._skip(_BLANK)
        while not self._ahead("}"):
            self._key_value(path)
            self._comma()
        self.at += 1

    def _comma(self) -> None:
        self._skip(_BLANK)
        if self._ahead(","):
            self.at += 1
            self._skip(_BLANK)

    def _ahead(self, literal: str) -> bool:
        return self.text.startswith(literal, self.at)

    def _skip(self, pattern: re.Pattern[str]) -> str:
        match = pattern.match(self.text, self.at)
        if match is None:  # cannot be in valid TOML
            raise ValueError(f"not TOML at offset {self.at}")
        self.at = match.end()
        return match.group()
