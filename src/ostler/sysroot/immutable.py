"""The immutable flag, which keeps stray things out of the root directory of a deployment."""

import errno
import fcntl
import os
import struct
from pathlib import Path

_GETFLAGS = 0x80086601
_SETFLAGS = 0x40086602
_IMMUTABLE = 0x10
_IGNORED = frozenset({errno.ENOTTY, errno.EOPNOTSUPP, errno.EPERM, errno.EACCES, errno.EINVAL})


def set_immutable(directory: Path, immutable: bool) -> None:
    """Set or clear the flag; does nothing where the file system or the rights don't allow it, as libostree."""
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        raw = fcntl.ioctl(fd, _GETFLAGS, struct.pack("l", 0))
        flags = struct.unpack("l", raw)[0]
        wanted = flags | _IMMUTABLE if immutable else flags & ~_IMMUTABLE
        if wanted != flags:
            fcntl.ioctl(fd, _SETFLAGS, struct.pack("l", wanted))
    except OSError as error:
        if error.errno not in _IGNORED:
            raise
    finally:
        os.close(fd)
