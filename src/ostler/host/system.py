"""The running machine as the agent sees it: where its parts are, which deployment runs, and write access to them."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ostler.host.mounts import make_writable
from ostler.sysroot.deployment import Deployment
from ostler.sysroot.errors import NotBootedError, SysrootFormatError
from ostler.sysroot.layout import Sysroot, SysrootState

FINALIZE_UNIT = "ostler-finalize.service"
_BACKING_KEY = "backing-root-device-inode"


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
