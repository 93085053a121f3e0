"""`ostree static-delta`: listing, showing and deleting the static deltas of a repository, and their indexes."""

from ostler.cli.ostree.call import Call, Group, Verb
from ostler.cli.ostree.options import Failure, text
from ostler.cli.ostree.revisions import whole_checksum


def delta_argument(call: Call) -> str:
    """The argument that names a delta."""
    if not call.arguments:
        raise Failure("DELTA must be specified")
    return call.arguments[0]


def _list(call: Call) -> None:
    from ostler.formats.delta import delta_name
    from ostler.store.delta.listing import list_deltas

    call.out("\n".join(delta_name(*delta) for delta in list_deltas(call.repo)) or "(No static deltas)")


def _show(call: Call) -> None:
    from ostler.store.delta.listing import describe_delta, describe_lines

    for line in describe_lines(describe_delta(call.repo, delta_argument(call))):
        call.out(line)


def _indexes(call: Call) -> None:
    from ostler.store.delta.index import list_indexes

    call.out("\n".join(list_indexes(call.repo)) or "(No static deltas indexes)")


def _reindex(call: Call) -> None:
    from ostler.store.delta.index import reindex

    to = call.text("to")
    reindex(call.repo, None if to is None else whole_checksum(to))


def _delete(call: Call) -> None:
    from ostler.store.delta.listing import delete_delta

    delete_delta(call.repo, delta_argument(call))


LIST = Verb(_list, "")
SHOW = Verb(_show, "")
DELETE = Verb(_delete, "")
INDEXES = Verb(_indexes, "")
REINDEX = Verb(_reindex, "", (text("to", "REV", "Only the index of deltas to this commit"),))

GROUP = Group(
    {
        "list": ("List the static deltas", "static_delta", "LIST"),
        "show": ("Print what is in a static delta", "static_delta", "SHOW"),
        "delete": ("Delete a static delta", "static_delta", "DELETE"),
        "generate": ("Make a static delta", "static_delta_generate", "VERB"),
        "apply-offline": ("Bring in a commit by a static delta on this machine", "static_delta_apply", "APPLY_OFFLINE"),
        "verify": ("Verify the signatures of a static delta", "static_delta_apply", "VERIFY"),
        "indexes": ("List the indexes of static deltas", "static_delta", "INDEXES"),
        "reindex": ("Write the indexes of static deltas again", "static_delta", "REINDEX"),
    }
)
