"""Pulling refs from a remote: a published repository behind HTTP, or a repository on this machine."""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from ostler.errors import CorruptError, NotFoundError
from ostler.formats.gvariant import FormatError
from ostler.formats.objects import Checksum, Commit, ObjectType, checksum_of, parse_checksum
from ostler.formats.refs import BadRefError, validate_ref
from ostler.io.http import Fetcher
from ostler.io.progress import Reporter, silent
from ostler.store.bindings import binding_fault
from ostler.store.content import RepoMode
from ostler.store.copy import LocalPath
from ostler.store.errors import ChecksumMismatchError, StoreError
from ostler.store.place import Place, place_of
from ostler.store.pull_options import DEFAULTS, PullOptions, UseDeltas
from ostler.store.pull_refs import MirroredRef, destination_of, mirrored_refs
from ostler.store.pull_result import PullResult, PullStatistics
from ostler.store.pull_rules import Admission, OlderCommitError
from ostler.store.pull_source import RefSource, open_place, verifier_at
from ostler.store.remote import RemoteHttp
from ostler.store.remote_summary import SummaryFiles
from ostler.store.repo import Repo
from ostler.store.signing.errors import SignatureError
from ostler.store.signing.verify import Verifier
from ostler.store.source import Source
from ostler.store.transfer import (
    Terms,
    TransferResult,
    Wanted,
    damaged,
    refuse_binding,
    transfer,
)
from ostler.store.walk import scope_of

if TYPE_CHECKING:
    from ostler.store.pull_deltas import DeltaCounts, PullDeltas

__all__ = [
    "OlderCommitError",
    "PullResult",
    "PullStatistics",
    "RefSource",
    "SignatureRequiredError",
    "open_source",
    "pull",
    "pull_local",
    "remote_commit",
    "remote_refs",
    "remote_summary",
]

MAX_LISTED = 20

SignatureRequiredError = SignatureError


def pull(
    repo: Repo,
    remote: str | Path,
    refs: Sequence[str] = (),
    *,
    options: PullOptions = DEFAULTS,
    connections: int | None = None,
    fetcher: Fetcher | None = None,
    report: Reporter = silent,
) -> PullResult:
    """Bring the commits of `refs` with all they contain into `repo`, then point its refs at them.

    `remote` is the name of one of the repository's remotes, whose refs become `REMOTE:REF` here; or a URL (`http`,
    `https`, `file`) or a path, whose refs become refs of the repository itself. Instead of a ref a whole checksum can
    be given; then no ref is set; `REF@CHECKSUM` sets the ref to that commit. No refs: those that the remote's
    configuration names (`branches`), or for a mirror all that there are. `connections` replaces that of `options`.
    Without `fetcher` one is made with the settings of the remote.

    Raises `NotFoundError` (no such ref; objects missing), `CorruptError` (what came does not have its digest; nothing
    becomes visible), `SignatureError` (a signature is missing or not good), `OlderCommitError`, `NetworkError` (what
    came before is kept for the next try), `NoDeltaError`, `StoreError`.
    """
    if connections is not None:
        options = replace(options, connections=connections)
    place = place_of(repo, remote, options)
    verifier = verifier_at(repo, place, options)
    with open_place(repo, place, options, verifier, fetcher=fetcher) as source:
        return _Pull(repo, place, options, verifier, source, place.name, report).run(refs or place.branches)


def pull_local(
    repo: Repo,
    source: Path,
    refs: Sequence[str] | None = None,
    *,
    remote: str | None = None,
    options: PullOptions = DEFAULTS,
    report: Reporter = silent,
) -> PullResult:
    """Bring refs (None: all of them) of a repository on this machine, as refs of `remote` if that is named.

    Signatures are checked only as far as `options` demand it. Raises as `pull` does.
    """
    place = Place(remote, f"file://{source.absolute()}", None, {})
    if remote is not None and remote in (known := repo.remotes()):
        place = replace(place, options=known[remote].options)
    verifier = verifier_at(repo, place, options, local=True)
    with open_place(repo, place, options, verifier) as opened:
        if refs is None:
            refs = list(Repo.open(source).refs())
        return _Pull(repo, place, options, verifier, opened, remote, report).run(refs)


def remote_refs(
    repo: Repo, remote: str | Path, *, options: PullOptions = DEFAULTS, fetcher: Fetcher | None = None
) -> dict[str, Checksum]:
    """The refs that a remote lists in its summary. Raises as `pull` does."""
    with open_source(repo, remote, options=options, fetcher=fetcher) as source:
        return dict(source.refs())


def remote_summary(
    repo: Repo, remote: str | Path, *, options: PullOptions = DEFAULTS, fetcher: Fetcher | None = None
) -> tuple[bytes | None, bytes | None]:
    """The files `summary` and `summary.sig` of a remote (None: it has none), verified as the remote's settings demand.

    Raises as `pull` does.
    """
    with open_source(repo, remote, options=options, fetcher=fetcher) as source:
        files = source.summary_files(with_signature=True)
    return files.summary, files.signature


def remote_commit(
    repo: Repo, remote: str | Path, ref: str, *, options: PullOptions = DEFAULTS, fetcher: Fetcher | None = None
) -> tuple[Checksum, Commit]:
    """The commit that a remote has for a ref, looked at without changing anything here. Raises as `pull` does."""
    place = place_of(repo, remote, options)
    verifier = verifier_at(repo, place, options)
    with open_place(repo, place, options, verifier, fetcher=fetcher) as source:
        if isinstance(source, RemoteHttp):
            source.summary()
            source.check_usable()
        checksum = _resolve(source, ref)
        data = _load_commit(repo, source, checksum)
        if verifier.checks_commits:
            verifier.verify_commit(checksum, data, source.load_detached(checksum))
    commit = Commit.decode(data)
    if ref != checksum:
        refuse_binding(source.name, checksum, binding_fault(commit, ref, _collection_of(place, source)))
    return checksum, commit


@contextmanager
def open_source(
    repo: Repo, remote: str | Path, *, options: PullOptions = DEFAULTS, fetcher: Fetcher | None = None
) -> Iterator[RefSource]:
    """What `remote` (as in `pull`) stands for, as a source of objects and refs."""
    place = place_of(repo, remote, options)
    with open_place(repo, place, options, verifier_at(repo, place, options), fetcher=fetcher) as source:
        yield source


@dataclass
class _Pull:
    """One pull, with its source open."""

    repo: Repo
    place: Place
    options: PullOptions
    verifier: Verifier
    source: RefSource
    remote: str | None
    report: Reporter

    def run(self, refs: Sequence[str]) -> PullResult:
        start = time.monotonic()
        deltas = self._deltas()
        everything = self.options.mirror and not refs and not self.options.collection_refs
        if isinstance(self.source, RemoteHttp):
            if everything:
                self.source.summary_files(with_signature=True)
            elif self._asks_for_refs(refs) or (deltas is not None and not self._indexed()):
                self.source.summary()
            self.source.check_usable()
        mirrored = self._mirrored_summary() if everything else None
        wanted = self._wanted(refs, mirrored)
        if deltas is not None:
            deltas.check_offered()
        before = self._timestamps(wanted)
        if self.options.dry_run:
            assert deltas is not None
            with self.repo.transaction() as transaction:
                for want in wanted:
                    deltas.bring(transaction, want)
            moved = TransferResult(0, 0, 0, 0)
        else:
            moved = transfer(
                self.repo,
                self.source,
                wanted,
                workers=self.options.connections,
                activity="pull",
                terms=self._terms(deltas, before),
                report=self.report,
            )
            if mirrored is not None:
                self._copy_summary(mirrored)
        commits = {want.ref or want.commit: want.commit for want in wanted}
        return PullResult(commits, moved, self._statistics(moved, deltas, time.monotonic() - start))

    def _terms(self, deltas: "PullDeltas | None", before: Mapping[str, Checksum | None]) -> Terms:
        from ostler.store.localcache import LocalCaches

        options = self.options
        caches = None
        if options.local_caches:
            caches = LocalCaches(options.local_caches, link=not options.untrusted)
        return Terms(
            depth=options.depth,
            scope=scope_of(options.subpaths),
            commits_only=options.commit_metadata_only,
            admit=Admission(
                self.repo,
                self.source.name,
                options,
                self.verifier,
                _collection_of(self.place, self.source),
                before,
            ),
            shortcut=deltas,
            caches=caches,
            is_deleted=self.source.is_deleted,
            fsync=False if options.disable_fsync else None,
            fsync_each=options.per_object_fsync or None,
        )

    # --- what

    def _wanted(self, refs: Sequence[str], everything: SummaryFiles | None) -> list[Wanted]:
        wanted: dict[object, Wanted] = {}
        if everything is not None:
            for mirrored in self._all_refs(everything):
                wanted[mirrored.collection, mirrored.ref] = self._want(mirrored.ref, mirrored.commit, mirrored)
        elif not refs and not self.options.collection_refs:
            raise StoreError(
                f"No configured branches for remote {self.place.name or self.source.name}",
                hint="name the refs to pull",
            )
        for text in refs:
            checksum = _checksum(text)
            if checksum is not None:
                wanted[checksum] = Wanted(checksum)
                continue
            ref, at, override = text.rpartition("@")
            if not at:
                ref = text
            _check_ref(ref)
            commit = parse_checksum(override) if at else self.options.override_commits.get(ref)
            wanted[ref] = self._want(ref, commit or _resolve(self.source, ref), None)
        for collection, ref, override_commit in self.options.collection_refs:
            commit = override_commit or self._resolve_mirrored(collection, ref)
            wanted[collection, ref] = self._want(ref, commit, MirroredRef(collection, ref, commit))
        return list(wanted.values())

    def _asks_for_refs(self, refs: Sequence[str]) -> bool:
        """Whether some ref must be looked up at the remote."""
        overrides = self.options.override_commits
        named = any(_checksum(text) is None and "@" not in text and text not in overrides for text in refs)
        return named or any(commit is None for _, _, commit in self.options.collection_refs)

    def _mirrored_summary(self) -> SummaryFiles:
        """What is mirrored, as it is now: a newer summary would name commits that do not come along."""
        files = self.source.summary_files(with_signature=True)
        if files.summary is None:
            raise StoreError(
                "Fetching all refs was requested in mirror mode, but remote repository does not have a summary",
                hint="name the refs to mirror, or have the summary written there (`ostree summary --update`)",
            )
        return files

    def _all_refs(self, files: SummaryFiles) -> Sequence[MirroredRef]:
        summary = files.parse(self.source.name)
        return () if summary is None else mirrored_refs(summary)

    def _resolve_mirrored(self, collection: str, ref: str) -> Checksum:
        summary = self.source.summary()
        for each in mirrored_refs(summary) if summary is not None else ():
            if (each.collection, each.ref) == (collection, ref):
                return each.commit
        if isinstance(self.source, LocalPath):
            found = self.source.repo.collection_refs(heads=True, remotes=True).get((collection, ref))
            if found is not None:
                return found
        raise NotFoundError(f"No such branch ({collection}, {ref}) in repository summary of {self.source.name}")

    def _want(self, ref: str, commit: Checksum, mirrored: MirroredRef | None) -> Wanted:
        if mirrored is None and self.options.mirror:
            summary = self.source.summary() if _knows_summary(self.source) else None
            stated = summary.metadata.get("ostree.summary.collection-id") if summary else None
            collection = str(stated.value) if stated is not None and stated.type == "s" else None
            mirrored = MirroredRef(collection, ref, commit)
        return destination_of(self.repo, ref, commit, remote=self.remote, mirrored=mirrored)

    # --- which commits may come in

    def _timestamps(self, wanted: Sequence[Wanted]) -> Mapping[str, Checksum | None]:
        """For each ref to be checked, the commit that it points at now."""
        if not self.options.timestamp_check:
            return {}
        return {want.ref: want.similar for want in wanted if want.ref is not None}

    # --- deltas

    def _deltas(self) -> "PullDeltas | None":
        options = self.options
        required = options.static_deltas is UseDeltas.REQUIRE
        if self.repo.mode is RepoMode.ARCHIVE and required:
            raise StoreError(
                "Can't use static deltas in an archive repo", hint="pull into a repository of another mode"
            )
        unsuitable = self.repo.mode is RepoMode.ARCHIVE or options.commit_metadata_only or options.bareuseronly_files
        if options.static_deltas is UseDeltas.NEVER or not isinstance(self.source, RemoteHttp) or unsuitable:
            return None
        if options.subpaths and not required:
            return None
        from ostler.store.pull_deltas import PullDeltas

        return PullDeltas(self.repo, self.source, required, options.dry_run, self.report)

    def _indexed(self) -> bool:
        assert isinstance(self.source, RemoteHttp)
        return self.source.config().get("core", "indexed-deltas", "false") in ("true", "1")

    # --- the end

    def _copy_summary(self, files: SummaryFiles) -> None:
        """A mirror of everything has the summary and signature of what it mirrors.

        The signature comes last: clients ask for it first, and one that they know stands for the summary they know.
        """
        from ostler.io.files import atomic_write

        assert files.summary is not None
        durable = self.repo.fsync and not self.options.disable_fsync
        atomic_write(self.repo.path / "summary", files.summary, mode=0o644, durable=durable)
        if files.signature is not None:
            atomic_write(self.repo.path / "summary.sig", files.signature, mode=0o644, durable=durable)
        else:
            (self.repo.path / "summary.sig").unlink(missing_ok=True)

    def _statistics(self, moved: TransferResult, deltas: "PullDeltas | None", seconds: float) -> PullStatistics:
        local = isinstance(self.source, LocalPath)
        counts: DeltaCounts | None = deltas.counts if deltas is not None else None
        return PullStatistics(
            local=local,
            metadata_fetched=0
            if local
            else moved.metadata_objects + moved.detached + (deltas.indexes if deltas else 0),
            content_fetched=0 if local else moved.file_objects,
            metadata_imported=moved.local_metadata + (moved.metadata_objects if local else 0),
            content_imported=moved.local_files + (moved.file_objects if local else 0),
            delta_parts=counts.parts_fetched if counts else 0,
            bytes_transferred=0 if local else moved.bytes_moved + (deltas.bytes_fetched if deltas else 0),
            content_bytes_written=moved.content_bytes,
            seconds=seconds,
            parts_fetched=counts.parts_fetched + counts.fallbacks_fetched if counts else 0,
            parts_total=counts.parts_total + counts.fallbacks_total if counts else 0,
            fetched_size=counts.fetched_size if counts else 0,
            total_size=counts.total_size if counts else 0,
            total_usize=counts.total_usize if counts else 0,
        )


def _knows_summary(source: RefSource) -> bool:
    return source.summary_loaded if isinstance(source, RemoteHttp) else False


def _collection_of(place: Place, source: Source) -> str | None:
    """The collection that commits of the source must belong to."""
    if isinstance(source, LocalPath):
        return source.repo.collection_id
    return place.option("collection-id")


def _checksum(text: str) -> Checksum | None:
    try:
        return parse_checksum(text)
    except FormatError:
        return None


def _check_ref(ref: str) -> None:
    try:
        validate_ref(ref)
    except BadRefError as error:
        raise BadRefError(f"Invalid ref name {ref}", hint=error.hint) from error


def _resolve(source: RefSource, ref: str) -> Checksum:
    checksum = _checksum(ref)
    if checksum is not None:
        return checksum
    _check_ref(ref)
    found = source.find(ref)
    if found is not None:
        return found
    known = sorted(source.refs())
    shown = ", ".join(known[:MAX_LISTED]) + (f" and {len(known) - MAX_LISTED} more" if len(known) > MAX_LISTED else "")
    if source.summary() is not None:
        message = f"No such branch '{ref}' in repository summary: {source.name} has no ref {ref}"
    elif isinstance(source, LocalPath):
        message = f"Refspec '{ref}' not found: {source.name} has no ref {ref}"
    else:
        message = f"{source.name} has no ref {ref} (the server answered 404)"
    raise NotFoundError(
        message,
        hint=f"refs there: {shown}" if known else "it lists no refs at all; check the name with whoever publishes it",
    )


def _load_commit(repo: Repo, source: Source, checksum: Checksum) -> bytes:
    if repo.has(checksum, ObjectType.COMMIT):
        return repo.load_bytes(checksum, ObjectType.COMMIT)
    data = source.load_metadata(checksum, ObjectType.COMMIT)
    try:
        if checksum_of(data) != checksum:
            raise ChecksumMismatchError(checksum, checksum_of(data), "commit")
        Commit.decode(data)
    except CorruptError as error:
        raise damaged(source.name, checksum, ObjectType.COMMIT, error) from error
    return data
