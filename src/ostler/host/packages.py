"""Which packages another version would bring."""

from ostler.errors import CorruptError, NotFoundError
from ostler.packages.difference import PackageDiff, compare
from ostler.sysroot.view import TreeView

DPKG_STATUS = "usr/lib/sysimage/dpkg/status"
MAX_STATUS = 64 << 20


def package_versions(data: bytes) -> dict[str, str]:
    """Name → version from a dpkg status file. Raises `ControlError`."""
    from ostler.packages.dpkg import parse_status

    return {name: package.version for name, package in parse_status(data).items()}


def compare_trees(old: TreeView, new: TreeView) -> PackageDiff | None:
    """The packages that differ between two trees; None if one has no package database that can be read."""
    try:
        before, after = old.read(DPKG_STATUS, MAX_STATUS), new.read(DPKG_STATUS, MAX_STATUS)
        return compare(package_versions(before), package_versions(after))
    except (NotFoundError, CorruptError, OSError):
        return None


def diff_json(difference: PackageDiff) -> dict[str, list[dict[str, str | None]]]:
    """The difference as plain values."""
    return {
        kind: [{"name": change.name, "old": change.old, "new": change.new} for change in getattr(difference, kind)]
        for kind in ("added", "removed", "upgraded", "downgraded")
    }


def diff_text(difference: PackageDiff) -> str:
    """The difference as lines for people, none if there is none."""
    lines = []
    for change in difference.changes:
        if change.old is None:
            lines.append(f"  + {change.name} {change.new}")
        elif change.new is None:
            lines.append(f"  - {change.name} {change.old}")
        else:
            lines.append(f"    {change.name} {change.old} -> {change.new}")
    return "\n".join(lines)
