"""The lock of a repository: an open-file-description lock on `.lock`, as libostree takes it.

Shared for whoever adds objects, exclusive for whoever removes some.
"""

import errno
import fcntl
import os
import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ostler.errors import BusyError

_POLL_SECONDS = 0.05


def try_lock(fd: int, *, exclusive: bool) -> bool:
    """Take the lock on the whole open file without waiting; False if another holds it."""
    kind = fcntl.F_WRLCK if exclusive else fcntl.F_RDLCK
    try:
        fcntl.fcntl(fd, fcntl.F_OFD_SETLK, struct.pack("hhqqi4x", kind, os.SEEK_SET, 0, 0, 0))
    except OSError as error:
        if error.errno in (errno.EACCES, errno.EAGAIN):
            return False
        if error.errno != errno.EINVAL:
            raise
        return _try_flock(fd, exclusive=exclusive)
    return True


def _try_flock(fd: int, *, exclusive: bool) -> bool:
    """For file systems without record locks."""
    try:
        fcntl.flock(fd, (fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH) | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


@contextmanager
def locked(path: Path, *, exclusive: bool, timeout_seconds: int) -> Iterator[None]:
    """Hold the lock file `path`, waiting at most `timeout_seconds` (-1: for ever) for others.

    Raises `BusyError`, which names the processes that hold it where that can be found out.
    """
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o660)
    try:
        deadline = time.monotonic() + timeout_seconds
        while not try_lock(fd, exclusive=exclusive):
            if timeout_seconds >= 0 and time.monotonic() >= deadline:
                raise _busy(path, timeout_seconds)
            time.sleep(_POLL_SECONDS)
        yield
    finally:
        os.close(fd)


def _busy(path: Path, timeout_seconds: int) -> BusyError:
    users = holders(path)
    by = f" by {', '.join(users)}" if users else " by another process"
    return BusyError(
        f"the repository {path.parent} has been in use{by} for {timeout_seconds} seconds",
        hint="wait for that to end and run the same command again",
    )


def holders(path: Path) -> list[str]:
    """Other processes that have the file open ("ostree (pid 71)"), as far as this user may know."""
    found = []
    target = path.stat()
    for process in os.scandir("/proc"):
        if not process.name.isdigit() or int(process.name) == os.getpid():
            continue
        try:
            open_files = [entry.stat() for entry in os.scandir(f"/proc/{process.name}/fd")]
            name = Path(f"/proc/{process.name}/comm").read_text().strip()
        except OSError:
            continue
        if any((file.st_dev, file.st_ino) == (target.st_dev, target.st_ino) for file in open_files):
            found.append(f"{name} (pid {process.name})")
    return found
