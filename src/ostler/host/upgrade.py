"""Newer versions from where the running one came from: looking for them, and staging them."""

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ostler.errors import CorruptError, NotFoundError
from ostler.formats.objects import Checksum, Commit, DirTree, ObjectType, checksum_of
from ostler.formats.refs import join_refspec
from ostler.host.config import UpdateConfig, follow_source, read_update_config
from ostler.host.packages import DPKG_STATUS, MAX_STATUS, diff_json, diff_text, package_versions
from ostler.host.stage import Target, UnitStarter, UpgradeResult, already_there, fetch_and_stage, pull_options
from ostler.host.system import System, as_system
from ostler.io.progress import Finished, Reporter, Step, silent
from ostler.packages.difference import PackageDiff, compare
from ostler.store.errors import ChecksumMismatchError
from ostler.store.repo import Remote, Repo
from ostler.sysroot.deployment import Deployment, lasting_origin, origin_of_refspec, ref_of
from ostler.sysroot.install import REMOTE
from ostler.sysroot.layout import Sysroot, commit_version
from ostler.sysroot.write import Hook, no_hook

if TYPE_CHECKING:
    from ostler.io.http import Fetcher
    from ostler.store.pull_source import RefSource

__all__ = ["CheckResult", "UpgradeResult", "check", "upgrade"]


@dataclass(frozen=True, slots=True)
class CheckResult:
    """What an upgrade would bring. `available` is False if the newest version is here already (`state` says where).

    `packages` is None if one of the versions has no package database.
    """

    available: bool
    origin: str
    checksum: str
    version: str | None
    current_checksum: str
    current_version: str | None
    state: str | None = None
    packages: PackageDiff | None = None

    def to_json(self) -> dict[str, Any]:
        """Plain values for `--json`."""
        return {
            "available": self.available,
            "origin": self.origin,
            "version": self.version,
            "checksum": self.checksum,
            "state": self.state,
            "current": {"version": self.current_version, "checksum": self.current_checksum},
            "packages": diff_json(self.packages) if self.packages is not None else None,
        }

    def to_text(self) -> str:
        """Lines for people."""
        name = self.version or self.checksum[:12]
        if not self.available:
            return f"nothing new: {self.origin} is at {name}, which is {self.state} already"
        current = self.current_version or self.current_checksum[:12]
        lines = [f"{self.origin} has {name}, this machine runs {current}", f"  commit {self.checksum}"]
        if self.packages is not None:
            changes = diff_text(self.packages)
            lines.append(f"packages:\n{changes}" if changes else "packages: the same")
        return "\n".join(lines)


def check(
    where: System | Path = Path("/"), *, fetcher: "Fetcher | None" = None, report: Reporter = silent
) -> CheckResult:
    """Look for a newer version; fetches a few kilobytes, changes nothing, needs no root. Raises what pulling raises."""
    from ostler.store.pull import open_source, remote_commit

    sysroot, state, booted = as_system(where).load()
    config = read_update_config(as_system(where).root)
    target = target_of(booted, config)
    remote = _current_remote(sysroot.repo, target, config)
    report(Step("check", target.refspec))
    options = pull_options(as_system(where))
    checksum, commit = remote_commit(sysroot.repo, remote, target.ref, options=options, fetcher=fetcher)
    there = already_there(state, checksum, target.refspec)
    packages = None
    if there is None:
        with open_source(sysroot.repo, remote, options=options, fetcher=fetcher) as source:
            packages = _package_difference(sysroot, booted, source, commit)
    report(Finished("check"))
    return CheckResult(
        available=there is None,
        origin=target.refspec,
        checksum=checksum,
        version=commit_version(commit),
        current_checksum=booted.checksum,
        current_version=booted.version,
        state=there[0] if there else None,
        packages=packages,
    )


def upgrade(
    where: System | Path = Path("/"),
    *,
    fetcher: "Fetcher | None" = None,
    start_unit: UnitStarter | None = None,
    report: Reporter = silent,
    step: Hook = no_hook,
) -> UpgradeResult:
    """Fetch the newest version of what the machine follows and stage it for the next boot.

    `start_unit` sees that finalizing will happen at shutdown (by default, on the live machine: starts the unit).
    Raises what pulling raises, `BusyError`, `NoSpaceError`, `EtcConflictError`; the machine then is as it was.
    """
    system = as_system(where)
    with system.changing() as (sysroot, state, booted):
        config = read_update_config(system.root)
        follow_source(sysroot.repo, config)
        target = target_of(booted, config)
        return fetch_and_stage(
            system, sysroot, state, target, fetcher=fetcher, start_unit=start_unit, report=report, step=step
        )


def target_of(booted: Deployment, config: UpdateConfig) -> Target:
    """What the running version follows: its origin, else what the image names. Raises `SysrootError`."""
    if booted.refspec is None and booted.image is None and config.ref is not None:
        return Target(REMOTE, config.ref, origin_of_refspec(join_refspec(REMOTE, config.ref)))
    remote, ref = ref_of(booted)
    assert booted.origin is not None
    return Target(remote, ref, lasting_origin(booted.origin))


def _current_remote(repo: Repo, target: Target, config: UpdateConfig) -> str:
    """The remote's name, or the URL that an upgrade would give it."""
    known: Remote | None = repo.remotes().get(target.remote)
    if target.remote == REMOTE and config.source is not None and (known is None or known.url != config.source):
        return config.source
    return target.remote


def _package_difference(
    sysroot: Sysroot, booted: Deployment, source: "RefSource", commit: Commit
) -> PackageDiff | None:
    """Compare the package databases, fetching the new one alone."""
    try:
        old = (sysroot.root_of(booted) / DPKG_STATUS).read_bytes()
        new = _fetch_file(source, commit, DPKG_STATUS)
        return compare(package_versions(old), package_versions(new))
    except (FileNotFoundError, NotFoundError, CorruptError):
        return None


def _fetch_file(source: "RefSource", commit: Commit, path: str) -> bytes:
    """One file of a remote commit, verified. Raises `NotFoundError`."""
    from ostler.store.content import RepoMode

    *folders, name = path.split("/")
    tree = _load_tree(source, commit.root_tree)
    for folder in folders:
        below = next((entry[1] for entry in tree.dirs if entry[0] == folder), None)
        if below is None:
            raise NotFoundError(f"the new version has no {path}")
        tree = _load_tree(source, below)
    checksum = dict(tree.files).get(name)
    if checksum is None:
        raise NotFoundError(f"the new version has no {path}")
    with tempfile.TemporaryDirectory(prefix="ostler-") as folder:
        repo = Repo.create(Path(folder), RepoMode.ARCHIVE, settings={"fsync": "false", "min-free-space-percent": "0"})
        with repo.transaction() as transaction:
            source.store_file(checksum, transaction)
        with repo.open_file(checksum) as file:
            return file.read(MAX_STATUS)


def _load_tree(source: "RefSource", checksum: Checksum) -> DirTree:
    data = source.load_metadata(checksum, ObjectType.DIRTREE)
    if checksum_of(data) != checksum:
        raise ChecksumMismatchError(checksum, checksum_of(data), "dirtree object")
    return DirTree.decode(data)
