"""`ostree cat`."""

import shutil
import sys

from ostler.cli.ostree.call import Call, Verb
from ostler.cli.ostree.revisions import resolve


def run(call: Call) -> None:
    """Print files."""
    if len(call.arguments) < 2:
        call.usage_error("A COMMIT and at least one PATH argument are required")
    from ostler.store.inspect import cat

    rev, *paths = call.arguments
    checksum = resolve(call.repo, rev)
    sys.stdout.flush()
    for path in paths:
        with cat(call.repo, checksum, path) as content:
            shutil.copyfileobj(content, sys.stdout.buffer)
    sys.stdout.buffer.flush()


VERB = Verb(run, "COMMIT PATH...")
