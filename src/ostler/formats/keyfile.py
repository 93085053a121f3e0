"""GLib key files: repository configurations and origin files of deployments.

Groups in brackets, `key=value` lines, `#` comments. Values are kept as they are written (escapes are interpreted by
`unescape` and in lists only). Specification: the Desktop Entry Specification's basic format and GLib's `GKeyFile`.
"""

from collections.abc import Iterable, Mapping
from types import MappingProxyType

from ostler.formats.gvariant import FormatError

_ESCAPES = {"s": " ", "n": "\n", "t": "\t", "r": "\r", "\\": "\\", ";": ";"}


class Keyfile:
    """An immutable key file; `with_value` and `without` return changed copies. Order of groups and keys is kept."""

    __slots__ = ("_groups",)

    def __init__(self, groups: Mapping[str, Mapping[str, str]] | None = None) -> None:
        self._groups: dict[str, dict[str, str]] = {name: dict(keys) for name, keys in (groups or {}).items()}

    @staticmethod
    def parse(text: str) -> "Keyfile":
        """Parse; comments and blank lines are dropped. Raises `FormatError` with the number of the bad line."""
        groups: dict[str, dict[str, str]] = {}
        keys: dict[str, str] | None = None
        for number, raw in enumerate(text.split("\n"), 1):
            line = raw.strip()
            if not line or line.startswith("#"):
                continue
            if line.startswith("["):
                if not line.endswith("]") or len(line) < 3:
                    raise FormatError(f"line {number}: {line!r} is no group header")
                keys = groups.setdefault(line[1:-1], {})
                continue
            key, equals, value = line.partition("=")
            if not equals or not key.strip() or keys is None:
                raise FormatError(f"line {number}: {line!r} is neither a group nor a key with a value")
            keys[key.strip()] = value.strip()
        return Keyfile(groups)

    def dump(self) -> str:
        """The text; groups are separated by one blank line."""
        blocks = []
        for name, keys in self._groups.items():
            lines = [f"[{name}]", *(f"{key}={value}" for key, value in keys.items())]
            if any("\n" in line for line in lines):
                raise FormatError(f"a name or value in group {name!r} holds a newline; write it with `escape`")
            blocks.append("\n".join(lines) + "\n")
        return "\n".join(blocks)

    @property
    def groups(self) -> Mapping[str, Mapping[str, str]]:
        """A read-only view: group name → key → value as written."""
        return MappingProxyType({name: MappingProxyType(keys) for name, keys in self._groups.items()})

    def get(self, group: str, key: str, default: str | None = None) -> str | None:
        """The value as written, or `default`."""
        return self._groups.get(group, {}).get(key, default)

    def get_bool(self, group: str, key: str, default: bool) -> bool:
        """A boolean as GLib reads it (true, false, 1, 0); raises `FormatError` for anything else."""
        value = self.get(group, key)
        if value is None:
            return default
        if value in ("true", "1", "yes"):
            return True
        if value in ("false", "0", "no"):
            return False
        raise FormatError(f"[{group}] {key}={value} is no boolean", hint="write true or false")

    def get_int(self, group: str, key: str, default: int) -> int:
        """An integer; raises `FormatError`."""
        value = self.get(group, key)
        if value is None:
            return default
        try:
            return int(value)
        except ValueError as error:
            raise FormatError(f"[{group}] {key}={value} is no whole number") from error

    def get_list(self, group: str, key: str) -> list[str]:
        """The members of a `;`-separated list (empty if the key is missing), unescaped."""
        value = self.get(group, key)
        return [] if value is None else split_list(value)

    def with_value(self, group: str, key: str, value: str | None) -> "Keyfile":
        """A copy in which the key has the value, or (None) does not exist."""
        copy = Keyfile(self._groups)
        keys = copy._groups.setdefault(group, {})
        if value is None:
            keys.pop(key, None)
        else:
            keys[key] = value
        return copy

    def without(self, group: str) -> "Keyfile":
        """A copy that lacks the group."""
        return Keyfile({name: keys for name, keys in self._groups.items() if name != group})

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Keyfile) and self._groups == other._groups

    def __hash__(self) -> int:
        return hash(self.dump())

    def __repr__(self) -> str:
        return f"Keyfile({self._groups!r})"


def escape(text: str) -> str:
    """`text` as a value that reads back unchanged through `unescape`."""
    for char, code in (("\\", "\\\\"), ("\n", "\\n"), ("\t", "\\t"), ("\r", "\\r")):
        text = text.replace(char, code)
    return "\\s" + text[1:] if text.startswith(" ") else text


def unescape(value: str) -> str:
    """The text that a written value stands for."""
    return "".join(char for char, _ in _characters(value))


def join_list(items: Iterable[str]) -> str:
    """A `;`-separated list, each member ended by `;` as GLib writes it."""
    return "".join(escape(item).replace(";", "\\;") + ";" for item in items)


def split_list(value: str) -> list[str]:
    """The members of a list; a missing last `;` is forgiven."""
    items, current = [], ""
    for char, escaped in _characters(value):
        if char == ";" and not escaped:
            items.append(current)
            current = ""
        else:
            current += char
    return [*items, current] if current else items


def _characters(value: str) -> Iterable[tuple[str, bool]]:
    """Each character of the value, with whether an escape stood for it."""
    position = 0
    while position < len(value):
        char = value[position]
        position += 1
        if char == "\\" and position < len(value):
            code = value[position]
            position += 1
            yield _ESCAPES.get(code, "\\" + code), True
        else:
            yield char, False
