"""What a commit has that another lacks, and which files of the old one its new files may have come from.

Candidates for a new file, the likeliest first: what lay at the same path; at the same path but for version numbers
(a kernel module below another release, a library with another version in its name); a file of the same name elsewhere;
one of the same name but for version numbers.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from ostler.formats.delta import ObjectName
from ostler.formats.objects import Checksum, ObjectType
from ostler.store.repo import Repo

CANDIDATES = 3
_PER_NAME = 8
_VERSION = re.compile(r"\d+(?:[.+~_-]?\d+)*")


@dataclass(slots=True)
class NewContent:
    """The objects that only the new commit has: metadata, and file objects with one of their paths each."""

    metadata: list[ObjectName] = field(default_factory=list)
    files: dict[Checksum, str] = field(default_factory=dict)


def new_content(repo: Repo, from_: Checksum | None, to: Checksum) -> tuple[NewContent, dict[Checksum, list[Checksum]]]:
    """(what only `to` has, candidates in `from_` for each of its files that has some).

    The commit object itself is left out. Raises `NotFoundError` if an object of either commit is missing.
    """
    known: set[ObjectName] = set()
    if from_ is not None:
        for _ in _walk(repo, from_, known):
            pass
    found = NewContent()
    seen = set(known)
    for path, checksum in _walk(repo, to, seen, found.metadata):
        found.files.setdefault(checksum, path)
    candidates = _candidates(repo, from_, found.files) if from_ is not None else {}
    return found, candidates


def _walk(
    repo: Repo, commit: Checksum, seen: set[ObjectName], fresh: list[ObjectName] | None = None
) -> Iterator[tuple[str, Checksum]]:
    """(path, checksum) of files whose object is not in `seen`; everything met is added to it, metadata to `fresh`."""
    root = repo.load_commit(commit)

    def add(kind: ObjectType, checksum: Checksum) -> bool:
        name = (kind, checksum)
        if name in seen:
            return False
        seen.add(name)
        if fresh is not None and kind is not ObjectType.FILE:
            fresh.append(name)
        return True

    add(ObjectType.DIRMETA, root.root_meta)
    todo = [("", root.root_tree)] if add(ObjectType.DIRTREE, root.root_tree) else []
    while todo:
        prefix, checksum = todo.pop()
        tree = repo.load_dirtree(checksum)
        for name, file in tree.files:
            if add(ObjectType.FILE, file):
                yield prefix + name, file
        for name, below, meta in reversed(tree.dirs):
            add(ObjectType.DIRMETA, meta)
            if add(ObjectType.DIRTREE, below):
                todo.append((f"{prefix}{name}/", below))


def _all_files(repo: Repo, commit: Checksum) -> Iterator[tuple[str, Checksum]]:
    todo = [("", repo.load_commit(commit).root_tree)]
    while todo:
        prefix, checksum = todo.pop()
        tree = repo.load_dirtree(checksum)
        for name, file in tree.files:
            yield prefix + name, file
        todo.extend((f"{prefix}{name}/", below) for name, below, _ in reversed(tree.dirs))


def _keys(path: str) -> tuple[tuple[int, str], ...]:
    """What files with some likeness to this one have in common with it, the most telling first."""
    name = path.rpartition("/")[2]
    return (0, path), (1, _VERSION.sub("#", path)), (2, name), (3, _VERSION.sub("#", name))


def _candidates(repo: Repo, commit: Checksum, files: Mapping[Checksum, str]) -> dict[Checksum, list[Checksum]]:
    wanted: dict[tuple[int, str], list[Checksum]] = {}
    for path in files.values():
        for key in _keys(path):
            wanted.setdefault(key, [])
    for path, checksum in _all_files(repo, commit):
        for key in _keys(path):
            places = wanted.get(key)
            if places is not None and len(places) < _PER_NAME and checksum not in places:
                places.append(checksum)
    result = {}
    for checksum, path in files.items():
        likely = dict.fromkeys(old for key in _keys(path) for old in wanted[key])
        if likely:
            result[checksum] = list(likely)
    return result
