"""What differs between two sets of packages."""

from collections.abc import Mapping
from dataclasses import dataclass

from ostler.packages.dpkg import compare_versions


@dataclass(frozen=True, slots=True)
class PackageChange:
    """One package that differs; `old` is None if it is new, `new` is None if it is gone."""

    name: str
    old: str | None
    new: str | None


@dataclass(frozen=True, slots=True)
class PackageDiff:
    """The packages that differ between two systems, each list sorted by name."""

    added: tuple[PackageChange, ...] = ()
    removed: tuple[PackageChange, ...] = ()
    upgraded: tuple[PackageChange, ...] = ()
    downgraded: tuple[PackageChange, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.added or self.removed or self.upgraded or self.downgraded)

    @property
    def changes(self) -> tuple[PackageChange, ...]:
        """All of them, sorted by name."""
        together = (*self.added, *self.removed, *self.upgraded, *self.downgraded)
        return tuple(sorted(together, key=lambda change: change.name))


def compare(old: Mapping[str, str], new: Mapping[str, str]) -> PackageDiff:
    """Compare packages given as name to version. Raises `VersionError` for a version that is none.

    Two spellings of equal versions ("1.0" and "1.00") count as no change.
    """
    added: list[PackageChange] = []
    removed: list[PackageChange] = []
    upgraded: list[PackageChange] = []
    downgraded: list[PackageChange] = []
    for name in sorted(old.keys() | new.keys()):
        change = PackageChange(name, old.get(name), new.get(name))
        if change.old is None:
            added.append(change)
        elif change.new is None:
            removed.append(change)
        else:
            order = compare_versions(change.old, change.new)
            if order:
                (upgraded if order < 0 else downgraded).append(change)
    return PackageDiff(tuple(added), tuple(removed), tuple(upgraded), tuple(downgraded))
