"""Removing what no version on the machine needs any more."""

from collections.abc import Collection
from pathlib import Path

from ostler.formats.refs import split_refspec
from ostler.host.system import System, as_system
from ostler.io.progress import Reporter, silent
from ostler.store.prune import PruneResult, prune
from ostler.sysroot.cleanup import clean_up
from ostler.sysroot.layout import Sysroot, SysrootState


def clean_host(where: System | Path = Path("/"), *, report: Reporter = silent) -> PruneResult:
    """Remove deployments, kernels and objects that nothing names."""
    with as_system(where).changing() as (sysroot, state, _):
        return clean_and_prune(sysroot, state, report=report)


def clean_and_prune(
    sysroot: Sysroot, state: SysrootState, *, refs_in_use: Collection[str] = (), report: Reporter = silent
) -> PruneResult:
    """The same with the sysroot's lock held. Remote refs that no version follows go too, but for `refs_in_use`."""
    clean_up(sysroot, state)
    followed = {deployment.refspec for deployment in state.all} | set(refs_in_use)
    for refspec in sysroot.repo.refs():
        remote, ref = split_refspec(refspec)
        if remote is not None and refspec not in followed:
            sysroot.repo.set_ref(ref, None, remote=remote)
    return prune(sysroot.repo, keep=[deployment.checksum for deployment in state.all], report=report)
