"""Directory trees in memory: what commits, layers, checkouts and comparisons work on.

A `Directory` holds checksums of file objects, not content; changing it changes no repository. `write_tree` stores it.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ostler.errors import CorruptError, NotFoundError
from ostler.formats.objects import Checksum, DirMeta, DirTree, check_name
from ostler.store.errors import StoreError
from ostler.store.repo import Repo

if TYPE_CHECKING:
    from ostler.store.transaction import Transaction

DEFAULT_META = DirMeta(0, 0, 0o40755)
MAX_TREE_DEPTH = 256
MAX_TREE_ENTRIES = 4_000_000


@dataclass(slots=True)
class Directory:
    """A mutable directory. A name must not be in both `files` and `dirs`; `set_file` and `set_dir` see to that."""

    meta: DirMeta = DEFAULT_META
    files: dict[str, Checksum] = field(default_factory=dict)
    dirs: dict[str, "Directory"] = field(default_factory=dict)

    def lookup(self, path: str) -> "Checksum | Directory | None":
        """The file's checksum or the directory at `path` ("usr/bin/x"; "" is this directory), or None."""
        here = self
        *parents, name = _parts(path) or [""]
        for part in parents:
            below = here.dirs.get(part)
            if below is None:
                return None
            here = below
        if not name:
            return here
        return here.files.get(name) or here.dirs.get(name)

    def directory(self, path: str) -> "Directory | None":
        """The directory at `path`, or None if that is missing or a file."""
        found = self.lookup(path)
        return found if isinstance(found, Directory) else None

    def ensure_dir(self, path: str, meta: DirMeta = DEFAULT_META) -> "Directory":
        """The directory at `path`, made (with its missing parents) with `meta`; raises `StoreError` at a file."""
        here = self
        for part in _parts(path):
            if part in here.files:
                raise StoreError(f"{path} cannot be a directory: {part} is a file")
            here = here.dirs.setdefault(part, Directory(meta)) if part in here.dirs else here._add(part, meta)
        return here

    def _add(self, name: str, meta: DirMeta) -> "Directory":
        made = self.dirs[check_name(name)] = Directory(meta)
        return made

    def set_file(self, path: str, checksum: Checksum, parent_meta: DirMeta = DEFAULT_META) -> None:
        """Put a file at `path`, in place of whatever is there, making missing parents with `parent_meta`."""
        parent, _, name = path.strip("/").rpartition("/")
        folder = self.ensure_dir(parent, parent_meta)
        folder.dirs.pop(name, None)
        folder.files[check_name(name)] = checksum

    def set_dir(self, path: str, directory: "Directory", parent_meta: DirMeta = DEFAULT_META) -> None:
        """Put a directory at `path`, in place of whatever is there, making missing parents with `parent_meta`."""
        parent, _, name = path.strip("/").rpartition("/")
        folder = self.ensure_dir(parent, parent_meta)
        folder.files.pop(name, None)
        folder.dirs[check_name(name)] = directory

    def remove(self, path: str) -> bool:
        """Remove the file or directory at `path`; False if there is none."""
        parent, _, name = path.strip("/").rpartition("/")
        folder = self.directory(parent)
        if folder is None:
            return False
        return (folder.files.pop(name, None) or folder.dirs.pop(name, None)) is not None

    def walk(self, prefix: str = "") -> Iterator[tuple[str, "Checksum | Directory"]]:
        """(path, file or directory) of everything below, ascending by name, a directory before what it holds."""
        start = f"{prefix}/" if prefix else ""
        for name in sorted([*self.files, *self.dirs]):
            below = self.dirs.get(name)
            if below is None:
                yield start + name, self.files[name]
            else:
                yield start + name, below
                yield from below.walk(start + name)

    def copy(self) -> "Directory":
        """An independent copy: some milliseconds for ten thousand files."""
        return Directory(self.meta, self.files.copy(), {name: below.copy() for name, below in self.dirs.items()})

    def file_count(self) -> int:
        """The number of files and symlinks below."""
        return len(self.files) + sum(below.file_count() for below in self.dirs.values())


def _parts(path: str) -> list[str]:
    parts = [part for part in path.split("/") if part]
    if "." in parts or ".." in parts:
        raise StoreError(f"the path {path!r} in a tree must not hold `.` or `..`")
    return parts


def load_tree(repo: Repo, tree: Checksum, meta: Checksum) -> Directory:
    """The tree that a dirtree and a dirmeta name, all of it; raises `NotFoundError` or `CorruptError`.

    Objects met more than once are read once, yet each place gets a `Directory` of its own.
    """
    return _Loader(repo).load(tree, meta, 0)


class _Loader:
    def __init__(self, repo: Repo) -> None:
        self._repo = repo
        self._trees: dict[Checksum, DirTree] = {}
        self._metas: dict[Checksum, DirMeta] = {}
        self._entries = 0

    def load(self, tree: Checksum, meta: Checksum, depth: int) -> Directory:
        if depth > MAX_TREE_DEPTH:
            raise StoreError(f"the tree {tree} lies more than {MAX_TREE_DEPTH} directories deep")
        entries = self._trees.get(tree)
        if entries is None:
            entries = self._trees[tree] = self._repo.load_dirtree(tree)
        self._entries += 1 + len(entries.files)
        if self._entries > MAX_TREE_ENTRIES:  # a few objects that name each other often can stand for any number
            raise CorruptError(f"a tree in {self._repo.path} has more than {MAX_TREE_ENTRIES} files and directories")
        loaded = self._metas.get(meta)
        if loaded is None:
            loaded = self._metas[meta] = self._repo.load_dirmeta(meta)
        dirs = {name: self.load(t, m, depth + 1) for name, t, m in entries.dirs}
        return Directory(loaded, dict(entries.files), dirs)


def load_commit_tree(repo: Repo, rev: str) -> Directory:
    """The tree of the commit that `rev` names."""
    commit = repo.load_commit(repo.resolve(rev))
    return load_tree(repo, commit.root_tree, commit.root_meta)


def write_tree(transaction: "Transaction", directory: Directory) -> tuple[Checksum, Checksum]:
    """Store a tree's dirtree and dirmeta objects; returns the two checksums of its root. Files must exist already."""
    metas: dict[DirMeta, Checksum] = {}

    def write(here: Directory) -> tuple[Checksum, Checksum]:
        dirs = tuple((name, *write(here.dirs[name])) for name in sorted(here.dirs))
        tree = transaction.write_metadata(DirTree(tuple(sorted(here.files.items())), dirs))
        meta = metas.get(here.meta)
        if meta is None:
            meta = metas[here.meta] = transaction.write_metadata(here.meta)
        return tree, meta

    return write(directory)


def find(repo: Repo, rev: str, path: str) -> "Checksum | Directory":
    """What lies at `path` in the commit that `rev` names; raises `NotFoundError`."""
    found = load_commit_tree(repo, rev).lookup(path)
    if found is None:
        raise NotFoundError(f"the commit {rev} has no {path}")
    return found
