"""What revisions on the command line stand for."""

from ostler.cli.ostree.options import Failure
from ostler.errors import NotFoundError
from ostler.formats.objects import Checksum
from ostler.formats.refs import BadRefError, split_refspec
from ostler.store.repo import Repo


def resolve(repo: Repo, rev: str) -> Checksum:
    """The commit that `rev` names, with the messages of libostree in the `Failure` that is raised if there is none."""
    try:
        return repo.resolve(rev)
    except NotFoundError as error:
        name = rev.rstrip("^")
        if isinstance(error.__cause__, BadRefError):
            raise Failure(f"Invalid refspec {name}") from error
        if " not unique" in error.message:
            raise Failure(f"Refspec {name} not unique") from error
        if error.message.startswith("Refspec"):
            raise Failure(f"Refspec '{name}' not found") from error
        raise


def resolve_if_exists(repo: Repo, rev: str) -> Checksum | None:
    """The commit that `rev` names, or None; raises `Failure` for what cannot be a revision."""
    try:
        return resolve(repo, rev)
    except Failure as failure:
        if not failure.message.endswith(" not found"):
            raise
        return None


def refspec(text: str) -> tuple[str | None, str]:
    """(remote or None, ref) of `REMOTE:REF` or `REF`; raises `Failure`."""
    try:
        return split_refspec(text)
    except BadRefError as error:
        raise Failure(f"Invalid refspec {text}") from error


def whole_checksum(written: str) -> Checksum:
    """A checksum where no other revision will do; raises `Failure`."""
    if len(written) != 64 or written.strip("0123456789abcdef"):
        raise Failure(f"Invalid rev {written}")
    return Checksum(written)
