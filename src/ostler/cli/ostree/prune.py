"""`ostree prune`."""

from ostler.cli.ostree.call import Call, Verb
from ostler.cli.ostree.options import Failure, flag, many, number, text
from ostler.formats.objects import parse_checksum


def run(call: Call) -> None:
    """Remove what nothing needs, and print how much it was."""
    from ostler.cli.ostree.sizes import format_size
    from ostler.store.prune import prune

    commit = call.text("delete-commit")
    if commit is not None and call.flag("no-prune"):
        call.usage_error("Cannot specify both --delete-commit and --no-prune")
    depth = call.number("depth")
    result = prune(
        call.repo,
        refs_only=call.flag("refs-only"),
        depth=-1 if depth is None else depth,
        keep_younger_than=_date(call.text("keep-younger-than")),
        retain_branch_depth=dict(_branch_depth(value) for value in call.many("retain-branch-depth")),
        only_branch=call.many("only-branch"),
        delete_commit=None if commit is None else parse_checksum(commit),
        static_deltas_only=call.flag("static-deltas-only"),
        commit_only=call.flag("commit-only"),
        dry_run=call.flag("no-prune"),
    )
    call.out(f"Total {'(commit only) ' if call.flag('commit-only') else ''}objects: {result.total}")
    freed = format_size(result.bytes_freed)
    if not result.removed:
        call.out("No unreachable objects")
    elif call.flag("no-prune"):
        call.out(f"Would delete: {result.removed} objects, freeing {freed}")
    else:
        call.out(f"Deleted {result.removed} objects, {freed} freed")


def _date(written: str | None) -> int | None:
    if written is None:
        return None
    from ostler.cli.ostree.dates import parse_date

    try:
        return parse_date(written)
    except ValueError as error:
        raise Failure(f"Could not parse '{written}'") from error


def _branch_depth(value: str) -> tuple[str, int]:
    branch, equals, depth = value.partition("=")
    if not equals:
        raise Failure(f"Invalid value {value}, must specify BRANCH=DEPTH")
    digits = depth.strip().removeprefix("-")
    if not digits.isascii() or not digits.isdigit():
        raise Failure(f"Invalid depth {depth}")
    return branch, int(depth)


VERB = Verb(
    run,
    "",
    (
        flag("no-prune", "Only say what would be removed"),
        flag("refs-only", "Keep only commits that refs lead to"),
        number("depth", "DEPTH", "Keep so many generations of parents (default: -1, all)"),
        text("delete-commit", "COMMIT", "Remove this commit first"),
        text("keep-younger-than", "DATE", "Keep parents that are younger than this, and no others"),
        flag("static-deltas-only", "With --delete-commit: remove the static deltas to it, not the commit"),
        many("retain-branch-depth", "BRANCH=DEPTH", "Keep so many generations of parents of one branch"),
        many("only-branch", "BRANCH", "Leave all branches but this (and others given so) as they are"),
        flag("commit-only", "Look at and remove commit objects only"),
    ),
)
