"""From a folder into the store: walk, then hash (and compress) on all cores, each file read once.

`ingest_tar` is the same for a tar stream, `inode_index` makes the index of files that need not be read.
"""

import os
import stat
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

from ostler.formats.objects import Checksum, DirMeta, FileMeta, check_name
from ostler.io.progress import Reporter, silent
from ostler.store.content import read_xattrs
from ostler.store.errors import StoreError, UnsupportedFileError
from ostler.store.ingest_tar import ingest_tar
from ostler.store.inodes import InodeKey, inode_index, inode_key
from ostler.store.parallel import run_parallel
from ostler.store.transaction import Transaction
from ostler.store.tree import MAX_TREE_DEPTH, Directory

# Plain strings and `os` below: this runs once for every file of a tree.
# ruff: noqa: PTH115

__all__ = ["Filter", "InodeKey", "Meta", "ingest_directory", "ingest_tar", "inode_index"]

Meta: TypeAlias = FileMeta | DirMeta
Filter: TypeAlias = Callable[[str, Meta], Meta | None]
"""Given a path without leading "/" ("" is the root) and what it is: what to store instead, or None to leave it out."""


@dataclass(slots=True)
class _Job:
    """A file to store, and the places in the tree that it (or hard links to it) takes."""

    size: int
    meta: FileMeta
    path: str
    places: list[tuple[dict[str, Checksum], str]] = field(default_factory=list)


def ingest_directory(
    transaction: Transaction,
    path: Path,
    *,
    filter: Filter | None = None,
    known: Mapping[InodeKey, Checksum] | None = None,
    threads: int | None = None,
    report: Reporter = silent,
) -> Directory:
    """Store the files of the folder `path` and return its tree.

    Owners, modes and extended attributes are as the file system has them unless `filter` changes them; the filter runs
    in this thread, parents first. Files in `known` (see `inode_index`) whose metadata the filter leaves alone are not
    read. Devices, fifos and sockets raise `UnsupportedFileError` unless the filter leaves them out, and so do names
    that are not UTF-8. What cannot be read raises `StoreError`.
    Mount points are entered like folders.
    """
    walker = _Walker(filter, known or {})
    try:
        root = walker.directory(os.fspath(path), "", 0)
    except OSError as error:
        raise _unreadable(error, path) from error
    if root is None:
        raise StoreError(f"the filter leaves out the root of {path}")
    # The largest first, so that no core is left alone with one at the end.
    jobs = sorted(walker.jobs, key=lambda job: job.size, reverse=True)

    def store(job: _Job) -> None:
        try:
            checksum = transaction.write_file(job.meta, job.path)
        except OSError as error:
            raise _unreadable(error, job.path) from error
        for files, name in job.places:
            files[name] = checksum

    run_parallel(jobs, store, threads=threads, report=report, name="storing files", weight=lambda job: job.size)
    return root


class _Walker:
    """Builds the tree with everything but the checksums of files that must be read."""

    def __init__(self, filter: Filter | None, known: Mapping[InodeKey, Checksum]) -> None:
        self._filter = filter
        self._known = known
        self._links: dict[tuple[int, int, FileMeta], _Job] = {}
        self.jobs: list[_Job] = []

    def directory(self, path: str, relative: str, depth: int) -> Directory | None:
        if depth > MAX_TREE_DEPTH:
            raise StoreError(f"{path} lies more than {MAX_TREE_DEPTH} folders deep")
        status = os.lstat(path)
        found = DirMeta(status.st_uid, status.st_gid, status.st_mode, read_xattrs(path))
        meta = found if self._filter is None else self._filter(relative, found)
        if meta is None:
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

    def _file(self, here: Directory, entry: "os.DirEntry[str]", relative: str) -> None:
        status = entry.stat(follow_symlinks=False)
        target = os.readlink(entry.path) if stat.S_ISLNK(status.st_mode) else ""
        found = FileMeta(status.st_uid, status.st_gid, status.st_mode, read_xattrs(entry.path), target)
        meta: Meta | None = found if self._filter is None else self._filter(relative, found)
        if meta is None:
            return
        name = _utf8_name(entry.name, entry.path)
        if not isinstance(meta, FileMeta) or not (stat.S_ISREG(meta.mode) or stat.S_ISLNK(meta.mode)):
            raise unsupported(relative, status.st_mode)
        known = self._known.get(inode_key(status)) if meta == found else None
        if known is not None:
            here.files[name] = known
            return
        if status.st_nlink > 1:
            job = self._links.get((status.st_dev, status.st_ino, meta))
            if job is None:
                job = self._links[status.st_dev, status.st_ino, meta] = self._new_job(status, meta, entry.path)
        else:
            job = self._new_job(status, meta, entry.path)
        job.places.append((here.files, name))

    def _new_job(self, status: os.stat_result, meta: FileMeta, path: str) -> _Job:
        job = _Job(0 if meta.is_symlink else status.st_size, meta, path)
        self.jobs.append(job)
        return job


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
