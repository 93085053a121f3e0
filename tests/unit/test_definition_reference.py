"""What is generated from the table of keys agrees with the loader and with the files in docs/."""

import subprocess
import sys
import tomllib
from pathlib import Path

import jsonschema
import pytest
from definition_folder import SETTINGS, problems
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ostler.definition.jsonschema import json_schema
from ostler.definition.reference import reference_page
from ostler.definition.schema import TABLES, all_keys

PROJECT = Path(__file__).resolve().parents[2]
SCRIPT = PROJECT / "scripts" / "generate_reference.py"
FILES = {"overlay/etc/motd": ""}


def valid(text):
    return jsonschema.Draft7Validator(json_schema()).is_valid(tomllib.loads(text))


def example(table, key):
    """An `ostler.toml` with the example of one key."""
    needed = "" if key.required else SETTINGS
    if key.required:
        needed = "".join(line + "\n" for line in SETTINGS.splitlines() if not line.startswith(f"{key.name} "))
    if table.entry:
        return f'{SETTINGS}["{table.name}"."etc/motd"]\n{key.example}\n'
    return f"{needed}[{table.name}]\n{key.example}\n" if table.name else f"{needed}{key.example}\n"


def test_the_files_in_docs_are_up_to_date():
    done = subprocess.run([sys.executable, SCRIPT, "--check"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_schema_is_a_schema():
    jsonschema.Draft7Validator.check_schema(json_schema())


@pytest.mark.parametrize(("table", "key"), all_keys(), ids=lambda one: one.name or "top")
def test_the_example_of_each_key_loads_and_fits_the_schema(tmp_path, table, key):
    text = example(table, key)
    assert problems(tmp_path, FILES, settings=text) == []
    assert valid(text)


def test_the_page_has_every_key_and_its_examples_load(tmp_path):
    page = reference_page()
    for table, key in all_keys():
        assert f"{key.name}`\n\n{key.summary}" in page
        assert table.entry or key.example in page
    assert all(f"## `[{table.name}]`" in page for table in TABLES if table.name)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "nam = 1\n",
        f"{SETTINGS}keep = 2\n",
        f"{SETTINGS}[boot]\nkernel-arguments = 'a'\n",
        f"{SETTINGS}[boot]\nkernel-arguments = ['a b']\n",
        f"{SETTINGS}[boot]\nkernel-arguments = ['root=x']\n",
        f"{SETTINGS}[disk]\nsize = 8\n",
        f"{SETTINGS}[update]\nkeep = 1\n",
        f"{SETTINGS}[update]\nref = 'a b'\n",
        f"{SETTINGS}[overlay]\n'etc/motd' = {{}}\n",
        f"{SETTINGS}[overlay]\n'etc/motd' = {{ mode = 440 }}\n",
        "name = 'Web'\nbase = 'debian:trixie'\n",
        "name = 'web'\nbase = 'debian:sid'\n",
    ],
)
def test_the_schema_refuses_what_the_loader_refuses(tmp_path, text):
    assert problems(tmp_path, FILES, settings=text)
    assert not valid(text)


def forms(key):
    """Values that fit a key's form, by its own pattern."""
    form = key.form
    if "enum" in form:
        return st.sampled_from(form["enum"])
    if "pattern" in form:
        return st.from_regex(form["pattern"].replace("$", r"\Z"), fullmatch=True)
    return st.nothing()


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_text_that_fits_the_schema_loads(tmp_path, data):
    choices = [
        (table, key) for table, key in all_keys() if not table.entry and ("pattern" in key.form or "enum" in key.form)
    ]
    table, key = data.draw(st.sampled_from(choices))
    value = data.draw(forms(key))
    needed = "".join(line + "\n" for line in SETTINGS.splitlines() if not line.startswith(f"{key.name} "))
    text = f"{needed}[{table.name}]\n" if table.name else needed
    found = problems(tmp_path, FILES, settings=f"{text}{key.name} = '{value}'\n")
    assert not found or key.name == "size", found  # sizes have limits that a pattern cannot say
