"""What storing an object comes to: its name, whether it is new, and the sums of a transaction."""

from dataclasses import dataclass
from typing import NamedTuple

from ostler.formats.objects import Checksum
from ostler.store.errors import ChecksumMismatchError


@dataclass(slots=True)
class TransactionStats:
    """What a transaction wrote: new objects, the bytes they take on disk, and the bytes of content in new files.

    The `…_total` count objects that were there already too; `cache_hits` files that were recognised without being read.
    """

    metadata_objects: int = 0
    file_objects: int = 0
    stored_bytes: int = 0
    content_bytes: int = 0
    metadata_total: int = 0
    content_total: int = 0
    cache_hits: int = 0


class StoredFile(NamedTuple):
    """A file object that was stored, or (not `new`) found: its checksum, content and stored form in bytes.

    `stored` is 0 if nobody asked for the size of a found one.
    """

    checksum: Checksum
    new: bool
    size: int
    stored: int


class Named(NamedTuple):
    """The name that an object is to have, if that is known before, and whether it is checked."""

    expected: Checksum | None
    verify: bool

    def agree(self, actual: Checksum, what: str = "file object") -> Checksum:
        """The name to store the object by; raises `ChecksumMismatchError`."""
        if self.expected is None or self.expected == actual:
            return actual
        if self.verify:
            raise ChecksumMismatchError(self.expected, actual, what)
        return self.expected
