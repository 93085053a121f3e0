"""Keys and signatures of the type `ed25519`, in the forms that libostree has for them.

A secret key is the base64 of seed and public key (64 bytes), a public key that of its 32 bytes. A file of keys has one
a line; empty lines and lines that begin with `#` are passed over here, but not by libostree, so none are written.
"""

import os
from base64 import b64decode, b64encode
from binascii import Error as Base64Error
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from ostler.store.signing import curve
from ostler.store.signing.errors import KeyFormatError, SignatureError
from ostler.store.signing.kinds import Verified
from ostler.store.signing.places import Places

NAME = "ed25519"
METADATA_KEY = "ostree.sign.ed25519"
MAX_FILE = 1 << 20
"""The largest file of keys in bytes; that is 23 thousand keys."""

_SHOWN_FAILURES = 3

_Key = TypeVar("_Key")


@dataclass(frozen=True, slots=True)
class PublicKey:
    """A public key; `str()` is the base64 that libostree takes."""

    raw: bytes

    @staticmethod
    def parse(text: str) -> "PublicKey":
        """The key that `text` holds; raises `KeyFormatError`."""
        raw = _decode(text, "public key", curve.PUBLIC_BYTES)
        return PublicKey(raw)

    def __str__(self) -> str:
        return b64encode(self.raw).decode()

    @property
    def hex(self) -> str:
        """How messages name the key."""
        return self.raw.hex()


@dataclass(frozen=True, slots=True, repr=False)
class SecretKey:
    """A secret key, which signs; `text()` is the base64 that libostree takes."""

    seed: bytes
    public: PublicKey

    kind = NAME
    metadata_key = METADATA_KEY

    @staticmethod
    def generate() -> "SecretKey":
        """A new key."""
        seed = os.urandom(curve.SEED_BYTES)
        return SecretKey(seed, PublicKey(curve.public_of(seed)))

    @staticmethod
    def parse(text: str) -> "SecretKey":
        """The key that `text` holds; raises `KeyFormatError`, also if its two halves do not belong together."""
        raw = _decode(text, "secret key", curve.SEED_BYTES + curve.PUBLIC_BYTES)
        seed, public = raw[: curve.SEED_BYTES], PublicKey(raw[curve.SEED_BYTES :])
        if curve.public_of(seed) != public.raw:
            raise KeyFormatError(
                f"Incorrect ed25519 secret key: its public half {public} is not that of its secret half",
                hint="the key is damaged; take it from a copy, or make another with `ostler keys make`",
            )
        return SecretKey(seed, public)

    def text(self) -> str:
        """The key as text: a secret."""
        return b64encode(self.seed + self.public.raw).decode()

    def sign(self, data: bytes) -> bytes:
        """The signature of `data`."""
        return curve.sign(self.seed, data)

    def __repr__(self) -> str:
        return f"SecretKey(public={str(self.public)!r})"


@dataclass(frozen=True, slots=True)
class Trust:
    """The keys one of which must have signed: all of `keys` that are not `revoked`."""

    keys: tuple[PublicKey, ...]
    revoked: frozenset[PublicKey] = frozenset()

    kind = NAME
    metadata_key = METADATA_KEY

    def check(self, data: bytes, signatures: Sequence[bytes]) -> Verified:
        """The first good signature of `data` by a trusted key; raises `SignatureError` if there is none."""
        good = [key for key in self.keys if key not in self.revoked]
        tried = 0
        for signature in signatures:
            if len(signature) != curve.SIGNATURE_BYTES:
                continue
            for key in good:
                if curve.verify(key.raw, signature, data):
                    message = f"{NAME}: Signature verified successfully with key '{key.hex}'"
                    return Verified(NAME, key.hex, message)
                tried += 1
        raise SignatureError(self._failure(signatures, good, tried), hint=_hint(self.keys, good))

    def _failure(self, signatures: Sequence[bytes], good: Sequence[PublicKey], tried: int) -> str:
        if not signatures:
            return f"{NAME}: no signatures found"
        wrong = [len(signature) for signature in signatures if len(signature) != curve.SIGNATURE_BYTES]
        if len(wrong) == len(signatures):
            return f"{NAME}: Invalid signature length of {wrong[0]} bytes, expected {curve.SIGNATURE_BYTES}"
        if not good:
            return f"{NAME}: no signatures found by a key that is trusted: " + (
                "all keys are revoked" if self.keys else "there are no keys"
            )
        if tried > _SHOWN_FAILURES:
            return f"{NAME}: Signature couldn't be verified; tried {tried} keys"
        tried_keys = "; ".join(f"key '{key.hex}'" for _ in range(tried // len(good)) for key in good)
        return f"{NAME}: Signature couldn't be verified with: {tried_keys}"


def _hint(keys: Sequence[PublicKey], good: Sequence[PublicKey]) -> str:
    if keys and not good:
        return "every key that is trusted is revoked too; trust a new one with `ostler keys trust`"
    return "if the publisher's key has changed, trust the new one with `ostler keys trust`"


def read_public_keys(path: Path) -> tuple[PublicKey, ...]:
    """The keys of a file; lines that are no keys are passed over, as libostree does, if there is any key beside them.

    Raises `KeyFormatError` if there is none, or no regular file.
    """
    keys, failures = _parse_lines(_lines(path), PublicKey.parse)
    if not keys:
        raise KeyFormatError(
            f"signature: {NAME}: no valid keys in file '{path}'",
            hint=failures[0] if failures else "it is empty; each line is the base64 of a public key",
        )
    return tuple(dict.fromkeys(keys))


def read_secret_keys(path: Path) -> tuple[SecretKey, ...]:
    """The keys of a file of secret keys; raises `KeyFormatError` unless every line is one and there is at least one."""
    keys, failures = _parse_lines(_lines(path), SecretKey.parse)
    if failures:
        raise KeyFormatError(f"{path}: {failures[0]}", hint="a secret key file has one key a line and nothing else")
    if not keys:
        raise KeyFormatError(f"{path} holds no secret key", hint="make one with `ostler keys make`")
    return tuple(keys)


def read_revoked_keys(path: Path) -> tuple[PublicKey, ...]:
    """The keys of a file of revoked keys, which may be empty.

    Raises `KeyFormatError` for any line that is no key: nobody knows whom it meant.
    """
    keys, failures = _parse_lines(_lines(path), PublicKey.parse)
    if failures:
        raise KeyFormatError(f"{path}: {failures[0]}", hint="each line of a file of revoked keys is a public key")
    return tuple(dict.fromkeys(keys))


def trusted_by_system(folders: Sequence[Path]) -> tuple[PublicKey, ...]:
    """The keys of `trusted.ed25519` and of the files in `trusted.ed25519.d` of each folder.

    Files without any key are passed over. Raises `KeyFormatError` if there is no key at all.
    """
    found: list[PublicKey] = []
    for path in _files(folders, f"trusted.{NAME}"):
        found += _parse_lines(_lines(path), PublicKey.parse)[0]
    if not found:
        raise KeyFormatError(
            f"signature: {NAME}: no keys loaded",
            hint=f"put the publisher's public key into a file in {folders[0]}/trusted.{NAME}.d" if folders else None,
        )
    return tuple(dict.fromkeys(found))


def revoked_by_system(folders: Sequence[Path]) -> frozenset[PublicKey]:
    """The keys of `revoked.ed25519` and of the files in `revoked.ed25519.d` of each folder."""
    return frozenset(key for path in _files(folders, f"revoked.{NAME}") for key in read_revoked_keys(path))


def trust_of_system(places: Places) -> Trust:
    """Trust in what the system trusts; raises `KeyFormatError` if that is nothing."""
    return Trust(trusted_by_system(places.folders), revoked_by_system(places.folders))


def _files(folders: Iterable[Path], name: str) -> list[Path]:
    found = []
    for folder in folders:
        single, several = folder / name, folder / f"{name}.d"
        found += [single] if single.is_file() else []
        if several.is_dir():
            found += sorted(path for path in several.iterdir() if path.is_file() and not path.name.startswith("."))
    return found


def _lines(path: Path) -> list[str]:
    if not path.is_file():
        raise KeyFormatError(f"File object '{path}' is not a regular file", hint="name a file that has one key a line")
    try:
        with open(path, "rb") as file:
            data = file.read(MAX_FILE + 1)
    except OSError as error:
        raise KeyFormatError(f"the key file {path} cannot be read: {error.strerror}") from error
    if len(data) > MAX_FILE:
        raise KeyFormatError(f"the key file {path} is larger than {MAX_FILE >> 20} MiB", hint="is it a file of keys?")
    return data.decode("ascii", "replace").splitlines()


def _parse_lines(lines: Sequence[str], parse: Callable[[str], _Key]) -> tuple[list[_Key], list[str]]:
    """The keys, and what is wrong with the lines that are none."""
    keys, failures = [], []
    for number, line in enumerate(lines, 1):
        text = line.strip()
        if not text or text.startswith("#"):
            continue
        try:
            keys.append(parse(text))
        except KeyFormatError as error:
            failures.append(f"line {number}: {error.message}")
    return keys, failures


def _decode(text: str, what: str, size: int) -> bytes:
    """The bytes of a key. The text may be a secret and is not shown."""
    try:
        raw = b64decode("".join(text.split()), validate=True)
    except (Base64Error, ValueError) as error:
        raise KeyFormatError(
            f"Incorrect ed25519 {what}: it is no base64", hint=f"an ed25519 {what} is the base64 of {size} bytes"
        ) from error
    if len(raw) != size:
        raise KeyFormatError(
            f"Incorrect ed25519 {what}: it has {len(raw)} bytes, not {size}", hint=_other_key_hint(what, len(raw))
        )
    return raw


def _other_key_hint(what: str, size: int) -> str:
    if what == "secret key" and size == curve.PUBLIC_BYTES:
        return "this is a public key or a bare seed; the secret key is the base64 of seed and public key, 64 bytes"
    if what == "public key" and size == curve.SEED_BYTES + curve.PUBLIC_BYTES:
        return "this looks like a secret key: give the public one, and keep this to yourself"
    return f"an ed25519 {what} is made by `ostler keys make`"
