"""Which objects of commits are missing here: trees are walked from the top, as their directories become known.

What is the same in a commit that is here already is not looked at; a directory that is here is looked into, since that
does not mean that its children are.
"""

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from ostler.formats.objects import Checksum, Commit, DirTree, ObjectType
from ostler.store.repo import Repo

MAX_SEEN = 500_000

Scope: TypeAlias = "Mapping[str, Scope] | None"
"""Which entries of a directory are wanted, each with its own scope; None: all that is below."""


def scope_of(subpaths: Sequence[str]) -> Scope:
    """The scope of a tree's root for paths such as "/usr/share"; None if there are no paths, or one is the root."""
    root: dict[str, Scope] = {}
    for path in subpaths:
        parts = [part for part in path.split("/") if part]
        if not parts:
            return None
        at = root
        for part in parts[:-1]:
            below = at.setdefault(part, {})
            if below is None:
                break
            assert isinstance(below, dict)
            at = below
        else:
            at[parts[-1]] = None
    return root if subpaths else None


@dataclass(frozen=True, slots=True)
class _Tree:
    checksum: Checksum
    similar: Checksum | None
    scope: Scope


class Walk:
    """Finds out what is missing: `wanted` metadata objects to bring next, and `files`.

    `arrived` is told of each dirtree that was brought. Everything here only looks at the local repository.
    """

    def __init__(self, repo: Repo) -> None:
        self._repo = repo
        self._seen: set[tuple[ObjectType, bytes]] = set()
        self._seen_files: set[bytes] = set()
        self._queue: deque[tuple[Checksum, ObjectType]] = deque()
        self._awaited: dict[Checksum, list[_Tree]] = {}
        self.files: list[Checksum] = []
        self.found = 0

    def next_wanted(self) -> tuple[Checksum, ObjectType] | None:
        """The next metadata object to bring; None if there is none to be known now."""
        return self._queue.popleft() if self._queue else None

    def take_files(self, count: int) -> list[Checksum]:
        """Up to `count` of the missing files found by now, once; the caller brings them."""
        taken = self.files[-count:]
        del self.files[-count:]
        if len(self._seen_files) > MAX_SEEN:
            self._seen_files.clear()  # some may be brought twice, which does no harm
        return taken

    def add_commit(self, commit: Commit, similar: Checksum | None, scope: Scope) -> None:
        """Look into a commit's tree. `similar` is a commit that may share much with it."""
        counterpart = None
        if similar is not None and scope is None and self._complete(similar):
            counterpart = self._repo.load_commit(similar).root_tree
        self._want_meta(commit.root_meta)
        self._descend([_Tree(commit.root_tree, counterpart, scope)])

    def arrived(self, checksum: Checksum, tree: DirTree) -> None:
        """A dirtree that was wanted is here now."""
        below: list[_Tree] = []
        for awaited in self._awaited.pop(checksum, ()):
            below += self._missing_children(tree, awaited)
        self._descend(below)

    def _complete(self, commit: Checksum) -> bool:
        return self._repo.has(commit, ObjectType.COMMIT) and not self._repo.is_partial(commit)

    def _descend(self, trees: list[_Tree]) -> None:
        while trees:
            tree = trees.pop()
            if tree.checksum == tree.similar:
                continue
            awaited = self._awaited.get(tree.checksum)
            if tree.scope is None:
                key = (ObjectType.DIRTREE, bytes.fromhex(tree.checksum))
                if key in self._seen:
                    continue
                self._seen.add(key)
            if awaited is not None:
                awaited.append(tree)
            elif self._repo.has(tree.checksum, ObjectType.DIRTREE):
                trees += self._missing_children(self._repo.load_dirtree(tree.checksum), tree)
            else:
                self._awaited[tree.checksum] = [tree]
                self._want(tree.checksum, ObjectType.DIRTREE)

    def _missing_children(self, tree: DirTree, at: _Tree) -> list[_Tree]:
        """Note the files and dirmetas missing below `tree`; return its subdirectories to look into."""
        old = DirTree((), ()) if at.similar is None else self._repo.load_dirtree(at.similar)
        old_files = dict(old.files)
        old_dirs = {name: (child, meta) for name, child, meta in old.dirs}
        scope = at.scope
        self._want_files(
            checksum
            for name, checksum in tree.files
            if old_files.get(name) != checksum and (scope is None or scope.get(name, 0) is None)
        )
        below = []
        for name, child, meta in tree.dirs:
            if scope is not None and name not in scope:
                continue
            old_child, old_meta = old_dirs.get(name, (None, None))
            if meta != old_meta:
                self._want_meta(meta)
            if child != old_child:
                below.append(_Tree(child, old_child, None if scope is None else scope[name]))
        return below

    def _want_files(self, checksums: Iterable[Checksum]) -> None:
        for checksum in checksums:
            key = bytes.fromhex(checksum)
            if key not in self._seen_files:
                self._seen_files.add(key)
                if not self._repo.has(checksum, ObjectType.FILE):
                    self.files.append(checksum)
                    self.found += 1

    def _want_meta(self, checksum: Checksum) -> None:
        key = (ObjectType.DIRMETA, bytes.fromhex(checksum))
        if key not in self._seen:
            self._seen.add(key)
            if not self._repo.has(checksum, ObjectType.DIRMETA):
                self._want(checksum, ObjectType.DIRMETA)

    def _want(self, checksum: Checksum, kind: ObjectType) -> None:
        self._queue.append((checksum, kind))
        self.found += 1
