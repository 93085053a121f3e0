"""The lock of a sysroot, shared with libostree: `ostree/lock`, held exclusively by whoever changes deployments."""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ostler.errors import BusyError
from ostler.store.lock import holders, try_lock

LOCK_FILE = "ostree/lock"
_POLL_SECONDS = 0.05


@contextmanager
def lock_sysroot(sysroot: Path, *, timeout_seconds: float = 10.0) -> Iterator[None]:
    """Hold the lock, waiting at most `timeout_seconds` for others. Raises `BusyError`, which names them if it can."""
    path = sysroot / LOCK_FILE
    deadline = time.monotonic() + timeout_seconds
    while (fd := _try(path)) is None:
        if time.monotonic() >= deadline:
            users = ", ".join(holders(path)) if path.exists() else ""
            raise BusyError(
                f"another operation changes the deployments of this machine{f': {users}' if users else ''}",
                hint="wait for it to end and run the same command again",
            )
        time.sleep(_POLL_SECONDS)
    try:
        yield
    finally:
        path.unlink(missing_ok=True)  # as libostree does; who waits on the old file notices and opens the new one
        os.close(fd)


def _try(path: Path) -> int | None:
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o660)
    try:
        if try_lock(fd, exclusive=True) and _is_current(path, fd):
            return fd
    except BaseException:
        os.close(fd)
        raise
    os.close(fd)
    return None


def _is_current(path: Path, fd: int) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(fd))
    except FileNotFoundError:
        return False
