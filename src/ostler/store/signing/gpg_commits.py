"""GPG signatures on commits that are in a repository: adding, listing and removing them."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ostler.errors import NotFoundError
from ostler.formats.gvariant import Variant
from ostler.formats.objects import Checksum, ObjectType
from ostler.store.signing.errors import SignatureError
from ostler.store.signing.gpg import METADATA_KEY, GpgSigner, GpgTrust
from ostler.store.signing.gpg_listing import GpgKey
from ostler.store.signing.gpg_status import GpgSignature
from ostler.store.signing.keyrings import keyring_for, keyring_with_home
from ostler.store.signing.places import USUAL, Places
from ostler.store.signing.sign import sign_commit
from ostler.store.signing.verify import signatures_in

if TYPE_CHECKING:
    from ostler.store.repo import Repo


class AlreadySignedError(SignatureError):
    """The commit has a signature by that key."""


def sign_commit_by_gpg(repo: "Repo", commit: Checksum, key_id: str, home: Path | None, places: Places = USUAL) -> None:
    """Add a signature by a secret key of the GPG home folder `home`.

    Raises `AlreadySignedError`, and as `GpgSigner.sign` does.
    """
    signer = GpgSigner(key_id, home)
    signatures = signatures_in(repo.load_detached(commit), METADATA_KEY)
    if signatures:
        key = signer.key()
        trust = keyring_with_home(repo, home, places)
        found = trust.examine(repo.load_bytes(commit, ObjectType.COMMIT), signatures)
        if any(_is_by(signature, key) for signature in found):
            raise AlreadySignedError(f"Commit is already signed with GPG key {key_id}")
    sign_commit(repo, commit, [signer])


def gpg_signatures(repo: "Repo", commit: Checksum, trust: GpgTrust) -> tuple[GpgSignature, ...]:
    """What is to be known of the commit's GPG signatures by the keys of `trust`; empty if it has none."""
    signatures = signatures_in(repo.load_detached(commit), METADATA_KEY)
    return trust.examine(repo.load_bytes(commit, ObjectType.COMMIT), signatures) if signatures else ()


def delete_gpg_signatures(repo: "Repo", commit: Checksum, key_ids: Sequence[str], places: Places = USUAL) -> int:
    """Remove the commit's signatures by the named keys, as far as it has them; returns how many that were."""
    detached = repo.load_detached(commit)
    signatures = signatures_in(detached, METADATA_KEY)
    if not signatures:
        return 0
    trust = keyring_for(repo, None, places)
    data = repo.load_bytes(commit, ObjectType.COMMIT)
    keys = [key for key in (_known(trust, key_id) for key_id in key_ids) if key is not None]

    def is_by_any(signature: bytes) -> bool:
        try:
            found = trust.examine(data, [signature])
        except SignatureError:  # bytes that are no signature are nobody's
            return False
        return any(_is_by(one, key) for one in found for key in keys)

    kept = [one for one in signatures if not is_by_any(one)]
    if len(kept) == len(signatures):
        return 0
    changed = {**detached, METADATA_KEY: Variant("aay", kept)}
    if not kept:
        del changed[METADATA_KEY]
    with repo.transaction() as transaction:
        transaction.write_detached(commit, changed)
    return len(signatures) - len(kept)


def _known(trust: GpgTrust, key_id: str) -> GpgKey | None:
    try:
        return trust.keys([key_id])[0]
    except NotFoundError:
        return None


def _is_by(signature: GpgSignature, key: GpgKey) -> bool:
    return any(subkey.fingerprint.endswith(signature.fingerprint) for subkey in key.subkeys)
