"""Checking a repository: do refs lead to whole commits, and does every object hold what its name says?"""

import os
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path

from ostler.errors import CorruptError, NotFoundError, OstlerError
from ostler.formats.objects import Checksum, Commit, DirTree, ObjectType, decode_metadata
from ostler.io.progress import Finished, Progress, Reporter, Step, silent
from ostler.store.reach import ObjectName, all_refs
from ostler.store.repo import Repo
from ostler.store.tree import MAX_TREE_DEPTH

BATCH = 64
CHUNK = 1024 * 1024
BROKEN = b"f"  # libostree's content for the marker of a partial commit that is so because fsck found damage
REPAIR = "remove it with `ostler repo fsck --delete` and pull the commit again, which fetches what is missing"


@dataclass(frozen=True, slots=True)
class Problem:
    """Something wrong in a repository: the object it is about, what is wrong, and what to do.

    `path` is a place in a tree where the object is needed ("" if none is known, or the root), `commits` those that are
    not whole because of it. A ref without commit has a problem with that commit.
    """

    checksum: Checksum
    kind: ObjectType
    message: str
    hint: str
    path: str = ""
    commits: tuple[Checksum, ...] = ()

    def __str__(self) -> str:
        return f"{self.message}; {self.hint}"


def fsck(repo: Repo, report: Reporter = silent, *, delete: bool = False, workers: int | None = None) -> list[Problem]:
    """Verify refs, commits, trees and the digest of every object; return all problems (none: the repository is whole).

    With `delete`, damaged objects are removed and the commits that need them, or lack others, are marked partial, so
    that the next pull mends them; until then they remain a problem. A commit that is partial for another reason may
    lack objects. `workers` None: one thread per core.
    """
    report(Step("check repository", str(repo.path)))
    with repo.lock(exclusive=delete):
        damage = _verify_all(repo, workers or len(os.sched_getaffinity(0)), report)
        needs = _Needs(repo, damage)
        refs = all_refs(repo)
        present = {checksum for checksum, kind in repo.objects() if kind is ObjectType.COMMIT}
        for commit in sorted(present):
            needs.follow(commit)
        problems = [*_ref_problems(refs, present), *needs.problems()]
        if delete:
            _delete(repo, problems, damage)
    report(Finished("check repository", f"{len(problems)} problems" if problems else "no problem"))
    return problems


def _verify_all(repo: Repo, workers: int, report: Reporter) -> dict[ObjectName, str]:
    """What is wrong with each damaged object."""
    names = sorted(repo.objects())
    damage: dict[ObjectName, str] = {}
    done = 0
    with ThreadPoolExecutor(workers) as pool:
        try:
            for batch in pool.map(lambda some: [(name, _verify(repo, name)) for name in some], _batches(names)):
                damage.update((name, wrong) for name, wrong in batch if wrong is not None)
                done += len(batch)
                report(Progress("check repository", done, len(names), "objects"))
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    return damage


def _batches(names: Iterable[ObjectName]) -> Iterator[list[ObjectName]]:
    remaining = iter(names)
    while batch := list(islice(remaining, BATCH)):
        yield batch


def _verify(repo: Repo, name: ObjectName) -> str | None:
    """What is wrong with the object, or None."""
    checksum, kind = name
    try:
        if kind is ObjectType.FILE:
            with repo.open_file(checksum, verify=True) as content:
                while content.read(CHUNK):
                    pass
        elif kind is ObjectType.DETACHED:
            repo.load_detached(checksum)
        elif kind is not ObjectType.TOMBSTONE:
            decode_metadata(kind, repo.load_bytes(checksum, kind))
    except (CorruptError, NotFoundError) as error:
        return error.message
    except OSError as error:
        return f"it cannot be read: {error.strerror}"
    return None


@dataclass(frozen=True, slots=True)
class _Walk:
    """The commit that is looked through; `lenient`: it is known to lack objects; `seen`: dirtrees not to repeat."""

    commit: Checksum
    lenient: bool
    seen: set[Checksum] = field(default_factory=set)


class _Needs:
    """What commits need and is missing or damaged."""

    def __init__(self, repo: Repo, damage: dict[ObjectName, str]) -> None:
        self._repo = repo
        self._damage = damage
        self._trees: dict[Checksum, DirTree | None] = {}
        self._whole: set[Checksum] = set()  # dirtrees below which nothing is wrong, whichever commit holds them
        self._found: dict[ObjectName, Problem] = {}

    def problems(self) -> list[Problem]:
        """All problems, those with damaged objects that no commit needs included."""
        for name, wrong in self._damage.items():
            if name not in self._found:
                self._found[name] = Problem(*name, _say(name, f"is damaged: {wrong}"), REPAIR)
        return [self._found[name] for name in sorted(self._found, key=lambda name: (name[1], name[0]))]

    def follow(self, checksum: Checksum) -> None:
        """Look for everything below one commit."""
        commit = self._load(checksum)
        if commit is None:
            self._need((checksum, ObjectType.COMMIT), "", _Walk(checksum, lenient=False))
            return
        walk = _Walk(checksum, lenient=self._repo.is_partial(checksum) and not _is_broken(self._repo, checksum))
        self._need((commit.root_meta, ObjectType.DIRMETA), "", walk)
        self._follow_tree(commit.root_tree, "", walk)

    def _follow_tree(self, checksum: Checksum, path: str, walk: "_Walk") -> bool:
        """Whether all is well from this directory down."""
        if checksum in self._whole:
            return True
        if checksum in walk.seen:
            return False
        walk.seen.add(checksum)
        whole = self._need((checksum, ObjectType.DIRTREE), path, walk)
        tree = self._tree(checksum)
        if tree is None or path.count("/") > MAX_TREE_DEPTH:
            return False
        for name, file in tree.files:
            whole &= self._need((file, ObjectType.FILE), f"{path}/{name}", walk)
        for name, below, meta in tree.dirs:
            whole &= self._need((meta, ObjectType.DIRMETA), f"{path}/{name}", walk)
            whole &= self._follow_tree(below, f"{path}/{name}", walk)
        if whole:
            self._whole.add(checksum)
        return whole

    def _need(self, name: ObjectName, path: str, walk: "_Walk") -> bool:
        """Whether the object is there and good; if not, that is noted, with its place in the commit."""
        known = self._found.get(name)
        if known is not None:
            if walk.commit not in known.commits:
                self._found[name] = replace(known, commits=(*known.commits, walk.commit))
            return False
        wrong = self._damage.get(name)
        if wrong is not None:
            what = f"is damaged: {wrong}"
        elif not self._repo.has(*name):
            if walk.lenient:
                return False
            what = "is missing"
        else:
            return True
        message = _say(name, f"({path or '/'} in the commit {walk.commit}) {what}")
        self._found[name] = Problem(*name, message, REPAIR, path, (walk.commit,))
        return False

    def _load(self, checksum: Checksum) -> Commit | None:
        try:
            return self._repo.load_commit(checksum)
        except OstlerError:
            return None

    def _tree(self, checksum: Checksum) -> DirTree | None:
        if checksum not in self._trees:
            try:
                self._trees[checksum] = self._repo.load_dirtree(checksum)
            except OstlerError:
                self._trees[checksum] = None
        return self._trees[checksum]


def _say(name: ObjectName, what: str) -> str:
    return f"the {name[1].extension} object {name[0]} {what}"


def _ref_problems(refs: dict[str, Checksum], present: set[Checksum]) -> Iterator[Problem]:
    for ref, checksum in sorted(refs.items()):
        if checksum not in present:
            yield Problem(
                checksum,
                ObjectType.COMMIT,
                f"the ref {ref} points at the commit {checksum}, which is missing",
                "pull the ref again, or remove it (`ostree refs --delete`)",
            )


def _delete(repo: Repo, problems: list[Problem], damage: dict[ObjectName, str]) -> None:
    """Take damaged objects away, after the commits that need them are marked."""
    for problem in problems:
        for commit in problem.commits:
            if repo.has(commit, ObjectType.COMMIT):
                repo.mark_partial(commit, True)
                _marker(repo, commit).write_bytes(BROKEN)
    for checksum, kind in damage:
        repo.object_path(checksum, kind).unlink(missing_ok=True)


def _marker(repo: Repo, commit: Checksum) -> Path:
    return repo.path / "state" / f"{commit}.commitpartial"


def _is_broken(repo: Repo, commit: Checksum) -> bool:
    """Whether a partial commit lost objects, rather than never having had them."""
    try:
        return _marker(repo, commit).read_bytes() == BROKEN
    except FileNotFoundError:
        return False
