"""What the builder's side needs of this machine, and whether it has it: the facts behind `ostler doctor`."""

import importlib.util
import os
import pwd
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ostler.io.process import CommandError, find_tool, run
from ostler.io.userns import IDS, subordinate_range
from ostler.vm.qemu import OLDEST_QEMU_FOR_EMULATION, qemu_version

# program -> (Debian package, what uses it)
TOOLS: dict[str, tuple[str, str]] = {
    "mmdebstrap": ("mmdebstrap", "build"),
    "apt-get": ("apt", "build"),
    "dpkg-deb": ("dpkg", "build"),
    "newuidmap": ("uidmap", "build as an ordinary user"),
    "buildah": ("buildah", "build of a Containerfile"),
    "mke2fs": ("e2fsprogs", "disk"),
    "debugfs": ("e2fsprogs", "disk"),
    "mcopy": ("mtools", "disk"),
    "qemu-img": ("qemu-utils", "disk --format qcow2"),
    "qemu-system-x86_64": ("qemu-system-x86", "run"),
    "ssh": ("openssh-client", "ssh"),
    "ssh-keygen": ("openssh-client", "init"),
}
FILES: dict[str, tuple[str, str]] = {
    "/usr/share/keyrings/debian-archive-keyring.gpg": ("debian-archive-keyring", "build"),
    "/usr/share/OVMF": ("ovmf", "run --firmware uefi"),
}
MODULES: dict[str, tuple[str, str]] = {
    "zstandard": ("python3-zstandard", "build (image layers)"),
    "zlib_ng": ("", "publish, several times faster"),
}
SPACE_NEEDED_BYTES = 6_000_000_000


@dataclass(frozen=True, slots=True)
class Check:
    """One requirement: what it is, what needs it, whether it is met, and the command or advice that would meet it."""

    name: str
    needed_for: str
    ok: bool
    found: str
    remedy: str = ""
    optional: bool = False


def check_all(cache: Path) -> list[Check]:
    """Every requirement, in the order in which a newcomer would meet it; `cache` is where builds are kept."""
    return [*_tools(), *_modules(), _namespace(), _qemu(), _space(cache)]


def install_command(checks: list[Check]) -> str | None:
    """One command that installs every missing Debian package, or None if none is missing."""
    packages = sorted(
        {
            check.remedy.removeprefix("apt-get install ")
            for check in checks
            if not check.ok and check.remedy.startswith("apt-get install ")
        }
    )
    return f"apt-get install --no-install-recommends {' '.join(packages)}" if packages else None


def _tools() -> Iterator[Check]:
    for tool, (package, purpose) in TOOLS.items():
        path = find_tool(tool)
        yield Check(tool, purpose, path is not None, str(path or "missing"), f"apt-get install {package}")
    for file, (package, purpose) in FILES.items():
        there = Path(file).exists()
        yield Check(file, purpose, there, "there" if there else "missing", f"apt-get install {package}")


def _modules() -> Iterator[Check]:
    for module, (_package, purpose) in MODULES.items():
        there = importlib.util.find_spec(module) is not None
        remedy = "install Ostler with its dependencies: pipx install ostler"
        yield Check(f"python: {module}", purpose, there, "there" if there else "missing", remedy, module == "zlib_ng")


def _namespace() -> Check:
    name, purpose = "user namespace", "build and disk, without root"
    uid = os.getuid()
    if uid == 0:
        return Check(name, purpose, True, "root: each id stands for itself")
    user = pwd.getpwuid(uid).pw_name
    for table in ("/etc/subuid", "/etc/subgid"):
        if subordinate_range(Path(table), user, uid) is None:
            remedy = f"as root: usermod --add-subuids 100000-165535 --add-subgids 100000-165535 {user}"
            return Check(name, purpose, False, f"{table} lends {user} no {IDS} ids", remedy)
    try:
        run(["unshare", "--user", "true"])
    except CommandError:
        remedy = (
            "as root: sysctl kernel.unprivileged_userns_clone=1 (or kernel.apparmor_restrict_unprivileged_userns=0)"
        )
        return Check(name, purpose, False, "the kernel's settings forbid it", remedy)
    return Check(name, purpose, True, f"ids are lent to {user}")


def _qemu() -> Check:
    name, purpose = "QEMU version", "run"
    if find_tool("qemu-system-x86_64") is None:
        return Check(name, purpose, False, "missing", "apt-get install qemu-system-x86")
    version = qemu_version()
    shown = ".".join(map(str, version))
    if version < OLDEST_QEMU_FOR_EMULATION:
        remedy = "apt-get install -t bookworm-backports qemu-system-x86"
        return Check(name, purpose, False, f"{shown}: crashes Debian 13 kernels where KVM cannot be used", remedy)
    return Check(name, purpose, True, shown)


def _space(cache: Path) -> Check:
    place = cache
    while not place.exists():
        place = place.parent
    free = shutil.disk_usage(place).free
    shown = f"{free / 1e9:.1f} GB free at {place}"
    return Check(
        "disk space", "build", free >= SPACE_NEEDED_BYTES, shown, f"free {SPACE_NEEDED_BYTES / 1e9:.0f} GB there"
    )
