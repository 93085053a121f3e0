"""A physical root with deployments: where things lie, and reading its state.

Layout and reading follow libostree (`ostree-sysroot.c`): the boot entries are the truth, `ostree=` in them names a link
in `ostree/boot.B`, which leads to the deployment.
"""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from ostler.errors import CorruptError, NotFoundError
from ostler.formats.keyfile import Keyfile
from ostler.formats.objects import Checksum, Commit, parse_checksum
from ostler.store.repo import Repo
from ostler.sysroot.bls import BootEntry, is_entry_name, sort_entries
from ostler.sysroot.deployment import Deployment, parse_name
from ostler.sysroot.errors import SysrootFormatError
from ostler.sysroot.kargs import KernelArguments
from ostler.sysroot.staged import DeploymentName, StagedState, is_locked, read_staged

FAILURE_STAMP = "ostree/finalize-failure.stamp"
"""Relative to the boot file system: why the last finalizing failed."""
MAX_ENTRY = 1 << 20
_BOOTLINK = re.compile(r"/?ostree/boot\.([01])/([^/]+)/([0-9a-f]{64})/([0-9]+)")
_TITLE_SUFFIX = re.compile(r" \(ostree(:[^()]*)?\)$")


@dataclass(frozen=True, slots=True)
class Staged:
    """The staged deployment, what its /etc will be merged from, and whether finalizing is locked."""

    deployment: Deployment
    state: StagedState
    locked: bool


@dataclass(frozen=True, slots=True)
class SysrootState:
    """What a sysroot holds. `deployments` are in boot order, without the staged one."""

    bootversion: int
    deployments: tuple[Deployment, ...] = ()
    booted: Deployment | None = None
    staged: Staged | None = None

    @property
    def all(self) -> tuple[Deployment, ...]:
        """The staged deployment, if any, and the others."""
        return (self.staged.deployment, *self.deployments) if self.staged else self.deployments

    def merge_deployment(self, osname: str) -> Deployment | None:
        """The deployment whose /etc a new one of this stateroot takes over: the booted one, else the first."""
        if self.booted is not None and self.booted.osname == osname:
            return self.booted
        return next((deployment for deployment in self.deployments if deployment.osname == osname), None)

    def rollback(self) -> Deployment | None:
        """The first deployment behind the booted one, of the same stateroot."""
        if self.booted is None:
            return None
        mine = [deployment for deployment in self.deployments if deployment.osname == self.booted.osname]
        behind = mine[[deployment.same_as(self.booted) for deployment in mine].index(True) + 1 :]
        return behind[0] if behind else None


class Sysroot:
    """A physical root at `path`; "/" for the running machine.

    `boot` is the boot file system, if that is not `path/boot`. `run` is the folder of the staged state (`/run/ostree`),
    None where nothing can be staged. `booted_inode` is the (device, inode) of the directory of the running deployment.
    """

    def __init__(
        self,
        path: Path,
        *,
        boot: Path | None = None,
        run: Path | None = None,
        booted_inode: tuple[int, int] | None = None,
    ) -> None:
        self.path = path
        self.boot = boot if boot is not None else path / "boot"
        self.run = run
        self.booted_inode = booted_inode

    @cached_property
    def repo(self) -> Repo:
        """The repository of the deployments."""
        return Repo.open(self.path / "ostree" / "repo")

    def root_of(self, deployment: Deployment) -> Path:
        """The deployment's directory."""
        return self.path / deployment.path

    def stateroots(self) -> list[str]:
        """The names of the operating systems that share this root, sorted."""
        try:
            return sorted(entry.name for entry in os.scandir(self.path / "ostree/deploy") if entry.is_dir())
        except FileNotFoundError:
            return []

    def bootversion(self) -> int:
        """Which of the two sets of boot entries counts; 0 if there is none yet."""
        try:
            target = os.readlink(self.boot / "loader")  # noqa: PTH115
        except FileNotFoundError:
            return 0
        except OSError as error:
            raise SysrootFormatError(f"{self.boot}/loader is no symlink") from error
        if target not in ("loader.0", "loader.1"):
            raise SysrootFormatError(f"{self.boot}/loader leads to {target!r} instead of loader.0 or loader.1")
        return int(target[-1])

    def subbootversion(self, bootversion: int) -> int:
        """Which of the two sets of boot links `boot.B` leads to; 0 if there is none yet."""
        try:
            target = os.readlink(self.path / f"ostree/boot.{bootversion}")  # noqa: PTH115
        except FileNotFoundError:
            return 0
        if target[-2:] not in (".0", ".1"):
            raise SysrootFormatError(f"{self.path}/ostree/boot.{bootversion} leads to {target!r}")
        return int(target[-1])

    def entries(self, bootversion: int | None = None) -> Mapping[str, BootEntry]:
        """The boot entries of ours and of libostree by file name, in boot order."""
        number = self.bootversion() if bootversion is None else bootversion
        found = {}
        try:
            names = [entry.name for entry in os.scandir(self.boot / f"loader.{number}" / "entries")]
        except FileNotFoundError:
            names = []
        for name in filter(is_entry_name, names):
            with open(self.boot / f"loader.{number}" / "entries" / name, encoding="utf-8", errors="replace") as file:
                found[name] = BootEntry.parse(file.read(MAX_ENTRY))
        return sort_entries(found)

    def load(self) -> SysrootState:
        """Read the state; raises `SysrootFormatError`."""
        bootversion = self.bootversion()
        deployments = tuple(self._deployment(name, entry) for name, entry in self.entries(bootversion).items())
        booted = None
        if self.booted_inode is not None:
            booted = next((found for found in deployments if self._inode(found) == self.booted_inode), None)
        state = SysrootState(bootversion, deployments, booted)
        return replace(state, staged=self._staged(deployments))

    def deployment_names(self, osname: str) -> list[tuple[Checksum, int]]:
        """(commit, serial) of every deployment directory of a stateroot, also those that no entry names."""
        found = []
        try:
            names = [entry.name for entry in os.scandir(self.path / f"ostree/deploy/{osname}/deploy") if entry.is_dir()]
        except FileNotFoundError:
            return []
        for name in names:
            try:
                found.append(parse_name(name))
            except SysrootFormatError:
                continue
        return sorted(found)

    def commit_of(self, deployment: Deployment) -> Commit | None:
        """The deployment's commit, None if the repository lacks it or can't be read."""
        try:
            return self.repo.load_commit(deployment.checksum)
        except (CorruptError, NotFoundError, OSError):
            return None

    def failure(self) -> str | None:
        """Why the last finalizing failed, if it did."""
        try:
            return (self.boot / FAILURE_STAMP).read_text(errors="replace").strip()
        except OSError:
            return None

    def _inode(self, deployment: Deployment) -> tuple[int, int] | None:
        try:
            found = self.root_of(deployment).stat()
        except OSError:
            return None
        return found.st_dev, found.st_ino

    def _deployment(self, name: str, entry: BootEntry) -> Deployment:
        match = _BOOTLINK.fullmatch(entry.bootlink or "")
        if match is None:
            raise SysrootFormatError(f"the boot entry {name} has no `ostree=` argument that names a deployment")
        osname, bootcsum, serial = match[2], parse_checksum(match[3]), int(match[4])
        link = (entry.bootlink or "").lstrip("/")
        try:
            target = os.readlink(self.path / link)  # noqa: PTH115
        except OSError as error:
            raise SysrootFormatError(
                f"the boot entry {name} names /{link}, which leads to no deployment: {error.strerror}"
            ) from error
        checksum, deployserial = parse_name(target.rpartition("/")[2])
        found = Deployment(
            osname=osname,
            checksum=checksum,
            serial=deployserial,
            bootcsum=bootcsum,
            bootserial=serial,
            kargs=entry.options.without_key("ostree"),
            title=_TITLE_SUFFIX.sub("", entry.title),
            linux=entry.linux,
            initrds=entry.initrds,
            devicetree=entry.devicetree,
            extra=entry.extra,
        )
        return self._with_origin_and_version(found)

    def _with_origin_and_version(self, deployment: Deployment) -> Deployment:
        commit = self.commit_of(deployment)
        return replace(deployment, origin=self._origin(deployment), version=commit_version(commit) if commit else None)

    def _origin(self, deployment: Deployment) -> Keyfile | None:
        try:
            with open(self.path / deployment.origin_path, encoding="utf-8", errors="replace") as file:
                return Keyfile.parse(file.read(MAX_ENTRY))
        except FileNotFoundError:
            return None

    def _staged(self, deployments: tuple[Deployment, ...]) -> Staged | None:
        state = read_staged(self.run) if self.run is not None else None
        if state is None or self.run is None:
            return None
        merge = find_named(deployments, state.merge)
        kargs = merge.kargs if state.kargs is None and merge is not None else KernelArguments(state.kargs or ())
        deployment = Deployment(
            osname=state.target.osname,
            checksum=state.target.checksum,
            serial=state.target.serial,
            bootcsum=state.target.bootcsum,
            kargs=kargs.without_key("ostree"),
            extra=state.extra,
            staged=True,
        )
        if not self.root_of(deployment).is_dir():
            return None
        return Staged(self._with_origin_and_version(deployment), state, is_locked(self.run, state))


def find_named(deployments: tuple[Deployment, ...], name: DeploymentName | None) -> Deployment | None:
    """The one of the deployments that `name` names, or None."""
    return next((found for found in deployments if name is not None and name.names(found)), None)


def commit_version(commit: Commit) -> str | None:
    """The version that a commit's metadata names, or None."""
    found = commit.metadata.get("version")
    return found.value if found is not None and found.type == "s" else None
