"""Fetching a version and staging it for the next boot: what `upgrade` and `switch` have in common."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ostler.errors import BusyError, CorruptError, NotFoundError
from ostler.formats.keyfile import Keyfile
from ostler.formats.objects import Checksum
from ostler.formats.refs import join_refspec
from ostler.host.cleanup import clean_and_prune
from ostler.host.config import read_update_config
from ostler.host.packages import compare_trees, diff_json
from ostler.host.system import FINALIZE_UNIT, System
from ostler.io.progress import Finished, Reporter, Step, Warning, silent
from ostler.packages.difference import PackageDiff
from ostler.sysroot.cleanup import clean_up, remove_deployment
from ostler.sysroot.deploy import (
    check_out,
    defaults_of,
    merge_arguments,
    plan_deploy,
    read_release,
    writer_of,
)
from ostler.sysroot.deployment import Deployment
from ostler.sysroot.etc_merge import check_conflicts, read_etc_merge
from ostler.sysroot.layout import Sysroot, SysrootState
from ostler.sysroot.staged import StagedState, name_of, write_staged
from ostler.sysroot.view import CommitView, DirectoryView
from ostler.sysroot.write import Hook, boot_prefix, check_boot_space, missing_kernels, no_hook

if TYPE_CHECKING:
    from ostler.io.http import Fetcher
    from ostler.store.pull_options import PullOptions

UnitStarter = Callable[[], None]


@dataclass(frozen=True, slots=True)
class UpgradeResult:
    """What an upgrade or switch did. `state` is where that version is now: "staged", "booted" or "default".

    `changed` says whether something was staged; `objects` and `bytes` were fetched for it.
    """

    changed: bool
    origin: str
    version: str | None
    checksum: str
    state: str
    objects: int = 0
    bytes: int = 0
    packages: PackageDiff | None = None

    def to_json(self) -> dict[str, Any]:
        """Plain values for `--json`."""
        return {
            "changed": self.changed,
            "origin": self.origin,
            "version": self.version,
            "checksum": self.checksum,
            "state": self.state,
            "fetched": {"objects": self.objects, "bytes": self.bytes},
            "packages": diff_json(self.packages) if self.packages is not None else None,
        }


@dataclass(frozen=True, slots=True)
class Target:
    """What to fetch: `remote` and `ref`, and the origin of the deployment to come."""

    remote: str
    ref: str
    origin: Keyfile

    @property
    def refspec(self) -> str:
        """`REMOTE:REF`."""
        return join_refspec(self.remote, self.ref)


def start_finalize_unit() -> None:
    """See that the unit which finalizes at shutdown is active; raises `CommandError`."""
    from ostler.io.process import run

    run(["systemctl", "start", "--quiet", FINALIZE_UNIT], hint=f"`systemctl status {FINALIZE_UNIT}` says more")


def pull_options(system: System) -> "PullOptions":
    """How the machine pulls: believing the keys that its running version and its /etc name."""
    from ostler.store.pull_options import PullOptions
    from ostler.store.signing.places import Places

    return PullOptions(places=Places.of_system(system.root))


def already_there(state: SysrootState, commit: Checksum, refspec: str) -> tuple[str, Deployment] | None:
    """("staged" | "booted" | "default", deployment) if the commit is there, so that fetching would change nothing."""
    assert state.booted is not None

    def matches(found: Deployment) -> bool:
        return found.checksum == commit and found.refspec == refspec

    if state.staged is not None:
        return ("staged", state.staged.deployment) if matches(state.staged.deployment) else None
    default = state.deployments[0]
    if matches(state.booted):
        return "booted", state.booted
    return ("default", default) if matches(default) else None


def fetch_and_stage(
    system: System,
    sysroot: Sysroot,
    state: SysrootState,
    target: Target,
    *,
    fetcher: "Fetcher | None" = None,
    start_unit: UnitStarter | None = None,
    report: Reporter = silent,
    step: Hook = no_hook,
) -> UpgradeResult:
    """Fetch what is missing of the target's newest version and stage it. The caller holds the lock.

    Raises what pulling raises, `NoSpaceError`, `NoKernelError`, `EtcConflictError`; the machine then is as it was.
    """
    from ostler.store.pull import pull, remote_commit

    assert state.booted is not None
    options = pull_options(system)
    commit, _ = remote_commit(sysroot.repo, target.remote, target.ref, options=options, fetcher=fetcher)
    there = already_there(state, commit, target.refspec)
    if there is not None:
        return UpgradeResult(False, target.refspec, there[1].version, commit, there[0])
    try:
        clean_and_prune(sysroot, state, refs_in_use={target.refspec})
    except (CorruptError, NotFoundError, BusyError) as error:  # a damaged old version must not keep a new one out
        report(Warning(f"old objects could not be removed: {error.message}", error.hint))
    pulled = pull(sysroot.repo, target.remote, [target.ref], options=options, fetcher=fetcher, report=report)
    commit = pulled.refs[target.ref]
    new = stage(system, sysroot, state, commit, target.origin, start_unit=start_unit, report=report, step=step)
    booted_tree = DirectoryView(sysroot.root_of(state.booted))
    return UpgradeResult(
        changed=True,
        origin=target.refspec,
        version=new.version,
        checksum=commit,
        state="staged",
        objects=pulled.objects,
        bytes=pulled.bytes_received,
        packages=compare_trees(booted_tree, DirectoryView(sysroot.root_of(new))),
    )


def stage(
    system: System,
    sysroot: Sysroot,
    state: SysrootState,
    commit: Checksum,
    origin: Keyfile,
    *,
    start_unit: UnitStarter | None = None,
    report: Reporter = silent,
    step: Hook = no_hook,
) -> Deployment:
    """Check a commit of the machine's repository out and stage it, in place of what may be staged already."""
    assert state.booted is not None
    report(Step("stage"))
    merge = state.merge_deployment(state.booted.osname)
    plan = plan_deploy(
        state,
        read_release(sysroot.repo, commit),
        osname=state.booted.osname,
        origin=origin,
        taken=sysroot.deployment_names(state.booted.osname),
        merge=merge,
        merge_kargs=merge_arguments(sysroot, merge),
        keep=read_update_config(system.root).keep,
        prefix=boot_prefix(sysroot),
    )
    views = {plan.new.path: CommitView(sysroot.repo, commit)}
    check_boot_space(sysroot, missing_kernels(sysroot, plan.after, views))
    try:
        check_out(sysroot, plan.new, writer_of(sysroot.repo, commit), step=step)
        if merge is not None:  # a conflict shows now, not at shutdown, when nobody looks
            check_conflicts(read_etc_merge(sysroot.root_of(merge), defaults_of(sysroot.root_of(plan.new))))
        step("finalize unit")
        if start_unit is not None:
            start_unit()
        elif system.live:
            start_finalize_unit()
        step("stage")
        staged = StagedState(
            target=name_of(plan.new),
            merge=name_of(merge) if merge is not None else None,
            kargs=plan.new.kargs.items,
            extra=plan.new.extra,
        )
        write_staged(system.run, staged)
    except BaseException:
        remove_deployment(sysroot, plan.new.path)
        raise
    step("announce")
    os.utime(sysroot.path / "ostree/deploy")
    clean_up(sysroot, sysroot.load(), step=step)
    report(Finished("stage", plan.new.version or plan.new.checksum[:12]))
    return plan.new
