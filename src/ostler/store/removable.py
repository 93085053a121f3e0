"""Copying refs of collections to a repository on removable media, where libostree's readers of such media find it."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ostler.errors import NotFoundError
from ostler.formats.objects import Checksum
from ostler.store.content import RepoMode
from ostler.store.errors import StoreError
from ostler.store.repo import Repo

if TYPE_CHECKING:
    from ostler.io.progress import Reporter
    from ostler.store.pull_options import PullOptions

WELL_KNOWN = ("ostree/repo", ".ostree/repo")
"""Where readers look without being told."""

LINKS = ".ostree/repos.d"
"""The folder of links to repositories elsewhere on the media."""

_MAX_LINKS = 100


def copy_to_media(
    repo: Repo,
    mount: Path,
    refs: Sequence[tuple[str, str]],
    *,
    commit: Checksum | None = None,
    folder: str = WELL_KNOWN[1],
    options: "PullOptions | None" = None,
    report: "Reporter | None" = None,
) -> Repo:
    """Copy refs (collection id, ref) into the archive repository in `folder` of the media mounted at `mount`.

    The repository is made if there is none; its summary is written anew. With `commit` the (only) ref is to point at
    that commit. Returns the repository there. Raises `NotFoundError` and `StoreError`, and what pulling raises.
    """
    from dataclasses import replace

    from ostler.io.progress import silent
    from ostler.store.pull import pull_local
    from ostler.store.pull_options import DEFAULTS
    from ostler.store.summary import write_summary

    target = _destination(repo, mount, folder)
    asked = tuple((collection, ref, commit) for collection, ref in refs)
    settings = replace(options or DEFAULTS, mirror=True, collection_refs=asked)
    pull_local(target, repo.path, (), options=settings, report=report or silent)
    write_summary(target, always=True)
    if folder not in WELL_KNOWN:
        _link(mount, target.path, folder)
    return target


def _destination(repo: Repo, mount: Path, folder: str) -> Repo:
    if not mount.is_dir():
        raise NotFoundError(f"opendir({mount}): No such file or directory", hint="is the media mounted there?")
    path = mount / folder
    path.mkdir(parents=True, exist_ok=True)
    if path.stat().st_dev != mount.stat().st_dev:
        raise StoreError("--destination-repo must be a descendent of MOUNT-PATH", hint=f"{path} is on another device")
    if path.samefile(repo.path):
        raise StoreError("--destination-repo must not be the source repository")
    # Archive: it needs no owners, modes and extended attributes, which the file systems of such media lack.
    return Repo.open(path) if (path / "objects").is_dir() else Repo.create(path, RepoMode.ARCHIVE)


def _link(mount: Path, target: Path, folder: str) -> None:
    """Make a link to the repository unless there is one."""
    links = mount / LINKS
    links.mkdir(parents=True, exist_ok=True)
    if any(entry.exists() and entry.samefile(target) for entry in links.iterdir()):
        return
    for number in range(_MAX_LINKS):
        try:
            (links / f"{number:02}-generated").symlink_to(f"../../{folder}")
        except FileExistsError:
            continue
        return
    raise StoreError("Could not find an unused symlink name for the repository", hint=f"remove links in {links}")
