"""The JSON schema of `ostler.toml`, for editors, from the one table of keys."""

import json
import re

from ostler.definition.schema import TABLES, Key, Table


def json_schema() -> dict[str, object]:
    """A schema (draft 7, which TOML editors understand) that allows what the loader allows, cross-checks aside."""
    top, *tables = TABLES
    schema: dict[str, object] = {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "ostler.toml",
        "description": "A machine of Ostler.",
        **_keys(top),
    }
    properties = schema["properties"]
    assert isinstance(properties, dict)
    for table in tables:
        properties[table.name] = _table(table)
    return schema


def schema_text() -> str:
    """The schema as the file in the documentation has it."""
    return json.dumps(json_schema(), indent=2, ensure_ascii=False) + "\n"


def _table(table: Table) -> dict[str, object]:
    if not table.entry:
        return {"description": plain(table.summary), **_keys(table)}
    entry = {**_keys(table), "minProperties": 1}
    return {"description": plain(table.summary), "type": "object", "additionalProperties": entry}


def _keys(table: Table) -> dict[str, object]:
    schema: dict[str, object] = {
        "type": "object",
        "additionalProperties": False,
        "properties": {key.name: _key(key) for key in table.keys},
    }
    required = [key.name for key in table.keys if key.required]
    return {**schema, "required": required} if required else schema


def _key(key: Key[object]) -> dict[str, object]:
    words = plain(f"{key.summary} {key.details}".strip())
    if key.shown_default:
        words += f" Default: {plain(key.shown_default)}."
    return {"description": words, **key.form}


def plain(text: str) -> str:
    """Text without Markdown's code marks."""
    return re.sub(r"`([^`]*)`", r"\1", text)
