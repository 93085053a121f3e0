"""The kernel, initramfs and device trees of an operating system tree, and the checksum that names them on disk.

Rules: libostree's `get_kernel_from_tree` for `/usr/lib/modules/KVER`. The checksum is the SHA-256 of the kernel, the
initramfs, and the device tree (or every file of `dtb/` in the order of their names), one after the other.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

from ostler.formats.objects import Checksum
from ostler.sysroot.errors import NoKernelError
from ostler.sysroot.view import TreeView

MODULES = "usr/lib/modules"
_CHUNK = 1 << 20


@dataclass(frozen=True, slots=True)
class BootFile:
    """A file to copy to the boot file system: from `source` in the tree to `name` in the folder of the kernel."""

    source: str
    name: str
    size: int


@dataclass(frozen=True, slots=True)
class Kernel:
    """What a tree boots; `linux`, `initrd`, `devicetree` are names of `files`. With `dtb` there is a folder `dtb`."""

    version: str
    checksum: Checksum
    files: tuple[BootFile, ...]
    linux: str
    initrd: str | None = None
    devicetree: str | None = None
    dtb: bool = False

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(file.size for file in self.files)


def find_kernel(tree: TreeView, known: Checksum | None = None) -> Kernel:
    """The kernel of a tree; raises `NoKernelError` if there is none, or more than one.

    `known` is its checksum, if that was computed before: it takes a second where computers are slow.
    """
    versions = [name for name in tree.names(MODULES) if tree.size(f"{MODULES}/{name}/vmlinuz") is not None]
    if not versions:
        raise NoKernelError(
            f"the version has no kernel in /{MODULES}", hint="its image needs a kernel at /usr/lib/modules/KVER/vmlinuz"
        )
    if len(versions) > 1:
        raise NoKernelError(
            f"the version has more than one kernel in /{MODULES}: {', '.join(versions)}",
            hint="remove all but one kernel package from the image",
        )
    version = versions[0]
    folder = f"{MODULES}/{version}"

    def boot_file(source: str, name: str) -> BootFile:
        return BootFile(f"{folder}/{source}", name, tree.size(f"{folder}/{source}") or 0)

    hashed = [boot_file("vmlinuz", f"vmlinuz-{version}")]
    initrd = None
    for name in ("initramfs.img", "initramfs"):
        if tree.size(f"{folder}/{name}") is not None:
            initrd = f"initramfs-{version}.img"
            hashed.append(boot_file(name, initrd))
            break
    devicetree, dtb = None, False
    if tree.size(f"{folder}/devicetree") is not None:
        devicetree = f"devicetree-{version}"
        hashed.append(boot_file("devicetree", devicetree))
    elif tree.is_directory(f"{folder}/dtb"):
        dtb = True
        hashed += [boot_file(path, path) for path in _files_below(tree, folder, "dtb")]
    files = list(hashed)
    if tree.size(f"{folder}/.vmlinuz.hmac") is not None:
        files.append(boot_file(".vmlinuz.hmac", f".vmlinuz-{version}.hmac"))
    return Kernel(
        version=version,
        checksum=known or _checksum(tree, hashed),
        files=tuple(files),
        linux=f"vmlinuz-{version}",
        initrd=initrd,
        devicetree=devicetree,
        dtb=dtb,
    )


def _files_below(tree: TreeView, base: str, path: str) -> Iterator[str]:
    for name in tree.names(f"{base}/{path}"):
        if tree.is_directory(f"{base}/{path}/{name}"):
            yield from _files_below(tree, base, f"{path}/{name}")
        elif tree.size(f"{base}/{path}/{name}") is not None:
            yield f"{path}/{name}"


def _checksum(tree: TreeView, files: list[BootFile]) -> Checksum:
    digest = hashlib.sha256()
    for file in files:
        with tree.open(file.source) as stream:
            while chunk := stream.read(_CHUNK):
                digest.update(chunk)
    return Checksum(digest.hexdigest())


def read_os_release(tree: TreeView) -> dict[str, str]:
    """The assignments in the tree's os-release; empty if it has none."""
    for path in ("usr/lib/os-release", "usr/etc/os-release"):
        if tree.size(path) is not None:
            return parse_os_release(tree.read(path, 1 << 20).decode("utf-8", "replace"))
    return {}


def parse_os_release(text: str) -> dict[str, str]:
    """The assignments in an os-release file, quotes removed (os-release(5))."""
    import shlex

    values = {}
    for line in text.split("\n"):
        name, equals, value = line.partition("=")
        if not equals or name.startswith("#"):
            continue
        try:
            values[name.strip()] = "".join(shlex.split(value))
        except ValueError:
            continue
    return values


def boot_title(os_release: dict[str, str], version: str | None) -> str:
    """The name of a version in the boot menu, as libostree makes it: pretty name, and version if that lacks it."""
    name = os_release.get("PRETTY_NAME") or os_release.get("ID") or "Linux"
    return f"{name} {version}" if version and version not in name else name
