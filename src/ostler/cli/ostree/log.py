"""`ostree log`."""

from ostler.cli.ostree.call import Call, Verb
from ostler.cli.ostree.options import Failure, flag
from ostler.cli.ostree.render import commit_text, commit_variant
from ostler.cli.ostree.revisions import resolve
from ostler.errors import NotFoundError
from ostler.formats.objects import Checksum, Commit, ObjectType


def run(call: Call) -> None:
    """Print a commit and its ancestors, as far back as they are here."""
    if not call.arguments:
        call.usage_error("A rev argument is required")
    first = checksum = resolve(call.repo, call.arguments[0])
    while True:
        try:
            data = call.repo.load_bytes(checksum, ObjectType.COMMIT)
        except NotFoundError as error:
            if checksum == first:
                raise Failure(f"No such metadata object {checksum}.commit") from error
            call.out("<< History beyond this commit not fetched >>")
            return
        commit = Commit.decode(data)
        _print(call, checksum, commit, data)
        if commit.parent is None:
            return
        checksum = commit.parent


def _print(call: Call, checksum: Checksum, commit: Commit, data: bytes) -> None:
    if call.flag("raw"):
        call.out(f"commit {checksum}\n{commit_variant(data)}")
    else:
        call.out(commit_text(checksum, commit))


VERB = Verb(run, "REV", (flag("raw", "Show the values as GVariant text"),))
