"""Following another ref from now on."""

from pathlib import Path
from typing import TYPE_CHECKING

from ostler.formats.refs import join_refspec, split_refspec
from ostler.host.config import follow_source, read_update_config
from ostler.host.stage import Target, UnitStarter, UpgradeResult, fetch_and_stage
from ostler.host.system import System, as_system
from ostler.io.progress import Reporter, silent
from ostler.sysroot.deployment import Deployment, lasting_origin, origin_of_refspec
from ostler.sysroot.install import REMOTE

if TYPE_CHECKING:
    from ostler.io.http import Fetcher


def switch(
    where: System | Path,
    refspec: str,
    *,
    fetcher: "Fetcher | None" = None,
    start_unit: UnitStarter | None = None,
    report: Reporter = silent,
) -> UpgradeResult:
    """Fetch the newest version of `refspec` (REF, or REMOTE:REF) and stage it; it is what the machine follows then.

    Without a remote that of the running version is meant. Raises `BadRefError` and what `upgrade` raises; the machine
    then follows what it followed.
    """
    system = as_system(where)
    wanted, ref = split_refspec(refspec)
    with system.changing() as (sysroot, state, booted):
        follow_source(sysroot.repo, read_update_config(system.root))
        target = _target(booted, wanted, ref)
        return fetch_and_stage(system, sysroot, state, target, fetcher=fetcher, start_unit=start_unit, report=report)


def _target(booted: Deployment, remote: str | None, ref: str) -> Target:
    if remote is None:
        remote = split_refspec(booted.refspec)[0] if booted.refspec else None
    chosen = join_refspec(remote or REMOTE, ref)
    if booted.origin is None:
        origin = origin_of_refspec(chosen)
    else:
        origin = lasting_origin(booted.origin).with_value("origin", "refspec", chosen)
        for key in ("container-image-reference", "override-commit"):
            origin = origin.with_value("origin", key, None)
    return Target(remote or REMOTE, ref, origin)
