"""What a Containerfile may copy: the machine folder without what Ostler owns and what `.containerignore` excludes."""

import fnmatch
import os
import re
import stat
from pathlib import Path

from ostler.definition.errors import Findings
from ostler.definition.lists import Place, read_text
from ostler.definition.patterns import IgnoreRules

OWNED = (
    *("ostler.toml", "ostler.lock", "packages", "systemd", "overlay", "keys", "signing", "secrets"),
    *("*.bu", "build", ".git*"),
)
IGNORE_FILES = (".containerignore", ".dockerignore")


def is_owned(name: str) -> bool:
    """Whether an entry directly in the machine folder belongs to Ostler or to git."""
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in OWNED)


def context_files(folder: Path, *, shown: Path | None = None) -> tuple[str, ...]:
    """The paths of the build context, relative to the machine folder: directories, files and symbolic links, sorted.

    A directory is listed before what is in it. Raises `DefinitionError` for what cannot be read.
    """
    findings = Findings()
    found = scan_context(Place(folder, shown or folder), findings)
    findings.raise_if_any()
    return found


def scan_context(place: Place, findings: Findings) -> tuple[str, ...]:
    """Like `context_files`, noting what is wrong."""
    try:
        rules = IgnoreRules(_ignore_text(place, findings))
    except re.error as error:
        findings.error(place.show(".containerignore"), None, f"`{error.pattern!s}`: {error.msg}")
        return ()
    found: list[str] = []
    _walk(place, "", rules, found, findings)
    return tuple(sorted(found, key=lambda path: path.split("/")))


def _ignore_text(place: Place, findings: Findings) -> str:
    for name in IGNORE_FILES:
        if (place.path / name).is_file():
            return read_text(place, name, findings) or ""
    return ""


def _walk(place: Place, below: str, rules: IgnoreRules, found: list[str], findings: Findings) -> None:
    try:
        entries = sorted(os.scandir(place.path / below), key=lambda entry: entry.name)
    except OSError as error:
        hint = "make it readable, or name it in .containerignore"
        findings.error(place.show(below), None, f"cannot be read: {error.strerror}", hint)
        return
    for entry in entries:
        path = f"{below}/{entry.name}" if below else entry.name
        if not below and is_owned(entry.name):
            continue
        excluded = rules.excludes(path)
        mode = entry.stat(follow_symlinks=False).st_mode
        if stat.S_ISDIR(mode):
            if excluded and not rules.takes_back:
                continue
            size = len(found)
            _walk(place, path, rules, found, findings)
            if not excluded or len(found) > size:
                found.append(path)
        elif not excluded and (stat.S_ISREG(mode) or stat.S_ISLNK(mode)):
            found.append(path)
