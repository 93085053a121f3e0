"""What every type of signature has in common, and the types by name."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from ostler.store.signing.errors import KeyFormatError, SignatureError, UnknownSignTypeError
from ostler.store.signing.places import USUAL, Places

SIGN_TYPES = ("ed25519", "dummy")
"""The types by the names that remotes' configurations and `ostree sign --sign-type` have for them; GPG is apart."""


@dataclass(frozen=True, slots=True)
class Verified:
    """A good signature: its type (`ed25519`, `dummy`, `gpg`), whose it is (public key in hex, fingerprint), and what
    libostree prints of it, in one or more lines."""

    kind: str
    key: str
    message: str


class Signer(Protocol):
    """A secret key; `metadata_key` is under which its signatures are kept in detached metadata."""

    @property
    def kind(self) -> str:
        """The type of signature."""

    @property
    def metadata_key(self) -> str:
        """The key in detached metadata, which holds all signatures of the type (`aay`)."""

    def sign(self, data: bytes) -> bytes:
        """A detached signature of `data`."""


class Trust(Protocol):
    """Keys that are trusted, all of one type."""

    @property
    def kind(self) -> str:
        """The type of signature."""

    @property
    def metadata_key(self) -> str:
        """See `Signer`."""

    def check(self, data: bytes, signatures: Sequence[bytes]) -> Verified:
        """A good signature of `data`; raises `SignatureError` if no signature is by a key that is trusted."""


def check_kind(kind: str) -> str:
    """`kind` if it is one of the types; raises `UnknownSignTypeError`."""
    if kind not in SIGN_TYPES:
        raise UnknownSignTypeError(kind, SIGN_TYPES)
    return kind


def signer(kind: str, secret: str, places: Places = USUAL) -> Signer:
    """The signer of the type with that secret key (text). Raises `KeyFormatError`, `UnknownSignTypeError`."""
    if check_kind(kind) == "ed25519":
        from ostler.store.signing.ed25519 import SecretKey

        return SecretKey.parse(secret)
    from ostler.store.signing.dummy import DISABLED, Key

    if not places.dummy:
        raise SignatureError(DISABLED)
    return Key(secret)


def signers_in_file(kind: str, path: Path, places: Places = USUAL) -> tuple[Signer, ...]:
    """The signers of a file of secret keys, one a line. Raises as `signer` does."""
    if check_kind(kind) == "ed25519":
        from ostler.store.signing.ed25519 import read_secret_keys

        return read_secret_keys(path)
    if not path.is_file():
        raise KeyFormatError(f"File object '{path}' is not a regular file")
    return tuple(signer(kind, line, places) for line in path.read_text().splitlines())


def trust_in_keys(kind: str, keys: Sequence[str], places: Places = USUAL) -> Trust:
    """Trust in public keys that are given as text, whether the system has them revoked or not."""
    if check_kind(kind) == "ed25519":
        from ostler.store.signing import ed25519

        return ed25519.Trust(tuple(ed25519.PublicKey.parse(key) for key in keys))
    from ostler.store.signing import dummy

    return dummy.Trust(tuple(keys), places.dummy)


def trust_in_file(kind: str, path: Path, places: Places = USUAL) -> Trust:
    """Trust in the public keys of a file, whether the system has them revoked or not."""
    if check_kind(kind) == "ed25519":
        from ostler.store.signing import ed25519

        return ed25519.Trust(ed25519.read_public_keys(path))
    raise KeyFormatError(f"Failed loading '{kind}' keys from '{path}': the type {kind} has no key files")


def trust_of_system(kind: str, places: Places = USUAL) -> Trust:
    """Trust in the public keys that the folders of `places` say to trust, but those revoked there."""
    if check_kind(kind) == "ed25519":
        from ostler.store.signing import ed25519

        return ed25519.trust_of_system(places)
    raise KeyFormatError(f"No keys found for required signapi type {kind}")
