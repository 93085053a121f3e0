"""The folders in `tmp` where a transaction keeps its objects until it ends, named and locked as libostree does."""

import ctypes
import os
import secrets
import time
from pathlib import Path

from ostler.io.files import remove_tree
from ostler.store.lock import try_lock


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
