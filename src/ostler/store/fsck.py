"""Checking a repository: do refs lead to whole commits, and does every object hold what its name says?"""

# Plain strings and `os` below: this runs once for every object of a repository.
# ruff: noqa: PTH208

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field

from ostler.errors import OstlerError
from ostler.formats.objects import Checksum, Commit, ObjectType
from ostler.io.progress import Finished, Progress, Reporter, Step, silent
from ostler.store.bindings import back_reference_faults, binding_fault
from ostler.store.forked import map_forked
from ostler.store.needs import Damaged, Needs, Problem, Reason, stray
from ostler.store.prune import remove_commit
from ostler.store.reach import ObjectName, ObjectSet, all_refs
from ostler.store.repo import CommitState, Repo
from ostler.store.verify import Damage, Verifier

FANOUTS = tuple(f"{number:02x}" for number in range(256))


@dataclass(frozen=True, slots=True)
class FsckOptions:
    """What to check beside objects and trees, and what to do about damage.

    `reachable_only`: tell of objects that whole commits need, as libostree does, not of strays and partial commits.
    `delete`: remove damaged objects; `mark_partial` (included in that): mark the commits that lack objects, so that the
    next pull mends them; what merely cannot be read stays. `verify_bindings`: commits must be meant for the refs that
    point at them; `verify_back_refs`: and the refs that they are meant for must point at them. `add_tombstones`:
    commits whose parent is missing make way for tombstones. `workers` None: one process per core.
    """

    reachable_only: bool = False
    delete: bool = False
    mark_partial: bool = False
    verify_bindings: bool = False
    verify_back_refs: bool = False
    add_tombstones: bool = False
    workers: int | None = None

    @property
    def changes(self) -> bool:
        """Whether objects may be removed."""
        return self.delete or self.add_tombstones


@dataclass(frozen=True, slots=True)
class FsckResult:
    """What checking a repository found and did.

    `commits` counts those that are not partial, whose objects were all looked for; `partial` the others, `broken` those
    of them that are partial because damage was found; `marked` are commits that were marked partial just now,
    `tombstones` commits that made way for tombstones.
    """

    problems: Sequence[Problem]
    commits: int
    partial: int
    broken: int
    objects: int
    marked: Sequence[Checksum] = ()
    tombstones: Sequence[Checksum] = ()


def fsck(repo: Repo, report: Reporter = silent, *, delete: bool = False, workers: int | None = None) -> list[Problem]:
    """Verify refs, commits, trees and the digest of every object; return all problems (none: the repository is whole).

    With `delete`, damaged objects are removed and the commits that need them, or lack others, are marked partial, so
    that the next pull mends them; until then they remain a problem. A commit that is partial for another reason may
    lack objects. `workers` None: one process per core.
    """
    return list(examine(repo, FsckOptions(delete=delete, workers=workers), report).problems)


def examine(repo: Repo, options: FsckOptions | None = None, report: Reporter = silent) -> FsckResult:
    """Check the repository as `options` say. Raises `BusyError` if it is in use while it must be changed."""
    options = options or FsckOptions()
    report(Step("check repository", str(repo.path)))
    with _locked(repo, exclusive=options.changes):
        result = _examine(repo, options, report)
    count = len(result.problems)
    report(Finished("check repository", f"{count} problems" if count else "no problem"))
    return result


@contextmanager
def _locked(repo: Repo, *, exclusive: bool) -> Iterator[None]:
    """Whoever cannot write to a repository may still check it."""
    lock = repo.lock(exclusive=exclusive) if exclusive or os.access(repo.path, os.W_OK) else nullcontext()
    with lock:
        yield


def _examine(repo: Repo, options: FsckOptions, report: Reporter) -> FsckResult:
    inventory = _take_inventory(repo, options.workers, report)
    commits = _Commits.sort(repo, inventory)
    needs = Needs(repo, inventory.good, inventory.damage)
    for checksum in (*commits.whole, *(() if options.reachable_only else commits.partial)):
        needs.follow(checksum)
    problems = list(_ref_problems(repo, commits, options))
    problems += needs.problems()
    if not options.reachable_only:
        known = {(problem.checksum, problem.kind) for problem in problems}
        problems += [stray(name, wrong) for name, wrong in sorted(inventory.damage.items()) if name not in known]
    if options.verify_back_refs:
        problems += _back_reference_problems(repo, commits)
    removable = [problem for problem in problems if not problem.unreadable]
    absent = [problem for problem in removable if options.delete or problem.reason is Reason.MISSING]
    marked = _mark(repo, absent) if options.delete or options.mark_partial else []
    if options.delete:
        for problem in removable:
            if (problem.checksum, problem.kind) in inventory.damage:
                repo.object_path(problem.checksum, problem.kind).unlink(missing_ok=True)
    tombstones = _add_tombstones(repo, commits) if options.add_tombstones else []
    return FsckResult(
        problems,
        len(commits.whole),
        len(commits.partial),
        len(commits.broken),
        inventory.objects,
        marked,
        tombstones,
    )


@dataclass(slots=True)
class _Inventory:
    """The repository's objects: those that hold what their names say, and what is wrong with the others."""

    good: ObjectSet = field(default_factory=ObjectSet)
    damage: Damaged = field(default_factory=dict)
    objects: int = 0


def _take_inventory(repo: Repo, workers: int | None, report: Reporter) -> _Inventory:
    verifier = Verifier(repo)
    root = f"{repo.path}/objects"
    suffixes = {repo.mode.extension(kind): kind for kind in ObjectType}

    def look_through(fanout: str) -> tuple[dict[ObjectType, bytes], dict[ObjectName, Damage]]:
        good: dict[ObjectType, list[bytes]] = {}
        damage: dict[ObjectName, Damage] = {}
        try:
            names = os.listdir(f"{root}/{fanout}")
        except (FileNotFoundError, NotADirectoryError):
            return {}, {}
        for name in sorted(names):
            stem, _, suffix = name.partition(".")
            kind = suffixes.get(suffix)
            if kind is None or len(stem) != 62 or stem.strip("0123456789abcdef"):
                continue
            checksum = Checksum(fanout + stem)
            wrong = verifier.verify(f"{root}/{fanout}/{name}", checksum, kind)
            if wrong is None:
                good.setdefault(kind, []).append(bytes.fromhex(checksum))
            else:
                damage[checksum, kind] = wrong
        return {kind: b"".join(digests) for kind, digests in good.items()}, damage

    inventory = _Inventory()
    for done, (good, damage) in enumerate(map_forked(FANOUTS, look_through, workers=workers), 1):
        for kind, digests in good.items():
            inventory.good.of(kind).update([digests[at : at + 32] for at in range(0, len(digests), 32)])
        inventory.damage.update(damage)
        report(Progress("check repository", done, len(FANOUTS), "folders"))
    inventory.objects = len(inventory.good) + len(inventory.damage)
    return inventory


@dataclass(frozen=True, slots=True)
class _Commits:
    """The commits that are here (perhaps damaged): those that claim to be whole, and partial ones."""

    whole: list[Checksum]
    partial: list[Checksum]
    broken: list[Checksum]

    @staticmethod
    def sort(repo: Repo, inventory: _Inventory) -> "_Commits":
        present = [Checksum(digest.hex()) for digest in inventory.good.of(ObjectType.COMMIT)]
        present += [checksum for checksum, kind in inventory.damage if kind is ObjectType.COMMIT]
        present.sort()
        partial = [checksum for checksum in present if repo.is_partial(checksum)]
        kept_apart = set(partial)
        return _Commits(
            [checksum for checksum in present if checksum not in kept_apart],
            partial,
            [checksum for checksum in partial if repo.commit_state(checksum) is CommitState.BROKEN],
        )

    def __contains__(self, checksum: Checksum) -> bool:
        return checksum in self.whole or checksum in self.partial


def _load(repo: Repo, checksum: Checksum) -> Commit | None:
    try:
        return repo.load_commit(checksum)
    except (OstlerError, OSError):
        return None


def _ref_problems(repo: Repo, commits: _Commits, options: FsckOptions) -> Iterator[Problem]:
    present = {*commits.whole, *commits.partial}
    for name, checksum in sorted(all_refs(repo).items()):
        if checksum not in present and not repo.has(checksum, ObjectType.COMMIT):
            yield Problem(
                checksum,
                ObjectType.COMMIT,
                f"the ref {name} points at the commit {checksum}, which is missing",
                "pull the ref again, or remove it (`ostree refs --delete`)",
                reason=Reason.MISSING,
                ref=name,
            )
    if not (options.verify_bindings or options.verify_back_refs):
        return
    own = [(name, None, checksum) for name, checksum in sorted(repo.refs().items())]
    mirrored = [(ref, owner, checksum) for (owner, ref), checksum in sorted(repo.collection_refs().items())]
    for name, collection, checksum in (*own, *mirrored):
        commit = _load(repo, checksum)
        fault = None if commit is None else binding_fault(commit, name.rpartition(":")[2], collection)
        if fault is not None:
            ref = name if collection is None else f"{collection}/{name}"
            message = f"Commit {checksum}: {fault}"
            yield Problem(checksum, ObjectType.COMMIT, message, _REF_HINT, reason=Reason.BINDING, ref=ref)


_REF_HINT = "point the ref at a commit that was made for it, or remove it (`ostree refs --delete`)"


def _back_reference_problems(repo: Repo, commits: _Commits) -> Iterator[Problem]:
    for checksum in sorted((*commits.whole, *commits.partial)):
        commit = _load(repo, checksum)
        for fault in back_reference_faults(repo, checksum, commit) if commit else ():
            yield Problem(checksum, ObjectType.COMMIT, fault, _REF_HINT, reason=Reason.BACK_REFERENCE)


def _mark(repo: Repo, problems: Sequence[Problem]) -> list[Checksum]:
    """Mark the commits that lack something partial; return those that were not."""
    marked = []
    lacking = {commit for problem in problems for commit in problem.commits if problem.kind is not ObjectType.COMMIT}
    for commit in sorted(lacking):
        if repo.has(commit, ObjectType.COMMIT) and repo.commit_state(commit) is not CommitState.BROKEN:
            if not repo.is_partial(commit):
                marked.append(commit)
            repo.mark_partial(commit, True, broken=True)
    return marked


def _add_tombstones(repo: Repo, commits: _Commits) -> list[Checksum]:
    """Put tombstones in the place of commits whose parent is missing."""
    orphans = []
    for checksum in sorted((*commits.whole, *commits.partial)):
        commit = _load(repo, checksum)
        if commit is not None and commit.parent and not repo.has(commit.parent, ObjectType.COMMIT):
            orphans.append(checksum)
    if orphans and not repo.config.get_bool("core", "tombstone-commits", False):
        repo.write_config(repo.config.with_value("core", "tombstone-commits", "true"))
    for checksum in orphans:
        remove_commit(repo, checksum)
    return orphans
