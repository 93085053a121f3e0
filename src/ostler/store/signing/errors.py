"""What can be wrong with keys and signatures."""

from ostler.errors import ExitCode
from ostler.store.errors import StoreError


class SignatureError(StoreError):
    """A commit or summary lacks a signature by a key that is trusted for it."""

    exit_code = ExitCode.CORRUPT


class KeyFormatError(StoreError):
    """What should be a key, or a file of keys, is none."""


class UnknownSignTypeError(StoreError):
    """A type of signature that nobody here can make or check."""

    def __init__(self, kind: str, known: tuple[str, ...]) -> None:
        super().__init__(
            f"Requested signature type is not implemented: {kind!r}", hint=f"the types are {', '.join(known)}"
        )
