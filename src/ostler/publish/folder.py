"""Publishing commits into a folder that any static web server can serve: an OSTree repository of mode archive."""

import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ostler.errors import OstlerError
from ostler.formats.objects import Checksum
from ostler.formats.refs import validate_ref
from ostler.io.files import space_errors
from ostler.io.progress import Reporter, silent
from ostler.store.content import RepoMode
from ostler.store.copy import CopyPlan, LocalPath, plan_copy, worker_count
from ostler.store.lock import locked
from ostler.store.repo import Repo
from ostler.store.summary import write_summary
from ostler.store.transfer import Wanted, check_binding, transfer

_LOCK = ".publish-lock"
_LOCK_SECONDS = 300


class PublishError(OstlerError):
    """A folder cannot take what is to be published."""


@dataclass(frozen=True, slots=True)
class RefChange:
    """A published ref and the commits it points at before (None: it is new) and after."""

    ref: str
    old: Checksum | None
    new: Checksum


@dataclass(frozen=True, slots=True)
class PublishPlan:
    """What publishing will do: create the repository or not, add objects, move refs."""

    destination: Path
    creates: bool
    refs: tuple[RefChange, ...]
    copy: CopyPlan


@dataclass(frozen=True, slots=True)
class PublishResult:
    """What was published, or with a dry run would be.

    `objects` are those that the folder lacked, `content_bytes` their size uncompressed; `stored_bytes` is what they
    take in the folder, compressed (0 for a dry run, which cannot know).
    """

    refs: tuple[RefChange, ...]
    objects: int
    content_bytes: int
    stored_bytes: int


def plan_publish(source: Repo, refs: Mapping[str, str], destination: Path) -> PublishPlan:
    """Find out what publishing would do, without changing anything. `refs` as for `publish_folder`; raises likewise."""
    existing = _open_destination(destination)
    changes = _ref_changes(source, refs, existing)
    copied = plan_copy(source, existing, [change.new for change in changes])
    return PublishPlan(destination, existing is None, changes, copied)


def publish_folder(
    source: Repo,
    refs: Mapping[str, str],
    destination: Path,
    *,
    dry_run: bool = False,
    timestamp: int | None = None,
    report: Reporter = silent,
) -> PublishResult:
    """Publish commits of `source` into the repository in the folder `destination`, which is made if missing.

    `refs` maps each ref to publish to the revision of `source` that it shall point at. Objects go first, then each ref,
    then the summary, the last two by renames: at no moment does a client see a ref whose objects are not all there.
    Several may publish at once; refs and summary are written by one after another.
    Whatever the umask, what is published can be read by everyone. `timestamp`: of the summary (None: now).

    Raises `NotFoundError` (no such revision; objects missing), `CorruptError` (damage in `source`), `PublishError` (the
    folder holds something else), `BusyError`, `NoSpaceError`.
    """
    if dry_run:
        plan = plan_publish(source, refs, destination)
        return PublishResult(plan.refs, plan.copy.objects, plan.copy.content_bytes, 0)
    changes = _ref_changes(source, refs, _open_destination(destination))
    with space_errors("publishing", destination):
        published = _create_destination(destination)
        wanted = [Wanted(change.new, similar=change.old) for change in changes]
        with published.lock():  # no prune until the refs hold what comes in
            moved = transfer(
                published, LocalPath(source), wanted, workers=worker_count(), activity="publish", report=report
            )
            _make_readable(destination / "objects", depth=1)
            with locked(destination / _LOCK, exclusive=True, timeout_seconds=_LOCK_SECONDS):
                for change in changes:
                    if change.old != change.new:
                        published.set_ref(change.ref, change.new)
                _make_readable(destination / "refs", depth=None)
                write_summary(published, timestamp=timestamp)
    return PublishResult(changes, moved.objects, moved.bytes_moved, moved.stored_bytes)


def _ref_changes(source: Repo, refs: Mapping[str, str], existing: Repo | None) -> tuple[RefChange, ...]:
    old = existing.refs() if existing else {}
    changes = []
    for ref, revision in refs.items():
        checksum = source.resolve(revision)
        check_binding(str(source.path), validate_ref(ref), checksum, source.load_commit(checksum))
        changes.append(RefChange(ref, old.get(ref), checksum))
    return tuple(changes)


def _open_destination(destination: Path) -> Repo | None:
    """The repository in the folder; None if the folder is missing or empty."""
    if not destination.exists() or (destination.is_dir() and not any(destination.iterdir())):
        return None
    if not (destination / "objects").is_dir():
        if destination.is_dir() and {entry.name for entry in destination.iterdir()} <= {"config"}:
            return None  # creating it was cut off
        raise PublishError(
            f"{destination} holds something else than a repository",
            hint="publish to an empty folder or to one that was published to before",
        )
    repo = Repo.open(destination)
    if repo.mode is not RepoMode.ARCHIVE:
        raise PublishError(
            f"the repository {destination} has mode {repo.mode}; machines can only pull from mode archive",
            hint="publish to another folder",
        )
    return repo


def _create_destination(destination: Path) -> Repo:
    missing = [path for path in (destination, *destination.parents) if not path.exists()]
    for path in reversed(missing):
        path.mkdir(exist_ok=True)
        path.chmod(0o755)
    repo = _open_destination(destination) or Repo.create(destination, RepoMode.ARCHIVE)
    _add_bits(destination, 0o755)
    for name in ("objects", "refs", "state", "tmp", "extensions"):
        if (destination / name).is_dir():
            _add_bits(destination / name, 0o755)
    _add_bits(destination / "config", 0o644)
    return repo


def _make_readable(folder: Path, *, depth: int | None) -> None:
    """Let everyone enter the folders in `folder`, `depth` levels of them (None: all), and read its ref files."""
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                _add_bits(Path(entry.path), 0o755)
                if depth is None or depth > 1:
                    _make_readable(Path(entry.path), depth=None if depth is None else depth - 1)
            elif entry.is_file(follow_symlinks=False):
                _add_bits(Path(entry.path), 0o644)


def _add_bits(path: Path, bits: int) -> None:
    mode = stat.S_IMODE(path.stat().st_mode)
    if mode & bits != bits:
        path.chmod(mode | bits)
