"""The type `dummy`, whose signature is the key itself. It proves nothing; libostree's tests use it, and so do ours."""

from collections.abc import Sequence
from dataclasses import dataclass

from ostler.store.signing.errors import SignatureError
from ostler.store.signing.kinds import Verified

NAME = "dummy"
METADATA_KEY = "ostree.sign.dummy"
DISABLED = "dummy signature type is only for ostree testing"


@dataclass(frozen=True, slots=True)
class Key:
    """A "secret key": any text."""

    text: str

    kind = NAME
    metadata_key = METADATA_KEY

    def sign(self, data: bytes) -> bytes:
        """The "signature" of `data`."""
        return self.text.encode()


@dataclass(frozen=True, slots=True)
class Trust:
    """The texts one of which must be the signature. Nothing is good unless `enabled`."""

    keys: tuple[str, ...]
    enabled: bool

    kind = NAME
    metadata_key = METADATA_KEY

    def check(self, data: bytes, signatures: Sequence[bytes]) -> Verified:
        """The first "good" signature; raises `SignatureError` if there is none."""
        if not self.enabled:
            raise SignatureError(DISABLED, hint="use ed25519 or GPG")
        for key in self.keys:
            if key.encode() in signatures:
                return Verified(NAME, key, "dummy: Signature verified")
        if signatures:
            raise SignatureError(f"signature: dummy: incorrect signatures found: {len(signatures)}")
        raise SignatureError("signature: dummy: no signatures")
