"""Digests of what a step depends on."""

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ostler.errors import OstlerError

Inputs = Mapping[str, str]
"""What a step depends on: a name that people understand → a digest of it."""


class UnreadableFileError(OstlerError):
    """A file of the machine folder cannot be read."""


def digest_of(value: Any) -> str:
    """SHA-256 of a plain value (text, numbers, lists, mappings), in hexadecimal."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def step_key(name: str, inputs: Inputs) -> str:
    """The identity of a step: equal inputs give equal results."""
    return digest_of([name, dict(inputs)])


def file_digest(path: Path) -> str:
    """A digest of a file's content, its x bit and kind; of a symlink, of where it points.

    Raises `UnreadableFileError`.
    """
    try:
        if path.is_symlink():
            return digest_of(["link", os.fsdecode(path.readlink())])
        with open(path, "rb") as file:
            content = hashlib.file_digest(file, "sha256").hexdigest()
            executable = bool(os.fstat(file.fileno()).st_mode & 0o100)
    except OSError as error:
        raise UnreadableFileError(
            f"{path} cannot be read: {error.strerror}", hint="mend its permissions, or remove it from the folder"
        ) from error
    return digest_of(["file", content, executable])


def folder_digests(folder: Path, prefix: str) -> dict[str, str]:
    """`prefix/path` → digest of everything below `folder`, directories included. Raises `UnreadableFileError`."""
    found: dict[str, str] = {}

    def complain(error: OSError) -> None:
        raise UnreadableFileError(
            f"{error.filename} cannot be read: {error.strerror}",
            hint="mend its permissions, or remove it from the folder",
        ) from error

    for directory, names, files in os.walk(folder, onerror=complain):
        here = Path(directory)
        for name in sorted([*names, *files]):
            path = here / name
            shown = f"{prefix}/{path.relative_to(folder)}"
            if path.is_dir() and not path.is_symlink():
                found[shown] = "directory"
            else:
                found[shown] = file_digest(path)
    return found
