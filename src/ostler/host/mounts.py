"""Write access to the machine's read-only file systems, for this process alone."""

import ctypes
import os

from ostler.errors import OstlerError

_CLONE_NEWNS = 0x00020000
_MS_REMOUNT, _MS_BIND, _MS_RELATIME = 0x20, 0x1000, 0x200000


class MountError(OstlerError):
    """A file system of the machine can't be made writable."""


def make_writable() -> None:
    """Give this process write access to /sysroot and /boot, in a mount namespace of its own.

    Other processes see them as before: read-only, if they are. Raises `MountError`.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if _shares_mounts_with_init() and libc.unshare(_CLONE_NEWNS) != 0:
        raise _mount_error("a mount namespace of its own can't be had")
    for path in ("/sysroot", "/boot"):
        try:
            flags = os.statvfs(path).f_flag
        except FileNotFoundError:
            continue
        if not flags & os.ST_RDONLY:
            continue
        # first the mount alone; if the file system itself is read-only that changes nothing, then all of it
        for kind in (_MS_REMOUNT | _MS_BIND, _MS_REMOUNT):
            if libc.mount(path.encode(), path.encode(), None, kind | _MS_RELATIME, None) != 0:
                raise _mount_error(f"{path} can't be made writable")
            if not os.statvfs(path).f_flag & os.ST_RDONLY:
                break
        else:
            raise MountError(f"{path} stays read-only", hint="see `dmesg`: the file system may be damaged")


def _shares_mounts_with_init() -> bool:
    """Whether this process is in init's mount namespace; True if that can't be known."""
    try:
        return os.readlink("/proc/self/ns/mnt") == os.readlink("/proc/1/ns/mnt")  # noqa: PTH115
    except OSError:
        return True


def _mount_error(what: str) -> MountError:
    code = ctypes.get_errno()
    return MountError(f"{what}: {os.strerror(code)}", hint="this needs root")
