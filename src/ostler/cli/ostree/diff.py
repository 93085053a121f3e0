"""`ostree diff`."""

from pathlib import Path
from typing import TYPE_CHECKING

from ostler.cli.ostree.call import Call, Verb
from ostler.cli.ostree.options import flag, number
from ostler.cli.ostree.revisions import resolve

if TYPE_CHECKING:
    from ostler.store.diff import Side


def run(call: Call) -> None:
    """List what differs between two commits or folders, and count what two commits have in common."""
    if not call.arguments:
        call.usage_error("REV must be specified")
    old, new = call.arguments[:2] if len(call.arguments) > 1 else (f"{call.arguments[0]}^", call.arguments[0])
    if call.flag("fs-diff") or not call.flag("stats"):
        _files(call, old, new)
    if call.flag("stats"):
        _stats(call, old, new)


def _files(call: Call, old: str, new: str) -> None:
    from ostler.store.diff import DiffOptions, diff_sides

    options = DiffOptions(call.flag("no-xattrs"), _owner(call, "owner-uid"), _owner(call, "owner-gid"))
    sides = _side(call, old), _side(call, new)
    found = diff_sides(call.repo, *sides, options)
    before, after = ("" if isinstance(side, Path) else "/" for side in sides)
    for start, paths in (
        (f"M    {before}", found.changed),
        (f"D    {before}", found.removed),
        (f"A    {after}", found.added),
    ):
        for path in paths:
            call.out(start + path)


def _side(call: Call, text: str) -> "Side":
    from ostler.store.checkout import stored_tree

    if text.startswith(("/", "./")):
        return Path(text)
    return stored_tree(call.repo, resolve(call.repo, text))


def _owner(call: Call, option: str) -> int | None:
    value = call.number(option)
    return value if value is not None and value >= 0 else None


def _stats(call: Call, old: str, new: str) -> None:
    from ostler.cli.ostree.sizes import format_size
    from ostler.store.diff import diff_stats

    stats = diff_stats(call.repo, resolve(call.repo, old), resolve(call.repo, new))
    call.out(f"[A] Object Count: {stats.old_objects}")
    call.out(f"[B] Object Count: {stats.new_objects}")
    call.out(f"Common Object Count: {stats.common_objects}")
    call.out(f"Common Object Size: {format_size(stats.common_bytes)}")


VERB = Verb(
    run,
    "REV_OR_DIR REV_OR_DIR",
    (
        flag("stats", "Count the objects of both commits"),
        flag("fs-diff", "List the files that differ (the default)"),
        flag("no-xattrs", "Leave extended attributes out of the comparison"),
        number("owner-uid", "UID", "Take files on disk as owned by this user"),
        number("owner-gid", "GID", "Take files on disk as owned by this group"),
    ),
)
