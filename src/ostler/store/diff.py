"""What differs between two trees."""

from collections.abc import Iterator
from dataclasses import dataclass

from ostler.store.tree import Directory


@dataclass(frozen=True, slots=True)
class TreeDiff:
    """Paths that only the new tree has, that only the old one has, and that differ; each ascending.

    A file differs in content or metadata, a directory in its own metadata. A directory that became a file (or the
    reverse) has changed, and what was in it was removed.
    """

    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.added or self.removed or self.changed)


def diff(old: Directory, new: Directory) -> TreeDiff:
    """What was added, removed and changed from `old` to `new`."""
    found: dict[str, list[str]] = {"A": [], "D": [], "M": []}
    if old.meta != new.meta:
        found["M"].append("")
    for letter, path in _compare(old, new, ""):
        found[letter].append(path)
    return TreeDiff(tuple(sorted(found["A"])), tuple(sorted(found["D"])), tuple(sorted(found["M"])))


def _compare(old: Directory, new: Directory, prefix: str) -> Iterator[tuple[str, str]]:
    """(A, D or M; path) of all that differs below two directories at the same place."""
    if old is new:
        return
    for name in sorted({*old.files, *old.dirs, *new.files, *new.dirs}):
        path = prefix + name
        before = old.dirs.get(name) or old.files.get(name)
        after = new.dirs.get(name) or new.files.get(name)
        if isinstance(before, Directory) and isinstance(after, Directory):
            if before.meta != after.meta:
                yield "M", path
            yield from _compare(before, after, path + "/")
            continue
        if before == after:
            continue
        yield ("A" if before is None else "D" if after is None else "M"), path
        for letter, side in (("D", before), ("A", after)):
            if isinstance(side, Directory):
                yield from ((letter, below) for below, _ in side.walk(path))
