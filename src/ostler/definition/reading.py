"""From a parsed `ostler.toml` to checked values, by the schema: unknown keys, wrong types, misplaced tables."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeVar, cast

from ostler.definition.document import Node, kind_of
from ostler.definition.errors import Findings, nearest, same_word
from ostler.definition.schema import TABLES, Key, Table, all_keys

T = TypeVar("T")


@dataclass(slots=True)
class Values:
    """The values of one table, typed by their keys."""

    found: dict[Key[object], tuple[Node, object]] = field(default_factory=dict)

    def get(self, key: Key[T]) -> T:
        """The value of a key, or its default if it is absent (or was wrong, which has been noted)."""
        entry = self.found.get(key)
        return key.default if entry is None else cast(T, entry[1])

    def node(self, key: Key[object]) -> Node | None:
        """Where the key stands, if it does."""
        entry = self.found.get(key)
        return None if entry is None else entry[0]


@dataclass(slots=True)
class Settings:
    """Everything that `ostler.toml` says: its plain keys, and the entries of tables with free keys (by table name)."""

    values: Values = field(default_factory=Values)
    entries: dict[str, list[tuple[Node, Values]]] = field(default_factory=dict)

    def get(self, key: Key[T]) -> T:
        """The value of a plain key, or its default."""
        return self.values.get(key)


def read_settings(root: Node, findings: Findings) -> Settings:
    """Check a whole document against the schema, noting everything that is wrong with it."""
    settings = Settings()
    by_name = {table.name: table for table in TABLES}
    top = by_name.pop("")
    for node in root.members():
        table = by_name.get(node.key)
        if table is None:
            _read_key(node, top, settings.values, findings)
        elif not isinstance(node.value, dict):
            hint = f"write [{table.name}] on a line of its own, and its keys below"
            if isinstance(node.value, list):
                hint = f"write [{table.name}] with single brackets, once"
            node.error(findings, f"`{table.name}` must be a table, but is {kind_of(node.value)}", hint)
        elif table.entry:
            settings.entries[table.name] = list(_read_entries(node, table, findings))
        else:
            for member in node.members():
                _read_key(member, table, settings.values, findings)
    _note_missing(root, top, findings)
    return settings


def _read_entries(node: Node, table: Table, findings: Findings) -> list[tuple[Node, Values]]:
    entries = []
    for entry in node.members():
        values = Values()
        entries.append((entry, values))
        if not isinstance(entry.value, dict):
            wanted = f'write "{entry.key}" = {{ mode = "0640" }}'
            entry.error(findings, f'"{entry.key}" must be a table, but is {kind_of(entry.value)}', wanted)
            continue
        for member in entry.members():
            _read_key(member, table, values, findings)
        if not entry.value:
            choices = ", ".join(f"`{key.name}`" for key in table.keys)
            entry.error(findings, f'"{entry.key}" says nothing', f"give it one or more of {choices}, or remove it")
    return entries


def _read_key(node: Node, table: Table, values: Values, findings: Findings) -> None:
    key = next((key for key in table.keys if key.name == node.key), None)
    if key is None:
        _note_unknown(node, table, findings)
        return
    if isinstance(node.value, dict) and node.value:
        node.error(findings, f"`{key.name}` must be {key.kind}, but is a table", f"write {key.example.splitlines()[0]}")
        return
    value = key.read(node, findings)
    if value is not None:
        values.found[key] = (node, value)


def _note_unknown(node: Node, table: Table, findings: Findings) -> None:
    name = node.key
    here = [key.name for key in table.keys]
    tables = [other.name for other in TABLES if other.name] if not table.name else []
    what = "table" if not table.name and isinstance(node.value, dict) else "key"
    shown = f"[{name}]" if what == "table" else f"`{name}`"
    where = f" in {table.title}" if table.name else ""
    findings.error(node.document.shown, node.line, f"unknown {what} {shown}{where}", _meant(name, table, here, tables))


def _meant(name: str, table: Table, here: list[str], tables: list[str]) -> str:
    """What to write instead of an unknown key: the same word here or elsewhere, else a near one here or elsewhere."""
    for candidate in here:
        if same_word(name, candidate):
            return f"did you mean `{candidate}`?"
    elsewhere = [(other, key) for other, key in all_keys() if other is not table and not other.entry]
    for other, key in elsewhere:
        if same_word(name, key.name):
            return _placed(other, key)
    near = nearest(name, [*here, *tables])
    if near is not None:
        return f"did you mean [{near}]?" if near in tables else f"did you mean `{near}`?"
    far: Mapping[str, tuple[Table, Key[object]]] = {key.name: (other, key) for other, key in elsewhere}
    near = nearest(name, far)
    if near is not None:
        return _placed(*far[near])
    choices = ", ".join([f"`{key}`" for key in here] + [f"[{other}]" for other in tables])
    return f"known here: {choices}"


def _placed(table: Table, key: Key[object]) -> str:
    if not table.name:
        return f"`{key.name}` belongs at the top of the file, above the first [table]"
    return f"`{key.name}` belongs in [{table.name}]"


def _note_missing(root: Node, top: Table, findings: Findings) -> None:
    for key in top.keys:
        if not key.required or root.child(key.name) is not None:
            continue
        hint = f"write {key.example}"
        for node in root.members():
            if isinstance(node.value, dict) and key.name in node.value:
                line = Node(root.document, (*node.path, key.name), None).line
                hint = f"the one on line {line} is in [{node.key}]: move it to the top, above the first [table]"
            elif nearest(node.key, [key.name]) and not any(k.name == node.key for k in top.keys):
                hint = f"did you mean that by `{node.key}` on line {node.line}?"
        findings.error(root.document.shown, None, f"`{key.name}` is missing", hint)
