"""From a folder into the store: walk, then hash (and compress) in a process a core, each file read once.

`ingest_tar` is the same for a tar stream, `inode_index` makes the index of files that need not be read.
"""

import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ostler.formats.objects import Checksum, DirMeta, FileMeta, Xattrs, check_name
from ostler.io.progress import Progress, Reporter, silent
from ostler.store.content import RepoMode, read_tree_xattrs
from ostler.store.errors import StoreError, UnsupportedFileError
from ostler.store.forked import map_forked
from ostler.store.ingest_tar import ingest_tar
from ostler.store.inodes import HardLinks, InodeKey, inode_index, inode_key
from ostler.store.modifier import Filter, Meta, canonical_filter
from ostler.store.repo import Repo
from ostler.store.transaction import StoredFile, Transaction
from ostler.store.tree import MAX_TREE_DEPTH, Directory

# Plain strings and `os` below: this runs once for every file of a tree.
# ruff: noqa: PTH106, PTH108, PTH115

__all__ = ["Filter", "InodeKey", "Meta", "ingest_directory", "ingest_tar", "inode_index"]

_FEW_FILES = 64
_FEW_BYTES = 4 << 20
_ADOPTING = (RepoMode.BARE, RepoMode.BARE_USER_ONLY)


@dataclass(slots=True)
class _Job:
    """A file to store, and the places in the tree that it (or hard links to it) takes."""

    size: int
    meta: FileMeta
    path: str
    adopt: bool = False
    places: list[tuple[dict[str, Checksum], str]] = field(default_factory=list)


def ingest_directory(
    transaction: Transaction,
    path: Path,
    *,
    filter: Filter | None = None,
    known: Mapping[InodeKey, Checksum] | None = None,
    links: HardLinks | None = None,
    attributes: bool = True,
    consume: bool = False,
    threads: int | None = None,
    report: Reporter = silent,
) -> Directory:
    """Store the files of the folder `path` and return its tree.

    Owners, modes and extended attributes (unless not `attributes`) are as the file system has them, `filter` may change
    them; it runs in this process, parents first. A `bare-user-only` repository makes everything root's, without
    attributes and set-id bits. Files in `known` (see `inode_index`) whose metadata the filter leaves alone are not
    read, nor are hard links to the repository's objects with `links` (see `hard_links`). `consume` removes the folder
    once all is stored; files become objects without being copied where that can be, and are lost if the transaction
    fails then. `threads` is the number of processes (default: one a core).

    Devices, fifos and sockets raise `UnsupportedFileError` unless the filter leaves them out, and so do names that are
    not UTF-8. What cannot be read raises `StoreError`.
    Mount points are entered like folders.
    """
    walker = _Walker(transaction.repo, filter, known or {}, links, attributes=attributes, consume=consume)
    try:
        root = walker.directory(os.fspath(path), "", 0)
        if root is None:
            raise StoreError(f"the filter leaves out the root of {path}")
        transaction.stats.cache_hits += walker.hits
        _store(transaction, walker.jobs, threads, report)
        if consume:
            _remove(walker, os.fspath(path))
    except OSError as error:
        raise _unreadable(error, path) from error
    return root


def _store(transaction: Transaction, jobs: list[_Job], threads: int | None, report: Reporter) -> None:
    def store(job: _Job) -> StoredFile:
        try:
            if job.adopt:
                return transaction.adopt_file(job.meta, job.path)
            return transaction.store_file(job.meta, job.path)
        except OSError as error:
            raise _unreadable(error, job.path) from error

    # The largest first, so that no core is left alone with one at the end.
    jobs.sort(key=_size, reverse=True)
    total, done = sum(map(_size, jobs)), 0
    few = len(jobs) < _FEW_FILES and total < _FEW_BYTES
    due = 0
    for job, stored in zip(jobs, map_forked(jobs, store, workers=1 if few else threads, weight=_size), strict=True):
        transaction.count_file(stored, times=len(job.places))
        for files, name in job.places:
            files[name] = stored.checksum
        done += job.size
        if done >= due:
            report(Progress("storing files", done, total, "bytes"))
            due = done + total // 256
    report(Progress("storing files", total, total, "bytes"))


def _size(job: _Job) -> int:
    return job.size


def _remove(walker: "_Walker", top: str) -> None:
    """What the walker came across, deepest first; a current folder that is the top stays, emptied."""
    for path in walker.files:
        try:
            os.unlink(path)
        except FileNotFoundError:  # became an object
            continue
    for path in reversed(walker.folders):
        if path != top or not Path(path).samefile("."):
            os.rmdir(path)


class _Walker:
    """Builds the tree with everything but the checksums of files that must be read."""

    def __init__(
        self,
        repo: Repo,
        filter: Filter | None,
        known: Mapping[InodeKey, Checksum],
        links: HardLinks | None,
        *,
        attributes: bool,
        consume: bool,
    ) -> None:
        self._repo = repo
        self._filter = canonical_filter(filter) if repo.mode is RepoMode.BARE_USER_ONLY else filter
        self._known = known
        self._objects = links
        self._attributes = attributes and repo.mode is not RepoMode.BARE_USER_ONLY and not repo.disable_xattrs
        self._consume = consume
        self._device = repo.path.stat().st_dev
        self._links: dict[tuple[int, int, FileMeta], _Job] = {}
        self.jobs: list[_Job] = []
        self.hits = 0
        self.files: list[str] = []
        self.folders: list[str] = []

    def directory(self, path: str, relative: str, depth: int) -> Directory | None:
        if depth > MAX_TREE_DEPTH:
            raise StoreError(f"{path} lies more than {MAX_TREE_DEPTH} folders deep")
        status = os.lstat(path)
        found = DirMeta(status.st_uid, status.st_gid, status.st_mode, self._xattrs(path))
        meta = found if self._filter is None else self._filter(relative, found)
        if self._consume:
            self.folders.append(path)
        if meta is None:
            self._drop(path)
            return None
        if not isinstance(meta, DirMeta):
            raise StoreError(f"the filter made a file of the folder {relative}")
        here = Directory(meta)
        prefix = f"{relative}/" if relative else ""
        with os.scandir(path) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    below = self.directory(entry.path, prefix + entry.name, depth + 1)
                    if below is not None:
                        here.dirs[_utf8_name(entry.name, path)] = below
                else:
                    self._file(here, entry, prefix + entry.name)
        return here

    def _drop(self, path: str) -> None:
        """Note everything in a folder that the filter leaves out, to be removed."""
        if not self._consume:
            return
        for where, folders, names in os.walk(path):
            self.files += [f"{where}/{name}" for name in names]
            for name in list(folders):
                link = Path(where, name).is_symlink()
                (self.files if link else self.folders).append(f"{where}/{name}")

    def _xattrs(self, path: str) -> Xattrs:
        return read_tree_xattrs(path) if self._attributes else ()

    def _file(self, here: Directory, entry: "os.DirEntry[str]", relative: str) -> None:
        status = entry.stat(follow_symlinks=False)
        if self._consume:
            self.files.append(entry.path)
        linked = self._objects.find(status) if self._objects is not None else None
        if linked is not None and self._objects is not None and self._objects.trusted:
            self._known_file(here, entry, linked)
            return
        if linked is not None and self._repo.mode in (RepoMode.BARE_USER, RepoMode.BARE_USER_ONLY):
            found = self._repo.file_meta(linked)
        else:
            target = os.readlink(entry.path) if stat.S_ISLNK(status.st_mode) else ""
            found = FileMeta(status.st_uid, status.st_gid, status.st_mode, self._xattrs(entry.path), target)
        meta: Meta | None = found if self._filter is None else self._filter(relative, found)
        if meta is None:
            return
        name = _utf8_name(entry.name, entry.path)
        if not isinstance(meta, FileMeta) or not (stat.S_ISREG(meta.mode) or stat.S_ISLNK(meta.mode)):
            raise unsupported(relative, status.st_mode)
        known = (linked or self._known.get(inode_key(status))) if meta == found else None
        if known is not None:
            self._known_file(here, entry, known)
            return
        if status.st_nlink > 1:
            job = self._links.get((status.st_dev, status.st_ino, meta))
            if job is None:
                job = self._links[status.st_dev, status.st_ino, meta] = self._new_job(status, meta, found, entry.path)
        else:
            job = self._new_job(status, meta, found, entry.path)
        job.places.append((here.files, name))

    def _known_file(self, here: Directory, entry: "os.DirEntry[str]", checksum: Checksum) -> None:
        self.hits += 1
        here.files[_utf8_name(entry.name, entry.path)] = checksum

    def _new_job(self, status: os.stat_result, meta: FileMeta, found: FileMeta, path: str) -> _Job:
        job = _Job(0 if meta.is_symlink else status.st_size, meta, path, self._may_adopt(status, meta, found))
        self.jobs.append(job)
        return job

    def _may_adopt(self, status: os.stat_result, meta: FileMeta, found: FileMeta) -> bool:
        """Whether the file itself can become the object: nobody else has it, and it is what is to be stored."""
        if not self._consume or self._repo.mode not in _ADOPTING or meta.is_symlink:
            return False
        same = meta == found or self._repo.mode is RepoMode.BARE_USER_ONLY
        return same and status.st_nlink == 1 and status.st_dev == self._device


def _unreadable(error: OSError, path: Path | str) -> StoreError:
    return StoreError(
        f"cannot read {error.filename or path}: {error.strerror}",
        hint="check its owner and permissions" if isinstance(error, PermissionError) else None,
    )


def unsupported(path: str, mode: int) -> UnsupportedFileError:
    """The error about a device, fifo or socket at `path`."""
    kinds = {stat.S_IFCHR: "a device", stat.S_IFBLK: "a device", stat.S_IFIFO: "a fifo", stat.S_IFSOCK: "a socket"}
    kind = kinds.get(stat.S_IFMT(mode), "no regular file")
    return UnsupportedFileError(
        f"/{path} is {kind}, which a commit cannot hold",
        hint="remove it from the tree; systemd-tmpfiles can make it at boot",
    )


def _utf8_name(name: str, where: str) -> str:
    if not name.isascii():
        try:
            name.encode()
        except UnicodeEncodeError as error:
            raise UnsupportedFileError(f"{where} holds a file name that is not UTF-8: {os.fsencode(name)!r}") from error
    return check_name(name)
