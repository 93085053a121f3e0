"""Bringing commits from somewhere into a repository: walk their trees, get what is missing, verify, store, set refs.

This is the engine below both `pull` (from a server) and `copy` (from a repository on this machine). Where objects come
from is behind `Source`. The order keeps every crash harmless: files, directories and directory metadata first, then
the commit, then refs. What a broken transfer has brought stays staged (each object was verified), so that trying again
goes on from there.
"""

import heapq
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from queue import SimpleQueue
from typing import Protocol

from ostler.errors import CorruptError, NotFoundError, OstlerError
from ostler.formats.gvariant import Variant
from ostler.formats.objects import (
    Checksum,
    Commit,
    DirMeta,
    DirTree,
    MetadataObject,
    ObjectType,
    checksum_of,
    decode_metadata,
)
from ostler.io.progress import Finished, Progress, Reporter, Step, silent
from ostler.store.errors import ChecksumMismatchError
from ostler.store.repo import Repo
from ostler.store.transaction import Transaction

REPORT_SECONDS = 0.1
MEND = "it must be mended there: run `ostler repo --repo DIR fsck --delete` on that repository, then publish again"
_ORDER = {ObjectType.COMMIT: 0, ObjectType.DIRTREE: 1, ObjectType.DIRMETA: 2, ObjectType.FILE: 3}


class Source(Protocol):
    """Where objects come from. Its methods are called from several threads at once.

    They raise `missing(…)` for an object that is not there, `NetworkError` if the source cannot be reached, and any
    `CorruptError` for an object that is damaged: the engine says which object and where.
    """

    @property
    def name(self) -> str:
        """What to call this source in messages: a URL or a path."""

    def load_metadata(self, checksum: Checksum, kind: ObjectType) -> bytes:
        """The bytes of a commit, dirtree or dirmeta, bounded in size; the engine verifies them."""

    def load_detached(self, commit: Checksum) -> Mapping[str, Variant] | None:
        """The detached metadata of a commit; None or empty if it has none."""

    def store_file(self, checksum: Checksum, transaction: Transaction) -> int:
        """Write one file object, verified, into the transaction; return the bytes that this moved."""

    def stop(self) -> None:
        """The transfer is given up: let calls under way in other threads fail soon, if that is possible."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """A commit to bring with all it contains, and the ref to point at it in the end (None: no ref).

    `similar` is a commit already here that may share much with it, such as the ref's present value; what is the same
    in both is not looked at. `remote` None: a ref of the repository itself.
    """

    commit: Checksum
    ref: str | None = None
    remote: str | None = None
    similar: Checksum | None = None


@dataclass(frozen=True, slots=True)
class TransferResult:
    """What was moved: numbers of objects by kind; bytes as they came from the source, and as they are stored now."""

    metadata_objects: int
    file_objects: int
    bytes_moved: int
    stored_bytes: int

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
    report: Reporter = silent,
) -> TransferResult:
    """Bring what is wanted into `repo`, then set its refs. `activity` names the work in progress events.

    Raises what the source raises, `CorruptError` for a commit that is bound to other refs, and `NoSpaceError`.
    """
    report(Step(activity, source.name))
    with repo.transaction(resumable=True) as transaction:
        session = _Session(repo, source, transaction, activity, report)
        session.bring(wanted, workers)
        session.finish(wanted)
    for want in wanted:
        repo.mark_partial(want.commit, False)
    result = TransferResult(
        session.metadata_objects, session.file_objects, session.bytes_moved, transaction.stats.stored_bytes
    )
    report(Finished(activity, f"{result.objects} objects"))
    return result


def damaged(source: str, checksum: Checksum, kind: ObjectType, error: OstlerError) -> CorruptError:
    """The error for an object at the source that does not hold what its name says."""
    return CorruptError(
        f"{source}: the {kind.extension} object {checksum} is damaged: {error.message}",
        hint=MEND,
    )


def missing(source: str, checksum: Checksum, kind: ObjectType) -> NotFoundError:
    """The error for an object that the source lacks though something there refers to it."""
    return NotFoundError(
        f"{source}: the {kind.extension} object {checksum} is missing",
        hint=MEND,
    )


def check_binding(source: str, ref: str, checksum: Checksum, commit: Commit) -> None:
    """A commit that says which refs it belongs to must not come under another: that would be a mix-up or an attack.

    Raises `CorruptError`.
    """
    binding = commit.metadata.get("ostree.ref-binding")
    if binding is not None and binding.type == "as" and ref not in binding.value:
        raise CorruptError(
            f"{source}: the commit {checksum} is not meant for the ref {ref} but for {', '.join(binding.value)}",
            hint="the repository was put together wrongly, or somebody tampers with it; tell whoever publishes it",
        )


@dataclass(frozen=True, slots=True)
class _Job:
    kind: ObjectType
    checksum: Checksum
    similar: Checksum | None = None


@dataclass(frozen=True, slots=True)
class _Done:
    job: _Job
    moved: int = 0
    value: Commit | DirTree | None = None
    data: bytes = b""
    error: BaseException | None = None


class _Jobs:
    """Work for the workers, directories before files: that way all there is to do is known early."""

    def __init__(self) -> None:
        self._heap: list[tuple[int, int, _Job]] = []
        self._count = 0
        self._closed = False
        self._condition = threading.Condition()

    def put(self, jobs: Iterable[_Job]) -> int:
        """Add jobs; return how many."""
        with self._condition:
            before = self._count
            for job in jobs:
                self._count += 1
                heapq.heappush(self._heap, (_ORDER[job.kind], self._count, job))
            added = self._count - before
            self._condition.notify(added)
            return added

    def get(self) -> _Job | None:
        """The next job; None once closed."""
        with self._condition:
            while not self._heap and not self._closed:
                self._condition.wait()
            return None if self._closed else heapq.heappop(self._heap)[2]

    def close(self) -> None:
        """Drop what nobody began and let the workers end."""
        with self._condition:
            self._closed = True
            self._condition.notify_all()


@dataclass
class _Session:
    repo: Repo
    source: Source
    transaction: Transaction
    activity: str
    report: Reporter
    wanted: set[tuple[ObjectType, Checksum]] = field(default_factory=set)
    refs_of: dict[Checksum, list[str]] = field(default_factory=dict)
    received: dict[Checksum, bytes] = field(default_factory=dict)
    metadata_objects: int = 0
    file_objects: int = 0
    bytes_moved: int = 0

    def __post_init__(self) -> None:
        self.jobs = _Jobs()
        self.done: SimpleQueue[_Done] = SimpleQueue()
        self.outstanding = 0
        self.asked = 0
        self.last_report = 0.0

    def bring(self, wanted: Sequence[Wanted], workers: int) -> None:
        """Get all objects but the commits into the transaction; the commits into memory."""
        for want in wanted:
            if want.ref is not None:
                self.refs_of.setdefault(want.commit, []).append(want.ref)
        threads = [threading.Thread(target=self._work, daemon=True) for _ in range(workers)]
        for thread in threads:
            thread.start()
        try:
            for want in wanted:
                self._want_commit(want.commit, want.similar)
            while self.outstanding:
                self._take(self.done.get())
        except BaseException:
            self.source.stop()
            raise
        finally:
            self.jobs.close()
            for thread in threads:
                thread.join()
        self._tell(last=True)

    def finish(self, wanted: Sequence[Wanted]) -> None:
        """Put the commits, their detached metadata and the refs into the transaction."""
        for commit in dict.fromkeys(want.commit for want in wanted):
            data = self.received.get(commit)
            if data is not None:
                # Should the machine stop while objects become visible, nobody takes the commit for complete.
                self.repo.mark_partial(commit, True)
                self.transaction.write_metadata_bytes(ObjectType.COMMIT, data, expected=commit)
            detached = self.source.load_detached(commit)
            if detached:
                self.transaction.write_detached(commit, detached)
        for want in wanted:
            if want.ref is not None:
                self.transaction.set_ref(want.ref, want.commit, remote=want.remote)

    def _take(self, done: _Done) -> None:
        self.outstanding -= 1
        if done.error is not None:
            raise done.error
        self._count(done)
        if isinstance(done.value, Commit):
            self.received[done.job.checksum] = done.data
            self._want_contents(done.job.checksum, done.value, done.job.similar)
        elif isinstance(done.value, DirTree):
            self._want_children(done.value, done.job.similar)

    # What is wanted: decided in the calling thread, with local look-ups only.

    def _want_commit(self, checksum: Checksum, similar: Checksum | None) -> None:
        if (ObjectType.COMMIT, checksum) in self.wanted:
            return
        self.wanted.add((ObjectType.COMMIT, checksum))
        if not self.repo.has(checksum, ObjectType.COMMIT):
            self._ask([_Job(ObjectType.COMMIT, checksum, similar)])
            return
        commit = self.repo.load_commit(checksum)
        self._check_bindings(checksum, commit)
        if self.repo.is_partial(checksum):
            self._want_contents(checksum, commit, similar)

    def _check_bindings(self, checksum: Checksum, commit: Commit) -> None:
        for ref in self.refs_of.get(checksum, []):
            check_binding(self.source.name, ref, checksum, commit)

    def _want_contents(self, checksum: Checksum, commit: Commit, similar: Checksum | None) -> None:
        self._check_bindings(checksum, commit)
        counterpart = None
        if similar is not None and self.repo.has(similar, ObjectType.COMMIT) and not self.repo.is_partial(similar):
            counterpart = self.repo.load_commit(similar).root_tree
        self._want_plain(ObjectType.DIRMETA, [commit.root_meta])
        self._want_tree(commit.root_tree, counterpart)

    def _want_tree(self, checksum: Checksum, similar: Checksum | None) -> None:
        """Ask for a dirtree, or go down into it if it is there: that does not mean that its children are."""
        stack = [(checksum, similar)]
        while stack:
            checksum, similar = stack.pop()
            if checksum == similar or (ObjectType.DIRTREE, checksum) in self.wanted:
                continue
            self.wanted.add((ObjectType.DIRTREE, checksum))
            if self.repo.has(checksum, ObjectType.DIRTREE):
                stack.extend(self._missing_children(self.repo.load_dirtree(checksum), similar))
            else:
                self._ask([_Job(ObjectType.DIRTREE, checksum, similar)])

    def _want_children(self, tree: DirTree, similar: Checksum | None) -> None:
        for checksum, counterpart in self._missing_children(tree, similar):
            self._want_tree(checksum, counterpart)

    def _missing_children(self, tree: DirTree, similar: Checksum | None) -> list[tuple[Checksum, Checksum | None]]:
        """Ask for the files and dirmetas missing below `tree`; return its subdirectories, each with its counterpart."""
        old = DirTree((), ()) if similar is None else self.repo.load_dirtree(similar)
        old_files = dict(old.files)
        old_dirs = {name: (child, meta) for name, child, meta in old.dirs}
        self._want_plain(ObjectType.FILE, [c for name, c in tree.files if old_files.get(name) != c])
        below = []
        metas = []
        for name, child, meta in tree.dirs:
            old_child, old_meta = old_dirs.get(name, (None, None))
            if meta != old_meta:
                metas.append(meta)
            if child != old_child:
                below.append((child, old_child))
        self._want_plain(ObjectType.DIRMETA, metas)
        return below

    def _want_plain(self, kind: ObjectType, checksums: Iterable[Checksum]) -> None:
        jobs = []
        for checksum in checksums:
            if (kind, checksum) not in self.wanted:
                self.wanted.add((kind, checksum))
                if not self.repo.has(checksum, kind):
                    jobs.append(_Job(kind, checksum))
        self._ask(jobs)

    def _ask(self, jobs: list[_Job]) -> None:
        added = self.jobs.put(jobs)
        self.outstanding += added
        self.asked += added

    # The workers.

    def _work(self) -> None:
        while (job := self.jobs.get()) is not None:
            try:
                done = self._do(job)
            except BaseException as error:
                done = _Done(job, error=error)
            self.done.put(done)

    def _do(self, job: _Job) -> _Done:
        kind, checksum = job.kind, job.checksum
        try:
            if kind is ObjectType.FILE:
                return _Done(job, self.source.store_file(checksum, self.transaction))
            data = self.source.load_metadata(checksum, kind)
            value: MetadataObject
            if kind is ObjectType.COMMIT:  # kept back: a commit must not be visible before what it contains
                if checksum_of(data) != checksum:
                    raise ChecksumMismatchError(checksum, checksum_of(data), "commit")
                value = decode_metadata(kind, data)
            else:
                value = self.transaction.write_metadata_bytes(kind, data, expected=checksum)
        except CorruptError as error:
            raise damaged(self.source.name, checksum, kind, error) from error
        return _Done(job, len(data), None if isinstance(value, DirMeta) else value, data)

    # Counting.

    def _count(self, done: _Done) -> None:
        self.bytes_moved += done.moved
        if done.job.kind is ObjectType.FILE:
            self.file_objects += 1
        else:
            self.metadata_objects += 1
        self._tell()

    def _tell(self, *, last: bool = False) -> None:
        now = time.monotonic()
        if last or now - self.last_report >= REPORT_SECONDS:
            self.last_report = now
            moved = self.metadata_objects + self.file_objects
            self.report(Progress(self.activity, moved, self.asked, "objects"))
            self.report(Progress(self.activity, self.bytes_moved, None, "bytes"))
