"""Static deltas during a pull: which one to use, getting it, and having it applied before what it lacks is fetched.

Nothing depends on a delta being good: the commit's tree is walked afterwards in any case.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import BinaryIO, TypeVar, cast

from ostler.errors import CorruptError, NotFoundError
from ostler.formats.delta import (
    Superblock,
    decode_index,
    digests_in,
    index_path,
    is_signed,
    parse_delta_name,
    part_path,
    superblock_path,
)
from ostler.formats.gvariant import FormatError
from ostler.formats.objects import Checksum, ObjectType, checksum_of
from ostler.io.http import Body, NetworkError
from ostler.io.progress import Reporter, Warning
from ostler.store.delta.apply import apply_part, check_commit, parts_needed
from ostler.store.delta.errors import DeltaError
from ostler.store.errors import ChecksumMismatchError, StoreError
from ostler.store.remote import MAX_FILE, RemoteHttp
from ostler.store.repo import Repo
from ostler.store.space import SpaceBudget
from ostler.store.transaction import Transaction
from ostler.store.transfer import Wanted

T = TypeVar("T")

MAX_SUPERBLOCK = 128 * 1024 * 1024
MAX_INDEX = 16 * 1024 * 1024
CHUNK = 256 * 1024


class NoDeltaError(StoreError):
    """Deltas were required, but there is none that helps."""


@dataclass(slots=True)
class DeltaCounts:
    """Parts and fallbacks of the deltas used: how many there are and how many are here; sizes in bytes."""

    parts_total: int = 0
    parts_fetched: int = 0
    fallbacks_total: int = 0
    fallbacks_fetched: int = 0
    fetched_size: int = 0
    total_size: int = 0
    total_usize: int = 0


@dataclass
class PullDeltas:
    """Uses deltas of `remote` for commits that `repo` lacks; a `Shortcut` for `Terms`.

    With `required` a commit without delta raises `NoDeltaError`, and what is wrong with one is an error; else objects
    are fetched one by one in both cases. With `dry_run` deltas are only counted.
    """

    repo: Repo
    remote: RemoteHttp
    required: bool
    dry_run: bool
    report: Reporter
    counts: DeltaCounts = field(default_factory=DeltaCounts)
    bytes_fetched: int = 0
    indexes: int = 0
    _found: dict[Checksum, Superblock | None] = field(default_factory=dict)
    _applied: set[Checksum] = field(default_factory=set)

    def find(self, want: Wanted) -> bytes | None:
        """Get the best delta to the commit, if there is one; return the commit's bytes from it."""
        if want.commit not in self._found:
            self._found[want.commit] = self._guarded(lambda: self._find(want))
        superblock = self._found[want.commit]
        return superblock.commit if superblock is not None else None

    def bring(self, transaction: Transaction, want: Wanted) -> None:
        """Apply that delta: write the objects that it makes, as far as they are missing."""
        self.find(want)
        superblock = self._found.get(want.commit)
        if superblock is not None and want.commit not in self._applied:
            self._applied.add(want.commit)
            self._guarded(lambda: self._apply(transaction, superblock))

    def _guarded(self, work: Callable[[], T]) -> T | None:
        try:
            return work()
        except (CorruptError, NotFoundError, NetworkError, DeltaError) as error:
            if self.required:
                raise
            self.report(Warning(f"a static delta could not be used: {error.message}", error.hint))
            return None

    # --- which

    def check_offered(self) -> None:
        """Raise `NoDeltaError` if deltas are required and the remote has none at all."""
        if self.required and not self._indexed() and not self._listed():
            raise NoDeltaError(
                "Fetch configured to require static deltas, but no summary deltas or delta index found",
                hint=f"{self.remote.name} lists no deltas; whoever publishes there must make some",
            )

    def _find(self, want: Wanted) -> Superblock | None:
        if self.repo.has(want.commit, ObjectType.COMMIT) and not self.repo.is_partial(want.commit):
            return None
        if self._indexed():
            offered = self._index_of(want.commit)
        elif listed := self._listed():
            offered = listed
        else:
            return self._blind(want)
        chosen = self._choose(offered, want)
        if chosen is None:
            if self.required:
                self._raise_missing(want)
            return None
        from_, digest = chosen
        superblock = self._load(from_, want.commit, digest)
        if superblock is None and self.required:
            self._raise_missing(want)
        return superblock

    def _raise_missing(self, want: Wanted) -> None:
        raise NoDeltaError(
            f"Static deltas required, but none found for {want.ref or ''} to {want.commit}",
            hint="pull without requiring deltas",
        )

    def _indexed(self) -> bool:
        summary = self.remote.summary() if self.remote.summary_loaded else None
        stated = summary.metadata.get("ostree.summary.indexed-deltas") if summary else None
        if stated is not None and stated.type == "b":
            return bool(stated.value)
        return summary is None and self.remote.config().get("core", "indexed-deltas", "false") in ("true", "1")

    def _listed(self) -> Mapping[str, Checksum]:
        summary = self.remote.summary()
        return digests_in(summary.metadata) if summary else {}

    def _index_of(self, commit: Checksum) -> Mapping[str, Checksum]:
        self.indexes += 1
        data = self.remote.content.load_optional(index_path(commit), limit=MAX_INDEX)
        return {} if data is None else decode_index(data)

    def _choose(self, offered: Mapping[str, Checksum], want: Wanted) -> tuple[Checksum | None, Checksum] | None:
        """(from, digest of the superblock): from the newest commit that is whole here, else from nothing."""
        newest: tuple[int, Checksum, Checksum] | None = None
        scratch: Checksum | None = None
        for name, digest in offered.items():
            from_, to = parse_delta_name(name)
            if to != want.commit:
                continue
            if from_ is None:
                scratch = digest
            elif self.repo.has(from_, ObjectType.COMMIT) and not self.repo.is_partial(from_):
                time = self.repo.load_commit(from_).timestamp
                if newest is None or time > newest[0]:
                    newest = (time, from_, digest)
        if newest is not None:
            return newest[1], newest[2]
        # With an older version here, single objects are fewer bytes than everything.
        return (None, scratch) if scratch is not None and want.similar is None else None

    def _blind(self, want: Wanted) -> Superblock | None:
        """A remote that lists no deltas may still have one from what the ref points at now."""
        from_ = want.similar
        if from_ is not None and (
            from_ == want.commit or not self.repo.has(from_, ObjectType.COMMIT) or self.repo.is_partial(from_)
        ):
            return None
        superblock = self._load(from_, want.commit, None)
        if superblock is None and self.required:
            self._raise_missing(want)
        return superblock

    # --- getting and applying

    def _load(self, from_: Checksum | None, to: Checksum, digest: Checksum | None) -> Superblock | None:
        data = self.remote.content.load_optional(superblock_path(from_, to), limit=MAX_SUPERBLOCK)
        if data is None or is_signed(data):
            return None
        self.bytes_fetched += len(data)
        try:
            if digest is not None and checksum_of(data) != digest:
                raise ChecksumMismatchError(digest, checksum_of(data), "superblock of a static delta")
            superblock = Superblock.decode(data)
            if (superblock.from_, superblock.to) != (from_, to):
                raise FormatError("it belongs to another delta")
            check_commit(superblock)
        except CorruptError as error:
            raise CorruptError(
                f"{self.remote.name}: the superblock of the delta to {to}: {error.message}", hint=error.hint
            ) from error
        return superblock

    def _apply(self, transaction: Transaction, superblock: Superblock) -> None:
        counts = self.counts
        needed = parts_needed(superblock, transaction)
        counts.parts_total += len(superblock.parts)
        counts.parts_fetched += len(superblock.parts) - len(needed)
        counts.total_size += sum(part.size for part in superblock.parts)
        counts.fetched_size += sum(p.size for n, p in enumerate(superblock.parts) if n not in needed)
        counts.total_usize += sum(part.usize for part in superblock.parts)
        counts.fallbacks_total += len(superblock.fallbacks)
        lacking = []
        for fallback in superblock.fallbacks:
            counts.total_size += fallback.size
            counts.total_usize += fallback.usize
            if transaction.has(fallback.checksum, fallback.kind):
                counts.fetched_size += fallback.size
                counts.fallbacks_fetched += 1
            else:
                lacking.append(fallback)
        if self.dry_run:
            return
        SpaceBudget(self.repo.path, self.repo.config).reserve(sum(superblock.parts[n].usize for n in needed))
        for number in needed:
            self._apply_part(transaction, superblock, number)
            counts.parts_fetched += 1
            counts.fetched_size += superblock.parts[number].size
        for fallback in lacking:
            if fallback.kind is not ObjectType.FILE:
                raise FormatError(f"the delta {superblock.name} has a {fallback.kind.extension} object as fallback")
            self.bytes_fetched += self.remote.store_file(fallback.checksum, transaction)
            counts.fallbacks_fetched += 1
            counts.fetched_size += fallback.size

    def _apply_part(self, transaction: Transaction, superblock: Superblock, number: int) -> None:
        if superblock.inline_part(number) is not None:
            apply_part(self.repo, transaction, superblock, number, None)
            return
        header = superblock.parts[number]
        path = part_path(superblock.from_, superblock.to, number)
        with _unnamed_file(self.repo) as file:
            received = self.remote.content.get(path, _copying(file), limit=min(header.size, MAX_FILE))
            self.bytes_fetched += received
            apply_part(self.repo, transaction, superblock, number, file)


def _copying(file: BinaryIO) -> Callable[[Body], int]:
    def consume(body: Body) -> int:
        file.seek(0)
        file.truncate()
        while data := body.read(CHUNK):
            file.write(data)
        file.flush()
        return body.received

    return consume


def _unnamed_file(repo: Repo) -> BinaryIO:
    import tempfile

    return cast(BinaryIO, tempfile.TemporaryFile(dir=repo.path / "tmp"))
