"""Which commits a published ref pointed at: one file a ref, a checksum a line, the newest first.

The commits themselves say nothing of each other: the same folder and lock give the same commit, whatever was published
before. Clients never read the history; static deltas and pruning go by it.
"""

from collections.abc import Iterable, Iterator, Mapping

from ostler.formats.gvariant import FormatError
from ostler.formats.objects import Checksum, parse_checksum
from ostler.publish.destination import HISTORY, RefChange

LONGEST = 1000
"""How many commits of a ref are remembered."""


def history_path(ref: str) -> str:
    """Where the history of a ref is."""
    return f"{HISTORY}/{ref}"


def parse_history(data: bytes) -> list[Checksum]:
    """The commits in a history file; lines that hold something else are passed over."""
    return list(_checksums(data[: LONGEST * 65].decode("ascii", "replace").splitlines()))


def _checksums(lines: Iterable[str]) -> Iterator[Checksum]:
    for line in lines:
        try:
            yield parse_checksum(line.strip())
        except FormatError:
            continue


def histories_after(changes: Iterable[RefChange], files: Mapping[str, bytes]) -> dict[str, list[Checksum]]:
    """The history of each ref after the changes, the new commit first, from the history files as they are."""
    histories = {}
    for change in changes:
        recorded = parse_history(files.get(history_path(change.ref), b""))
        before = [change.old] if change.old is not None else []
        histories[change.ref] = list(dict.fromkeys([change.new, *before, *recorded]))[:LONGEST]
    return histories


def encode_history(commits: Iterable[Checksum]) -> bytes:
    """The content of a history file."""
    return "".join(f"{commit}\n" for commit in commits).encode()
