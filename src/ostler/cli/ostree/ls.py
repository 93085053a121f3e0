"""`ostree ls`."""

import stat
from typing import TYPE_CHECKING

from ostler.cli.ostree.call import Call, Verb
from ostler.cli.ostree.options import Failure, flag
from ostler.cli.ostree.revisions import resolve
from ostler.errors import OstlerError

if TYPE_CHECKING:
    from ostler.store.inspect import Entry

_LETTERS = {stat.S_IFDIR: "d", stat.S_IFLNK: "l"}
_XATTRS_TYPE = "a(ayay)"


def run(call: Call) -> None:
    """List files."""
    if not call.arguments:
        call.usage_error("An COMMIT argument is required")
    from ostler.store.inspect import listing

    rev, *paths = call.arguments
    checksum = resolve(call.repo, rev)
    line = _name if call.flag("nul-filenames-only") else _line
    depth = None if call.flag("recursive") else 0 if call.flag("dironly") else 1
    for path in paths or ["/"]:
        try:
            for entry in listing(call.repo, checksum, path, depth=depth):
                call.out(line(call, entry), end="")
        except OstlerError as error:
            if paths:
                raise Failure(f"Inspecting path '{path}': {error.message}") from error
            raise


def _name(call: Call, entry: "Entry") -> str:
    return f"/{entry.path}\0"


def _line(call: Call, entry: "Entry") -> str:
    letter = _LETTERS.get(stat.S_IFMT(entry.mode), "-")
    parts = [f"{letter}0{stat.S_IMODE(entry.mode):04o} {entry.uid} {entry.gid} {entry.size:6}"]
    if call.flag("checksum"):
        parts += [checksum for checksum in (entry.tree, entry.checksum) if checksum]
    if call.flag("xattrs"):
        from ostler.formats.gvariant_text import format_text
        from ostler.formats.objects import encode_xattrs

        parts.append(f"{{ {format_text(_XATTRS_TYPE, encode_xattrs(entry.xattrs))} }}")
    parts.append(f"/{entry.path}")
    if entry.target:
        parts.append(f"-> {entry.target}")
    return " ".join(parts) + "\n"


VERB = Verb(
    run,
    "COMMIT [PATH...]",
    (
        flag("dironly", "Show folders themselves, not what is in them", "d"),
        flag("recursive", "Go down into folders", "R"),
        flag("checksum", "Show checksums", "C"),
        flag("xattrs", "Show extended attributes", "X"),
        flag("nul-filenames-only", "Print only paths, each ended by NUL"),
    ),
)
