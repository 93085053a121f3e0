"""Removing what no boot entry names: deployments, kernels, the other set of entries and links, refs.

Rules: libostree's `ostree_sysroot_cleanup`. What is staged counts as named. Objects are left to pruning.
"""

import os
from dataclasses import dataclass
from pathlib import Path

from ostler.errors import NotFoundError
from ostler.formats.gvariant import FormatError
from ostler.formats.objects import parse_checksum
from ostler.io.files import remove_tree
from ostler.sysroot.deployment import parse_name
from ostler.sysroot.errors import SysrootFormatError
from ostler.sysroot.immutable import set_immutable
from ostler.sysroot.layout import Sysroot, SysrootState
from ostler.sysroot.write import Hook, deployment_refs, no_hook


@dataclass(frozen=True, slots=True)
class CleanupPlan:
    """What will be removed: deployments and other paths, relative to the sysroot or the boot file system, and refs."""

    deployments: tuple[str, ...] = ()
    sysroot_paths: tuple[str, ...] = ()
    boot_paths: tuple[str, ...] = ()
    refs: tuple[str, ...] = ()

    @property
    def kernels(self) -> tuple[str, ...]:
        """Those of `boot_paths` that hold kernels."""
        return tuple(path for path in self.boot_paths if path.startswith("ostree/"))


def plan_cleanup(sysroot: Sysroot, state: SysrootState) -> CleanupPlan:
    """Find what neither an entry nor the staged state names."""
    active = {deployment.path for deployment in state.all}
    if state.booted is not None:
        active.add(state.booted.path)
    deployments, leftovers = [], []
    for osname in sysroot.stateroots():
        start = f"ostree/deploy/{osname}"
        named = {f"{start}/deploy/{checksum}.{serial}" for checksum, serial in sysroot.deployment_names(osname)}
        deployments += sorted(named - active)
        kept = named & active
        leftovers += [f"{start}/deploy/{name}" for name in _orphaned_origins(sysroot, start, kept)]
        leftovers += [
            f"{start}/backing/{name}"
            for name in _names(sysroot.path / start / "backing")
            if f"{start}/deploy/{name}" not in kept
        ]
    other = 1 - state.bootversion
    sub = sysroot.subbootversion(state.bootversion)
    old_links = (f"boot.{other}", f"boot.{other}.0", f"boot.{other}.1", f"boot.{state.bootversion}.{1 - sub}")
    leftovers += [f"ostree/{name}" for name in old_links if os.path.lexists(sysroot.path / "ostree" / name)]
    used = {deployment.boot_path for deployment in state.all}
    boot = [f"ostree/{name}" for name in _kernel_folders(sysroot.boot / "ostree") if f"ostree/{name}" not in used]
    boot += [name for name in (f"loader.{other}", "loader.tmp") if os.path.lexists(sysroot.boot / name)]
    wanted = {ref for ref, _ in deployment_refs(state.bootversion, sub, state.all)}
    refs = [ref for ref in sysroot.repo.refs("ostree") if _is_deployment_ref(ref) and ref not in wanted]
    return CleanupPlan(tuple(deployments), tuple(sorted(set(leftovers))), tuple(boot), tuple(sorted(refs)))


def _names(folder: Path) -> list[str]:
    try:
        return sorted(entry.name for entry in os.scandir(folder))
    except FileNotFoundError:
        return []


def _orphaned_origins(sysroot: Sysroot, start: str, kept: set[str]) -> list[str]:
    found = []
    for name in _names(sysroot.path / start / "deploy"):
        stem, dot, _ = name.rpartition(".origin")
        if not dot or f"{start}/deploy/{stem}" in kept:
            continue
        try:
            parse_name(stem)
        except SysrootFormatError:
            continue
        found.append(name)
    return found


def _kernel_folders(folder: Path) -> list[str]:
    found = []
    for name in _names(folder):
        try:
            parse_checksum(name.rpartition("-")[2])
        except FormatError:
            continue
        found.append(name)
    return found


def _is_deployment_ref(ref: str) -> bool:
    parts = ref.split("/")
    return len(parts) == 4 and parts[0] == "ostree" and parts[1] in "01" and parts[2] in "01" and parts[3].isdigit()


def clean_up(sysroot: Sysroot, state: SysrootState, *, step: Hook = no_hook) -> CleanupPlan:
    """Remove what `plan_cleanup` finds and see that the refs of the current deployments are there. Needs the lock."""
    plan = plan_cleanup(sysroot, state)
    for path in plan.boot_paths:
        step(f"remove {path}")
        remove_tree(sysroot.boot / path)
    for path in plan.deployments:
        step(f"remove {path}")
        remove_deployment(sysroot, path)
    for path in plan.sysroot_paths:
        step(f"remove {path}")
        remove_tree(sysroot.path / path)
    sub = sysroot.subbootversion(state.bootversion)
    present = sysroot.repo.refs("ostree")
    for ref, checksum in deployment_refs(state.bootversion, sub, state.all):
        if present.get(ref) != checksum:
            step(f"ref {ref}")
            sysroot.repo.set_ref(ref, checksum)
    for ref in plan.refs:
        step(f"no ref {ref}")
        try:
            sysroot.repo.set_ref(ref, None)
        except NotFoundError:
            continue
    return plan


def remove_deployment(sysroot: Sysroot, path: str) -> None:
    """Remove a deployment's directory and what belongs to it; `path` is relative to the sysroot."""
    root = sysroot.path / path
    if sysroot.booted_inode is not None and root.exists():
        status = root.stat()
        if (status.st_dev, status.st_ino) == sysroot.booted_inode:
            return
    remove_tree(root.parent.parent / "backing" / root.name)
    root.with_name(f"{root.name}.origin").unlink(missing_ok=True)
    if root.is_dir():
        set_immutable(root, False)
        remove_tree(root)
