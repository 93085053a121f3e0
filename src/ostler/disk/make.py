"""From a commit in the builder's store to a disk file that boots."""

import os
import time
from dataclasses import dataclass
from pathlib import Path
from tempfile import mkdtemp

from ostler.disk.content import CommitContent, boot_images, scan
from ostler.disk.convert import to_qcow2
from ostler.disk.errors import DiskError
from ostler.disk.plan import BOOT, DiskPlan, DiskRequest, lay_out
from ostler.disk.staging import StagedTree, attributes, stage_objects
from ostler.disk.write import BootImages, Trees, allocated, write_raw
from ostler.errors import NoSpaceError
from ostler.formats.objects import Checksum
from ostler.io.files import remove_tree, space_errors
from ostler.io.progress import Finished, Reporter, Step, silent
from ostler.store.repo import Repo
from ostler.sysroot.install import SIGNED, UNSIGNED, UPDATE_KEYS, FirstInstall, install_first

FORMATS = ("raw", "qcow2")
_FSTAB = "# The root file system is the one that the kernel argument root= names.\nUUID={} /boot ext4 defaults 0 2\n"


@dataclass(frozen=True, slots=True)
class DiskResult:
    """A disk that was written. `size` is what a machine sees and `allocated` what the file takes up, in bytes."""

    path: Path
    format: str
    size: int
    allocated: int
    commit: str
    seconds: float
    plan: DiskPlan

    def to_json(self) -> dict[str, object]:
        """The result as JSON values."""
        return {
            "path": str(self.path),
            "format": self.format,
            "size": self.size,
            "allocated": self.allocated,
            "commit": self.commit,
            "seconds": round(self.seconds, 3),
            "plan": self.plan.to_json(),
        }


def plan_disk(repo: Repo, commit: Checksum, request: DiskRequest) -> DiskPlan:
    """What `make_disk` would write. Raises `DiskError`, `DiskSizeError`, `FilesystemError`, `NotFoundError`."""
    return _plan(repo, commit, request)[0]


def make_disk(
    repo: Repo,
    commit: Checksum,
    request: DiskRequest,
    out: Path,
    *,
    work: Path,
    format: str = "raw",
    report: Reporter = silent,
) -> DiskResult:
    """Write a disk with the commit as its first deployment to the file `out`, replacing it in one rename.

    `repo` is of mode bare-user. This process must be root, at least in a user namespace that has all ids of the commit.
    `work` is a directory for temporary files, quickest on the file system of `repo`. `format` is "raw" (sparse) or
    "qcow2". Raises what `plan_disk` raises, `NoSpaceError`, `CommandError`, `MissingToolError`; then nothing is left.
    """
    began = time.monotonic()
    if format not in FORMATS:
        raise DiskError(f"a disk cannot be written as {format!r}", hint=f"choose one of: {', '.join(FORMATS)}")
    report(Step("disk plan"))
    plan, content, images = _plan(repo, commit, request)
    out = out.absolute()
    _check_space(out, content)
    work.mkdir(parents=True, exist_ok=True)
    partial = out.with_name(f".{out.name}.partial")
    converted = out.with_name(f".{out.name}.converted")
    staging = Path(mkdtemp(prefix="disk-", dir=work))
    try:
        with space_errors("writing the disk", out.parent):
            partial.unlink(missing_ok=True)
            trees = _stage(repo, content, plan, staging, report)
            write_raw(partial, plan, images, trees, work=staging, report=report)
            if format == "qcow2":
                report(Step("convert to qcow2"))
                to_qcow2(partial, converted)
                converted.replace(out)
            else:
                partial.replace(out)
    finally:
        for leftover in (partial, converted):
            leftover.unlink(missing_ok=True)
        remove_tree(staging)
    seconds = time.monotonic() - began
    report(Finished("disk", f"{plan.files} files, {seconds:.1f} s"))
    return DiskResult(out, format, plan.size, allocated(out), commit, seconds, plan)


def _plan(repo: Repo, commit: Checksum, request: DiskRequest) -> tuple[DiskPlan, CommitContent, BootImages]:
    content = scan(repo, commit)
    images = boot_images(repo, content)
    return lay_out(request, commit, content.sizes()), content, images


def _check_space(out: Path, content: CommitContent) -> None:
    """Raise `NoSpaceError` at once if the disk cannot fit where it is to be written."""
    sizes = content.sizes()
    needed = sizes.root + sizes.boot + sizes.esp
    status = os.statvfs(out.parent)
    free = status.f_bavail * status.f_frsize
    if free < needed:
        raise NoSpaceError(
            f"the disk needs about {needed >> 20} MiB, and the file system of {out.parent} has {free >> 20} MiB left",
            hint=f"free some space there, or write the disk somewhere else (`df -h {out.parent}` shows it)",
        )


def _stage(repo: Repo, content: CommitContent, plan: DiskPlan, staging: Path, report: Reporter) -> Trees:
    """The directories that become the root and boot file systems, below `staging`."""
    report(Step("first deployment", plan.osname))
    root, boot = staging / "root", staging / "boot"
    for directory in (root, boot):
        directory.mkdir(mode=0o755)
    boot_uuid = plan.partition(BOOT).filesystem_id
    first = FirstInstall(
        osname=plan.osname,
        ref=plan.ref,
        remote_url=plan.remote_url,
        remote_options=SIGNED if content.tree.lookup(UPDATE_KEYS) is not None else UNSIGNED,
        kargs=plan.kernel_arguments,
        boot_uuid=boot_uuid,
        etc={"fstab": _FSTAB.format(boot_uuid).encode()},
    )
    deployment = install_first(
        root,
        repo,
        content.commit,
        first,
        boot=boot,
        import_objects=lambda target, _commit: stage_objects(repo, content, target),
        checkout=lambda target: StagedTree(content, target),
    )
    return Trees(root, boot, attributes(content, root, deployment.path), immutable=(deployment.path,))
