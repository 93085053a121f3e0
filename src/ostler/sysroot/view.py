"""Looking into the tree of an operating system, whether it is checked out or still in a repository."""

import os
import stat
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO, Protocol

from ostler.errors import CorruptError, NotFoundError
from ostler.formats.objects import Checksum, DirTree
from ostler.store.repo import Repo


class TreeView(Protocol):
    """Reads regular files and directories by path (relative, without `..`); symlinks are not followed."""

    def names(self, path: str) -> list[str]:
        """The entries of a directory, sorted by their bytes; none if there is no such directory."""

    def size(self, path: str) -> int | None:
        """The size in bytes of a regular file, None if there is none."""

    def is_directory(self, path: str) -> bool:
        """Whether there is such a directory."""

    def open(self, path: str) -> BinaryIO:
        """The content of a regular file; raises `NotFoundError`."""

    def read(self, path: str, limit: int) -> bytes:
        """The content of a regular file of at most `limit` bytes; raises `NotFoundError` or `CorruptError`."""


class DirectoryView:
    """The tree below a directory."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def names(self, path: str) -> list[str]:
        """See `TreeView`."""
        try:
            return sorted(os.listdir(self.root / path), key=os.fsencode)  # noqa: PTH208
        except (FileNotFoundError, NotADirectoryError):
            return []

    def size(self, path: str) -> int | None:
        """See `TreeView`."""
        found = self._stat(path)
        return found.st_size if found is not None and stat.S_ISREG(found.st_mode) else None

    def is_directory(self, path: str) -> bool:
        """See `TreeView`."""
        found = self._stat(path)
        return found is not None and stat.S_ISDIR(found.st_mode)

    def open(self, path: str) -> BinaryIO:
        """See `TreeView`."""
        if self.size(path) is None:
            raise NotFoundError(f"{self.root} has no file {path}")
        return open(self.root / path, "rb")

    def read(self, path: str, limit: int) -> bytes:
        """See `TreeView`."""
        return _read(self, path, limit)

    def _stat(self, path: str) -> os.stat_result | None:
        try:
            return (self.root / path).lstat()
        except (FileNotFoundError, NotADirectoryError):
            return None


class CommitView:
    """The tree of a commit in a repository."""

    def __init__(self, repo: Repo, commit: Checksum) -> None:
        self.repo = repo
        self.commit = commit
        self._load = lru_cache(maxsize=64)(repo.load_dirtree)

    def names(self, path: str) -> list[str]:
        """See `TreeView`."""
        tree = self._directory(path)
        if tree is None:
            return []
        return sorted([*(entry[0] for entry in tree.files), *(entry[0] for entry in tree.dirs)], key=os.fsencode)

    def size(self, path: str) -> int | None:
        """See `TreeView`."""
        checksum = self.file(path)
        if checksum is None or self.repo.file_meta(checksum).is_symlink:
            return None
        return self.repo.file_size(checksum)

    def is_directory(self, path: str) -> bool:
        """See `TreeView`."""
        return self._directory(path) is not None

    def open(self, path: str) -> BinaryIO:
        """See `TreeView`."""
        checksum = self.file(path)
        if checksum is None or self.repo.file_meta(checksum).is_symlink:
            raise NotFoundError(f"the commit {self.commit} has no file {path}")
        return self.repo.open_file(checksum, verify=True)

    def read(self, path: str, limit: int) -> bytes:
        """See `TreeView`."""
        return _read(self, path, limit)

    def file(self, path: str) -> Checksum | None:
        """The file object at the path (a symlink's too), or None."""
        folder, _, name = path.rpartition("/")
        tree = self._directory(folder)
        return dict(tree.files).get(name) if tree is not None else None

    def _directory(self, path: str) -> DirTree | None:
        tree = self._load(self.repo.load_commit(self.commit).root_tree)
        for part in filter(None, path.split("/")):
            checksum = next((entry[1] for entry in tree.dirs if entry[0] == part), None)
            if checksum is None:
                return None
            tree = self._load(checksum)
        return tree


def _read(tree: TreeView, path: str, limit: int) -> bytes:
    with tree.open(path) as file:
        data = file.read(limit + 1)
    if len(data) > limit:
        raise CorruptError(f"the file {path} has more than {limit} bytes")
    return data
