"""Putting signatures on commits and summaries, and checking those of commits that are here."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from ostler.errors import NotFoundError
from ostler.formats.gvariant import FormatError, Variant
from ostler.formats.objects import Checksum, ObjectType, decode_detached, encode_detached
from ostler.io.files import atomic_write
from ostler.store.signing.kinds import Signer, Trust, Verified
from ostler.store.signing.verify import signatures_in

if TYPE_CHECKING:
    from ostler.store.repo import Repo
    from ostler.store.transaction import Transaction


def add_signatures(detached: Mapping[str, Variant], data: bytes, signers: Sequence[Signer]) -> dict[str, Variant]:
    """Detached metadata with a signature of `data` by each signer added to those that it has."""
    result = dict(detached)
    for signer in signers:
        held = signatures_in(result, signer.metadata_key)
        result[signer.metadata_key] = Variant("aay", [*held, signer.sign(data)])
    return result


def sign_commit(repo: "Repo", commit: Checksum, signers: Sequence[Signer]) -> None:
    """Add a signature by each signer to a commit of the repository; signing twice adds it twice.

    Raises `NotFoundError` (no such commit) and what the signers do.
    """
    detached = add_signatures(repo.load_detached(commit), repo.load_bytes(commit, ObjectType.COMMIT), signers)
    with repo.transaction() as transaction:
        transaction.write_detached(commit, detached)


def sign_staged(transaction: "Transaction", commit: Checksum, signers: Sequence[Signer]) -> None:
    """The same within a transaction that writes the commit."""
    repo = transaction.repo
    detached = add_signatures(repo.load_detached(commit), repo.load_bytes(commit, ObjectType.COMMIT), signers)
    transaction.write_detached(commit, detached)


def check_commit(repo: "Repo", commit: Checksum, trust: Trust) -> Verified:
    """A good signature of a commit of the repository; raises `NotFoundError` and `SignatureError`."""
    data = repo.load_bytes(commit, ObjectType.COMMIT)
    return trust.check(data, signatures_in(repo.load_detached(commit), trust.metadata_key))


def sign_summary(repo: "Repo", signers: Sequence[Signer]) -> None:
    """Add a signature by each signer to the repository's summary as it is; raises `NotFoundError` if it has none."""
    path = repo.path / "summary"
    try:
        data = path.read_bytes()
    except FileNotFoundError as error:
        raise NotFoundError(f"the repository {repo.path} has no summary to sign", hint="write it first") from error
    detached = add_signatures(_summary_signatures(repo), data, signers)
    atomic_write(repo.path / "summary.sig", encode_detached(detached), durable=repo.fsync)


def signed_summary(summary: bytes, signers: Sequence[Signer]) -> bytes:
    """The bytes of a `summary.sig` that has a signature of the summary by each signer and no other."""
    return encode_detached(add_signatures({}, summary, signers))


def _summary_signatures(repo: "Repo") -> dict[str, Variant]:
    try:
        return decode_detached((repo.path / "summary.sig").read_bytes())
    except (FileNotFoundError, FormatError):
        return {}
