"""Looking into a repository: history, listings, file content, single objects."""

import posixpath
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

from ostler.errors import NotFoundError
from ostler.formats.objects import Checksum, Commit, ObjectType, Xattrs
from ostler.store.checkout import StoredTree, stored_tree
from ostler.store.errors import StoreError
from ostler.store.placing import missing, path_parts
from ostler.store.repo import Repo
from ostler.store.tree import MAX_TREE_DEPTH

_MAX_LINKS = 40


@dataclass(frozen=True, slots=True)
class Entry:
    """A file, symlink or directory in a commit.

    `path` has no slash in front; `mode` is the whole `st_mode`, `size` in bytes (0 unless it is a regular file).
    `checksum` names the object of a file, and the dirmeta of a directory, whose dirtree is `tree`.
    """

    path: str
    mode: int
    uid: int
    gid: int
    size: int = 0
    target: str = ""
    checksum: Checksum | None = None
    tree: Checksum | None = None
    xattrs: Xattrs = ()

    @property
    def is_directory(self) -> bool:
        """Whether it is a directory."""
        return stat.S_ISDIR(self.mode)


def log(repo: Repo, rev: str) -> Iterator[tuple[Checksum, Commit]]:
    """The commit that `rev` names and its ancestors, as far back as the repository has them."""
    checksum: Checksum | None = repo.resolve(rev)
    first = True
    while checksum is not None and (first or repo.has(checksum, ObjectType.COMMIT)):
        commit = repo.load_commit(checksum)
        yield checksum, commit
        checksum, first = commit.parent, False


def list_files(repo: Repo, rev: str, path: str = "", *, recursive: bool = True) -> list[Entry]:
    """What lies at and below `path` in a commit, a directory before what it holds, ascending by name."""
    found = list(listing(repo, rev, path, depth=None if recursive else 1))
    return [found[0], *sorted(found[1:], key=lambda entry: entry.path.split("/"))]


def listing(repo: Repo, rev: str, path: str = "", *, depth: int | None = None) -> Iterator[Entry]:
    """What `ostree ls` lists, in its order: each directory's files, then its directories, with what they hold.

    `depth` 0 is what lies at `path` itself, 1 also what that holds, None everything below. Symlinks in `path` are not
    followed. Raises `NotFoundError` and `StoreError`.
    """
    top = "/".join(path_parts(path))
    found = find_stored(repo, stored_tree(repo, rev), path)
    if isinstance(found, StoredTree):
        yield from _list_directory(repo, top, found, MAX_TREE_DEPTH if depth is None else depth)
    else:
        yield _file_entry(repo, top, found)


def find_stored(repo: Repo, root: StoredTree, path: str) -> "Checksum | StoredTree":
    """The file's checksum or the directory at `path` below `root`; raises `NotFoundError`, `StoreError` past a file."""
    here: Checksum | StoredTree = root
    for part in path_parts(path):
        if not isinstance(here, StoredTree):
            raise StoreError(f"Not a directory: {path}")
        entries = repo.load_dirtree(here.tree)
        found = next((StoredTree(tree, meta) for name, tree, meta in entries.dirs if name == part), None)
        file = None if found else dict(entries.files).get(part)
        if found is None and file is None:
            raise missing(path)
        here = found or file or here
    return here


def _list_directory(repo: Repo, path: str, here: StoredTree, depth: int) -> Iterator[Entry]:
    meta = repo.load_dirmeta(here.meta)
    yield Entry(path, meta.mode, meta.uid, meta.gid, checksum=here.meta, tree=here.tree, xattrs=meta.xattrs)
    if depth == 0:
        return
    start = f"{path}/" if path else ""
    entries = repo.load_dirtree(here.tree)
    for name, file in entries.files:
        yield _file_entry(repo, start + name, file)
    for name, tree, below in entries.dirs:
        yield from _list_directory(repo, start + name, StoredTree(tree, below), depth - 1)


def _file_entry(repo: Repo, path: str, checksum: Checksum) -> Entry:
    file, size, content = repo.open_file_object(checksum)
    content.close()
    return Entry(path, file.mode, file.uid, file.gid, size, file.target, checksum, xattrs=file.xattrs)


def cat(repo: Repo, rev: str, path: str) -> BinaryIO:
    """The content of a regular file in a commit; a symlink stands for what it leads to. Its end raises `CorruptError`.

    Raises `NotFoundError`, and `StoreError` for a directory.
    """
    root = stored_tree(repo, rev)
    where = path
    for _ in range(_MAX_LINKS):
        found = find_stored(repo, root, where)
        if isinstance(found, StoredTree):
            raise StoreError(f"Can't open directory: {path}", hint="name a file")
        meta, _, content = repo.open_file_object(found, verify=True)
        if not meta.is_symlink:
            return content
        content.close()
        where = posixpath.normpath(posixpath.join("/", posixpath.dirname(where), meta.target))
    raise StoreError(f"Too many levels of symbolic links: {path}")


def metadata_kind(repo: Repo, checksum: Checksum) -> ObjectType:
    """What kind of metadata object the repository has by that name; raises `NotFoundError`.

    A commit is found before a dirmeta, and that before a dirtree, should a name ever be that of two.
    """
    for kind in (ObjectType.COMMIT, ObjectType.DIRMETA, ObjectType.DIRTREE):
        if repo.has(checksum, kind):
            return kind
    raise NotFoundError(f"No such object: {checksum}", hint="`ostree show` shows commits, dirtrees and dirmetas")
