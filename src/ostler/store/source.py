"""Where a transfer gets objects from: what a source must be able to do, and the errors of those that lack or spoil one.

A source that only has the four basic methods is enough; one that can ask ahead, or be used from forked processes, says
so by the methods of `EagerSource`.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Protocol, runtime_checkable

from ostler.errors import CorruptError, NotFoundError, OstlerError
from ostler.formats.gvariant import Variant
from ostler.formats.objects import Checksum, ObjectType
from ostler.store.transaction import Transaction

MEND = "it must be mended there: run `ostler repo --repo DIR fsck --delete` on that repository, then publish again"


class Source(Protocol):
    """Where objects come from. Its methods may be called from several threads at once.

    They raise `missing(…)` for an object that is not there, `NetworkError` if the source cannot be reached, and any
    `CorruptError` for an object that is damaged: the engine says which object and where.
    """

    @property
    def name(self) -> str:
        """What to call this source in messages: a URL or a path."""

    def load_metadata(self, checksum: Checksum, kind: ObjectType) -> bytes:
        """The bytes of a commit, dirtree or dirmeta, bounded in size; the engine verifies them."""

    def load_detached(self, commit: Checksum) -> Mapping[str, Variant] | None:
        """The detached metadata of a commit; None or empty if it has none."""

    def store_file(self, checksum: Checksum, transaction: Transaction) -> int:
        """Write one file object, verified, into the transaction; return the bytes that this moved."""

    def stop(self) -> None:
        """The transfer is given up: let calls under way in other threads fail soon, if that is possible."""


@runtime_checkable
class EagerSource(Source, Protocol):
    """A source with several requests under way at a time from one thread, usable from forked processes."""

    def each_metadata(
        self, next_wanted: "Callable[[], tuple[Checksum, ObjectType] | None]", lanes: int
    ) -> "Iterator[tuple[Checksum, ObjectType, bytes]]":
        """Metadata objects as they come, `lanes` requests at a time.

        `next_wanted` names the next one to ask for; None: nothing now, but perhaps after what is under way has come.
        """

    def store_files(self, checksums: Sequence[Checksum], transaction: Transaction, lanes: int) -> Iterator[int]:
        """Do `store_file` for each, in whatever order."""

    def in_child(self) -> "EagerSource":
        """This source for use in a process that was forked just now."""


def damaged(source: str, checksum: Checksum, kind: ObjectType, error: OstlerError) -> CorruptError:
    """The error for an object at the source that does not hold what its name says."""
    return CorruptError(f"{source}: {checksum}.{kind.extension}: {error.message}", hint=MEND)


def missing(source: str, checksum: Checksum, kind: ObjectType, detail: str = "") -> NotFoundError:
    """The error for an object that the source lacks though something there refers to it."""
    return NotFoundError(f"{source}: the {kind.extension} object {checksum} is missing{detail}", hint=MEND)
