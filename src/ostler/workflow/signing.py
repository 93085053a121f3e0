"""Signing what is published, with the keys of the machine folder."""

from collections.abc import Callable, Sequence
from functools import partial

from ostler.definition.model import Definition
from ostler.definition.signing import FOLDER
from ostler.formats.objects import Checksum, ObjectType
from ostler.store.repo import Repo
from ostler.store.signing.ed25519 import MAX_FILE, METADATA_KEY, PublicKey, SecretKey, Trust
from ostler.store.signing.errors import SignatureError
from ostler.store.signing.keyfolder import KeyFolder, KeyFolderError
from ostler.store.signing.sign import sign_commit, signed_summary
from ostler.store.signing.verify import signatures_in
from ostler.store.tree import load_commit_tree
from ostler.sysroot.install import UPDATE_KEYS


def signers_of(definition: Definition) -> tuple[SecretKey, ...]:
    """The keys that sign what the folder publishes; none if it has no keys.

    Raises `KeyFormatError`, and `KeyFolderError` if machines are told to believe keys none of which can sign here.
    """
    return KeyFolder.of(definition.folder / FOLDER).signers()


def check_version(repo: Repo, commit: Checksum, signers: Sequence[SecretKey]) -> None:
    """Raise `KeyFolderError` if machines with this version could not verify, or would refuse, what comes after it."""
    shipped = _shipped_keys(repo, commit)
    if any(signer.public in shipped for signer in signers) or not (signers or shipped):
        return
    if not shipped:
        message = "the built image has none of the folder's signing keys, so machines with it would check no signatures"
    elif not signers:
        message = (
            "the built image tells machines to demand signatures, and the folder has no keys to sign with any more"
        )
    else:
        message = "the built image has other keys than those that sign now: machines with it would refuse new versions"
    raise KeyFolderError(message, hint="run `ostler build` again, then publish")


def check_believed(previous: Checksum | None, repos: Sequence[Repo], signers: Sequence[SecretKey]) -> None:
    """Raise `KeyFolderError` if machines that run the previous version believe none of the keys that sign the next one.

    It is looked for in `repos`; of a version that none of them has, nothing is known.
    """
    holder = next((repo for repo in repos if previous and repo.has(previous, ObjectType.COMMIT)), None)
    if previous is None or holder is None or holder.is_partial(previous):
        return
    believed = _shipped_keys(holder, previous)
    if believed and not any(signer.public in believed for signer in signers):
        raise KeyFolderError(
            "no key that signs this version is one that the version published last made known: machines that run that "
            "one would refuse this one, and all after it",
            hint="publish a version that an old and the new key sign first (`ostler keys rotate`), and revoke when "
            "machines run it; or, if that key is lost, use --new-keys, and `ostler keys trust KEY --host` on each",
        )


def sign_version(repo: Repo, commit: Checksum, signers: Sequence[SecretKey]) -> None:
    """Sign a version of the machine in the repository by each key that has not signed it yet."""
    data = repo.load_bytes(commit, ObjectType.COMMIT)
    held = signatures_in(repo.load_detached(commit), METADATA_KEY)
    missing = [signer for signer in signers if not _has_signed(signer, data, held)]
    if missing:
        sign_commit(repo, commit, missing)


def summary_signer(signers: Sequence[SecretKey]) -> Callable[[bytes], bytes] | None:
    """What makes the content of `summary.sig` from a summary; None without signers."""
    return partial(signed_summary, signers=tuple(signers)) if signers else None


def _shipped_keys(repo: Repo, commit: Checksum) -> frozenset[PublicKey]:
    """The keys that the image tells machines to believe."""
    found = load_commit_tree(repo, commit).lookup(UPDATE_KEYS)
    if not isinstance(found, str):
        return frozenset()
    with repo.open_file(Checksum(found)) as file:
        lines = file.read(MAX_FILE).decode("ascii", "replace").splitlines()
    return frozenset(PublicKey.parse(line) for line in lines if line.strip() and not line.startswith("#"))


def _has_signed(signer: SecretKey, data: bytes, signatures: Sequence[bytes]) -> bool:
    try:
        Trust((signer.public,)).check(data, signatures)
    except SignatureError:
        return False
    return True
