"""Removing objects that nothing needs any more."""

import base64
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from ostler.formats.objects import Checksum, ObjectType
from ostler.io.files import remove_tree
from ostler.io.progress import Finished, Reporter, Step, silent
from ostler.store.reach import ObjectName, all_refs, reachable, with_parents
from ostler.store.repo import Repo

# Whoever is cut off must not leave something whose parts are gone: what refers to others goes before them.
_ORDER = (ObjectType.COMMIT, ObjectType.DETACHED, ObjectType.TOMBSTONE, ObjectType.DIRTREE, ObjectType.DIRMETA)
_PRUNED = frozenset({*_ORDER, ObjectType.FILE} - {ObjectType.TOMBSTONE})


@dataclass(frozen=True, slots=True)
class PruneResult:
    """Numbers of objects kept and removed, and the size of the removed ones in bytes."""

    kept: int
    removed: int
    bytes_freed: int


def prune(
    repo: Repo,
    *,
    refs_only: bool = True,
    depth: int = 0,
    keep: Iterable[Checksum] = (),
    dry_run: bool = False,
    report: Reporter = silent,
) -> PruneResult:
    """Remove every object that no ref needs, nor one of the commits in `keep`.

    `depth` is how many generations of parents to keep too (-1: all). Without `refs_only` every commit that is there is
    kept with all it contains. With `dry_run` nothing is removed. Takes the exclusive lock: raises `BusyError` while
    others add objects; and, before anything is removed, `NotFoundError` or `CorruptError` if a commit to keep is
    damaged.
    """
    report(Step("prune", str(repo.path)))
    with repo.lock(exclusive=True):
        roots = {*all_refs(repo).values(), *keep}
        present = list(repo.objects())
        if not refs_only:
            roots |= {checksum for checksum, kind in present if kind is ObjectType.COMMIT}
        needed = reachable(repo, with_parents(repo, roots, depth))
        result = _remove(repo, present, needed, dry_run=dry_run)
        if not dry_run:
            _remove_leftovers(repo)
    report(Finished("prune", f"{result.removed} objects removed, {result.kept} kept"))
    return result


def _remove(repo: Repo, present: list[ObjectName], needed: set[ObjectName], *, dry_run: bool) -> PruneResult:
    doomed = [name for name in present if name not in needed and name[1] in _PRUNED]
    rank = {kind: number for number, kind in enumerate(_ORDER)}
    doomed.sort(key=lambda name: rank.get(name[1], len(rank)))
    freed = 0
    for checksum, kind in doomed:
        path = repo.object_path(checksum, kind)
        freed += path.lstat().st_size
        if not dry_run:
            path.unlink()
    return PruneResult(len(present) - len(doomed), len(doomed), freed)


def _remove_leftovers(repo: Repo) -> None:
    """Marks of partial commits that are gone, and static deltas to such."""
    for marker in (repo.path / "state").glob("*.commitpartial"):
        if not repo.has(Checksum(marker.name.partition(".")[0]), ObjectType.COMMIT):
            marker.unlink()
    for folder, target in _deltas(repo.path):
        if not repo.has(target, ObjectType.COMMIT):
            remove_tree(folder)


def _deltas(root: Path) -> Iterator[tuple[Path, Checksum]]:
    """(folder, checksum of the commit it leads to) of every static delta: `deltas/XX/REST` or `deltas/XX/REST-TO`."""
    for folder in (root / "deltas").glob("??/*"):
        start, dash, end = folder.name.rpartition("-")
        name = end if dash else folder.parent.name + end
        try:
            raw = base64.b64decode(name.replace("_", "/") + "=", validate=True)
        except ValueError:
            continue
        if len(raw) == 32 and (start or not dash) and os.path.isdir(folder):  # noqa: PTH112
            yield folder, Checksum(raw.hex())
