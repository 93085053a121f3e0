"""What a place must be able to do so that commits can be published there.

A place holds the files of an OSTree repository of mode archive, named as in its folder (`objects/ab/cd….filez`,
`refs/heads/web/stable`, `summary`), and nothing else needs to run there. Three kinds: a folder, a folder behind SSH,
and an S3-compatible bucket. The order in which things become visible is not theirs to choose: see `sequence`.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, TypeAlias

from ostler.errors import OstlerError
from ostler.formats.objects import Checksum
from ostler.io.progress import Reporter
from ostler.store.copy import CopyPlan
from ostler.store.prune import PruneResult
from ostler.store.repo import Repo

HISTORY = "ostler/history"
"""The folder in a published repository that says, ref by ref, which commits it pointed at."""


class PublishError(OstlerError):
    """A place cannot take what is to be published."""


@dataclass(frozen=True, slots=True)
class RefChange:
    """A published ref and the commits it points at before (None: it is new) and after."""

    ref: str
    old: Checksum | None
    new: Checksum


@dataclass(frozen=True, slots=True)
class Moved:
    """What was brought to a place: objects, their size uncompressed, and what they take there, in bytes."""

    objects: int = 0
    content_bytes: int = 0
    stored_bytes: int = 0


@dataclass(frozen=True, slots=True)
class DeltaChanges:
    """Static deltas that are new, by name with the digests of their superblocks; and names of those that will go."""

    added: Mapping[str, bytes] = field(default_factory=dict)
    removed: frozenset[str] = frozenset()


Unlist: TypeAlias = Callable[[frozenset[str]], None]
"""Takes static deltas out of the summary."""


class Destination(Protocol):
    """A place to publish to. Paths are relative to the repository; what is written can be read by everyone."""

    @property
    def name(self) -> str:
        """What to call it in messages: a path or a URL."""

    def exists(self) -> bool:
        """Whether a repository is there; raises `PublishError` if something else is."""

    def create(self) -> None:
        """Make an empty repository, unless there is one."""

    def busy(self, *, removing: bool) -> AbstractContextManager[None]:
        """Keep those who remove objects apart from all others who publish there, as far as the place allows.

        Raises `BusyError` if somebody is at it.
        """

    def renew(self) -> None:
        """Say that one is still busy; called now and then during long work."""

    def turn(self) -> AbstractContextManager[None]:
        """One at a time reads and writes refs, histories and the summary, as far as the place allows."""

    def refs(self) -> dict[str, Checksum]:
        """The repository's own refs."""

    def read(self, paths: Iterable[str]) -> dict[str, bytes]:
        """The content of those of these (small) files that exist."""

    def missing(self, paths: Sequence[str]) -> set[str]:
        """Those of these files that do not exist."""

    def names(self, folder: str) -> Iterator[str]:
        """The paths of all files below a folder."""

    def plan_objects(self, source: Repo, changes: Sequence[RefChange]) -> CopyPlan:
        """What `add_objects` would add."""

    def add_objects(self, source: Repo, changes: Sequence[RefChange], report: Reporter) -> Moved:
        """Bring what is missing of the new commits, with their detached metadata, verified; the commits come last."""

    def add_files(self, files: Mapping[str, Path], report: Reporter) -> int:
        """Write files that nobody refers to yet, from files here, in this order; returns their bytes."""

    def replace(self, files: Mapping[str, bytes]) -> None:
        """Write small files, each in one step, so that readers see the old or the new one."""

    def remove(self, paths: Iterable[str]) -> None:
        """Remove files, in about this order; what does not exist is passed over."""

    def set_refs(self, changes: Sequence[RefChange]) -> None:
        """Point refs at their new commits."""

    def write_summary(self, source: Repo, deltas: DeltaChanges, timestamp: int | None) -> bytes | None:
        """Bring the summary up to date with refs and static deltas; returns it if it had to change.

        `timestamp` is the time to note in it, in seconds since 1970 (None: now).
        """

    def prune(self, source: Repo, keep: Iterable[Checksum], report: Reporter, *, unlist: Unlist | None) -> PruneResult:
        """Remove what neither refs nor the commits in `keep` need, static deltas to removed commits included.

        `unlist` None: a dry run. Else it is called with the names of deltas before these go.
        """

    def repository(self) -> Repo | None:
        """The repository itself if it is on this machine."""

    def close(self) -> None:
        """End connections."""
