"""Applying a whole delta that lies on this machine, without any server."""

from pathlib import Path

from ostler.errors import NotFoundError
from ostler.formats.delta import SignedSuperblock, Superblock, is_signed
from ostler.formats.gvariant import FormatError
from ostler.formats.objects import Checksum, ObjectType
from ostler.store.delta.apply import apply_part, check_commit, parts_needed
from ostler.store.delta.errors import DeltaError
from ostler.store.repo import Repo
from ostler.store.signing.errors import SignatureError
from ostler.store.signing.kinds import Trust, Verified
from ostler.store.signing.verify import signatures_in
from ostler.store.transaction import Transaction

MAX_SUPERBLOCK = 1 << 30
"""The largest superblock in bytes; inline parts are in it."""


def read_superblock(path: Path) -> bytes:
    """The bytes of a superblock's file, of bounded size; raises `NotFoundError` and `FormatError`."""
    try:
        with path.open("rb") as file:
            data = file.read(MAX_SUPERBLOCK + 1)
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError) as error:
        raise NotFoundError(f"{path} is no delta: it cannot be read ({error.strerror})") from error
    if len(data) > MAX_SUPERBLOCK:
        raise FormatError(f"the delta {path} has a superblock of more than {MAX_SUPERBLOCK >> 20} MiB")
    return data


def apply_offline(repo: Repo, path: Path, *, trust: Trust | None = None) -> Checksum:
    """Bring the commit of a delta into the repository; returns its checksum. No ref is set.

    `path` is the delta's folder, or its superblock with the parts beside it. With `trust` a signed delta must have a
    good signature by one of its keys (`SignatureError`). Raises `DeltaError` if the delta does not fit this
    repository, `NotFoundError`, `CorruptError`.
    """
    superblock_file = path / "superblock" if path.is_dir() else path
    superblock = _checked(repo, read_superblock(superblock_file), trust)
    check_commit(superblock)
    with repo.transaction() as transaction:
        _check_fits(repo, transaction, superblock)
        for number in parts_needed(superblock, transaction):
            if superblock.inline_part(number) is not None:
                apply_part(repo, transaction, superblock, number)
                continue
            try:
                with (superblock_file.parent / str(number)).open("rb") as file:
                    apply_part(repo, transaction, superblock, number, file)
            except FileNotFoundError as error:
                raise NotFoundError(f"the delta {path} lacks its part {number}") from error
        if not transaction.has(superblock.to, ObjectType.COMMIT):
            detached = superblock.detached()
            if detached:
                transaction.write_detached(superblock.to, detached)
            if superblock.from_ and repo.is_partial(superblock.from_):
                repo.mark_partial(superblock.to, True)
            transaction.write_metadata_bytes(ObjectType.COMMIT, superblock.commit, expected=superblock.to)
    return superblock.to


def _checked(repo: Repo, data: bytes, trust: Trust | None) -> Superblock:
    if not is_signed(data):
        return Superblock.decode(data)
    signed = SignedSuperblock.decode(data)
    if trust is not None:
        check_signed(signed, trust)
    elif repo.config.get_bool("core", "sign-verify-deltas", False):
        raise DeltaError(
            "Key is mandatory to check delta signature",
            hint="name a key, or set core.sign-verify-deltas=false in the repository's configuration",
        )
    return Superblock.decode(signed.superblock)


def check_signed(signed: SignedSuperblock, trust: Trust) -> Verified:
    """A good signature of a superblock; raises `SignatureError`."""
    if trust.metadata_key not in signed.signatures:
        raise SignatureError(f"no signature for '{trust.metadata_key}' in static-delta superblock")
    return trust.check(signed.superblock, signatures_in(signed.signatures, trust.metadata_key))


def _check_fits(repo: Repo, transaction: Transaction, superblock: Superblock) -> None:
    from_ = superblock.from_
    if from_ is not None and not repo.has(from_, ObjectType.COMMIT):
        raise DeltaError(
            f"Commit {from_}, which is the delta source, is not in repository",
            hint=f"bring the commit {from_} into {repo.path} first, or use a delta from one that is there",
        )
    lacking = [f for f in superblock.fallbacks if not transaction.has(f.checksum, f.kind)]
    if lacking:
        raise DeltaError(
            f"Cannot execute delta offline: contains nonempty http fallback entries ({len(lacking)} are not here)",
            hint="make the delta with --min-fallback-size=0, so that it holds all objects",
        )
