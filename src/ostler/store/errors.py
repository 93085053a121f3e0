"""The store's own errors."""

from ostler.errors import CorruptError, OstlerError


class StoreError(OstlerError):
    """A repository cannot do what was asked of it."""


class UnsupportedFileError(StoreError):
    """A file that OSTree cannot hold: a device, fifo or socket, or a name that is not UTF-8."""


class ChecksumMismatchError(CorruptError):
    """An object's bytes do not have the checksum they were asked for by."""

    def __init__(self, expected: str, actual: str, what: str = "object") -> None:
        super().__init__(
            f"Corrupted {what}; checksum expected='{expected}' actual='{actual}'",
            hint="fetch it again, or run `ostler repo fsck` on the repository it came from",
        )
        self.expected = expected
        self.actual = actual
