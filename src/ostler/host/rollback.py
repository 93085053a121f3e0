"""Going back to the other version at the next boot, by reordering the boot entries."""

from pathlib import Path

from ostler.host.system import System, as_system
from ostler.io.progress import Finished, Reporter, Step, silent
from ostler.sysroot.cleanup import clean_up
from ostler.sysroot.deployment import Deployment
from ostler.sysroot.errors import SysrootError
from ostler.sysroot.layout import SysrootState
from ostler.sysroot.staged import remove_staged
from ostler.sysroot.write import plan_for, write_boot


def rollback_target(state: SysrootState) -> Deployment:
    """What a rollback makes the default: the version behind the running one; the running one, if another is queued.

    Raises `SysrootError` if there is none.
    """
    assert state.booted is not None
    if not state.deployments[0].same_as(state.booted):
        return state.booted
    target = state.rollback()
    if target is None:
        raise SysrootError(
            "there is no other version to go back to", hint="one is kept from the first update on: see `ostler status`"
        )
    return target


def rollback(
    where: System | Path = Path("/"), *, discard_staged: bool = False, report: Reporter = silent
) -> Deployment:
    """Make the other version the default of the next boot and return it; a second time swaps back.

    Its /etc is as it was left. Raises `SysrootError` while an update is staged, unless that is to be discarded.
    """
    system = as_system(where)
    report(Step("boot entries"))
    with system.changing() as (sysroot, state, _):
        if state.staged is not None and not discard_staged:
            version = state.staged.deployment.version or state.staged.deployment.checksum[:12]
            raise SysrootError(
                f"the update to {version} is staged for the next boot and would be lost",
                hint="reboot into it first, or give it up with `ostler rollback --discard-staged`",
            )
        target = rollback_target(state)
        if state.staged is not None:
            remove_staged(system.run)
            state = sysroot.load()
        others = tuple(found for found in state.deployments if not found.same_as(target))
        write_boot(sysroot, plan_for(sysroot, state, (target, *others)))
        clean_up(sysroot, sysroot.load())
    report(Finished("boot entries"))
    return target
