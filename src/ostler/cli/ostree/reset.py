"""`ostree reset`."""

from ostler.cli.ostree.call import Call, Verb
from ostler.cli.ostree.options import Failure
from ostler.cli.ostree.revisions import refspec, resolve


def run(call: Call) -> None:
    """Point a ref that exists at a commit."""
    if len(call.arguments) < 2:
        call.usage_error("A REF and COMMIT argument is required")
    ref, target = call.arguments[:2]
    if ref not in call.repo.refs():
        raise Failure(f"Invalid ref '{ref}'")
    checksum = resolve(call.repo, target)
    remote, name = refspec(ref)
    with call.repo.transaction() as transaction:
        transaction.set_ref(name, checksum, remote)


VERB = Verb(run, "REF COMMIT")
