"""Copying single files, links and directories with everything that belongs to them."""

import errno
import os
import shutil
import stat
from pathlib import Path

_UNSUPPORTED = frozenset({errno.ENOTSUP, errno.EPERM, errno.EACCES, errno.EINVAL})


def copy_node(source: Path, destination: Path) -> None:
    """Copy a regular file (reflinked where possible) or symlink with owner, mode, extended attributes and times.

    `destination` must not exist. Anything else (a pipe, a device) is passed over.
    """
    status = source.lstat()
    if stat.S_ISLNK(status.st_mode):
        destination.symlink_to(os.readlink(source))  # noqa: PTH115
    elif stat.S_ISREG(status.st_mode):
        copy_content(source, destination)
    else:
        return
    _set_attributes(source, destination, status)
    os.utime(destination, ns=(status.st_atime_ns, status.st_mtime_ns), follow_symlinks=False)


def copy_content(source: Path, destination: Path, *, mode: int = 0o600) -> None:
    """Copy a file's bytes to a new file."""
    fd = os.open(destination, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, mode)
    with os.fdopen(fd, "wb") as out, open(source, "rb") as file:
        shutil.copyfileobj(file, out, 1 << 20)


def copy_attributes(source: Path, destination: Path) -> None:
    """Give the directory `destination` the owner, mode and extended attributes of `source`."""
    _set_attributes(source, destination, source.lstat())


def _set_attributes(source: Path, destination: Path, status: os.stat_result) -> None:
    os.chown(destination, status.st_uid, status.st_gid, follow_symlinks=False)
    if not stat.S_ISLNK(status.st_mode):
        destination.chmod(stat.S_IMODE(status.st_mode))
    try:
        names = os.listxattr(source, follow_symlinks=False)
    except OSError as error:
        if error.errno not in _UNSUPPORTED:
            raise
        return
    for name in names:
        try:
            os.setxattr(destination, name, os.getxattr(source, name, follow_symlinks=False), follow_symlinks=False)
        except OSError as error:
            if error.errno not in _UNSUPPORTED:
                raise


def copy_tree(source: Path, destination: Path) -> None:
    """Copy a directory with all it holds, hard links apart (each name becomes a file of its own)."""
    destination.mkdir(mode=0o700)
    for entry in os.scandir(source):
        if entry.is_dir(follow_symlinks=False):
            copy_tree(Path(entry.path), destination / entry.name)
        else:
            copy_node(Path(entry.path), destination / entry.name)
    copy_attributes(source, destination)
