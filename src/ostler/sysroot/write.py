"""Committing a list of deployments: kernels, boot entries, `grub.cfg` and boot links, made current by one rename.

There are two sets of each (B is 0 or 1). The set that does not count is written anew, everything is made durable, then
`/boot/loader` is pointed at it: that rename is the commit point. Whatever dies before it leaves the old set whole,
whatever dies after it the new one; what is left over goes at the next cleaning up.
"""

import errno
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from ostler.errors import NoSpaceError
from ostler.formats.objects import Checksum
from ostler.io.files import fsync_directory, remove_tree, space_errors
from ostler.sysroot.bls import BootEntry
from ostler.sysroot.copying import copy_content
from ostler.sysroot.deployment import Deployment, assign_bootserials
from ostler.sysroot.errors import SysrootError
from ostler.sysroot.grub import boot_uuid_of, grub_config
from ostler.sysroot.kernel import BootFile, Kernel, find_kernel
from ostler.sysroot.layout import Sysroot, SysrootState
from ostler.sysroot.view import DirectoryView, TreeView

Hook = Callable[[str], None]
"""Called with the name of each step right before it; tests stop there."""

_RESERVE = 1 << 20  # for entries, grub.cfg and folders


def no_hook(step: str) -> None:
    """The hook of everyone but tests."""


@dataclass(frozen=True, slots=True)
class KernelCopy:
    """Files of a deployment (its directory `source`, relative to the sysroot) for a folder of the boot file system."""

    source: str
    folder: str
    files: tuple[BootFile, ...]

    @property
    def size(self) -> int:
        """Bytes to be written."""
        return sum(file.size for file in self.files)


@dataclass(frozen=True, slots=True)
class BootPlan:
    """What will be written to make `deployments`, in this order, the ones that can be booted.

    `entries` are (file name, text); `links` are (path below `boot.B.S`, target); `refs` keep the commits from being
    pruned. `grub_config` None means that GRUB is not the boot loader here.
    """

    bootversion: int
    subbootversion: int
    deployments: tuple[Deployment, ...]
    copies: tuple[KernelCopy, ...]
    entries: tuple[tuple[str, str], ...]
    grub_config: str | None
    links: tuple[tuple[str, str], ...]
    refs: tuple[tuple[str, Checksum], ...]

    @property
    def boot_bytes(self) -> int:
        """Bytes that kernels and the like will take up on the boot file system."""
        return sum(copy.size for copy in self.copies)


def with_kernel(deployment: Deployment, kernel: Kernel, prefix: str = "/") -> Deployment:
    """The deployment as it boots this kernel; `prefix` is `/`, or `/boot/` with libostree's `bootprefix`."""
    folder = prefix + replace(deployment, bootcsum=kernel.checksum).boot_path
    extra = tuple((key, value) for key, value in deployment.extra if key != "fdtdir")
    return replace(
        deployment,
        bootcsum=kernel.checksum,
        linux=f"{folder}/{kernel.linux}",
        initrds=(f"{folder}/{kernel.initrd}",) if kernel.initrd else (),
        devicetree=f"{folder}/{kernel.devicetree}" if kernel.devicetree else None,
        extra=(*extra, ("fdtdir", f"{folder}/dtb")) if kernel.dtb else extra,
    )


def boot_prefix(sysroot: Sysroot) -> str:
    """What paths in boot entries begin with."""
    return "/boot/" if sysroot.repo.config.get_bool("sysroot", "bootprefix", False) else "/"


def plan_boot(
    state: SysrootState,
    deployments: tuple[Deployment, ...],
    *,
    copies: tuple[KernelCopy, ...] = (),
    subbootversion: int = 0,
    grub: bool = True,
    boot_uuid: str | None = None,
) -> BootPlan:
    """Plan to make `deployments` the current ones. `subbootversion` is the one that `boot.B` of the other set has now.

    Raises `SysrootError` if the running one is not among them, or there are none.
    """
    if not deployments:
        raise SysrootError("there must be at least one deployment to boot")
    if state.booted is not None and not any(deployment.same_as(state.booted) for deployment in deployments):
        raise SysrootError("the running version can't be removed")
    number, sub = 1 - state.bootversion, 1 - subbootversion
    numbered = assign_bootserials(tuple(replace(deployment, staged=False) for deployment in deployments))
    several = len({deployment.osname for deployment in numbered}) > 1
    entries = [_entry(deployment, index, len(numbered), number, several) for index, deployment in enumerate(numbered)]
    return BootPlan(
        bootversion=number,
        subbootversion=sub,
        deployments=numbered,
        copies=copies,
        entries=tuple((f"ostree-{entry.version}.conf", entry.dump()) for entry in entries),
        grub_config=grub_config(entries, boot_uuid=boot_uuid) if grub else None,
        links=tuple(
            (
                f"{found.osname}/{found.bootcsum}/{found.bootserial}",
                f"../../../deploy/{found.osname}/deploy/{found.name}",
            )
            for found in numbered
        ),
        refs=deployment_refs(number, sub, numbered),
    )


def deployment_refs(
    bootversion: int, subbootversion: int, deployments: tuple[Deployment, ...]
) -> tuple[tuple[str, Checksum], ...]:
    """The refs by which libostree keeps the commits of deployments from being pruned."""
    start = f"ostree/{bootversion}/{subbootversion}"
    return tuple((f"{start}/{index}", deployment.checksum) for index, deployment in enumerate(deployments))


def _entry(deployment: Deployment, index: int, count: int, bootversion: int, several: bool) -> BootEntry:
    where = f"{deployment.osname}:{index}" if several else f"{index}"
    link = f"/ostree/boot.{bootversion}/{deployment.osname}/{deployment.bootcsum}/{deployment.bootserial}"
    return BootEntry(
        title=f"{deployment.title or deployment.osname} (ostree:{where})",
        version=str(count - index),
        options=deployment.kargs.replace(f"ostree={link}"),
        linux=deployment.linux,
        initrds=deployment.initrds,
        devicetree=deployment.devicetree,
        extra=deployment.extra,
    )


def missing_kernels(
    sysroot: Sysroot, deployments: tuple[Deployment, ...], views: Mapping[str, TreeView] | None = None
) -> tuple[KernelCopy, ...]:
    """What the boot file system lacks for the deployments. `views`: by path, trees that are not checked out yet.

    Raises `NoKernelError`.
    """
    copies: dict[str, KernelCopy] = {}
    for deployment in deployments:
        folder = sysroot.boot / deployment.boot_path
        if deployment.boot_path in copies or _complete(sysroot, deployment):
            continue
        tree = (views or {}).get(deployment.path) or DirectoryView(sysroot.root_of(deployment))
        files = tuple(
            file for file in find_kernel(tree, deployment.bootcsum).files if not (folder / file.name).exists()
        )
        copies[deployment.boot_path] = KernelCopy(deployment.path, deployment.boot_path, files)
    return tuple(copies.values())


def _complete(sysroot: Sysroot, deployment: Deployment) -> bool:
    paths = [deployment.linux, *deployment.initrds, *([deployment.devicetree] if deployment.devicetree else [])]
    paths += [value for key, value in deployment.extra if key == "fdtdir"]
    return bool(deployment.linux) and all((sysroot.boot / path.lstrip("/")).exists() for path in paths)


def check_boot_space(sysroot: Sysroot, copies: tuple[KernelCopy, ...]) -> None:
    """Raise `NoSpaceError` unless the kernels fit beside those that are there."""
    needed = sum(copy.size for copy in copies)
    if not needed:
        return
    status = os.statvfs(sysroot.boot)
    free = status.f_bavail * status.f_frsize
    if free < needed + _RESERVE:
        raise NoSpaceError(
            f"{sysroot.boot} has {free >> 20} MiB free, but the new kernel and initramfs need "
            f"{(needed + _RESERVE) >> 20} MiB; nothing was changed",
            hint="a version that is not needed any more makes room: see `ostler status`, and unpin it or lower `keep`",
        )


def uses_grub(sysroot: Sysroot) -> bool:
    """Whether GRUB's configuration belongs to the boot entries here, by libostree's rules."""
    wanted = sysroot.repo.config.get("sysroot", "bootloader", "auto")
    if wanted != "auto":
        return wanted == "grub2"
    return any(os.path.lexists(sysroot.boot / path) for path in ("grub/grub.cfg", "grub2/grub.cfg"))


def current_boot_uuid(sysroot: Sysroot) -> str | None:
    """The UUID of the boot file system that our current `grub.cfg` has, else what the kernel knows, else None."""
    try:
        known = boot_uuid_of((sysroot.boot / "loader/grub.cfg").read_text(errors="replace"))
    except OSError:
        known = None
    return known or _uuid_of_device(sysroot.boot)


def _uuid_of_device(path: Path) -> str | None:
    """The name in /dev/disk/by-uuid of the device that a mounted file system of its own is on."""
    try:
        device = path.stat().st_dev
        if device == path.parent.stat().st_dev:
            return None
        for entry in os.scandir("/dev/disk/by-uuid"):
            if entry.stat().st_rdev == device:
                return entry.name
    except OSError:
        return None
    return None


def plan_for(
    sysroot: Sysroot,
    state: SysrootState,
    deployments: tuple[Deployment, ...],
    *,
    views: Mapping[str, TreeView] | None = None,
) -> BootPlan:
    """Look around in the sysroot for what `plan_boot` needs, and plan."""
    return plan_boot(
        state,
        deployments,
        copies=missing_kernels(sysroot, deployments, views),
        subbootversion=sysroot.subbootversion(1 - state.bootversion),
        grub=uses_grub(sysroot),
        boot_uuid=current_boot_uuid(sysroot),
    )


def write_boot(
    sysroot: Sysroot,
    plan: BootPlan,
    *,
    views: Mapping[str, TreeView] | None = None,
    durable: bool = True,
    step: Hook = no_hook,
) -> None:
    """Carry the plan out, up to and including the rename that commits it. The caller holds the sysroot's lock.

    `views` as for `plan_for`; without `durable` (a disk in the making) nothing is synced. Raises `NoSpaceError` before
    anything that counts was changed.
    """
    check_boot_space(sysroot, plan.copies)
    with space_errors("writing kernels and boot entries", sysroot.boot):
        for copy in plan.copies:
            step(f"kernel {copy.folder}")
            tree = (views or {}).get(copy.source) or DirectoryView(sysroot.path / copy.source)
            _copy_kernel(sysroot.boot / copy.folder, copy, tree, step)
        step("entries")
        _write_loader(sysroot.boot / f"loader.{plan.bootversion}", plan, step)
    with space_errors("writing boot links", sysroot.path):
        step("links")
        _write_links(sysroot.path / "ostree", plan, step)
        for ref, checksum in plan.refs:
            step(f"ref {ref}")
            sysroot.repo.set_ref(ref, checksum)
    step("new loader link")
    if not os.path.lexists(sysroot.boot / "boot"):
        (sysroot.boot / "boot").symlink_to(".")
    temporary = sysroot.boot / "loader.tmp"
    temporary.unlink(missing_ok=True)
    temporary.symlink_to(f"loader.{plan.bootversion}")
    if durable:
        step("sync")
        _make_durable(sysroot)
    step("commit")
    temporary.rename(sysroot.boot / "loader")
    if durable:
        step("sync after commit")
        fsync_directory(sysroot.boot)
        _make_durable(sysroot)
    step("announce")
    os.utime(sysroot.path / "ostree/deploy")


def _make_durable(sysroot: Sysroot) -> None:
    from ostler.sysroot.sync import flush_filesystem, sync_filesystem

    sync_filesystem(sysroot.repo.path)
    if sysroot.boot.stat().st_dev != sysroot.repo.path.stat().st_dev:
        flush_filesystem(sysroot.boot)


def _copy_kernel(folder: Path, copy: KernelCopy, tree: TreeView, step: Hook) -> None:
    """Each file appears under its name only when it is whole."""
    folder.mkdir(parents=True, exist_ok=True)
    for file in copy.files:
        destination = folder / file.name
        destination.parent.mkdir(parents=True, exist_ok=True)
        step(f"file {file.name}")
        temporary = destination.with_name(f".{destination.name}.tmp")
        temporary.unlink(missing_ok=True)
        try:
            if isinstance(tree, DirectoryView):
                copy_content(tree.root / file.source, temporary, mode=0o644)
            else:
                _write_stream(tree, file, temporary)
            temporary.chmod(0o644)
            _sync_file(temporary)
            step(f"name {file.name}")
            temporary.rename(destination)
        except OSError:
            temporary.unlink(missing_ok=True)
            raise


def _write_stream(tree: TreeView, file: BootFile, destination: Path) -> None:
    import shutil

    with tree.open(file.source) as source, open(destination, "xb") as out:
        shutil.copyfileobj(source, out, 1 << 20)


def _sync_file(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(fd)


def _write_loader(folder: Path, plan: BootPlan, step: Hook) -> None:
    remove_tree(folder)
    (folder / "entries").mkdir(parents=True)
    for name, text in plan.entries:
        step(f"entry {name}")
        (folder / "entries" / name).write_text(text, encoding="utf-8")
    if plan.grub_config is not None:
        step("grub.cfg")
        (folder / "grub.cfg").write_text(plan.grub_config, encoding="utf-8")


def _write_links(ostree: Path, plan: BootPlan, step: Hook) -> None:
    folder = ostree / f"boot.{plan.bootversion}.{plan.subbootversion}"
    remove_tree(folder)
    folder.mkdir()
    for name, target in plan.links:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).symlink_to(target)
    step("current links")
    temporary = ostree / f"boot.{plan.bootversion}.tmp"
    temporary.unlink(missing_ok=True)
    temporary.symlink_to(folder.name)
    temporary.rename(ostree / f"boot.{plan.bootversion}")
