"""`ostree export`."""

import sys
from contextlib import nullcontext
from pathlib import Path

from ostler.cli.ostree.call import Call, Verb
from ostler.cli.ostree.options import flag, text
from ostler.cli.ostree.revisions import resolve


def run(call: Call) -> None:
    """Write a commit as a tar archive."""
    if not call.arguments:
        call.usage_error("A COMMIT argument is required")
    from ostler.store.checkout import stored_tree
    from ostler.store.export import export_tar

    checksum = resolve(call.repo, call.arguments[0])
    output = call.text("output")
    sys.stdout.flush()
    with nullcontext(sys.stdout.buffer) if output is None else Path(output).open("wb") as file:
        export_tar(
            call.repo,
            stored_tree(call.repo, checksum),
            file,
            mtime=call.repo.load_commit(checksum).timestamp,
            prefix=call.text("prefix") or "",
            subpath=call.text("subpath") or "",
            xattrs=not call.flag("no-xattrs"),
        )


VERB = Verb(
    run,
    "COMMIT",
    (
        flag("no-xattrs", "Leave out extended attributes"),
        text("subpath", "PATH", "Write only what lies at PATH"),
        text("prefix", "PATH", "Put PATH before all paths"),
        text("output", "PATH", "Write to PATH, not to standard output", "o"),
    ),
)
