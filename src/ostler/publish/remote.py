"""What places that are reached over a network have in common: their repository is a set of named files, no more.

Objects are compressed here and sent; what is there already is asked for by name. Since such a place has no lock, those
who publish leave a note there while they do, and those who remove objects look for such notes: see `busy`.
"""

import json
import secrets
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from hashlib import sha256
from pathlib import Path

from ostler.errors import BusyError, CorruptError, NotFoundError, OstlerError
from ostler.formats.delta import DELTAS_KEY, delta_name, index_path, parse_delta_folder, parse_delta_name
from ostler.formats.gvariant import FormatError, Variant, encode
from ostler.formats.keyfile import Keyfile
from ostler.formats.objects import Checksum, Commit, DirTree, ObjectType, checksum_of, parse_checksum
from ostler.formats.summary import (
    COLLECTION_ID,
    COMMIT_TIMESTAMP,
    COMMIT_VERSION,
    INDEXED_DELTAS,
    LAST_MODIFIED,
    MODE,
    TOMBSTONE_COMMITS,
    Summary,
    SummaryEntry,
    big_endian,
)
from ostler.io.progress import Finished, Progress, Reporter, Step
from ostler.publish.archive_form import ArchivedObject, archive_path, in_order, stored_size
from ostler.publish.destination import DeltaChanges, Moved, PublishError, RefChange, Unlist
from ostler.store.content import RepoMode
from ostler.store.copy import CopyPlan
from ostler.store.errors import ChecksumMismatchError
from ostler.store.prune import PruneResult
from ostler.store.reach import ObjectName, ObjectSet, reachable
from ostler.store.repo import Repo

HEADS = "refs/heads"
BUSY = "ostler/busy"
"""The folder of the notes that those leave who are at work."""
LEASE_SECONDS = 3600
_RENEWED_AFTER_SECONDS = 600
_TREES_AT_A_TIME = 500
_SUMMARY_TRIES = 5


class RemoteRepository(ABC):
    """A `Destination` over the few things that a store of named files can do."""

    def __init__(self) -> None:
        self._note: tuple[str, bool] | None = None  # the path of this one's own note, and whether it removes objects
        self._noted = 0.0

    @property
    @abstractmethod
    def name(self) -> str:
        """The URL, without secrets."""

    @abstractmethod
    def read(self, paths: Iterable[str]) -> dict[str, bytes]:
        """See `Destination`."""

    @abstractmethod
    def missing(self, paths: Sequence[str]) -> set[str]:
        """See `Destination`."""

    @abstractmethod
    def names(self, folder: str) -> Iterator[str]:
        """See `Destination`."""

    @abstractmethod
    def read_below(self, folder: str) -> dict[str, bytes]:
        """The content of all (small) files below a folder."""

    @abstractmethod
    def add_files(self, files: Mapping[str, Path], report: Reporter) -> int:
        """See `Destination`."""

    @abstractmethod
    def replace(self, files: Mapping[str, bytes]) -> None:
        """See `Destination`."""

    @abstractmethod
    def remove(self, paths: Iterable[str]) -> None:
        """See `Destination`."""

    @abstractmethod
    def close(self) -> None:
        """See `Destination`."""

    @abstractmethod
    def is_empty(self) -> bool:
        """Whether nothing is there at all."""

    @abstractmethod
    def send(self, source: Repo, names: Sequence[ObjectName], spool: Path, report: "SendReport") -> None:
        """Store these objects of `source`, each whole or not at all, and tell `report` of each.

        They may become visible in any order.
        """

    @abstractmethod
    def give_up(self) -> None:
        """Break off what is under way, without waiting for an answer; what follows must not take long."""

    def repository(self) -> Repo | None:
        """None: it is elsewhere."""
        return None

    def exists(self) -> bool:
        """Whether a repository is there; raises `PublishError` if something else is."""
        data = self.read(["config"]).get("config")
        if data is None:
            if not self.is_empty():
                raise PublishError(
                    f"{self.name} holds something else than a repository",
                    hint="publish to an empty place or to one that was published to before",
                )
            return False
        mode = _config(data).get("core", "mode")
        if mode not in ("archive", RepoMode.ARCHIVE):
            raise PublishError(
                f"the repository {self.name} has mode {mode}; machines can only pull from mode archive",
                hint="publish to another place",
            )
        return True

    def create(self) -> None:
        """Write the configuration of an empty repository, unless there is one."""
        if self.read(["config"]).get("config") is None:
            core = {"repo_version": "1", "mode": RepoMode.ARCHIVE.value}
            self.replace({"config": Keyfile({"core": core}).dump().encode()})

    @contextmanager
    def busy(self, *, removing: bool) -> Iterator[None]:
        """Leave a note and look for those of others: of two of whom one removes objects, at least one gives way.

        Notes of the dead count for an hour.
        """
        mine = f"{BUSY}/{secrets.token_hex(8)}"
        self._note = (mine, removing)
        self._noted = 0.0
        self.renew()
        try:
            for path, data in sorted(self.read_below(BUSY).items()):
                until, their_removing = _parse_note(data)
                if path != mine and until > time.time() and (removing or their_removing):
                    raise BusyError(
                        f"somebody {'prunes' if their_removing else 'publishes to'} {self.name}",
                        hint=f"wait for that to end; if nobody does, remove {self.name}/{path}",
                    )
            yield
        except KeyboardInterrupt:
            self._note = None
            self.give_up()
            with suppress(OstlerError):  # then it counts until it runs out
                self.remove([mine])
            raise
        finally:
            if self._note is not None:
                self._note = None
                self.remove([mine])

    def renew(self) -> None:
        """Called now and then during long work, lest the note runs out."""
        if self._note is not None and time.time() - self._noted > _RENEWED_AFTER_SECONDS:
            path, removing = self._note
            self._noted = time.time()
            note = {"removing": removing, "until": int(self._noted) + LEASE_SECONDS}
            self.replace({path: json.dumps(note).encode()})

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Nothing to hold: `write_summary` looks again whether others changed refs meanwhile."""
        yield

    # --- objects

    def _absent(self, source: Repo, changes: Sequence[RefChange]) -> list[ObjectName]:
        """The objects of the new commits that are not there.

        Those of a commit that a ref points at are, so if that commit is here too, only the difference is asked for. Who
        publishes the same commit again has all of it looked for: that brings back what was lost.
        """
        wanted = reachable(source, [change.new for change in changes])
        known = [
            change.old
            for change in changes
            if change.old is not None
            and change.old != change.new
            and source.has(change.old, ObjectType.COMMIT)
            and not source.is_partial(change.old)
        ]
        there = ObjectSet() if not known else _reachable_if_whole(source, known)
        candidates = {
            archive_path(name): name for name in wanted if name[1] is not ObjectType.DETACHED and name not in there
        }
        missing = self.missing(list(candidates))
        return in_order([candidates[path] for path in missing])

    def plan_objects(self, source: Repo, changes: Sequence[RefChange]) -> CopyPlan:
        """What `add_objects` would add."""
        absent = self._absent(source, changes)
        files = sum(kind is ObjectType.FILE for _, kind in absent)
        size = sum(stored_size(source, name) for name in absent if name[1] is ObjectType.FILE)
        return CopyPlan(len(absent) - files, files, size)

    def add_objects(self, source: Repo, changes: Sequence[RefChange], report: Reporter) -> Moved:
        """Send what is missing: files, directories, then detached metadata, then commits."""
        report(Step("publish", self.name))
        absent = self._absent(source, changes)
        sent = SendReport(report, len(absent), self.renew)
        with tempfile.TemporaryDirectory(prefix="ostler-publish-", ignore_cleanup_errors=True) as spool:
            contents = [name for name in absent if name[1] is not ObjectType.COMMIT]
            self.send(source, contents, Path(spool), sent)
        self._replace_detached(source, changes)
        self._add_commits(source, [name for name in absent if name[1] is ObjectType.COMMIT], sent)
        report(Finished("publish", f"{sent.objects} objects"))
        return Moved(sent.objects, sent.content_bytes, sent.stored_bytes)

    def _add_commits(self, source: Repo, names: Sequence[ObjectName], sent: "SendReport") -> None:
        commits = {archive_path(name): source.load_bytes(*name) for name in names}
        self.replace(commits)
        for path, data in commits.items():
            sent(ArchivedObject(path, data, len(data), len(data)))

    def _replace_detached(self, source: Repo, changes: Sequence[RefChange]) -> None:
        """Signatures may come later than the commit that they sign."""
        files = {}
        for change in changes:
            if source.has(change.new, ObjectType.DETACHED):
                data = source.load_bytes(change.new, ObjectType.DETACHED)
                files[archive_path((change.new, ObjectType.DETACHED))] = data
        there = self.read(files)
        changed = {path: data for path, data in files.items() if there.get(path) != data}
        if changed:
            self.replace(changed)

    # --- refs and summary

    def refs(self) -> dict[str, Checksum]:
        """The repository's own refs."""
        found = {}
        for path, data in self.read_below(HEADS).items():
            found[path.removeprefix(f"{HEADS}/")] = _parse_ref(self.name, path, data)
        return found

    def _all_refs(self) -> set[Checksum]:
        """What any ref points at: the repository's own, those of remotes, and mirrored ones."""
        return {_parse_ref(self.name, path, data) for path, data in self.read_below("refs").items()}

    def set_refs(self, changes: Sequence[RefChange]) -> None:
        """Point refs at their new commits."""
        if changes:
            self.replace({f"{HEADS}/{change.ref}": f"{change.new}\n".encode() for change in changes})

    def write_summary(self, source: Repo, deltas: DeltaChanges, timestamp: int | None) -> bytes | None:
        """Bring the summary, and the indexes of deltas, up to date; returns the summary if it had to change."""
        written = None
        for _ in range(_SUMMARY_TRIES):
            refs = self.refs()
            there = self.read(["summary", "config"])
            old = _parse_summary(there.get("summary"))
            digests = self._deltas(old, deltas)
            self._index(digests)
            new = self._compose(source, refs, old, digests, _config(there.get("config", b"")), timestamp)
            if old is None or not _same(old, new):
                written = new.encode()
                self.replace({"summary": written})
            if self.refs() == refs:
                return written
        raise BusyError(f"the refs of {self.name} change all the time", hint="publish again when others have ended")

    def _deltas(self, old: Summary | None, changes: DeltaChanges) -> dict[str, bytes]:
        """Digests of the superblocks that are there, by name of the delta; those not listed yet are read."""
        there = {}
        for path in self.names("deltas"):
            try:
                _, first, second, file = path.split("/")
                name = delta_name(*parse_delta_folder(first, second))
            except (FormatError, ValueError):
                continue
            if file == "superblock" and name not in changes.removed:
                there[name] = path
        listed = _digests(old.metadata[DELTAS_KEY] if old and DELTAS_KEY in old.metadata else None)
        known = {**listed, **changes.added}
        read = self.read([path for name, path in there.items() if name not in known])
        found = {name: known[name] for name in there if name in known}
        return found | {name: sha256(read[path]).digest() for name, path in there.items() if path in read}

    def _compose(
        self,
        source: Repo,
        refs: Mapping[str, Checksum],
        old: Summary | None,
        digests: Mapping[str, bytes],
        config: Keyfile,
        timestamp: int | None,
    ) -> Summary:
        known = dict(old.refs.items()) if old else {}
        entries = {
            ref: known[ref] if ref in known and known[ref].commit == commit else self._entry(source, commit)
            for ref, commit in refs.items()
        }
        metadata = {key: old.metadata[key] for key in old.metadata} if old else {}
        metadata.pop(DELTAS_KEY, None)
        if digests:
            metadata[DELTAS_KEY] = Variant("a{sv}", {n: Variant("ay", d) for n, d in sorted(digests.items())})
        metadata |= {
            LAST_MODIFIED: Variant("t", big_endian(int(time.time()) if timestamp is None else timestamp)),
            MODE: Variant("s", RepoMode.ARCHIVE.value),
            TOMBSTONE_COMMITS: Variant("b", config.get_bool("core", "tombstone-commits", False)),
            INDEXED_DELTAS: Variant("b", True),
        }
        collection = config.get("core", "collection-id")
        if collection:
            metadata[COLLECTION_ID] = Variant("s", collection)
        return Summary(entries, metadata)

    def _entry(self, source: Repo, checksum: Checksum) -> SummaryEntry:
        data = self._load(source, [(checksum, ObjectType.COMMIT)])[checksum]
        commit = Commit.decode(data)
        metadata = {COMMIT_TIMESTAMP: Variant("t", big_endian(commit.timestamp))}
        version = commit.metadata.get("version")
        if version is not None and version.type == "s":
            metadata[COMMIT_VERSION] = version
        return SummaryEntry(checksum, len(data), metadata)

    def _index(self, deltas: Mapping[str, bytes]) -> None:
        """Bring the indexes of the deltas to each commit up to date."""
        by_target: dict[Checksum, dict[str, Variant]] = {}
        for name, digest in sorted(deltas.items()):
            by_target.setdefault(parse_delta_name(name)[1], {})[name] = Variant("ay", digest)
        files = {
            index_path(to): encode("a{sv}", {DELTAS_KEY: Variant("a{sv}", listed)}) for to, listed in by_target.items()
        }
        there = self.read(files)
        changed = {path: data for path, data in files.items() if there.get(path) != data}
        if changed:
            self.replace(changed)

    # --- removing

    def prune(self, source: Repo, keep: Iterable[Checksum], report: Reporter, *, unlist: Unlist | None) -> PruneResult:
        """Remove what neither refs nor the commits in `keep` need; how large that is nobody says, so it counts as 0."""
        report(Step("prune", self.name))
        needed = self._needed(source, {*self._all_refs(), *keep})
        doomed: dict[ObjectType, list[str]] = {}
        kept = 0
        for path in self.names("objects"):
            name = _object_name(path)
            if name is None or name[1] is ObjectType.TOMBSTONE:
                continue
            if name in needed:
                kept += name[1] is not ObjectType.DETACHED
            else:
                doomed.setdefault(name[1], []).append(path)
        removed = sum(len(paths) for kind, paths in doomed.items() if kind is not ObjectType.DETACHED)
        if unlist is not None:
            self._remove_deltas({Checksum(digest.hex()) for digest in needed.of(ObjectType.COMMIT)}, unlist)
            for kind in (
                ObjectType.COMMIT,
                ObjectType.DETACHED,
                ObjectType.DIRTREE,
                ObjectType.DIRMETA,
                ObjectType.FILE,
            ):
                self.remove(doomed.get(kind, []))
        report(Finished("prune", f"{removed} objects removed, {kept} kept"))
        return PruneResult(kept, removed, 0)

    def _needed(self, source: Repo, commits: set[Checksum]) -> ObjectSet:
        """All objects of the commits, from dirtrees that are here as far as possible; those elsewhere are fetched."""
        needed = ObjectSet()
        trees: list[Checksum] = []
        loaded = self._load(source, [(commit, ObjectType.COMMIT) for commit in sorted(commits)], lenient=True)
        for checksum, data in loaded.items():
            commit = Commit.decode(data)
            needed.add(checksum, ObjectType.COMMIT)
            needed.add(checksum, ObjectType.DETACHED)
            needed.add(commit.root_meta, ObjectType.DIRMETA)
            trees.append(commit.root_tree)
        while trees:
            self.renew()
            batch: list[ObjectName] = []
            while trees and len(batch) < _TREES_AT_A_TIME:
                name = (trees.pop(), ObjectType.DIRTREE)
                if name not in needed:
                    needed.add(*name)
                    batch.append(name)
            for data in self._load(source, batch).values():
                tree = DirTree.decode(data)
                for _, file in tree.files:
                    needed.add(file, ObjectType.FILE)
                for _, below, meta in tree.dirs:
                    needed.add(meta, ObjectType.DIRMETA)
                    trees.append(below)
        return needed

    def _load(self, source: Repo, names: Sequence[ObjectName], *, lenient: bool = False) -> dict[Checksum, bytes]:
        """Metadata objects, from here or there, verified. With `lenient` missing ones are passed over."""
        found = {name[0]: source.load_bytes(*name) for name in names if source.has(*name)}
        elsewhere = {archive_path(name): name for name in names if name[0] not in found}
        for path, data in self.read(elsewhere).items():
            checksum, kind = elsewhere.pop(path)
            if checksum_of(data) != checksum:
                raise ChecksumMismatchError(checksum, checksum_of(data), f"{self.name}: the {kind.extension} object")
            found[checksum] = data
        if elsewhere and not lenient:
            checksum, kind = next(iter(elsewhere.values()))
            raise NotFoundError(
                f"{self.name} lacks the {kind.extension} object {checksum}",
                hint="publish the ref that needs it again, from where it was built",
            )
        return found

    def _remove_deltas(self, commits: set[Checksum], unlist: Unlist) -> None:
        """Remove static deltas to commits that are gone, after what lists them."""
        doomed: dict[tuple[Checksum | None, Checksum], list[str]] = {}
        for path in self.names("deltas"):
            self.renew()
            parts = path.split("/")
            try:
                delta = parse_delta_folder(parts[1], parts[2])
            except (FormatError, IndexError):
                continue
            if delta[1] not in commits:
                doomed.setdefault(delta, []).append(path)
        if not doomed:
            return
        unlist(frozenset(delta_name(*delta) for delta in doomed))
        self.remove(sorted({index_path(to) for _, to in doomed}))
        for paths in doomed.values():
            self.remove(sorted(paths, key=lambda path: not path.endswith("/superblock")))


class SendReport:
    """Counts what was sent and tells the reporter."""

    def __init__(self, report: Reporter, total: int, renew: Callable[[], None]) -> None:
        self._renew = renew
        self.objects = self.content_bytes = self.stored_bytes = 0
        self._report = report
        self._total = total

    def __call__(self, sent: ArchivedObject) -> None:
        """One object is stored."""
        self._renew()
        self.objects += 1
        self.content_bytes += sent.content_bytes
        self.stored_bytes += sent.size
        self._report(Progress("publish", self.objects, self._total, "objects"))
        self._report(Progress("publish", self.stored_bytes, None, "bytes"))


def _reachable_if_whole(source: Repo, commits: Sequence[Checksum]) -> ObjectSet:
    try:
        return reachable(source, commits)
    except (NotFoundError, CorruptError):  # the old version is no longer whole here: ask for everything then
        return ObjectSet()


def _object_name(path: str) -> ObjectName | None:
    parts = path.split("/")
    stem, _, suffix = parts[-1].partition(".")
    kinds = {RepoMode.ARCHIVE.extension(kind): kind for kind in ObjectType}
    if len(parts) != 3 or suffix not in kinds:
        return None
    try:
        return parse_checksum(parts[1] + stem), kinds[suffix]
    except FormatError:
        return None


def _config(data: bytes) -> Keyfile:
    try:
        return Keyfile.parse(data.decode())
    except (UnicodeDecodeError, FormatError) as error:
        raise PublishError(f"the file `config` of the repository cannot be read: {error}") from error


def _parse_summary(data: bytes | None) -> Summary | None:
    """The summary that is there; None if there is none, or one that nobody can read."""
    try:
        return None if data is None else Summary.decode(data)
    except FormatError:
        return None


def _parse_ref(where: str, path: str, data: bytes) -> Checksum:
    try:
        return parse_checksum(data.decode("ascii", "replace").strip())
    except FormatError as error:
        raise FormatError(f"{where}: the ref file {path} is damaged: {error.message}") from error


def _parse_note(data: bytes) -> tuple[float, bool]:
    """(until when it counts, in seconds since 1970; whether objects are removed); a note nobody can read is none."""
    try:
        note = json.loads(data)
        return float(note["until"]), bool(note["removing"])
    except (ValueError, KeyError, TypeError):
        return 0.0, False


def _digests(deltas: Variant | None) -> dict[str, bytes]:
    if deltas is None or deltas.type != "a{sv}":
        return {}
    return {name: digest.value for name, digest in deltas.value.items() if digest.type == "ay"}


def _same(old: Summary, new: Summary) -> bool:
    def lasting(summary: Summary) -> dict[str, Variant]:
        return {key: summary.metadata[key] for key in summary.metadata if key != LAST_MODIFIED}

    return dict(old.refs.items()) == new.refs and lasting(old) == lasting(new)
