"""Copying commits between repositories on this machine, of any modes."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from ostler.errors import CorruptError, NotFoundError
from ostler.formats.gvariant import Variant
from ostler.formats.objects import Checksum, ObjectType
from ostler.io.progress import Reporter, silent
from ostler.store.content import RepoMode
from ostler.store.forked import processors
from ostler.store.import_rules import check_user_only
from ostler.store.reach import reachable
from ostler.store.repo import Repo
from ostler.store.source import damaged, missing
from ostler.store.transaction import Transaction
from ostler.store.transfer import TransferResult, Wanted, transfer

SMALL = 1024 * 1024


class LocalPath:
    """A repository on this machine as source of a transfer.

    With `link`, file objects are linked instead of copied where both repositories are of one mode and on one file
    system: quick and without extra space, but damage in the one is then damage in the other, and none is noticed.
    `verify` False believes the repository's names of what has to be copied, too. `user_only` refuses files that
    `bare-user-only` cannot hold.
    """

    def __init__(self, repo: Repo, *, link: bool = False, verify: bool = True, user_only: bool = False) -> None:
        self.repo = repo
        self.link = link
        self._verify = verify
        self._user_only = user_only

    @property
    def name(self) -> str:
        """The repository's folder."""
        return str(self.repo.path)

    def refs(self) -> Mapping[str, Checksum]:
        """The repository's own refs."""
        return {ref: commit for ref, commit in self.repo.refs().items() if ":" not in ref}

    def find(self, ref: str) -> Checksum | None:
        """The commit of a ref, or None."""
        return self.repo.refs().get(ref)

    def load_metadata(self, checksum: Checksum, kind: ObjectType) -> bytes:
        """See `Source`."""
        try:
            return self.repo.load_bytes(checksum, kind)
        except NotFoundError as error:
            raise missing(self.name, checksum, kind) from error
        except CorruptError as error:
            raise damaged(self.name, checksum, kind, error) from error

    def load_detached(self, commit: Checksum) -> Mapping[str, Variant]:
        """See `Source`."""
        return self.repo.load_detached(commit)

    def store_file(self, checksum: Checksum, transaction: Transaction) -> int:
        """See `Source`."""
        holder = self.repo.holder(checksum, ObjectType.FILE)
        try:
            path = holder.find_object(checksum, ObjectType.FILE)
        except NotFoundError as error:
            raise missing(self.name, checksum, ObjectType.FILE) from error
        if self._user_only:
            check_user_only(checksum, holder.file_meta(checksum))
        same_mode = holder.mode is transaction.repo.mode
        if same_mode and self.link and transaction.link_object(checksum, ObjectType.FILE, path):
            return 0
        if same_mode and holder.mode is RepoMode.ARCHIVE and self._verify:
            with open(path, "rb", buffering=0) as compressed:
                return transaction.write_filez(compressed, checksum)
        meta, size, content = holder.open_file_object(checksum)
        with content:
            given: bytes | BinaryIO = content.read() if size <= SMALL else content
            if not self._verify:
                transaction.count_file(transaction.store_believed(checksum, meta, given))
            elif size <= SMALL or holder.mode is RepoMode.ARCHIVE:
                transaction.write_file(meta, given, expected=checksum)
            else:
                transaction.write_file(meta, Path(path), expected=checksum)
        return size

    def stop(self) -> None:
        """See `Source`: nothing here takes long."""

    def in_child(self) -> "LocalPath":
        """See `EagerSource`."""
        return self

    def each_metadata(
        self, next_wanted: Callable[[], tuple[Checksum, ObjectType] | None], lanes: int
    ) -> Iterator[tuple[Checksum, ObjectType, bytes]]:
        """See `EagerSource`."""
        while (wanted := next_wanted()) is not None:
            yield *wanted, self.load_metadata(*wanted)

    def store_files(self, checksums: Sequence[Checksum], transaction: Transaction, lanes: int) -> Iterator[int]:
        """See `EagerSource`."""
        for checksum in checksums:
            try:
                yield self.store_file(checksum, transaction)
            except CorruptError as error:
                raise damaged(self.name, checksum, ObjectType.FILE, error) from error


def copy_objects(
    source: Repo,
    destination: Repo,
    commit: Checksum,
    *,
    ref: str | None = None,
    remote: str | None = None,
    similar: Checksum | None = None,
    link: bool = False,
    workers: int | None = None,
    activity: str = "copy objects",
    report: Reporter = silent,
) -> TransferResult:
    """Copy a commit with all it contains, verified, into another repository; then point `ref` (of `remote`) at it.

    `similar` is a commit of the destination that may share much with it. `link`: see `LocalPath`; `workers` None: one
    thread per core. Raises `NotFoundError`, `CorruptError` and `NoSpaceError`.
    """
    return transfer(
        destination,
        LocalPath(source, link=link),
        [Wanted(commit, ref, remote, similar)],
        workers=workers or processors(),
        activity=activity,
        report=report,
    )


@dataclass(frozen=True, slots=True)
class CopyPlan:
    """What copying would add: objects, and their uncompressed size in bytes."""

    metadata_objects: int = 0
    file_objects: int = 0
    content_bytes: int = 0

    @property
    def objects(self) -> int:
        """All objects to add."""
        return self.metadata_objects + self.file_objects


def plan_copy(source: Repo, destination: Repo | None, commits: Iterable[Checksum]) -> CopyPlan:
    """What `copy_objects` of all these commits would add to the destination (None: an empty repository)."""

    def lacks(checksum: Checksum, kind: ObjectType) -> bool:
        return destination is None or not destination.has(checksum, kind)

    absent = [name for name in reachable(source, commits) if source.has(*name) and lacks(*name)]
    files = [checksum for checksum, kind in absent if kind is ObjectType.FILE]
    size = sum(source.file_size(checksum) for checksum in files)
    return CopyPlan(len(absent) - len(files), len(files), size)
