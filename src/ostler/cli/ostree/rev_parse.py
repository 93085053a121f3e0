"""`ostree rev-parse`."""

from ostler.cli.ostree.call import Call, Verb
from ostler.cli.ostree.options import Failure, flag
from ostler.cli.ostree.revisions import resolve
from ostler.formats.objects import ObjectType


def run(call: Call) -> None:
    """Print what each revision stands for."""
    if call.flag("single"):
        _single(call)
        return
    if not call.arguments:
        call.usage_error("REV must be specified")
    for rev in call.arguments:
        call.out(resolve(call.repo, rev))


def _single(call: Call) -> None:
    if call.arguments:
        call.usage_error("Cannot specify arguments with --single")
    commits = [checksum for checksum, kind in call.repo.objects() if kind is ObjectType.COMMIT]
    if len(commits) != 1:
        raise Failure("Multiple commit objects found" if commits else "No commit objects found")
    call.out(commits[0])


VERB = Verb(run, "REV", (flag("single", "Print the only commit there is; fail if there are more or none", "S"),))
