"""The running machine as the agent sees it: where its parts are, which deployment runs, and write access to them."""

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ostler.errors import OstlerError
from ostler.sysroot.deployment import Deployment
from ostler.sysroot.errors import NotBootedError, SysrootFormatError
from ostler.sysroot.layout import Sysroot, SysrootState

FINALIZE_UNIT = "ostler-finalize.service"
_CLONE_NEWNS = 0x00020000
_MS_REMOUNT, _MS_BIND, _MS_RELATIME = 0x20, 0x1000, 0x200000
_BACKING_KEY = "backing-root-device-inode"


class MountError(OstlerError):
    """A file system of the machine can't be made writable."""


@dataclass(frozen=True, slots=True)
class System:
    """A machine. `root` is its "/"; `booted_root` the directory that counts as "/" for finding the running deployment.

    The second differs from the first in tests, where a folder stands for the machine.
    """

    root: Path = Path("/")
    booted_root: Path | None = None

    @property
    def live(self) -> bool:
        """Whether this is the machine that this process runs on."""
        return self.root == Path("/")

    @property
    def run(self) -> Path:
        """libostree's folder of state that a reboot forgets."""
        return self.root / "run/ostree"

    def sysroot(self) -> Sysroot:
        """The machine's deployments; raises `NotBootedError` unless the machine runs one of them."""
        marker = self.root / "run/ostree-booted"
        if not marker.exists():
            raise NotBootedError("there is no /run/ostree-booted")
        if not (self.root / "ostree/repo").is_dir():
            raise NotBootedError("there is no /ostree/repo")
        inode = _backing_inode(marker) or _inode(self.booted_root or self.root)
        return Sysroot(self.root, run=self.run, booted_inode=inode)

    def load(self) -> tuple[Sysroot, SysrootState, Deployment]:
        """The deployments, their state and the running one; raises `NotBootedError` and `SysrootFormatError`."""
        sysroot = self.sysroot()
        state = sysroot.load()
        if state.booted is None:  # the root may be a file system of its own, made from the deployment
            sysroot.booted_inode = _inode_of_argument(self.root)
            state = sysroot.load()
        if state.booted is None:
            raise NotBootedError("no boot entry names the deployment that / is")
        return sysroot, state, state.booted

    @contextmanager
    def changing(self, *, timeout_seconds: float = 10.0) -> Iterator[tuple[Sysroot, SysrootState, Deployment]]:
        """Like `load`, with write access and the sysroot's lock. Raises `BusyError` and `MountError` too."""
        from ostler.sysroot.lock import lock_sysroot

        self.load()
        if self.live:
            make_writable()
        with lock_sysroot(self.root, timeout_seconds=timeout_seconds):
            yield self.load()


def as_system(where: System | Path) -> System:
    """`where` as a system: a path is the root of one."""
    return where if isinstance(where, System) else System(where)


def _inode(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _backing_inode(marker: Path) -> tuple[int, int] | None:
    """The deployment's directory as newer libostree records it at boot, needed where / is an overlay."""
    data = marker.read_bytes()
    if not data:
        return None
    from ostler.formats import gvariant
    from ostler.formats.gvariant import GVariantError

    try:
        found = gvariant.decode("a{sv}", data).get(_BACKING_KEY)
    except GVariantError as error:
        raise SysrootFormatError(f"{marker} is malformed: {error.message}") from error
    if found is None or found.type != "(tt)":
        return None
    device, inode = found.value
    return int(device), int(inode)


def _inode_of_argument(root: Path) -> tuple[int, int] | None:
    """The deployment that the kernel argument `ostree=` led to, if the link is still there."""
    from ostler.sysroot.kargs import KernelArguments

    try:
        words = KernelArguments.parse((root / "proc/cmdline").read_text())
    except OSError:
        return None
    links = words.values("ostree")
    return _inode(root / links[0].lstrip("/")) if links else None


def make_writable() -> None:
    """Give this process write access to /sysroot and /boot, in a mount namespace of its own.

    Other processes see them as before: read-only, if they are. Raises `MountError`.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if os.readlink("/proc/self/ns/mnt") == os.readlink("/proc/1/ns/mnt") and libc.unshare(_CLONE_NEWNS) != 0:  # noqa: PTH115
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


def _mount_error(what: str) -> MountError:
    code = ctypes.get_errno()
    return MountError(f"{what}: {os.strerror(code)}", hint="this needs root")
