"""Making a whole file system durable, also for a boot loader that can't replay a journal."""

import ctypes
import errno
import fcntl
import os
import select
import signal
from pathlib import Path

_FIFREEZE = 0xC0045877
_FITHAW = 0xC0045878
_WATCHDOG_SECONDS = 30
_NOT_FREEZABLE = frozenset({errno.EOPNOTSUPP, errno.ENOSYS, errno.EPERM, errno.EBUSY, errno.ENOTTY, errno.EINVAL})


def sync_filesystem(path: Path) -> None:
    """Write out everything that is pending on the file system of the directory `path`."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        _syncfs(fd)
    finally:
        os.close(fd)


def flush_filesystem(path: Path) -> None:
    """Like `sync_filesystem`, and empty the journal too, by freezing and thawing the file system if it can be.

    GRUB reads a file system without replaying its journal: what is durable only there does not exist for it. A child
    process thaws the file system again should this process die in between.
    """
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        _syncfs(fd)
        _freeze_and_thaw(fd)
    finally:
        os.close(fd)


def _syncfs(fd: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.syncfs(fd) != 0:
        code = ctypes.get_errno()
        raise OSError(code, f"syncfs: {os.strerror(code)}")


def _freeze_and_thaw(fd: int) -> None:
    quiet, done = os.pipe()
    watchdog = os.fork()
    if watchdog == 0:
        os.close(done)
        _watch(fd, quiet)
    os.close(quiet)
    try:
        fcntl.ioctl(fd, _FIFREEZE, 0)
        fcntl.ioctl(fd, _FITHAW, 0)
    except OSError as error:
        if error.errno not in _NOT_FREEZABLE:
            raise
    finally:
        os.close(done)
        os.waitpid(watchdog, 0)


def _watch(fd: int, quiet: int) -> None:
    """In the child: thaw if the parent has not come to its end (closed the pipe) in time, or has died frozen."""
    try:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        select.select([quiet], [], [], _WATCHDOG_SECONDS)
        fcntl.ioctl(fd, _FITHAW, 0)
    except BaseException:  # noqa: S110 - "not frozen" is the good case, and nothing may run on in this child
        pass
    finally:
        os._exit(0)
