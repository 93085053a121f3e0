"""Looking into a repository: history, listings, file content."""

import stat
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

from ostler.errors import NotFoundError
from ostler.formats.objects import Checksum, Commit, DirMeta, ObjectType
from ostler.store.errors import StoreError
from ostler.store.repo import Repo
from ostler.store.tree import Directory, find


@dataclass(frozen=True, slots=True)
class Entry:
    """A file, symlink or directory in a commit. `mode` is the whole `st_mode`, `size` in bytes; `checksum` of files."""

    path: str
    mode: int
    uid: int
    gid: int
    size: int = 0
    target: str = ""
    checksum: Checksum | None = None


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
    found = find(repo, rev, path)
    top = path.strip("/")
    if not isinstance(found, Directory):
        return [_entry(repo, top, found)]
    below = found.walk(top) if recursive else _children(found, top)
    return [_entry(repo, top, found), *(_entry(repo, name, item) for name, item in below)]


def _children(directory: Directory, prefix: str) -> Iterator[tuple[str, Checksum | Directory]]:
    start = f"{prefix}/" if prefix else ""
    for name in sorted([*directory.files, *directory.dirs]):
        yield start + name, directory.dirs.get(name) or directory.files[name]


def _entry(repo: Repo, path: str, item: Checksum | Directory) -> Entry:
    if isinstance(item, Directory):
        meta: DirMeta = item.meta
        return Entry(path, meta.mode, meta.uid, meta.gid)
    file, size, content = repo.open_file_object(item)
    content.close()
    return Entry(path, file.mode, file.uid, file.gid, size, file.target, item)


def cat(repo: Repo, rev: str, path: str) -> BinaryIO:
    """The content of a regular file in a commit; symlinks are not followed. Raises `NotFoundError`, `StoreError`."""
    found = find(repo, rev, path)
    if isinstance(found, Directory):
        raise StoreError(f"/{path.strip('/')} is a directory")
    meta, _, content = repo.open_file_object(found, verify=True)
    if not stat.S_ISREG(meta.mode):
        content.close()
        raise NotFoundError(f"/{path.strip('/')} is a symlink to {meta.target}", hint=f"ask for {meta.target} instead")
    return content
