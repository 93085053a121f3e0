"""Verbs of `ostree` that are left out on purpose: they say so, and what to do instead."""

from collections.abc import Callable

from ostler.cli.ostree.call import Call, Use, Verb
from ostler.cli.ostree.options import Failure


def _without(message: str) -> Callable[[Call], None]:
    def run(call: Call) -> None:
        raise Failure(message)

    return run


ADMIN = Verb(
    _without(
        "the `admin` verbs belong to the host and are not part of this program; `ostler status`, `ostler upgrade`, "
        "`ostler rollback` and their like do what they are for"
    ),
    "COMMAND",
    repo=Use.NONE,
    left_out=True,
)

FIND_REMOTES = Verb(
    _without("finding remotes by collection is left out; name one, as in `ostree pull REMOTE REF`"),
    "COLLECTION-ID REF [COLLECTION-ID REF...]",
    repo=Use.NONE,
    left_out=True,
)

TRIVIAL_HTTPD = Verb(
    _without("there is no web server in this program; any server of static files serves a repository"),
    "[DIR]",
    repo=Use.NONE,
    left_out=True,
)
