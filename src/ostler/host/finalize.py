"""What happens to a staged version at shutdown: /etc is carried over, then its boot entry is written."""

from contextlib import suppress
from pathlib import Path

from ostler.errors import OstlerError
from ostler.host.config import read_update_config
from ostler.host.system import System, as_system
from ostler.io.files import atomic_write
from ostler.io.progress import Finished, Reporter, Step, Warning, silent
from ostler.sysroot.cleanup import clean_up
from ostler.sysroot.deploy import deployments_to_keep, finish
from ostler.sysroot.deployment import Deployment
from ostler.sysroot.errors import SysrootError
from ostler.sysroot.kernel import boot_title, find_kernel, read_os_release
from ostler.sysroot.layout import FAILURE_STAMP, Staged, Sysroot, SysrootState, find_named
from ostler.sysroot.staged import remove_staged
from ostler.sysroot.view import DirectoryView
from ostler.sysroot.write import Hook, boot_prefix, no_hook, plan_for, with_kernel, write_boot

LOCK_SECONDS = 240.0
"""Within the unit's TimeoutStopSec."""


def finalize(
    where: System | Path = Path("/"), *, report: Reporter = silent, seal: bool | None = None, step: Hook = no_hook
) -> Deployment | None:
    """Make the staged version the default and return it; None if nothing is staged or finalizing is locked.

    A failure leaves the old versions as they are, and its reason in a stamp on the boot file system, for `ostler
    status`. `seal` (by default on the live machine only) makes the new deployment's root immutable.
    """
    system = as_system(where)
    stamp = system.load()[0].boot / FAILURE_STAMP
    try:
        with system.changing(timeout_seconds=LOCK_SECONDS) as (sysroot, state, _):
            if state.staged is None:
                return None
            if state.staged.locked:
                report(Warning("the staged version is held back, so it is not made the default"))
                return None
            done = _finalize(system, sysroot, state, state.staged, report, system.live if seal is None else seal, step)
            stamp.unlink(missing_ok=True)
    except BaseException as error:  # also the signal of a unit that took too long
        with suppress(OSError):  # a full /boot must not hide the reason
            stamp.parent.mkdir(exist_ok=True)
            atomic_write(stamp, f"{error or type(error).__name__}\n".encode())
        raise
    _tidy(system, report, step)
    return done


def _tidy(system: System, report: Reporter, step: Hook) -> None:
    """Remove what the new order no longer needs; the next upgrade does it if this fails."""
    try:
        with system.changing(timeout_seconds=LOCK_SECONDS) as (sysroot, state, _):
            clean_up(sysroot, state, step=step)
    except OstlerError as error:
        report(Warning(f"old versions could not be removed: {error.message}", error.hint))


def _finalize(
    system: System, sysroot: Sysroot, state: SysrootState, staged: Staged, report: Reporter, seal: bool, step: Hook
) -> Deployment:
    merge = find_named(state.deployments, staged.state.merge)
    if staged.state.merge is not None and merge is None:
        raise SysrootError(
            f"the version {staged.state.merge.checksum[:12]}, whose /etc was to be carried over, is gone"
        )
    new = _describe(sysroot, staged.deployment)
    step("unstage")
    remove_staged(system.run)  # a half-done merge must not be taken up again
    report(Step("/etc"))
    var = (
        system.root / "var" if state.booted is not None and state.booted.osname == new.osname and system.live else None
    )
    plan = finish(sysroot, new, merge, var=var, seal=seal, step=step)
    if plan is not None:
        found = plan.changes
        report(
            Finished("/etc", f"{len(found.modified)} modified, {len(found.added)} added, {len(found.removed)} removed")
        )
    report(Step("boot entries"))
    keep = read_update_config(sysroot.root_of(new)).keep
    kept = deployments_to_keep(state, new, merge, keep=keep)
    write_boot(sysroot, plan_for(sysroot, state, (new, *kept)), step=step)
    report(Finished("boot entries"))
    return new


def _describe(sysroot: Sysroot, deployment: Deployment) -> Deployment:
    """The staged deployment with title and kernel, which the staged file leaves out."""
    from dataclasses import replace

    view = DirectoryView(sysroot.root_of(deployment))
    title = boot_title(read_os_release(view), deployment.version)
    return with_kernel(
        replace(deployment, title=title, staged=False), find_kernel(view, deployment.bootcsum), boot_prefix(sysroot)
    )
