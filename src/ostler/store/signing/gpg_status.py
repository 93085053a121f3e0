"""What `gpgv` and `gpg --verify` say of signatures on their status descriptor (see `doc/DETAILS` of GnuPG)."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from urllib.parse import unquote

from ostler.store.signing.gpg_listing import GpgKey, GpgUser, local_time

_PREFIX = "[GNUPG:] "
_UNKNOWN_NAME, _UNKNOWN_EMAIL = "[unknown name]", "[unknown email]"
_ALGORITHMS = {
    1: "RSA",
    2: "RSA-E",
    3: "RSA-S",
    16: "ELG-E",
    17: "DSA",
    18: "ECDH",
    19: "ECDSA",
    20: "ELG",
    22: "EdDSA",
}
_NO_PUBLIC_KEY = 9


@dataclass(frozen=True, slots=True)
class GpgSignature:
    """One signature and its key. Times are seconds since 1970, 0 for unknown or never.

    `fingerprint` is that of the key that signed (its key id only, if the key is not known), `primary` that of the key
    that this belongs to, empty if not known.
    """

    fingerprint: str
    valid: bool = False
    signature_expired: bool = False
    key_expired: bool = False
    key_revoked: bool = False
    key_missing: bool = False
    primary: str = ""
    made: int = 0
    expires: int = 0
    algorithm: str = _UNKNOWN_NAME
    user_name: str = _UNKNOWN_NAME
    user_email: str = _UNKNOWN_EMAIL
    key_expires: int = 0
    primary_expires: int = 0

    @property
    def key_id(self) -> str:
        """The last 16 digits of the fingerprint."""
        return self.fingerprint[-16:]

    def with_key(self, keys: Sequence[GpgKey]) -> "GpgSignature":
        """The signature with what a listing says of its key."""
        for key in keys:
            for subkey in key.subkeys:
                if not subkey.fingerprint.endswith(self.fingerprint):
                    continue
                user = key.users[0] if key.users else None
                return replace(
                    self,
                    primary=key.fingerprint,
                    user_name=user.name if user else _UNKNOWN_NAME,
                    user_email=user.email if user else _UNKNOWN_EMAIL,
                    key_expires=subkey.expires,
                    primary_expires=key.subkeys[0].expires,
                )
        return self

    def describe(self, prefix: str = "") -> str:
        """The lines that libostree prints of it, each behind `prefix` and ended."""
        lines = [f"Signature made {local_time(self.made)} using {self.algorithm} key ID {self.key_id}", self._verdict()]
        is_subkey = not self.key_missing and self.primary != self.fingerprint
        if is_subkey:
            lines.append(f"Primary key ID {self.primary[-16:]}")
        for what, moment, expired in (
            ("Signature", self.expires, self.signature_expired),
            ("Key", self.key_expires, self.key_expired),
            ("Primary key", self.primary_expires if is_subkey else 0, self.key_expired),
        ):
            if moment > 0:
                lines.append(f"{what} {'expired' if expired else 'expires'} {local_time(moment)}")
        return "".join(f"{prefix}{line}\n" for line in lines)

    def _verdict(self) -> str:
        user = f'"{self.user_name} <{self.user_email}>"'
        if self.key_missing:
            return "Can't check signature: public key not found"
        if self.valid:
            return f"Good signature from {user}"
        if self.key_revoked:
            return "Key revoked"
        if self.signature_expired:
            return f"Expired signature from {user}"
        return f"BAD signature from {user}"


def parse_status(text: str) -> tuple[GpgSignature, ...]:
    """The signatures that the lines tell of, in their order."""
    found: list[GpgSignature] = []
    key_expired = 0
    for line in text.splitlines():
        if not line.startswith(_PREFIX):
            continue
        keyword, *words = line[len(_PREFIX) :].split(" ")
        if keyword in _VERDICTS and words:
            signature = replace(_VERDICTS[keyword], fingerprint=words[0])
            if signature.key_expired:
                signature = replace(signature, key_expires=key_expired)
            found.append(_with_user(signature, " ".join(words[1:])))
        elif keyword == "ERRSIG" and len(words) >= 6:
            found.append(_unchecked(words))
        elif keyword == "VALIDSIG" and found and len(words) >= 10:
            found[-1] = _with_validity(found[-1], words)
        elif keyword == "KEYEXPIRED" and words:  # comes before the verdict
            key_expired = _number(words[0])
    return tuple(one if one.primary else replace(one, valid=False) for one in found)


_VERDICTS = {
    "GOODSIG": GpgSignature("", valid=True),
    "BADSIG": GpgSignature(""),
    "EXPSIG": GpgSignature("", signature_expired=True),
    "EXPKEYSIG": GpgSignature("", key_expired=True),
    "REVKEYSIG": GpgSignature("", key_revoked=True),
}


def _with_user(signature: GpgSignature, escaped: str) -> GpgSignature:
    user = GpgUser(unquote(escaped, errors="replace"))
    return replace(signature, user_name=user.name, user_email=user.email)


def _with_validity(signature: GpgSignature, words: Sequence[str]) -> GpgSignature:
    return replace(
        signature,
        fingerprint=words[0],
        primary=words[9],
        made=_number(words[2]),
        expires=_number(words[3]),
        algorithm=_algorithm(words[6]),
    )


def _unchecked(words: Sequence[str]) -> GpgSignature:
    """A signature that could not be checked: ERRSIG keyid algorithm hash class time reason [fingerprint]."""
    known = words[6] if len(words) > 6 and words[6] != "-" else words[0]
    return GpgSignature(
        known, key_missing=_number(words[5]) == _NO_PUBLIC_KEY, made=_number(words[4]), algorithm=_algorithm(words[1])
    )


def _algorithm(number: str) -> str:
    return _ALGORITHMS.get(_number(number), _UNKNOWN_NAME)


def _number(text: str) -> int:
    return int(text) if text.isascii() and text.isdigit() else 0
