"""The folders in `tmp` where a transaction keeps its objects until it ends, named and locked as libostree does."""

# Plain strings and `os` below: this runs once for every file of a tree.
# ruff: noqa: PTH103, PTH104, PTH208

import ctypes
import errno
import itertools
import os
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ostler.io.files import remove_tree, space_errors
from ostler.store.lock import try_lock

_COMMITS = (".commit", ".commitmeta")


class Stage:
    """The new objects of a transaction, by file name ("CHECKSUM.filez"), in fan-out folders as in `objects`.

    A file is written at a temporary path and gets its name by a rename, so what has a name is whole. Worker processes
    may put files there too; `names` knows those that this process put or was told of.
    """

    def __init__(self, path: str, objects: str) -> None:
        self.path = path
        self._objects = objects
        self._numbers = itertools.count()
        self._fanout = {entry.name for entry in os.scandir(path) if len(entry.name) == 2}
        self.names = {fold + name for fold in self._fanout for name in os.listdir(f"{path}/{fold}")}

    def holds(self, name: str) -> bool:
        """Whether the object is staged, or in the repository already."""
        if name in self.names:
            return True
        place = f"{name[:2]}/{name[2:]}"  # worker processes stage objects that are not in the set yet
        return os.path.lexists(f"{self._objects}/{place}") or os.path.lexists(f"{self.path}/{place}")

    @contextmanager
    def temporary(self, fanout: str = "") -> Iterator[str]:
        """A path for a new file, in the folder of its later place if that is known: such renames hinder no others.

        What is there at an error is removed; `NoSpaceError` is raised in place of the system's errors about that.
        """
        folder = self._folder(fanout) if fanout else self.path
        path = f"{folder}/tmp-{os.getpid()}-{next(self._numbers)}"
        try:
            yield path
        except BaseException as error:
            Path(path).unlink(missing_ok=True)
            if isinstance(error, OSError):
                with space_errors("adding objects", Path(self._objects).parent):
                    raise
            raise

    def place_of(self, name: str) -> str:
        """The path of the object's file here; its folder exists."""
        return f"{self._folder(name[:2])}/{name[2:]}"

    def _folder(self, fanout: str) -> str:
        folder = f"{self.path}/{fanout}"
        if fanout not in self._fanout:
            os.makedirs(folder, exist_ok=True)
            self._fanout.add(fanout)
        return folder

    def publish(self) -> set[str]:
        """Rename everything into the repository, commits last; returns the folders that changed."""
        touched = set()
        commits: list[tuple[str, str]] = []
        for folder in list(os.scandir(self.path)):
            if len(folder.name) != 2:
                continue
            target = f"{self._objects}/{folder.name}"
            touched.add(target)
            names = os.listdir(folder.path)
            if not any(name.endswith(_COMMITS) for name in names) and _move_folder(folder.path, target):
                continue
            os.makedirs(target, exist_ok=True)
            for name in names:
                move = (f"{folder.path}/{name}", f"{target}/{name}")
                if name.endswith(_COMMITS):
                    commits.append(move)
                else:
                    os.rename(*move)
        for source, target in sorted(commits, key=lambda move: move[1].endswith(".commit")):
            os.rename(source, target)
            if target.endswith(".commit"):
                Path(target).with_suffix(".tombstone-commit").unlink(missing_ok=True)
        return touched


def acquire_stage(folder: Path, expiry_seconds: int) -> tuple[str, int]:
    """A staging folder below `folder`, and the descriptor that holds its lock.

    One that a process of this boot left behind is taken over, without its half-written files, and without its commits:
    nothing may tell any more that they are partial. Those of other boots, whose content may never have reached the
    disk, and those older than `expiry_seconds` are removed.
    """
    boot_id = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    prefix = f"staging-{boot_id}-"
    oldest = time.time() - expiry_seconds
    folder.mkdir(exist_ok=True)
    for path in sorted(folder.glob("staging-*")):
        if path.name.endswith("-lock") or not path.is_dir():
            continue
        lock = _lock_stage(path)
        if lock is None:
            continue
        if not path.is_dir():  # whoever held the lock before has ended and removed it
            _remove_lock(path, lock)
            continue
        if path.name.startswith(prefix) and path.stat().st_mtime >= oldest:
            for pattern in ("tmp-*", "??/tmp-*", "??/*.commit", "??/*.commitmeta"):
                for stray in path.glob(pattern):
                    stray.unlink()
            return os.fspath(path), lock
        remove_tree(path)
        _remove_lock(path, lock)
    while True:
        path = folder / (prefix + secrets.token_hex(3))
        lock = _lock_stage(path)
        if lock is not None:
            path.mkdir()
            return os.fspath(path), lock


def _lock_stage(path: Path) -> int | None:
    fd = os.open(f"{path}-lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    if try_lock(fd, exclusive=True):
        return fd
    os.close(fd)
    return None


def _remove_lock(path: Path, lock: int) -> None:
    Path(f"{path}-lock").unlink(missing_ok=True)
    os.close(lock)


def _move_folder(source: str, target: str) -> bool:
    """Rename a whole folder, if the repository has none of that name with anything in it."""
    try:
        os.rename(source, target)
    except OSError as error:
        if error.errno in (errno.ENOTEMPTY, errno.EEXIST):
            return False
        raise
    return True


def sync_file_system(path: str) -> None:
    """Write out everything of the file system that the folder is on."""
    libc = ctypes.CDLL(None, use_errno=True)
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        if libc.syncfs(fd) != 0:
            error = ctypes.get_errno()
            raise OSError(error, os.strerror(error), path)
    finally:
        os.close(fd)
