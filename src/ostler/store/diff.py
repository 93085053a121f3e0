"""What differs between two trees: of commits, or of a commit and a folder on disk."""

import os
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeAlias

from ostler.formats.objects import Checksum, DirMeta, ObjectType
from ostler.store.checkout import StoredTree
from ostler.store.content import RepoMode, read_tree_xattrs
from ostler.store.errors import StoreError
from ostler.store.repo import Repo
from ostler.store.tree import Directory
from ostler.store.union import checksum_of_file


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


# --- as `ostree diff` sees it

Side: TypeAlias = StoredTree | Path
"""A tree in the repository, or a folder on disk."""


@dataclass(frozen=True, slots=True)
class DiffOptions:
    """How files on disk are looked at: without extended attributes; those of the new side with another owner."""

    ignore_xattrs: bool = False
    owner_uid: int | None = None
    owner_gid: int | None = None


@dataclass(frozen=True, slots=True)
class SideDiff:
    """The lists of `ostree diff`, in its order: files of a directory before directories, each ascending by name.

    Of removed directories only the directory itself is listed, of added ones all that they hold. What became another
    kind of file has changed, whatever it held or holds.
    """

    changed: list[str] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)
    added: list[str] = field(default_factory=list)


def diff_sides(repo: Repo, old: Side, new: Side, options: DiffOptions | None = None) -> SideDiff:
    """Compare two sides. Files on disk are hashed; special files are errors. Raises `StoreError`, `NotFoundError`."""
    options = options or DiffOptions()
    stored = isinstance(old, StoredTree) or isinstance(new, StoredTree)
    plain = repo.mode is RepoMode.BARE_USER_ONLY or repo.config.get_bool("core", "disable-xattrs", False)
    if stored and plain:
        options = replace(options, ignore_xattrs=True)
    found = SideDiff()
    _compare_sides(repo, _Look(old, "", options, own=True), _Look(new, "", options, own=False), found)
    return found


class _Look:
    """One directory of a side: its entries by name, and what each would be called as an object."""

    def __init__(self, side: Side, path: str, options: DiffOptions, *, own: bool) -> None:
        self.side = side
        self.path = path
        self._options = options
        self._own = own  # the owners on disk count, not those that were asked for

    def entries(self, repo: Repo) -> dict[str, "Checksum | Side | None"]:
        """Files (None: on disk, not hashed yet), then directories."""
        if isinstance(self.side, StoredTree):
            tree = repo.load_dirtree(self.side.tree)
            return {**dict(tree.files), **{name: StoredTree(below, meta) for name, below, meta in tree.dirs}}
        try:
            listed = sorted(os.scandir(self.side), key=lambda entry: entry.name)
        except (FileNotFoundError, NotADirectoryError) as error:
            raise StoreError(f"{self.side}: {error.strerror}", hint="name a folder or a commit") from error
        dirs = [entry.name for entry in listed if entry.is_dir(follow_symlinks=False)]
        files = dict.fromkeys((entry.name for entry in listed if not entry.is_dir(follow_symlinks=False)), None)
        return {**files, **{name: self.side / name for name in dirs}}

    def below(self, name: str, entry: Side) -> "_Look":
        """The directory `name`."""
        return _Look(entry, f"{self.path}{name}/", self._options, own=self._own)

    def name_of(self, name: str, entry: "Checksum | Side | None") -> Checksum:
        """What the entry's file object or dirmeta is called."""
        if isinstance(entry, StoredTree):
            return entry.meta
        if isinstance(entry, str):
            return entry
        assert isinstance(self.side, Path)
        uid, gid = (None, None) if self._own else (self._options.owner_uid, self._options.owner_gid)
        with_xattrs = not self._options.ignore_xattrs
        path = os.fspath(self.side / name)
        if entry is None:
            return checksum_of_file(path, uid=uid, gid=gid, with_xattrs=with_xattrs)
        status = os.lstat(path)
        owner = (status.st_uid if uid is None else uid, status.st_gid if gid is None else gid)
        return DirMeta(*owner, status.st_mode, read_tree_xattrs(path) if with_xattrs else ()).checksum

    def kind(self, repo: Repo, name: str, entry: "Checksum | Side | None") -> int:
        """The kind of file as in `st_mode`."""
        if isinstance(entry, StoredTree | Path):
            return stat.S_IFDIR
        if isinstance(entry, str):
            return stat.S_IFMT(repo.file_meta(entry).mode)
        assert isinstance(self.side, Path)
        return stat.S_IFMT((self.side / name).lstat().st_mode)


def _compare_sides(repo: Repo, old: _Look, new: _Look, found: SideDiff) -> None:
    if isinstance(old.side, StoredTree) and isinstance(new.side, StoredTree) and old.side.tree == new.side.tree:
        return
    before, after = old.entries(repo), new.entries(repo)
    for name, entry in before.items():
        path = old.path + name
        if name not in after:
            found.removed.append(path)
            continue
        other = after[name]
        if isinstance(entry, StoredTree | Path) is not isinstance(other, StoredTree | Path):
            found.changed.append(path)
            continue
        if entry != other or entry is None:
            if not isinstance(entry, StoredTree | Path) and old.kind(repo, name, entry) != new.kind(repo, name, other):
                found.changed.append(path)
                continue
            if old.name_of(name, entry) != new.name_of(name, other):
                found.changed.append(path)
        if isinstance(entry, StoredTree | Path) and isinstance(other, StoredTree | Path):
            _compare_sides(repo, old.below(name, entry), new.below(name, other), found)
    for name, other in after.items():
        if name not in before:
            _add_all(repo, new, name, other, found.added)


def _add_all(repo: Repo, look: _Look, name: str, entry: "Checksum | Side | None", added: list[str]) -> None:
    added.append(look.path + name)
    if isinstance(entry, StoredTree | Path):
        below = look.below(name, entry)
        for inner, deeper in below.entries(repo).items():
            _add_all(repo, below, inner, deeper, added)


# --- statistics


@dataclass(frozen=True, slots=True)
class DiffStats:
    """How many objects two commits have, how many both have, and the bytes that those take in the repository."""

    old_objects: int
    new_objects: int
    common_objects: int
    common_bytes: int


def diff_stats(repo: Repo, old_rev: str, new_rev: str) -> DiffStats:
    """Count the objects of two commits, the commit objects included and what is detached not."""
    old, new = (_objects_of(repo, rev) for rev in (old_rev, new_rev))
    common = {kind: old[kind] & new[kind] for kind in old}
    size = sum(
        os.lstat(repo.find_object(Checksum(digest.hex()), kind)).st_size
        for kind, digests in common.items()
        for digest in digests
    )
    counts = [sum(map(len, side.values())) for side in (old, new, common)]
    return DiffStats(counts[0], counts[1], counts[2], size)


def _objects_of(repo: Repo, rev: str) -> Mapping[ObjectType, set[bytes]]:
    from ostler.store.reach import reachable

    found = reachable(repo, [repo.resolve(rev)])
    kinds = (ObjectType.COMMIT, ObjectType.DIRTREE, ObjectType.DIRMETA, ObjectType.FILE)
    return {kind: found.of(kind) for kind in kinds}


__all__ = ["DiffOptions", "DiffStats", "Side", "SideDiff", "TreeDiff", "diff", "diff_sides", "diff_stats"]
