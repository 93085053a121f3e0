"""Machine folders for the tests of the definition."""

from pathlib import Path

from ostler.definition.errors import DefinitionError, Problem
from ostler.definition.load import load
from ostler.definition.model import Definition

SETTINGS = 'name = "web"\nbase = "debian:trixie"\n'
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl me@example"


def make(root: Path, files: dict[str, str | bytes] | None = None, *, settings: str = SETTINGS) -> Path:
    """A machine folder with these files, a key among them unless they have their own."""
    folder = root / "web"
    content: dict[str, str | bytes] = {"ostler.toml": settings, "keys/root": KEY + "\n", **(files or {})}
    for name, data in content.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data.encode() if isinstance(data, str) else data)
    return folder


def loaded(root: Path, files: dict[str, str | bytes] | None = None, *, settings: str = SETTINGS) -> Definition:
    return load(make(root, files, settings=settings))


def problems(root: Path, files: dict[str, str | bytes] | None = None, *, settings: str = SETTINGS) -> list[Problem]:
    """What is wrong with such a folder, with files named as from inside of its parent; empty if nothing is."""
    folder = make(root, files, settings=settings)
    try:
        load(folder)
    except DefinitionError as error:
        assert all(str(problem) in error.message for problem in error.problems)
        prefix = f"{root}/"
        return [
            Problem(p.file.removeprefix(prefix), p.line, p.message.replace(prefix, ""), p.hint) for p in error.problems
        ]
    return []


def only_problem(root: Path, files: dict[str, str | bytes] | None = None, *, settings: str = SETTINGS) -> Problem:
    found = problems(root, files, settings=settings)
    assert len(found) == 1, found
    return found[0]
