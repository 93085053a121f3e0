"""Publishing commits into a folder that any static web server can serve: an OSTree repository of mode archive."""

import os
import stat
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from ostler.formats.objects import Checksum
from ostler.io.files import atomic_write, fsync_directory, safe_join, space_errors
from ostler.io.progress import Reporter, silent
from ostler.publish.destination import DeltaChanges, Moved, PublishError, RefChange, Unlist
from ostler.publish.sequence import PublishOptions, PublishPlan, PublishResult, publish
from ostler.publish.sequence import plan as plan_sequence
from ostler.store.content import RepoMode
from ostler.store.copy import CopyPlan, LocalPath, plan_copy
from ostler.store.forked import processors
from ostler.store.lock import locked
from ostler.store.prune import PruneResult, prune
from ostler.store.repo import Repo
from ostler.store.summary import write_summary
from ostler.store.transfer import Wanted, transfer

__all__ = [
    "FolderDestination",
    "PublishError",
    "PublishPlan",
    "PublishResult",
    "RefChange",
    "plan_publish",
    "publish_folder",
]

_LOCK = ".publish-lock"
_LOCK_SECONDS = 300
_LARGEST = 128 * 1024 * 1024
_OPEN_FOLDERS = ("objects", "refs", "state", "tmp", "extensions")


def plan_publish(source: Repo, refs: Mapping[str, str], destination: Path) -> PublishPlan:
    """Find out what publishing would do, without changing anything. `refs` as for `publish_folder`; raises likewise."""
    return plan_sequence(source, refs, FolderDestination(destination), PublishOptions(dry_run=True), silent)


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

    `refs` maps each ref to publish to the revision of `source` that it shall point at. See `sequence.publish`.
    """
    options = PublishOptions(dry_run=dry_run, timestamp=timestamp)
    return publish(source, refs, FolderDestination(destination), options, report)


class FolderDestination:
    """A folder on this machine, as `Destination`."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def name(self) -> str:
        """The path."""
        return str(self.path)

    def exists(self) -> bool:
        """Whether a repository is there; raises `PublishError` if something else is."""
        return self.repository() is not None

    def repository(self) -> Repo | None:
        """The repository in the folder; None if the folder is missing or empty."""
        path = self.path
        if not path.exists() or (path.is_dir() and not any(path.iterdir())):
            return None
        if not (path / "objects").is_dir():
            if path.is_dir() and {entry.name for entry in path.iterdir()} <= {"config"}:
                return None  # creating it was cut off
            raise PublishError(
                f"{path} holds something else than a repository",
                hint="publish to an empty folder or to one that was published to before",
            )
        repo = Repo.open(path)
        if repo.mode is not RepoMode.ARCHIVE:
            raise PublishError(
                f"the repository {path} has mode {repo.mode}; machines can only pull from mode archive",
                hint="publish to another folder",
            )
        return repo

    def _open(self) -> Repo:
        repo = self.repository()
        if repo is None:
            raise PublishError(f"the repository {self.path} has vanished while it was published to")
        return repo

    def create(self) -> None:
        """Make an empty repository that everyone can read, unless there is one."""
        with space_errors("publishing", self.path):
            missing = [path for path in (self.path, *self.path.parents) if not path.exists()]
            for path in reversed(missing):
                path.mkdir(exist_ok=True)
                path.chmod(0o755)
            if self.repository() is None:
                Repo.create(self.path, RepoMode.ARCHIVE)
            _add_bits(self.path, 0o755)
            for name in _OPEN_FOLDERS:
                if (self.path / name).is_dir():
                    _add_bits(self.path / name, 0o755)
            _add_bits(self.path / "config", 0o644)

    @contextmanager
    def busy(self, *, removing: bool) -> Iterator[None]:
        """Whoever adds objects holds the repository's lock until refs hold them; `prune` takes it for itself."""
        if removing:
            yield
            return
        with self._open().lock():
            yield

    def renew(self) -> None:
        """A lock does not run out."""

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Held for a moment only, so others wait."""
        with locked(self.path / _LOCK, exclusive=True, timeout_seconds=_LOCK_SECONDS):
            yield

    def refs(self) -> dict[str, Checksum]:
        """The repository's own refs."""
        return {ref: commit for ref, commit in self._open().refs().items() if ":" not in ref}

    def read(self, paths: Iterable[str]) -> dict[str, bytes]:
        """The content of those of these files that exist."""
        found = {}
        for path in paths:
            try:
                with safe_join(self.path, path).open("rb") as file:
                    found[path] = file.read(_LARGEST)
            except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
                continue
        return found

    def missing(self, paths: Sequence[str]) -> set[str]:
        """Those of these files that do not exist."""
        return {path for path in paths if not safe_join(self.path, path).exists()}

    def names(self, folder: str) -> Iterator[str]:
        """The paths of all files below a folder."""
        for where, _, files in os.walk(self.path / folder):
            below = Path(where).relative_to(self.path).as_posix()
            yield from (f"{below}/{name}" for name in files)

    def plan_objects(self, source: Repo, changes: Sequence[RefChange]) -> CopyPlan:
        """What `add_objects` would add."""
        return plan_copy(source, self.repository(), [change.new for change in changes])

    def add_objects(self, source: Repo, changes: Sequence[RefChange], report: Reporter) -> Moved:
        """Bring what is missing, in one transaction that goes on where one before was cut off."""
        wanted = [Wanted(change.new, similar=change.old) for change in changes]
        with space_errors("publishing", self.path):
            moved = transfer(
                self._open(), LocalPath(source), wanted, workers=processors(), activity="publish", report=report
            )
            _make_readable(self.path / "objects", depth=1)
        return Moved(moved.objects, moved.bytes_moved, moved.stored_bytes)

    def add_files(self, files: Mapping[str, Path], report: Reporter) -> int:
        """Write files that nobody refers to yet."""
        size = 0
        with space_errors("publishing", self.path):
            for path, source in files.items():
                target = safe_join(self.path, path)
                self._make_folders(target.parent)
                data = source.read_bytes()
                atomic_write(target, data)
                size += len(data)
        return size

    def replace(self, files: Mapping[str, bytes]) -> None:
        """Write small files, each by a rename."""
        with space_errors("publishing", self.path):
            for path, data in files.items():
                target = safe_join(self.path, path)
                self._make_folders(target.parent)
                atomic_write(target, data)

    def _make_folders(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        while folder != self.path:
            _add_bits(folder, 0o755)
            folder = folder.parent

    def remove(self, paths: Iterable[str]) -> None:
        """Remove files."""
        folders = set()
        for path in paths:
            target = safe_join(self.path, path)
            target.unlink(missing_ok=True)
            folders.add(target.parent)
        for folder in folders:
            if folder.is_dir():
                fsync_directory(folder)

    def set_refs(self, changes: Sequence[RefChange]) -> None:
        """Point refs at their new commits."""
        published = self._open()
        for change in changes:
            published.set_ref(change.ref, change.new)
        _make_readable(self.path / "refs", depth=None)

    def write_summary(self, source: Repo, deltas: DeltaChanges, timestamp: int | None) -> bytes | None:
        """Bring the summary up to date with refs and static deltas; returns it if it had to change."""
        if not write_summary(self._open(), timestamp=timestamp):
            return None
        if (self.path / "delta-indexes").is_dir():
            _add_bits(self.path / "delta-indexes", 0o755)
            _make_readable(self.path / "delta-indexes", depth=None)
        return (self.path / "summary").read_bytes()

    def prune(self, source: Repo, keep: Iterable[Checksum], report: Reporter, *, unlist: Unlist | None) -> PruneResult:
        """Remove what neither refs nor the commits in `keep` need."""
        return prune(self._open(), keep=keep, dry_run=unlist is None, report=report)

    def close(self) -> None:
        """Nothing is open."""


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
