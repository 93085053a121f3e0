"""Changing files of a tree that lies in the store as if it were a directory.

Paths are relative to the root and name the real place of a thing ("usr/lib/x", never through a link like "lib/x").
"""

import stat
from collections.abc import Iterator

from ostler.errors import NotFoundError
from ostler.formats.objects import Checksum, DirMeta, FileMeta
from ostler.store.repo import Repo
from ostler.store.transaction import Transaction
from ostler.store.tree import Directory

TOP = ""


def parent_and_name(path: str) -> tuple[str, str]:
    """The path of the directory that holds `path` ("" is the root), and the last part."""
    parent, _, name = path.rpartition("/")
    return parent, name


class TreeEditor:
    """Reads and changes `root`, a tree whose objects are in `repo` or were written by `transaction`."""

    def __init__(self, repo: Repo, transaction: Transaction, root: Directory) -> None:
        self.repo = repo
        self.root = root
        self._transaction = transaction
        self._written: dict[Checksum, tuple[FileMeta, bytes]] = {}

    def find(self, path: str) -> Checksum | Directory | None:
        """What lies at `path`: a file's checksum, a directory, or None."""
        return self.root if path == TOP else self.root.lookup(path)

    def exists(self, path: str) -> bool:
        """Whether anything lies at `path`."""
        return self.find(path) is not None

    def directory(self, path: str) -> Directory | None:
        """The directory at `path`, or None if there is none or something else lies there."""
        found = self.find(path)
        return found if isinstance(found, Directory) else None

    def names(self, path: str) -> list[str]:
        """The sorted names in the directory `path`; none if there is no such directory."""
        found = self.directory(path)
        return sorted([*found.files, *found.dirs]) if found is not None else []

    def file_meta(self, path: str) -> FileMeta | None:
        """Owner, mode and link target of the file or symlink at `path`, or None."""
        found = self.find(path)
        if found is None or isinstance(found, Directory):
            return None
        return self._written[found][0] if found in self._written else self.repo.file_meta(found)

    def target(self, path: str) -> str | None:
        """Where the symlink at `path` points; None if there is no symlink."""
        meta = self.file_meta(path)
        return meta.target if meta is not None and meta.is_symlink else None

    def read(self, path: str) -> bytes | None:
        """The content of the regular file at `path`, or None if there is none."""
        found = self.find(path)
        if found is None or isinstance(found, Directory):
            return None
        if found in self._written:
            meta, data = self._written[found]
            return None if meta.is_symlink else data
        if self.repo.file_meta(found).is_symlink:
            return None
        with self.repo.open_file(found) as file:
            return file.read()

    def text(self, path: str) -> str | None:
        """Like `read`, decoded."""
        data = self.read(path)
        return None if data is None else data.decode("utf-8", "surrogateescape")

    def make_directory(self, path: str, mode: int = 0o755, uid: int = 0, gid: int = 0) -> Directory:
        """Make the directory `path`, with these attributes also if it exists; parents that lack are root's, 0755.

        A file or link in the way is replaced.
        """
        if path == TOP:
            return self.root
        parent, name = parent_and_name(path)
        holder = self._parent(parent)
        holder.files.pop(name, None)
        meta = DirMeta(uid, gid, stat.S_IFDIR | mode)
        found = holder.dirs.get(name)
        if found is None:
            found = Directory(meta)
        else:
            found.meta = meta
        holder.dirs[name] = found
        return found

    def write(self, path: str, data: bytes | str, mode: int = 0o644, uid: int = 0, gid: int = 0) -> None:
        """Make or replace the regular file `path`."""
        content = data.encode("utf-8", "surrogateescape") if isinstance(data, str) else data
        self._put(path, FileMeta(uid, gid, stat.S_IFREG | mode), content)

    def rewrite(self, path: str, data: bytes | str) -> None:
        """Give the file at `path` another content, with the attributes it has; a missing one becomes root's, 0644."""
        meta = self.file_meta(path) or FileMeta(0, 0, stat.S_IFREG | 0o644)
        content = data.encode("utf-8", "surrogateescape") if isinstance(data, str) else data
        self._put(path, meta, content)

    def symlink(self, path: str, target: str) -> None:
        """Make or replace `path` by a symlink to `target`."""
        self._put(path, FileMeta(0, 0, stat.S_IFLNK | 0o777, target=target), b"")

    def put(self, path: str, checksum: Checksum) -> None:
        """Place the file object `checksum` at `path`."""
        parent, name = parent_and_name(path)
        holder = self._parent(parent)
        holder.dirs.pop(name, None)
        holder.files[name] = checksum

    def put_directory(self, path: str, directory: Directory) -> None:
        """Place a whole directory at `path`, replacing what was there."""
        parent, name = parent_and_name(path)
        holder = self._parent(parent)
        holder.files.pop(name, None)
        holder.dirs[name] = directory

    def remove(self, path: str) -> bool:
        """Remove the file or the whole directory at `path`; says whether there was one."""
        parent, name = parent_and_name(path)
        if self.find(path) is None:
            return False
        holder = self._parent(parent)
        return holder.files.pop(name, None) is not None or holder.dirs.pop(name, None) is not None

    def move(self, source: str, destination: str) -> None:
        """Move what lies at `source` to `destination`, replacing what was there. Raises `NotFoundError`."""
        found = self.find(source)
        if found is None:
            raise NotFoundError(f"the tree has no {source}")
        self.remove(source)
        if isinstance(found, Directory):
            self.put_directory(destination, found)
        else:
            self.put(destination, found)

    def walk(self, path: str) -> Iterator[tuple[str, Directory | Checksum]]:
        """Everything below the directory `path`, sorted, each directory before its content; full paths."""
        found = self.directory(path)
        if found is None:
            return
        prefix = f"{path}/" if path else ""
        for name in sorted([*found.files, *found.dirs]):
            if name in found.files:
                yield prefix + name, found.files[name]
            else:
                yield prefix + name, found.dirs[name]
                yield from self.walk(prefix + name)

    def _put(self, path: str, meta: FileMeta, content: bytes) -> None:
        checksum = self._transaction.write_file(meta, content)
        self._written[checksum] = (meta, content)
        self.put(path, checksum)

    def _parent(self, path: str) -> Directory:
        """The directory at `path`, made if it lacks."""
        directory = self.root
        if not path:
            return directory
        for part in path.split("/"):
            found = directory.dirs.get(part)
            if found is None:
                directory.files.pop(part, None)
                found = directory.dirs[part] = Directory(DirMeta(0, 0, stat.S_IFDIR | 0o755))
            directory = found
        return directory
