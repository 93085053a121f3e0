"""Strict reading of a TOML file that a program wrote: every table has exactly the keys that are asked for."""

import re
from collections.abc import Sequence

from ostler.definition.document import Node, kind_of
from ostler.definition.errors import Findings, nearest

ADVICE = "restore the file from version control, or run `ostler lock` to write it anew"


class Reader:
    """Reads one table key by key; `close` notes keys that nobody asked for. Faults are collected in `findings`.

    After a fault a value of the right type is returned, so that the rest can be read too.
    """

    def __init__(self, node: Node | None, findings: Findings) -> None:
        self.node = node
        self.findings = findings
        self._asked: set[str] = set()

    def has(self, name: str) -> bool:
        """Whether the key is there."""
        return self.node is not None and self.node.child(name) is not None

    def fault(self, name: str, message: str, hint: str = ADVICE) -> None:
        """Note that something is wrong with a key (or, if that is absent, with the table)."""
        if self.node is not None:
            (self.node.child(name) or self.node).error(self.findings, message, hint)

    def close(self) -> None:
        """Note keys that were never asked for."""
        for member in self.node.members() if self.node else ():
            if member.key not in self._asked:
                close = nearest(member.key, self._asked)
                member.error(
                    self.findings, f"unknown key `{member.key}`", f"did you mean `{close}`?" if close else ADVICE
                )

    def integer(self, name: str, *, largest: int = 2**32 - 1) -> int:
        """A whole number from 0 to `largest`."""
        found = self._get(name)
        value = found.value if found else 0
        if isinstance(value, bool) or not isinstance(value, int):
            self.fault(name, f"`{name}` must be a whole number, but is {kind_of(value)}")
            return 0
        if not 0 <= value <= largest:
            self.fault(name, f"`{name}` must be from 0 to {largest}, but is {value}")
            return 0
        return value

    def text(self, name: str, pattern: str = r"[ -~]+", what: str = "printable text") -> str:
        """Text that matches `pattern` as a whole; `what` names that in messages."""
        found = self._get(name)
        if found is None:
            return ""
        if not isinstance(found.value, str):
            self.fault(name, f"`{name}` must be text, but is {kind_of(found.value)}")
            return ""
        if not re.fullmatch(pattern, found.value, re.ASCII):
            self.fault(name, f"`{name}` is not {what}: {found.value[:80]!r}")
            return ""
        return found.value

    def texts(self, name: str, *, least: int = 0) -> list[str]:
        """A list of text with at least `least` elements."""
        found = self._get(name)
        if found is None:
            return []
        value = found.value
        if not isinstance(value, list) or len(value) < least:
            self.fault(name, f"`{name}` must be a list of text" + (f" with at least {least}" if least else ""))
            return []
        kept = []
        for member in found.members():
            if isinstance(member.value, str) and member.value.isprintable() and member.value:
                kept.append(member.value)
            else:
                member.error(self.findings, f"`{name}` must be a list of text, but has {kind_of(member.value)}", ADVICE)
        return kept

    def table(self, name: str) -> "Reader":
        """A table."""
        found = self._get(name)
        if found is not None and not isinstance(found.value, dict):
            self.fault(name, f"`{name}` must be a table, but is {kind_of(found.value)}")
            found = None
        return Reader(found, self.findings)

    def tables(self, name: str, *, optional: bool = False) -> list["Reader"]:
        """A list of tables."""
        self._asked.add(name)
        if optional and not self.has(name):
            return []
        found = self._get(name)
        if found is None:
            return []
        if not isinstance(found.value, list) or not all(isinstance(value, dict) for value in found.value):
            self.fault(name, f"`{name}` must be a list of tables")
            return []
        return [Reader(member, self.findings) for member in found.members()]

    def integers(self) -> dict[str, int]:
        """All of this table: any keys, each a whole number."""
        return {member.key: self.integer(member.key) for member in (self.node.members() if self.node else ())}

    def unique(self, name: str, values: Sequence[str]) -> None:
        """Note values of the list `name` that occur a second time; `values` is what the elements are told apart by."""
        found = self.node.child(name) if self.node else None
        seen: set[str] = set()
        for member, value in zip(found.members() if found else (), values, strict=False):
            if value and value in seen:
                member.error(self.findings, f'`{name}` has "{value}" twice', ADVICE)
            seen.add(value)

    def _get(self, name: str) -> Node | None:
        self._asked.add(name)
        if self.node is None:
            return None
        found = self.node.child(name)
        if found is None:
            self.fault(name, f"`{name}` is missing")
        return found
