"""What the commits of a repository need, and what of it is missing or damaged."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import TypeAlias

from ostler.errors import OstlerError
from ostler.formats.objects import Checksum, Commit, DirTree, ObjectType
from ostler.store.reach import ObjectName, ObjectSet
from ostler.store.repo import CommitState, Repo
from ostler.store.tree import MAX_TREE_DEPTH
from ostler.store.verify import Damage

REPAIR = "remove it with `ostler repo fsck --delete` and pull the commit again, which fetches what is missing"
FETCH = (
    "fetch it with `ostler repo fsck --repair-from SOURCE`, or pull the commit again after `ostler repo fsck --delete` "
    "noted that it is incomplete"
)
LET_READ = "see who may read its file in `objects`; it may be whole, so it is never removed"

Damaged: TypeAlias = dict[ObjectName, Damage]


class Reason(StrEnum):
    """The kinds of problems."""

    MISSING = "missing"
    DAMAGED = "damaged"
    BINDING = "binding"
    BACK_REFERENCE = "back-reference"


@dataclass(frozen=True, slots=True)
class Problem:
    """Something wrong in a repository: the object it is about, what is wrong, and what to do.

    `path` is a place in a tree where the object is needed ("" if none is known, or the root), `commits` those that are
    not whole because of it. A ref without commit has a problem with that commit; `ref` is its name. `damage` says what
    exactly is wrong with a damaged object.
    """

    checksum: Checksum
    kind: ObjectType
    message: str
    hint: str
    path: str = ""
    commits: tuple[Checksum, ...] = ()
    reason: Reason = Reason.DAMAGED
    damage: Damage | None = None
    ref: str | None = None

    @property
    def unreadable(self) -> bool:
        """Whether the object could not be looked at, so that nothing is known of it."""
        return self.damage is not None and self.damage.unreadable

    def __str__(self) -> str:
        return f"{self.message}; {self.hint}"


def stray(name: ObjectName, wrong: Damage) -> Problem:
    """The problem of a damaged object that no commit needs."""
    return Problem(*name, _say(name, _what(wrong)), _hint(wrong), reason=_reason(wrong), damage=wrong)


def _what(wrong: Damage | None) -> str:
    if wrong is None:
        return "is missing"
    return wrong.message.replace("it ", "", 1) if wrong.unreadable else f"is damaged: {wrong.message}"


def _hint(wrong: Damage | None) -> str:
    if wrong is None:
        return FETCH
    return LET_READ if wrong.unreadable else REPAIR


def _reason(wrong: Damage | None) -> Reason:
    return Reason.MISSING if wrong is None else Reason.DAMAGED


@dataclass(frozen=True, slots=True)
class _Walk:
    """The commit that is looked through; `lenient`: it is known to lack objects; `seen`: dirtrees not to repeat."""

    commit: Checksum
    lenient: bool
    seen: set[bytes] = field(default_factory=set)


class Needs:
    """Follows commits through their trees. `good` are the objects that are here and whole; to be complete, they may
    also be in the repository's parent. `damage` says what is wrong with those that are here and not whole."""

    def __init__(self, repo: Repo, good: ObjectSet, damage: Mapping[ObjectName, Damage]) -> None:
        self._repo = repo
        self._good = good
        self._damage = damage
        self._whole: set[bytes] = set()  # dirtrees below which nothing is wrong, whichever commit holds them
        self._found: dict[ObjectName, Problem] = {}

    def problems(self) -> list[Problem]:
        """Everything that commits need and that is missing or damaged."""
        return [self._found[name] for name in sorted(self._found, key=lambda name: (name[1], name[0]))]

    def follow(self, checksum: Checksum) -> None:
        """Look for everything below one commit."""
        commit = self._load(checksum)
        lenient = self._repo.commit_state(checksum) is CommitState.PARTIAL
        walk = _Walk(checksum, lenient)
        self._need((checksum, ObjectType.COMMIT), "", walk)
        if commit is not None:
            self._need((commit.root_meta, ObjectType.DIRMETA), "", walk)
            self._follow_tree(commit.root_tree, "", walk)

    def _follow_tree(self, checksum: Checksum, path: str, walk: "_Walk") -> bool:
        """Whether all is well from this directory down."""
        digest = bytes.fromhex(checksum)
        if digest in self._whole:
            return True
        if digest in walk.seen:
            return False
        walk.seen.add(digest)
        whole = self._need((checksum, ObjectType.DIRTREE), path, walk)
        tree = self._tree(checksum)
        if tree is None or path.count("/") > MAX_TREE_DEPTH:
            return False
        if not self._good.of(ObjectType.FILE).issuperset([bytes.fromhex(file) for _, file in tree.files]):
            for name, file in tree.files:
                whole &= self._need((file, ObjectType.FILE), f"{path}/{name}", walk)
        for name, below, meta in tree.dirs:
            whole &= self._need((meta, ObjectType.DIRMETA), f"{path}/{name}", walk)
            whole &= self._follow_tree(below, f"{path}/{name}", walk)
        if whole:
            self._whole.add(digest)
        return whole

    def _need(self, name: ObjectName, path: str, walk: "_Walk") -> bool:
        """Whether the object is there and good; if not, that is noted, with its place in the commit."""
        if name in self._good:
            return True
        known = self._found.get(name)
        if known is not None:
            if walk.commit not in known.commits:
                self._found[name] = replace(known, commits=(*known.commits, walk.commit))
            return False
        wrong = self._damage.get(name)
        if wrong is None:
            if self._repo.has(*name):
                return True
            if walk.lenient:
                return False
        message = _say(name, f"({path or '/'} in the commit {walk.commit}) {_what(wrong)}")
        self._found[name] = Problem(*name, message, _hint(wrong), path, (walk.commit,), _reason(wrong), wrong)
        return False

    def _load(self, checksum: Checksum) -> Commit | None:
        try:
            return self._repo.load_commit(checksum)
        except (OstlerError, OSError):  # which is a problem of its own by now
            return None

    def _tree(self, checksum: Checksum) -> DirTree | None:
        try:
            return self._repo.load_dirtree(checksum)
        except (OstlerError, OSError):
            return None


def _say(name: ObjectName, what: str) -> str:
    return f"the {name[1].extension} object {name[0]} {what}"
