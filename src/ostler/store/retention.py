"""Which commits are worth keeping: those that refs point at, and so much of their history as is asked for."""

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from ostler.formats.objects import Checksum, Commit, ObjectType
from ostler.store.reach import all_refs
from ostler.store.repo import Repo

ALL_PARENTS = -1


@dataclass(frozen=True, slots=True)
class Retention:
    """What to keep of each ref's history, beside the commit that it points at.

    `depth` is a number of generations of parents (-1: all); `branch_depth` says otherwise for single refs. With
    `younger_than`, in seconds since 1970, every other ref keeps its line of parents as far as they are not older,
    whatever `depth` says. With `only_branches` all refs but those, and those in `branch_depth`, keep everything.
    Without `refs_only` every commit counts as if a ref pointed at it.
    """

    refs_only: bool = True
    depth: int = 0
    younger_than: int | None = None
    branch_depth: Mapping[str, int] = field(default_factory=dict)
    only_branches: Collection[str] = ()

    @property
    def by_ref(self) -> bool:
        """Whether refs are treated differently, or by age: then commits without ref are never kept."""
        return bool(self.branch_depth or self.only_branches) or self.younger_than is not None

    def of(self, ref: str) -> int | None:
        """How many generations of a ref's parents stay (-1: all; None: go by their age)."""
        if ref in self.branch_depth:
            return self.branch_depth[ref]
        if self.only_branches and ref not in self.only_branches:
            return ALL_PARENTS
        return self.depth if self.younger_than is None else None


def kept_commits(repo: Repo, retention: Retention, keep: Iterable[Checksum] = ()) -> set[Checksum]:
    """The commits that stay, as far as they are there; those in `keep` are treated like refs' of depth `depth`.

    Raises `NotFoundError` if one of `only_branches` does not exist, and `CorruptError` for a damaged commit.
    """
    for branch in retention.only_branches:
        repo.resolve(branch)
    roots = [(commit, retention.of(ref)) for ref, commit in all_refs(repo).items()]
    roots += [(commit, retention.depth) for commit in keep]
    if not retention.refs_only and not retention.by_ref:
        roots += [(checksum, retention.depth) for checksum, kind in repo.objects() if kind is ObjectType.COMMIT]
    history = _History(repo)
    kept: set[Checksum] = set()
    for commit, depth in roots:
        if depth is None:
            kept.update(history.younger(commit, retention.younger_than or 0))
    kept.update(history.ancestors([(commit, depth) for commit, depth in roots if depth is not None]))
    return kept


class _History:
    """Parents and times of commits, each looked up once."""

    def __init__(self, repo: Repo) -> None:
        self._repo = repo
        self._known: dict[Checksum, tuple[Checksum | None, int] | None] = {}

    def _look_up(self, checksum: Checksum) -> tuple[Checksum | None, int] | None:
        """(parent, timestamp) of a commit; None if it is not there."""
        if checksum not in self._known:
            commit: Commit | None = None
            if self._repo.has(checksum, ObjectType.COMMIT):
                commit = self._repo.load_commit(checksum)
            self._known[checksum] = None if commit is None else (commit.parent, commit.timestamp)
        return self._known[checksum]

    def younger(self, tip: Checksum, oldest: int) -> Iterator[Checksum]:
        """The tip, and its line of parents until one is older than `oldest` or missing."""
        checksum: Checksum | None = tip
        while checksum is not None:
            found = self._look_up(checksum)
            if found is None or (checksum != tip and found[1] < oldest):
                return
            yield checksum
            checksum = found[0] if found[1] >= oldest else None

    def ancestors(self, roots: Iterable[tuple[Checksum, int]]) -> Iterable[Checksum]:
        """The roots that are there, and their ancestors, each root's up to so many generations (-1: all)."""
        generations: dict[Checksum, int] = {}
        todo = list(roots)
        while todo:
            checksum, left = todo.pop()
            known = generations.get(checksum)
            if known is not None and (known < 0 or known >= left >= 0):
                continue
            found = self._look_up(checksum)
            if found is None:
                continue
            generations[checksum] = left
            if found[0] is not None and left != 0:
                todo.append((found[0], left - 1 if left > 0 else left))
        return generations
