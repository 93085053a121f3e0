import importlib
import itertools
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import ostler.cli.ostree as ostree_face
import ostler.store
from ostler.cli.ostree.call import Verb
from ostler.cli.ostree.options import parse as parse_options
from ostler.cli.parser import build_parser

DOCS = Path(__file__).resolve().parents[2] / "docs"
STORE_API = DOCS / "reference" / "store-api.md"
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def program(page: Path) -> str:
    """The page's Python blocks as one program, every line of it where it stands in the page."""
    text = page.read_text()
    lines = [""] * len(text.splitlines())
    for block in BLOCK.finditer(text):
        start = text.count("\n", 0, block.start(1))
        code = block[1].splitlines()
        lines[start : start + len(code)] = code
    return "\n".join(lines) + "\n"


def has_user_attributes(folder: Path) -> bool:
    probe = folder / "probe"
    probe.touch()
    try:
        os.setxattr(probe, "user.ostler", b"")
    except OSError:
        return False
    finally:
        probe.unlink()
    return True


def test_the_examples_of_the_store_api_run_in_their_order(tmp_path: Path) -> None:
    if not has_user_attributes(tmp_path):
        pytest.skip("the folder for temporary files has no extended attributes of users")
    code = f"exec(compile({program(STORE_API)!r}, {STORE_API.name!r}, 'exec'))"
    ran = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr


def test_the_page_of_the_store_api_names_all_that_is_public() -> None:
    table = STORE_API.read_text().partition("## All names")[2]
    assert set(re.findall(r"`(\w+)`", table)) == set(ostler.store.__all__)


def test_public_names_are_functions_and_classes_whatever_was_imported_before() -> None:
    code = "import ostler.store.pull, ostler.store.diff; from ostler.store import pull, diff; print(pull, diff)"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.startswith("<function pull")
    assert "<function diff" in ran.stdout


def test_importing_one_name_of_the_store_does_not_import_the_others() -> None:
    code = "import sys; from ostler.store import Repo; print([name for name in sys.modules if 'ostler.store.' in name])"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "ostler.store.repo" in ran.stdout
    assert not re.search(r"store\.(pull|delta|signing|checkout|ingest)\b", ran.stdout)


@pytest.mark.parametrize("name", ostler.store.__all__)
def test_every_public_name_of_the_store_is_there(name: str) -> None:
    assert callable(getattr(ostler.store, name))


GENERATED = DOCS / "reference" / "commands.md"
PAGES = sorted({*DOCS.rglob("*.md"), *DOCS.parent.glob("*.md")} - {GENERATED})
LINK = re.compile(r"\]\((?!https?:)([^)#]+)")
FENCED = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    assert [target for target in LINK.findall(page.read_text()) if not (page.parent / target).exists()] == []


def commands(page: Path) -> Iterator[list[str]]:
    """The words of each call of `ostler` in the page's blocks of commands."""
    blocks = [block for language, block in FENCED.findall(page.read_text()) if language in ("", "sh")]
    for block in blocks:
        for line in block.splitlines():
            if "ostler" not in line:
                continue
            words = shlex.split(line, comments=True)
            while words:
                here = list(itertools.takewhile(lambda word: word not in ("&&", "|", ">", "||"), words))
                words = words[len(here) + 1 :]
                here = list(itertools.dropwhile(lambda word: word == "sudo" or re.match(r"\w+=", word), here))
                if here[:1] == ["ostler"]:
                    yield here[1:]


def check_ostree(words: list[str]) -> None:
    verbs, place = ostree_face.VERBS, 0
    while True:
        _, module, name = verbs[words[place]]
        found = getattr(importlib.import_module(f"ostler.cli.ostree.{module}"), name)
        if isinstance(found, Verb):
            parse_options(found.all_options, words[place + 1 :])
            return
        verbs, place = found.verbs, place + 1


@pytest.mark.parametrize("page", [page for page in PAGES if any(commands(page))], ids=lambda page: page.name)
def test_commands_in_the_docs_take_the_options_that_they_are_given(page: Path) -> None:
    parser = build_parser()
    for words in commands(page):
        if words[0] == "ostree":
            check_ostree(words[1:])
        elif words not in (["COMMAND"], ["--version"]):
            try:
                parser.parse_args(words)
            except SystemExit:
                pytest.fail(f"{page.name}: ostler {' '.join(words)}")
