"""Recognising files that nobody touched since they were checked out, so that they need not be read again."""

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from ostler.formats.objects import Checksum
from ostler.store.content import RepoMode
from ostler.store.repo import Repo
from ostler.store.tree import Directory

InodeKey: TypeAlias = tuple[int, int, int, int]
"""(device, inode, change time in nanoseconds, size in bytes); any change to content or metadata changes it."""

_CLOCK_TICK_NS = 20_000_000


def inode_key(status: os.stat_result) -> InodeKey:
    """The key of a file."""
    return status.st_dev, status.st_ino, status.st_ctime_ns, status.st_size


def inode_index(checkout: Path, directory: Directory) -> Mapping[InodeKey, Checksum]:
    """The files of a checkout of `directory` that was made just now, for `ingest_directory(known=…)`.

    Call it before anything changes the checkout. It waits out the clock tick of the newest file (some milliseconds),
    since a change within the same tick could not be told.
    """
    index: dict[InodeKey, Checksum] = {}
    root = os.fspath(checkout)
    newest = 0
    pending = [(root, directory)]
    while pending:
        path, here = pending.pop()
        for name, checksum in here.files.items():
            try:
                status = os.lstat(f"{path}/{name}")
            except FileNotFoundError:
                continue
            index[inode_key(status)] = checksum
            newest = max(newest, status.st_ctime_ns)
        pending.extend((f"{path}/{name}", below) for name, below in here.dirs.items())
    wait_ns = newest + _CLOCK_TICK_NS - time.time_ns()
    if 0 < wait_ns <= _CLOCK_TICK_NS:
        time.sleep(wait_ns / 1e9)
    return index


@dataclass(frozen=True, slots=True)
class HardLinks:
    """The inodes of a bare repository's file objects, by which hard-linked checkouts show what they hold.

    With `trusted` a hard link stands for its object whatever its metadata is now and a filter would make of it.
    """

    objects: Mapping[tuple[int, int], Checksum]
    trusted: bool = False

    def find(self, status: os.stat_result) -> Checksum | None:
        """The object that the file is a hard link to."""
        return self.objects.get((status.st_dev, status.st_ino))


def hard_links(repo: Repo, *, trusted: bool = False) -> HardLinks:
    """The inodes of the repository's file objects, read from the folders (one `stat` each); none for archives."""
    objects: dict[tuple[int, int], Checksum] = {}
    if repo.mode is not RepoMode.ARCHIVE:
        for fanout in os.scandir(repo.path / "objects"):
            if len(fanout.name) != 2:
                continue
            for entry in os.scandir(fanout.path):
                if entry.name.endswith(".file"):
                    status = entry.stat(follow_symlinks=False)
                    objects[status.st_dev, status.st_ino] = Checksum(fanout.name + entry.name[:-5])
    return HardLinks(objects, trusted)
