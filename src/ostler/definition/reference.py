"""The reference page of `ostler.toml`, in Markdown, from the one table of keys."""

from ostler.definition.schema import TABLES, Key, Table

HEAD = """\
# `ostler.toml`

The settings of a machine folder, in [TOML](https://toml.io/). Only `name` and `base` must be there. The order of
tables, and of keys within a table, does not matter. A key that is not on this page is an error.

[`ostler-toml.schema.json`](ostler-toml.schema.json) says the same to editors that check TOML by a JSON schema. This
page and the schema are written by `scripts/generate_reference.py`.

```toml
name = "web"
base = "debian:trixie"

[boot]
kernel-arguments = ["console=ttyS0"]

[update]
from = "https://updates.example.org/web"
```

| key | is | default |
|---|---|---|
"""


def reference_page() -> str:
    """The whole page."""
    rows = [_row(table, key) for table in TABLES for key in table.keys]
    return HEAD + "\n".join(rows) + "\n" + "".join(_section(table) for table in TABLES)


def _full_name(table: Table, key: Key[object]) -> str:
    if table.entry:
        return f"[{table.name}] … {key.name}"
    return f"[{table.name}] {key.name}" if table.name else key.name


def _row(table: Table, key: Key[object]) -> str:
    default = "must be given" if key.required else key.shown_default
    return f"| `{_full_name(table, key)}` | {key.kind} | {default} |"


def _section(table: Table) -> str:
    lines = ["", f"## `[{table.name}]`" if table.name else "## At the top of the file", ""]
    if table.summary:
        lines += [table.summary, ""]
    if table.entry:
        lines += [f"Each key is {table.entry}; its value is a table of these. {table.details}", ""]
        lines += ["```toml", f"[{table.name}]", *_entry_examples(table), "```", ""]
    for key in table.keys:
        lines += [f"### `{_full_name(table, key)}`", "", " ".join(filter(None, (key.summary, key.details))), ""]
        lines += [f"{key.kind[0].upper()}{key.kind[1:]}. {_default(key)}", ""]
        if not table.entry:
            header = [f"[{table.name}]"] if table.name else []
            lines += ["```toml", *header, key.example, "```", ""]
    return "\n".join(lines[:-1]) + "\n"


def _entry_examples(table: Table) -> list[str]:
    owner, group, mode = (key.example for key in table.keys)
    return [f'"etc/sudoers.d/*" = {{ {mode} }}', f'"usr/share/web/**" = {{ {owner}, {group} }}']


def _default(key: Key[object]) -> str:
    if key.required:
        return "Must be given."
    return f"Default: {key.shown_default}."
