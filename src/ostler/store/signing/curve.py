"""The signatures of RFC 8032 themselves (Ed25519), by the package `cryptography` or else by the program `openssl`."""

import os
from contextlib import ExitStack
from typing import Any

from ostler.errors import ExitCode
from ostler.store.errors import StoreError

SEED_BYTES = 32
PUBLIC_BYTES = 32
SIGNATURE_BYTES = 64

# The DER forms of RFC 8410 are these bytes with the key behind them.
_DER_PUBLIC = bytes.fromhex("302a300506032b6570032100")
_DER_PRIVATE = bytes.fromhex("302e020100300506032b657004220420")


class MissingCryptographyError(StoreError):
    """Nothing here can compute Ed25519 signatures."""

    exit_code = ExitCode.MISSING_TOOL

    def __init__(self) -> None:
        super().__init__(
            "ed25519 signatures need the Python package `cryptography` or the program `openssl`; neither is installed",
            hint="install one of them: `apt-get install python3-cryptography`",
        )


def _library() -> Any:
    """The module of `cryptography`, or None."""
    try:
        from cryptography.hazmat.primitives.asymmetric import ed25519
    except ImportError:
        return None
    return ed25519


def public_of(seed: bytes) -> bytes:
    """The public key of a secret seed (32 bytes each)."""
    library = _library()
    if library is not None:
        from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

        key = library.Ed25519PrivateKey.from_private_bytes(seed).public_key()
        public: bytes = key.public_bytes(Encoding.Raw, PublicFormat.Raw)
        return public
    return _openssl("pkey", "-inform", "DER", "-pubout", "-outform", "DER", "-in", _DER_PRIVATE + seed)[-PUBLIC_BYTES:]


def sign(seed: bytes, data: bytes) -> bytes:
    """The signature (64 bytes) of `data`."""
    library = _library()
    if library is not None:
        signature: bytes = library.Ed25519PrivateKey.from_private_bytes(seed).sign(data)
        return signature
    return _openssl("pkeyutl", "-sign", "-rawin", "-keyform", "DER", "-inkey", _DER_PRIVATE + seed, "-in", data)


def verify(public: bytes, signature: bytes, data: bytes) -> bool:
    """Whether `signature` is one of `data` by the key's owner. False for keys and signatures of wrong length."""
    if len(public) != PUBLIC_BYTES or len(signature) != SIGNATURE_BYTES:
        return False
    library = _library()
    if library is None:
        words = ("pkeyutl", "-verify", "-rawin", "-pubin", "-keyform", "DER", "-inkey", _DER_PUBLIC + public)
        said = _openssl(*words, "-in", data, "-sigfile", signature, check=False)
        return said.strip() == b"Signature Verified Successfully"
    from cryptography.exceptions import InvalidSignature

    try:
        library.Ed25519PublicKey.from_public_bytes(public).verify(signature, data)
    except (InvalidSignature, ValueError):  # ValueError: the bytes are no point of the curve
        return False
    return True


def _openssl(*words: str | bytes, check: bool = True) -> bytes:
    """Run `openssl`; words of bytes are the contents of files, which exist in memory only."""
    from ostler.io.process import find_tool, run

    tool = find_tool("openssl")
    if tool is None:
        raise MissingCryptographyError
    with ExitStack() as stack:
        descriptors: list[int] = []

        def as_argument(word: str | bytes) -> str:
            if isinstance(word, str):
                return word
            descriptor = os.memfd_create("ostler", os.MFD_CLOEXEC)
            stack.callback(os.close, descriptor)
            with open(descriptor, "wb", closefd=False) as file:
                file.write(word)
            os.lseek(descriptor, 0, os.SEEK_SET)
            descriptors.append(descriptor)
            return f"/proc/self/fd/{descriptor}"

        argv = [str(tool), *map(as_argument, words)]
        return run(argv, pass_fds=descriptors, check=check).stdout
