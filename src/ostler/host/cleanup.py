"""Removing what no version on the machine needs any more."""

from pathlib import Path

from ostler.host.system import System, as_system
from ostler.io.progress import Reporter, silent
from ostler.store.prune import PruneResult, prune
from ostler.sysroot.cleanup import clean_up
from ostler.sysroot.layout import Sysroot, SysrootState


def clean_host(where: System | Path = Path("/"), *, report: Reporter = silent) -> PruneResult:
    """Remove deployments, kernels and objects that nothing names."""
    with as_system(where).changing() as (sysroot, state, _):
        return clean_and_prune(sysroot, state, report=report)


def clean_and_prune(sysroot: Sysroot, state: SysrootState, *, report: Reporter = silent) -> PruneResult:
    """The same with the sysroot's lock held."""
    clean_up(sysroot, state)
    return prune(sysroot.repo, keep=[deployment.checksum for deployment in state.all], report=report)
