"""Carrying local changes of /etc over into a new version's defaults.

What changed is found by comparing a deployment's `usr/etc` (its defaults) with its `etc`. What becomes of each change
follows libostree (`merge_configuration_from`): a local file or link wins whole; what was removed stays removed; of a
directory of which only the mode changed nothing is kept, unless something in it is copied, which brings its attributes
along. The plan is made from snapshots alone; changes that can't be carried over are conflicts, found before anything is
written. Differences from libostree: where the new version has made a directory into a link, changes below go where the
link leads inside /etc (libostree follows it out of the new /etc); something removed below what the new version made a
file is no conflict; and all conflicts are reported at once.
"""

import hashlib
import os
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from ostler.sysroot.copying import copy_attributes, copy_node
from ostler.sysroot.errors import EtcConflictError

_MAX_LINKS = 16


@dataclass(frozen=True, slots=True)
class Node:
    """A thing in /etc. `kind` is its type as in `st_mode` (`S_IFREG`, …); `target` a symlink's; `digest` of a file."""

    kind: int
    uid: int
    gid: int
    mode: int
    target: str = ""
    digest: str = ""


Snapshot = Mapping[str, Node]
"""Path relative to /etc → what is there, a directory before what it holds, ascending by name."""


@dataclass(frozen=True, slots=True)
class EtcChanges:
    """How a local /etc differs from its defaults; paths relative to it. Below removed directories nothing is listed."""

    modified: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    added: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Remove:
    """Remove what is at `path` of the new /etc, a directory with all it holds."""

    path: str


@dataclass(frozen=True, slots=True)
class MakeDirectory:
    """See that the directory `path` of the new /etc is there, with the attributes of `source` in the local /etc."""

    path: str
    source: str


@dataclass(frozen=True, slots=True)
class Copy:
    """Copy the file or link `source` of the local /etc to `path` of the new one, where nothing is."""

    path: str
    source: str


MergeStep = Remove | MakeDirectory | Copy


@dataclass(frozen=True, slots=True)
class EtcMergePlan:
    """What to do to the new /etc, in order, and why it can't be done (path → reason), if so."""

    changes: EtcChanges
    steps: tuple[MergeStep, ...]
    conflicts: Mapping[str, str]


def snapshot(root: Path, *, content: bool = True) -> dict[str, Node]:
    """Everything below `root`; without `content` files get no digest."""
    found: dict[str, Node] = {}

    def scan(folder: str) -> None:
        for entry in sorted(os.scandir(root / folder), key=lambda entry: os.fsencode(entry.name)):
            path = f"{folder}/{entry.name}" if folder else entry.name
            status = entry.stat(follow_symlinks=False)
            kind = stat.S_IFMT(status.st_mode)
            node = Node(kind, status.st_uid, status.st_gid, stat.S_IMODE(status.st_mode))
            if kind == stat.S_IFLNK:
                node = replace(node, target=os.readlink(entry.path))  # noqa: PTH115
            elif kind == stat.S_IFREG and content:
                node = replace(node, digest=_digest(entry.path))
            found[path] = node
            if kind == stat.S_IFDIR:
                scan(path)

    scan("")
    return found


def _digest(path: str) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def compare_etc(base: Snapshot, local: Snapshot) -> EtcChanges:
    """The changes from the defaults to the local /etc. Extended attributes don't count."""
    modified, removed, added = [], [], []
    gone: set[str] = set()
    retyped: set[str] = set()
    for path, node in base.items():
        parent = path.rpartition("/")[0]
        if parent in gone or parent in retyped:
            (gone if parent in gone else retyped).add(path)
            continue
        mine = local.get(path)
        if mine is None:
            removed.append(path)
            gone.add(path)
        elif mine.kind != node.kind:
            modified.append(path)
            retyped.add(path)
        elif mine != node:
            modified.append(path)
    for path in local:
        parent = path.rpartition("/")[0]
        if parent in retyped:  # libostree looks no further below what has become another type of thing
            retyped.add(path)
        elif path not in base:
            added.append(path)
    return EtcChanges(tuple(modified), tuple(removed), tuple(added))


def plan_etc_merge(base: Snapshot, local: Snapshot, new: Snapshot) -> EtcMergePlan:
    """What makes `new` (the new version's defaults) the new /etc. Raises nothing: see `conflicts`."""
    changes = compare_etc(base, local)
    planner = _Planner(local, dict(new))
    for path in changes.removed:
        planner.remove(path)
    for path in (*changes.modified, *changes.added):
        planner.carry_over(path)
    return EtcMergePlan(changes, tuple(planner.steps), planner.conflicts)


class _Planner:
    """Follows on a copy of the new snapshot what each step does."""

    def __init__(self, local: Snapshot, new: dict[str, Node]) -> None:
        self.local = local
        self.new = new
        self.children: dict[str, set[str]] = {}
        for path in new:
            self._enter(path)
        self.steps: list[MergeStep] = []
        self.conflicts: dict[str, str] = {}
        self.copied: set[str] = set()
        self.made: set[tuple[str, str]] = set()

    def _enter(self, path: str) -> None:
        self.children.setdefault(path.rpartition("/")[0], set()).add(path)

    def remove(self, path: str) -> None:
        parent = self._resolve(path.rpartition("/")[0])
        place = _join(parent, path) if parent is not None else None
        if place is not None and place in self.new:
            self._drop(place)
            self.steps.append(Remove(place))

    def carry_over(self, path: str) -> None:
        if path in self.copied:
            return
        parent = self._ensure_parent(path)
        if parent is None:
            return
        place, mine = _join(parent, path), self.local[path]
        there = self.new.get(place)
        if there is not None and there.kind == stat.S_IFDIR:
            if mine.kind != stat.S_IFDIR:
                self.conflicts[path] = "here a file or link, but a directory in the new version"
            return
        if there is not None:
            self._drop(place)
            self.steps.append(Remove(place))
        self._copy(path, place)

    def _copy(self, path: str, place: str) -> None:
        mine = self.local[path]
        self.copied.add(path)
        if mine.kind == stat.S_IFDIR:
            self._make(place, path)
            for below in _children(self.local, path):
                self._copy(below, _join(place, below))
        elif mine.kind in (stat.S_IFREG, stat.S_IFLNK):
            self._put(place, mine)
            self.steps.append(Copy(place, path))

    def _ensure_parent(self, path: str) -> str | None:
        """The resolved parent in the new /etc, with its local attributes; None after noting a conflict."""
        parent = path.rpartition("/")[0]
        if not parent:
            return ""
        place = self._resolve(parent)
        if place is None:
            self.conflicts[path] = f"changed here, but in the new version /etc/{parent} is no directory"
            return None
        missing = place not in self.new
        if missing and self._ensure_parent(parent) is None:
            self.conflicts[path] = self.conflicts.pop(parent, "its folder can't be made in the new version")
            return None
        self._make(place, parent)
        return place

    def _make(self, place: str, source: str) -> None:
        if (place, source) not in self.made:
            self.made.add((place, source))
            self._put(place, self.local[source])
            self.steps.append(MakeDirectory(place, source))

    def _put(self, place: str, node: Node) -> None:
        self.new[place] = node
        self._enter(place)

    def _drop(self, place: str) -> None:
        for below in list(self.children.pop(place, ())):
            self._drop(below)
        self.new.pop(place, None)
        self.made = {made for made in self.made if made[0] != place}
        self.children.get(place.rpartition("/")[0], set()).discard(place)

    def _resolve(self, path: str) -> str | None:
        """Where the directory `path` lies in the new /etc, links inside it followed; it or its end may be missing.

        None if a part of it is no directory or leads out of /etc.
        """
        pending = [part for part in path.split("/") if part]
        here: list[str] = []
        links = 0
        while pending:
            part = pending.pop(0)
            if part == "..":
                if not here:
                    return None
                here.pop()
                continue
            place = "/".join([*here, part])
            node = self.new.get(place)
            if node is None or node.kind == stat.S_IFDIR:
                here.append(part)
                continue
            links += 1
            if node.kind != stat.S_IFLNK or links > _MAX_LINKS:
                return None
            target = node.target
            if target.startswith("/"):
                if not target.startswith("/etc/"):
                    return None
                here, target = [], target.removeprefix("/etc/")
            followed = self._resolve_link(here, target)
            if followed is None:
                return None
            here = followed
        return "/".join(here)

    def _resolve_link(self, here: list[str], target: str) -> list[str] | None:
        """Where a link in the folder `here` leads, if that is an existing directory of the new /etc."""
        place = list(here)
        for part in target.split("/"):
            if part in ("", "."):
                continue
            if part == "..":
                if not place:
                    return None
                place.pop()
                continue
            place.append(part)
            node = self.new.get("/".join(place))
            if node is None or node.kind != stat.S_IFDIR:
                return None
        return place


def _join(parent: str, path: str) -> str:
    name = path.rpartition("/")[2]
    return f"{parent}/{name}" if parent else name


def _children(tree: Snapshot, path: str) -> Iterator[str]:
    start = path + "/"
    return (found for found in tree if found.startswith(start) and "/" not in found[len(start) :])


def read_etc_merge(merge: Path, new_defaults: Snapshot) -> EtcMergePlan:
    """The plan for carrying the local changes of the deployment at `merge` into a version with these defaults."""
    base = snapshot(merge / "usr/etc") if (merge / "usr/etc").is_dir() else {}
    local = snapshot(merge / "etc") if (merge / "etc").is_dir() else {}
    return plan_etc_merge(base, local, new_defaults)


def check_conflicts(plan: EtcMergePlan) -> None:
    """Raise `EtcConflictError` if the plan has conflicts."""
    if plan.conflicts:
        raise EtcConflictError(dict(plan.conflicts))


def merge_etc(plan: EtcMergePlan, local: Path, new: Path) -> None:
    """Carry the plan out on the directory `new`, from the directory `local`; raises `EtcConflictError` first of all."""
    check_conflicts(plan)
    for step in plan.steps:
        match step:
            case Remove(path):
                _remove(new / path)
            case MakeDirectory(path, source):
                (new / path).mkdir(mode=0o700, exist_ok=True)
                copy_attributes(local / source, new / path)
            case Copy(path, source):
                copy_node(local / source, new / path)


def _remove(path: Path) -> None:
    from ostler.io.files import remove_tree

    if path.is_dir() and not path.is_symlink():
        remove_tree(path)
    else:
        path.unlink(missing_ok=True)
