"""What a pull did."""

from collections.abc import Mapping
from dataclasses import dataclass

from ostler.formats.objects import Checksum
from ostler.store.transfer import TransferResult


@dataclass(frozen=True, slots=True)
class PullStatistics:
    """What a pull moved, in numbers of objects, bytes and seconds.

    `local`: it came from a repository on this machine. Metadata counts the requests for detached metadata too, unless
    local. `imported` objects came from this machine. The sizes at the end are those of static deltas, fallbacks among
    the parts; of a dry run they say what there is to fetch.
    """

    local: bool
    metadata_fetched: int
    content_fetched: int
    metadata_imported: int
    content_imported: int
    delta_parts: int
    bytes_transferred: int
    content_bytes_written: int
    seconds: float
    parts_fetched: int = 0
    parts_total: int = 0
    fetched_size: int = 0
    total_size: int = 0
    total_usize: int = 0


@dataclass(frozen=True, slots=True)
class PullResult:
    """What a pull did: the commit of each ref asked for, and what had to be moved for them."""

    refs: Mapping[str, Checksum]
    transfer: TransferResult
    statistics: PullStatistics

    @property
    def objects(self) -> int:
        """Objects fetched."""
        return self.transfer.objects

    @property
    def bytes_received(self) -> int:
        """Bytes of objects as they came over the wire (from a local repository: uncompressed)."""
        return self.transfer.bytes_moved
