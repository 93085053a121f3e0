"""Making a new deployment of a commit: plan, check out, carry /etc over, commit.

On a running machine the last two happen at shutdown (see `ostler.host.finalize`); offline all happens at once.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from ostler.errors import NotFoundError
from ostler.formats.keyfile import Keyfile
from ostler.formats.objects import Checksum
from ostler.io.files import atomic_write, remove_tree, space_errors
from ostler.store.repo import Repo
from ostler.sysroot.deployment import Deployment, validate_osname
from ostler.sysroot.errors import SysrootError
from ostler.sysroot.etc_merge import EtcMergePlan, Node, merge_etc, read_etc_merge, snapshot
from ostler.sysroot.immutable import set_immutable
from ostler.sysroot.kargs import KernelArguments, apply_image_change, image_arguments
from ostler.sysroot.kernel import Kernel, boot_title, find_kernel, read_os_release
from ostler.sysroot.layout import Sysroot, SysrootState, commit_version
from ostler.sysroot.view import CommitView, DirectoryView
from ostler.sysroot.write import Hook, no_hook, plan_for, with_kernel, write_boot

DEFAULT_KEEP = 2


class TreeWriter(Protocol):
    """Writes a part of one commit's tree as a new directory."""

    def __call__(self, path: str, destination: Path, *, copy: bool) -> None:
        """Write what is at `path` ("" is all) to `destination`, which is new. Without `copy` files may be links."""


def writer_of(repo: Repo, commit: Checksum) -> TreeWriter:
    """A writer that checks the commit out of the repository, with hard links if that is of mode bare."""
    from ostler.store.checkout import Checkout, checkout
    from ostler.store.tree import load_commit_tree

    tree = load_commit_tree(repo, commit)

    def write(path: str, destination: Path, *, copy: bool) -> None:
        directory = tree.directory(path)
        if directory is None:
            raise NotFoundError(f"the commit {commit} has no directory {path}")
        checkout(repo, directory, destination, how=Checkout.COPY if copy else Checkout.HARDLINK)

    return write


@dataclass(frozen=True, slots=True)
class Release:
    """What there is to know of a commit in order to deploy it, read from the commit alone."""

    checksum: Checksum
    kernel: Kernel
    version: str | None
    title: str
    kargs: tuple[str, ...]
    """The kernel arguments that the image asks for."""


def read_release(repo: Repo, commit: Checksum) -> Release:
    """Look into a commit; raises `NoKernelError`, `SysrootError`, `NotFoundError`, `CorruptError`."""
    view = CommitView(repo, commit)
    if view.names("etc") and view.names("usr/etc"):
        raise SysrootError(f"the commit {commit[:12]} has files both in /etc and in /usr/etc")
    version = commit_version(repo.load_commit(commit))
    title = boot_title(read_os_release(view), version)
    return Release(commit, find_kernel(view), version, title, image_arguments(view))


@dataclass(frozen=True, slots=True)
class DeployPlan:
    """A deployment to come: `new`, the list of deployments with it, which go, and whose /etc it takes over."""

    new: Deployment
    merge: Deployment | None
    after: tuple[Deployment, ...]
    dropped: tuple[Deployment, ...]


def plan_deploy(
    state: SysrootState,
    release: Release,
    *,
    osname: str,
    origin: Keyfile,
    taken: Sequence[tuple[Checksum, int]] = (),
    merge: Deployment | None = None,
    merge_kargs: Sequence[str] = (),
    kargs: KernelArguments | None = None,
    keep: int = DEFAULT_KEEP,
    prefix: str = "/",
) -> DeployPlan:
    """Plan the deployment of a release at the head of the list.

    `taken` are (commit, serial) that exist on disk for `osname`. The kernel arguments are those of `merge`, changed as
    this image's wishes differ from those of the merge deployment's (`merge_kargs`); or `kargs` as given. `keep` is the
    number of deployments of this stateroot that stay, the new one included, at least 2; the running one, `merge`,
    pinned ones and those of other stateroots stay in any case.
    """
    validate_osname(osname)
    serial = max((number + 1 for checksum, number in taken if checksum == release.checksum), default=0)
    if kargs is None and merge is not None:
        kargs = apply_image_change(merge.kargs, merge_kargs, release.kargs)
    elif kargs is None:
        kargs = KernelArguments(release.kargs)
    new = Deployment(
        osname=osname,
        checksum=release.checksum,
        serial=serial,
        bootcsum=release.kernel.checksum,
        kargs=kargs,
        origin=origin,
        version=release.version,
        title=release.title,
        extra=tuple((key, value) for key, value in merge.extra if key != "fdtdir") if merge is not None else (),
    )
    new = with_kernel(new, release.kernel, prefix)
    kept = deployments_to_keep(state, new, merge, keep=keep)
    dropped = tuple(found for found in state.deployments if not any(found.same_as(other) for other in kept))
    return DeployPlan(new, merge, (new, *kept), dropped)


def deployments_to_keep(
    state: SysrootState, new: Deployment, merge: Deployment | None, *, keep: int
) -> tuple[Deployment, ...]:
    """The deployments that stay behind `new`, in their order."""

    def must_stay(found: Deployment) -> bool:
        return found.osname != new.osname or found.pinned or found.same_as(state.booted) or found.same_as(merge)

    stay = {found.path for found in state.deployments if must_stay(found)}
    count = 1 + sum(found.osname == new.osname for found in state.deployments if found.path in stay)
    for found in state.deployments:
        if found.path not in stay and count < max(keep, 2):
            stay.add(found.path)
            count += 1
    return tuple(found for found in state.deployments if found.path in stay)


def check_out(
    sysroot: Sysroot, deployment: Deployment, write: TreeWriter, *, durable: bool = True, step: Hook = no_hook
) -> None:
    """Make the deployment's directory with pristine /etc, its origin, and /var of the stateroot if that is empty.

    What an interrupted attempt left under the same name is removed first.
    """
    root = sysroot.root_of(deployment)
    with space_errors("writing the new version's files", sysroot.path):
        step("stateroot")
        root.parent.mkdir(parents=True, exist_ok=True)
        (sysroot.path / f"ostree/deploy/{deployment.osname}/var").mkdir(exist_ok=True)
        if root.exists():
            set_immutable(root, False)
            remove_tree(root)
        step("checkout")
        write("", root, copy=False)
        step("etc")
        _prepare_etc(root, write)
        step("var")
        _prepare_var(sysroot.path / f"ostree/deploy/{deployment.osname}/var", root, write)
        step("origin")
        write_origin(sysroot, deployment, durable=durable)


def write_origin(sysroot: Sysroot, deployment: Deployment, *, durable: bool = True) -> None:
    """Write the deployment's origin file."""
    if deployment.origin is not None:
        atomic_write(sysroot.path / deployment.origin_path, deployment.origin.dump().encode(), durable=durable)


def _prepare_etc(root: Path, write: TreeWriter) -> None:
    etc, defaults = root / "etc", root / "usr/etc"
    if etc.is_dir() and any(os.scandir(etc)):
        if defaults.exists():
            raise SysrootError("the version has files both in /etc and in /usr/etc")
        etc.rename(defaults)
        write("etc", etc, copy=True)
        return
    if etc.is_dir():
        etc.rmdir()
    if defaults.is_dir():
        write("usr/etc", etc, copy=True)
    else:
        etc.mkdir(mode=0o755)


def _prepare_var(var: Path, root: Path, write: TreeWriter) -> None:
    """An empty /var is filled from the commit, once, as container volumes are."""
    if any(os.scandir(var)) or not (root / "var").is_dir():
        return
    var.rmdir()
    write("var", var, copy=True)
    if not (root / "usr/lib/tmpfiles.d").is_dir():
        _classic_var(var)


def _classic_var(var: Path) -> None:
    """For systems without systemd-tmpfiles, which would make these at boot."""
    for name, mode in (("tmp", 0o1777), ("lib", 0o755), ("log", 0o755)):
        if not (var / name).exists():
            (var / name).mkdir()
            (var / name).chmod(mode)
    for name, target in (("run", "../run"), ("lock", "../run/lock")):
        if not os.path.lexists(var / name):
            (var / name).symlink_to(target)


def defaults_of(root: Path) -> dict[str, Node]:
    """The snapshot of a deployment's default /etc."""
    return snapshot(root / "usr/etc", content=False) if (root / "usr/etc").is_dir() else {}


def finish(
    sysroot: Sysroot,
    deployment: Deployment,
    merge: Deployment | None,
    *,
    var: Path | None = None,
    seal: bool = True,
    step: Hook = no_hook,
) -> EtcMergePlan | None:
    """Carry /etc of `merge` over, and what else comes right before the boot entry.

    `var` is where /var is mounted, if not in the stateroot. With `seal` the deployment's root becomes immutable. Raises
    `EtcConflictError`.
    """
    root = sysroot.root_of(deployment)
    plan = None
    if merge is not None:
        plan = read_etc_merge(sysroot.root_of(merge), defaults_of(root))
        step("merge /etc")
        merge_etc(plan, sysroot.root_of(merge) / "etc", root / "etc")
    step("update marks")
    (root / "etc/.updated").unlink(missing_ok=True)
    ((var or sysroot.path / f"ostree/deploy/{deployment.osname}/var") / ".updated").unlink(missing_ok=True)
    step("backing")
    _make_backing(sysroot.path / deployment.backing_path, root)
    step("final origin")
    write_origin(sysroot, deployment, durable=False)
    if seal:
        step("seal")
        set_immutable(root, True)
    return plan


def _make_backing(folder: Path, root: Path) -> None:
    """The folders that newer libostree keeps beside each deployment."""
    transient = folder / "root-transient"
    (transient / "work").mkdir(mode=0o700, parents=True, exist_ok=True)
    (transient / "upper").mkdir(mode=root.stat().st_mode & 0o7777, exist_ok=True)
    for path in (folder.parent, folder, transient):
        path.chmod(0o700)


def merge_arguments(sysroot: Sysroot, merge: Deployment | None) -> tuple[str, ...]:
    """The kernel arguments that the image of an existing deployment asks for; none if it is malformed."""
    if merge is None:
        return ()
    try:
        return image_arguments(DirectoryView(sysroot.root_of(merge)))
    except SysrootError:
        return ()


def deploy(
    sysroot: Sysroot,
    commit: Checksum,
    *,
    osname: str,
    origin: Keyfile,
    kargs: KernelArguments | None = None,
    keep: int = DEFAULT_KEEP,
    write: TreeWriter | None = None,
    seal: bool = True,
    step: Hook = no_hook,
) -> Deployment:
    """Deploy a commit of the sysroot's repository at once, and clean up. For roots that are not running.

    Needs the lock. Raises `NoSpaceError`, `EtcConflictError`, `NoKernelError`; the old deployments then are as before.
    """
    from ostler.sysroot.cleanup import clean_up

    state = sysroot.load()
    merge = state.merge_deployment(osname)
    plan = plan_deploy(
        state,
        read_release(sysroot.repo, commit),
        osname=osname,
        origin=origin,
        taken=sysroot.deployment_names(osname),
        merge=merge,
        merge_kargs=merge_arguments(sysroot, merge),
        kargs=kargs,
        keep=keep,
    )
    check_out(sysroot, plan.new, write or writer_of(sysroot.repo, commit), step=step)
    finish(sysroot, plan.new, merge, seal=seal, step=step)
    write_boot(sysroot, plan_for(sysroot, state, plan.after), step=step)
    clean_up(sysroot, sysroot.load(), step=step)
    return plan.new
