"""Removing objects that nothing needs any more."""

# Plain strings and `os` below: this runs once for every object of a repository.
# ruff: noqa: PTH108, PTH115, PTH208

import os
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from ostler.formats.delta import delta_folder, index_path
from ostler.formats.objects import Checksum, ObjectType
from ostler.io.files import remove_tree
from ostler.io.progress import Finished, Reporter, Step, silent
from ostler.store.errors import StoreError
from ostler.store.reach import ObjectSet, all_refs, reachable
from ostler.store.repo import Repo
from ostler.store.retention import Retention, kept_commits

# Whoever is cut off must not leave something whose parts are gone: what refers to others goes before them.
_PASSES = (
    (ObjectType.COMMIT, ObjectType.DETACHED),
    (ObjectType.DIRTREE, ObjectType.DIRMETA),
    (ObjectType.FILE,),
)
_PAYLOAD_LINK = "payload-link"
_NO_BRANCHES: Mapping[str, int] = {}


@dataclass(frozen=True, slots=True)
class PruneResult:
    """Numbers of objects kept and removed, and the size of the removed ones in bytes, as libostree counts them:
    without detached metadata and tombstones; with `commit_only` commits alone."""

    kept: int
    removed: int
    bytes_freed: int

    @property
    def total(self) -> int:
        """All objects that were looked at."""
        return self.kept + self.removed


def prune(
    repo: Repo,
    *,
    refs_only: bool = True,
    depth: int = 0,
    keep: Iterable[Checksum] = (),
    keep_younger_than: int | None = None,
    retain_branch_depth: Mapping[str, int] = _NO_BRANCHES,
    only_branch: Collection[str] = (),
    delete_commit: Checksum | None = None,
    static_deltas_only: bool = False,
    commit_only: bool = False,
    dry_run: bool = False,
    report: Reporter = silent,
) -> PruneResult:
    """Remove every object that no ref needs, nor one of the commits in `keep`.

    `refs_only`, `depth`, `keep_younger_than`, `retain_branch_depth` and `only_branch` say what else of the history
    stays: see `Retention`. `delete_commit` is removed first, in spite of its children, and leaves a tombstone (as every
    removed commit does where `core.tombstone-commits` is set, which this sets); with `static_deltas_only` it is the
    static deltas to it instead. With `commit_only` nothing but commits is looked at. With `dry_run` nothing is removed.

    Takes the exclusive lock: raises `BusyError` while others add objects; and, before anything is removed, `StoreError`
    if a ref points at the commit to delete, `NotFoundError` or `CorruptError` if a commit to keep is damaged.
    """
    retention = Retention(refs_only, depth, keep_younger_than, retain_branch_depth, only_branch)
    if static_deltas_only and delete_commit is None:
        raise StoreError(
            "--static-deltas-only requires --delete-commit", hint="deltas to commits that are gone always go too"
        )
    if delete_commit is not None and dry_run:
        raise StoreError("a commit cannot be deleted in a dry run", hint="leave out one of the two")
    report(Step("prune", str(repo.path)))
    with repo.lock(exclusive=True):
        if delete_commit is not None and static_deltas_only:
            _remove_deltas(repo, lambda to: to == delete_commit)
        elif delete_commit is not None:
            _delete_commit(repo, delete_commit)
        needed = reachable(repo, kept_commits(repo, retention, keep), commits_only=commit_only)
        sweep = _Sweep(repo, needed, dry_run=dry_run)
        for kinds in _PASSES[:1] if commit_only else _PASSES:
            sweep.remove(kinds)
        if not dry_run:
            _remove_leftovers(repo)
    result = PruneResult(sweep.kept, sweep.removed, sweep.freed)
    report(Finished("prune", f"{result.removed} objects removed, {result.kept} kept"))
    return result


def _delete_commit(repo: Repo, commit: Checksum) -> None:
    for ref, checksum in all_refs(repo).items():
        if checksum == commit:
            raise StoreError(
                f"Commit '{commit}' is referenced by '{ref}'", hint="delete the ref, or point it at another commit"
            )
    path = repo.object_path(commit, ObjectType.COMMIT)
    if not path.exists():
        raise StoreError(f"the commit {commit} cannot be deleted: the repository {repo.path} does not have it")
    if not repo.config.get_bool("core", "tombstone-commits", False):
        repo.write_config(repo.config.with_value("core", "tombstone-commits", "true"))
    remove_commit(repo, commit)


def remove_commit(repo: Repo, commit: Checksum) -> None:
    """Remove a commit object with its detached metadata and marker; a tombstone takes its place if they are kept."""
    repo.object_path(commit, ObjectType.DETACHED).unlink(missing_ok=True)
    repo.object_path(commit, ObjectType.COMMIT).unlink(missing_ok=True)
    repo.mark_partial(commit, False)
    if repo.config.get_bool("core", "tombstone-commits", False):
        repo.write_tombstone(commit)


class _Sweep:
    """Goes through the repository's objects, folder by folder, and removes what is not needed."""

    def __init__(self, repo: Repo, needed: ObjectSet, *, dry_run: bool) -> None:
        self.kept = self.removed = self.freed = 0
        self._repo = repo
        self._needed = needed
        self._dry_run = dry_run
        self._objects = f"{repo.path}/objects"

    def remove(self, kinds: tuple[ObjectType, ...]) -> None:
        """Remove those objects of these kinds that are not needed."""
        suffixes = {self._repo.mode.extension(kind): kind for kind in kinds}
        links = ObjectType.FILE in kinds
        for fanout in _fanouts(self._objects):
            for name in os.listdir(f"{self._objects}/{fanout}"):
                stem, _, suffix = name.partition(".")
                kind = suffixes.get(suffix)
                if kind is not None and len(stem) == 62:
                    self._object(f"{self._objects}/{fanout}/{name}", fanout + stem, kind)
                elif links and suffix == _PAYLOAD_LINK:
                    self._payload_link(f"{self._objects}/{fanout}/{name}")

    def _object(self, path: str, checksum: str, kind: ObjectType) -> None:
        try:
            digest = bytes.fromhex(checksum)
        except ValueError:
            return
        counts = kind is not ObjectType.DETACHED
        if digest in self._needed.of(kind):
            self.kept += counts
            return
        if counts:
            self.removed += 1
            self.freed += os.lstat(path).st_size
        if self._dry_run:
            return
        if kind is ObjectType.COMMIT:
            remove_commit(self._repo, Checksum(checksum))
        elif kind is ObjectType.DETACHED:  # most are gone with their commit
            Path(path).unlink(missing_ok=True)
        else:
            os.unlink(path)

    def _payload_link(self, path: str) -> None:
        """libostree's note that a file object has this content: of use as long as that object exists."""
        parts = os.readlink(path).removesuffix(".file").rpartition("/")
        try:
            target = bytes.fromhex(parts[0][-2:] + parts[2])
        except ValueError:
            target = b""
        if target in self._needed.of(ObjectType.FILE):
            self.kept += 1
            return
        self.removed += 1
        self.freed += os.lstat(path).st_size
        if not self._dry_run:
            os.unlink(path)


def _fanouts(objects: str) -> Iterator[str]:
    for entry in os.scandir(objects):
        if len(entry.name) == 2 and entry.is_dir():
            yield entry.name


def _remove_deltas(repo: Repo, unwanted: Callable[[Checksum], bool]) -> None:
    """Remove the static deltas to commits of which `unwanted` is true.

    Indexes go first: a client that finds none goes by the summary, or by objects.
    """
    if not (repo.path / "deltas").is_dir():
        return
    from ostler.store.delta.listing import list_deltas

    doomed = [(from_, to) for from_, to in list_deltas(repo) if unwanted(to)]
    for _, to in doomed:
        (repo.path / index_path(to)).unlink(missing_ok=True)
    for from_, to in doomed:
        remove_tree(repo.path / delta_folder(from_, to))


def _remove_leftovers(repo: Repo) -> None:
    """Marks of partial commits that are gone, static deltas to such, and summaries of remotes that are gone."""
    for marker in (repo.path / "state").glob("*.commitpartial"):
        if not os.path.lexists(repo.object_path(Checksum(marker.name.partition(".")[0]), ObjectType.COMMIT)):
            marker.unlink()
    _remove_deltas(repo, lambda to: not repo.has(to, ObjectType.COMMIT))
    remotes = repo.remotes()
    for cached in (repo.path / "tmp" / "cache" / "summaries").glob("*"):
        if cached.name.removesuffix(".sig") not in remotes and cached.is_file():
            cached.unlink()
