"""Bringing commits from somewhere into a repository: walk their trees, get what is missing, verify, store, set refs.

This is the engine below both `pull` (from a server) and `copy` (from a repository on this machine). Where objects come
from is behind `Source`. The order keeps every crash harmless: files, directories and directory metadata become visible
before the commit, that before refs. What a broken transfer has brought stays staged (each object was verified), so that
trying again goes on from there.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol, TypeAlias

from ostler.errors import CorruptError, NotFoundError
from ostler.formats.gvariant import Variant
from ostler.formats.objects import Checksum, Commit, DirTree, ObjectType, checksum_of
from ostler.io.progress import Finished, Progress, Reporter, Step, silent
from ostler.store.bindings import binding_fault
from ostler.store.errors import ChecksumMismatchError
from ostler.store.files_in import BATCH, Stored, bring_files
from ostler.store.repo import Repo
from ostler.store.source import MEND, EagerSource, Source, damaged, missing
from ostler.store.transaction import Transaction
from ostler.store.walk import Scope, Walk

if TYPE_CHECKING:
    from ostler.store.localcache import LocalCaches

__all__ = [
    "MEND",
    "ArrivedCommit",
    "Source",
    "Terms",
    "TransferResult",
    "Wanted",
    "check_binding",
    "damaged",
    "missing",
    "transfer",
]

REPORT_SECONDS = 0.1


@dataclass(frozen=True, slots=True)
class Wanted:
    """A commit to bring with all it contains, and the ref to point at it in the end (None: no ref).

    `similar` is a commit already here that may share much with it, such as the ref's present value; what is the same
    in both is not looked at. `remote` None: a ref of the repository itself, or of `collection`.
    """

    commit: Checksum
    ref: str | None = None
    remote: str | None = None
    similar: Checksum | None = None
    collection: str | None = None


@dataclass(frozen=True, slots=True)
class ArrivedCommit:
    """A commit before it is let in: its bytes (whose digest is right), itself, and the refs it was asked for by."""

    checksum: Checksum
    data: bytes
    commit: Commit
    detached: Mapping[str, Variant]
    refs: tuple[str, ...]


Admit: TypeAlias = Callable[[ArrivedCommit], None]
"""Raises for a commit that must not come in."""


class Shortcut(Protocol):
    """Another way to get many of a commit's objects at once, such as a static delta."""

    def find(self, want: Wanted) -> bytes | None:
        """The bytes of the commit if there is such a way to it; they are not verified."""

    def bring(self, transaction: Transaction, want: Wanted) -> None:
        """Go that way; what it does not bring is got one by one afterwards."""


@dataclass(frozen=True, slots=True)
class Terms:
    """What of the commits is brought, and on which conditions.

    `depth` parents besides each commit (-1: all), the `scope` of their trees, or only the commits themselves; `admit`
    may refuse a commit (None: only its refs are checked). `shortcut` is tried first; objects that `caches` have are
    taken from them. `is_deleted` tells whether a parent that is missing was deleted on purpose.
    """

    depth: int = 0
    scope: Scope = None
    commits_only: bool = False
    admit: Admit | None = None
    shortcut: Shortcut | None = None
    caches: "LocalCaches | None" = None
    is_deleted: Callable[[Checksum], bool] = lambda checksum: False
    fsync: bool | None = None
    fsync_each: bool | None = None

    @property
    def whole(self) -> bool:
        """Whether commits are complete afterwards."""
        return self.scope is None and not self.commits_only


USUAL = Terms()


@dataclass(frozen=True, slots=True)
class TransferResult:
    """What was moved: numbers of objects by kind; bytes as they came from the source, and as they are stored now.

    The `local` ones came out of caches on this machine and are not counted among the others. `detached` counts the
    times that detached metadata was asked for, `content_bytes` the content of new files.
    """

    metadata_objects: int
    file_objects: int
    bytes_moved: int
    stored_bytes: int
    local_metadata: int = 0
    local_files: int = 0
    detached: int = 0
    content_bytes: int = 0

    @property
    def objects(self) -> int:
        """All objects moved."""
        return self.metadata_objects + self.file_objects


def transfer(
    repo: Repo,
    source: Source,
    wanted: Sequence[Wanted],
    *,
    workers: int,
    activity: str,
    terms: Terms = USUAL,
    report: Reporter = silent,
) -> TransferResult:
    """Bring what is wanted into `repo`, then set its refs. `activity` names the work in progress events.

    `workers` is the number of requests under way at a time. Raises what the source and `terms.admit` raise,
    `CorruptError` for a commit that is bound to other refs, and `NoSpaceError`.
    """
    report(Step(activity, source.name))
    with repo.transaction(resumable=True) as transaction:
        if terms.fsync is not None:
            transaction.fsync = terms.fsync
        session = _Session(repo, source, transaction, workers, activity, terms, report)
        session.bring(wanted)
        for want in wanted:
            if want.ref is not None:
                _set_ref(transaction, want)
        if terms.whole:
            for commit in session.walked:
                transaction.set_complete(commit)
    result = session.result()
    report(Finished(activity, f"{result.objects} objects"))
    return result


def _set_ref(transaction: Transaction, want: Wanted) -> None:
    assert want.ref is not None
    if want.collection is None:
        transaction.set_ref(want.ref, want.commit, remote=want.remote)
    else:
        transaction.set_ref(want.ref, want.commit, collection=want.collection)


def check_binding(source: str, ref: str, checksum: Checksum, commit: Commit) -> None:
    """A commit that says which refs it belongs to must not come under another: that would be a mix-up or an attack.

    Raises `CorruptError`.
    """
    refuse_binding(source, checksum, binding_fault(commit, ref))


def refuse_binding(source: str, checksum: Checksum, fault: str | None) -> None:
    """Raise `CorruptError` if there is a fault."""
    if fault is not None:
        raise CorruptError(
            f"{source}: Commit {checksum}: {fault}",
            hint="the repository was put together wrongly, or somebody tampers with it; tell whoever publishes it",
        )


@dataclass
class _Session:
    repo: Repo
    source: Source
    transaction: Transaction
    workers: int
    activity: str
    terms: Terms
    report: Reporter
    refs_of: dict[Checksum, tuple[str, ...]] = field(default_factory=dict)
    walked: list[Checksum] = field(default_factory=list)
    cached: list[Checksum] = field(default_factory=list)
    metadata_objects: int = 0
    local_metadata: int = 0
    local: Stored = field(default_factory=Stored)
    files: Stored = field(default_factory=Stored)
    metadata_bytes: int = 0
    detached: int = 0

    def __post_init__(self) -> None:
        self.walk = Walk(self.repo)
        self.depths: dict[Checksum, int] = {}
        self.absent: set[Checksum] = set()
        self.last_report = 0.0

    def bring(self, wanted: Sequence[Wanted]) -> None:
        """Get all objects into the transaction."""
        for want in wanted:
            if want.ref is not None:
                self.refs_of[want.commit] = (*self.refs_of.get(want.commit, ()), want.ref)
        try:
            for want in wanted:
                self._bring_history(want)
            self._bring_contents()
        except BaseException:
            self.source.stop()
            raise
        self._tell(last=True)

    def result(self) -> TransferResult:
        """What was done."""
        return TransferResult(
            self.metadata_objects,
            self.files.objects,
            self.metadata_bytes + self.files.moved,
            self.transaction.stats.stored_bytes,
            self.local_metadata,
            self.local.objects,
            self.detached,
            self.transaction.stats.content_bytes,
        )

    # --- commits

    def _bring_history(self, want: Wanted) -> None:
        """A commit and the parents that are wanted too; a parent that the source lacks ends the history."""
        checksum: Checksum | None = want.commit
        depth = self.terms.depth
        similar = want.similar
        while checksum is not None:
            if self.depths.get(checksum, -2) == depth or (checksum in self.absent and checksum != want.commit):
                return
            known = checksum in self.depths
            self.depths[checksum] = depth
            commit = self.repo.load_commit(checksum) if known else self._bring_commit(checksum, want, similar)
            if commit is None:
                self.absent.add(checksum)
                del self.depths[checksum]
                return
            if depth == 0:
                return
            depth -= depth > 0
            similar = checksum
            checksum = commit.parent

    def _bring_commit(self, checksum: Checksum, want: Wanted, similar: Checksum | None) -> Commit | None:
        tip = checksum == want.commit
        present = self.repo.has(checksum, ObjectType.COMMIT)
        partial = not present or self.repo.is_partial(checksum)
        data: bytes | None = None
        if present:
            data = self.repo.load_bytes(checksum, ObjectType.COMMIT)
        elif tip and self.terms.shortcut is not None:
            data = self._check(checksum, self.terms.shortcut.find(want))
        detached = self._load_detached(checksum)
        if data is None:
            try:
                data = self._load_commit(checksum)
            except NotFoundError:
                if tip:
                    raise
                if self.terms.is_deleted(checksum):
                    self.repo.write_tombstone(checksum)
                return None
        commit = Commit.decode(data)
        self._admit(ArrivedCommit(checksum, data, commit, detached, self.refs_of.get(checksum, ()) if tip else ()))
        if not present:
            # Should the machine stop while objects become visible, nobody takes the commit for complete.
            self.repo.mark_partial(checksum, True)
            self.transaction.write_metadata_bytes(ObjectType.COMMIT, data, expected=checksum)
        if detached:
            self.transaction.write_detached(checksum, detached)
        if partial and not self.terms.commits_only:
            if tip and self.terms.shortcut is not None:
                self.terms.shortcut.bring(self.transaction, want)
            self.walk.add_commit(commit, similar if tip else None, self.terms.scope)
            self.walked.append(checksum)
        return commit

    def _admit(self, arrived: ArrivedCommit) -> None:
        if self.terms.admit is not None:
            self.terms.admit(arrived)
        else:
            for ref in arrived.refs:
                check_binding(self.source.name, ref, arrived.checksum, arrived.commit)

    def _load_detached(self, checksum: Checksum) -> Mapping[str, Variant]:
        self.detached += 1
        return self.source.load_detached(checksum) or self.repo.load_detached(checksum)

    def _load_commit(self, checksum: Checksum) -> bytes:
        if self.terms.caches is not None:
            data = self.terms.caches.load(checksum, ObjectType.COMMIT)
            if data is not None:
                self.local_metadata += 1
                return data
        data = self._check(checksum, self.source.load_metadata(checksum, ObjectType.COMMIT))
        assert data is not None
        self.metadata_objects += 1
        self.metadata_bytes += len(data)
        return data

    def _check(self, checksum: Checksum, data: bytes | None) -> bytes | None:
        """The bytes, if they are a commit and have this digest."""
        if data is not None:
            try:
                if checksum_of(data) != checksum:
                    raise ChecksumMismatchError(checksum, checksum_of(data), "commit")
                Commit.decode(data)
            except CorruptError as error:
                raise damaged(self.source.name, checksum, ObjectType.COMMIT, error) from error
        return data

    # --- trees

    def _bring_contents(self) -> None:
        for stored in bring_files(self.source, self._batches(), self.transaction, self.workers):
            self.files.add(stored)
            self._tell()
        if self.terms.caches is not None:
            for cache, there in self.terms.caches.share_out(self.cached):
                batches = iter([there[at : at + BATCH] for at in range(0, len(there), BATCH)])
                for stored in bring_files(cache, batches, self.transaction, self.workers):
                    self.local.add(stored)
            self._bring_what_caches_failed_at()

    def _bring_what_caches_failed_at(self) -> None:
        left = [checksum for checksum in self.cached if not self.repo.has_own(checksum, ObjectType.FILE)]
        self.local.objects -= len(left)
        batches = iter([left[at : at + BATCH] for at in range(0, len(left), BATCH)])
        for stored in bring_files(self.source, batches, self.transaction, self.workers):
            self.files.add(stored)

    def _batches(self) -> Iterator[list[Checksum]]:
        """The files that must come from the source, as they become known while the metadata come."""
        yield from self._full_batches()
        for checksum, kind, data in self._each_metadata():
            try:
                value = self.transaction.write_metadata_bytes(kind, data, expected=checksum)
            except CorruptError as error:
                raise damaged(self.source.name, checksum, kind, error) from error
            self.metadata_objects += 1
            self.metadata_bytes += len(data)
            if isinstance(value, DirTree):
                self.walk.arrived(checksum, value)
            yield from self._full_batches()
            self._tell()
        yield from self._full_batches(last=True)

    def _full_batches(self, *, last: bool = False) -> Iterator[list[Checksum]]:
        while len(self.walk.files) >= (1 if last else BATCH):
            batch = self.walk.take_files(BATCH)
            if self.terms.caches is not None:
                lacking = self.terms.caches.lacking(batch)
                self.cached += [checksum for checksum in batch if checksum not in lacking]
                batch = lacking
            if batch:
                yield batch

    def _each_metadata(self) -> Iterator[tuple[Checksum, ObjectType, bytes]]:
        if isinstance(self.source, EagerSource):
            yield from self.source.each_metadata(self._next_wanted, self.workers)
            return
        while (wanted := self._next_wanted()) is not None:
            yield *wanted, self.source.load_metadata(*wanted)

    def _next_wanted(self) -> tuple[Checksum, ObjectType] | None:
        """The next object that must come from the source; what the caches have is brought on the way."""
        while (wanted := self.walk.next_wanted()) is not None:
            data = None if self.terms.caches is None else self.terms.caches.load(*wanted)
            if data is None:
                return wanted
            checksum, kind = wanted
            value = self.transaction.write_metadata_bytes(kind, data, expected=checksum)
            self.local_metadata += 1
            if isinstance(value, DirTree):
                self.walk.arrived(checksum, value)
        return None

    # --- counting

    def _tell(self, *, last: bool = False) -> None:
        now = time.monotonic()
        if last or now - self.last_report >= REPORT_SECONDS:
            self.last_report = now
            moved = self.metadata_objects + self.files.objects
            total = max(moved, self.walk.found + len(self.walked))
            self.report(Progress(self.activity, moved, moved if last else total, "objects"))
            self.report(Progress(self.activity, self.metadata_bytes + self.files.moved, None, "bytes"))
