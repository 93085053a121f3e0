"""GUID partition tables: bytes ↔ immutable values.

Source of the format: UEFI specification 2.10, chapter 5 ("GUID Partition Table (GPT) Disk Layout"). A table lies on the
disk twice: behind the protective MBR at its start, and mirrored in its last sectors. Sectors are 512 bytes here.
"""

import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from uuid import UUID

from ostler.errors import CorruptError, OstlerError

SECTOR = 512
ENTRY_SIZE = 128
ENTRY_COUNT = 128
ENTRY_SECTORS = ENTRY_SIZE * ENTRY_COUNT // SECTOR
HEAD_SECTORS = 2 + ENTRY_SECTORS  # protective MBR, header, entries
TAIL_SECTORS = ENTRY_SECTORS + 1  # entries, header
MAX_ENTRY_COUNT = 1024
BOOT_CODE_SIZE = 440
NAME_UNITS = 36  # UTF-16 code units
NIL = UUID(int=0)

BIOS_BOOT = UUID("21686148-6449-6e6f-744e-656564454649")
EFI_SYSTEM = UUID("c12a7328-f81f-11d2-ba4b-00a0c93ec93b")
EXTENDED_BOOT = UUID("bc13c2ff-59e6-4262-a352-b275fd6f7172")
ROOT_X86_64 = UUID("4f68bce3-e8cd-4db1-96e7-fbcaf984b709")
LINUX_DATA = UUID("0fc63daf-8483-4772-8e79-3d69d8477de4")
TYPE_NAMES = {
    BIOS_BOOT: "BIOS boot",
    EFI_SYSTEM: "EFI system",
    EXTENDED_BOOT: "Linux extended boot",
    ROOT_X86_64: "Linux root (x86-64)",
    LINUX_DATA: "Linux filesystem",
}

_SIGNATURE = b"EFI PART"
_REVISION = 0x00010000
_HEADER = struct.Struct("<8sIIIIQQQQ16sQIII")
_ENTRY = struct.Struct("<16s16sQQQ72s")


class GptError(CorruptError):
    """Bytes that should be a GUID partition table are not a valid one."""


class GptLayoutError(OstlerError):
    """Partitions that were asked for overlap, leave the disk or cannot be written down."""


@dataclass(frozen=True, slots=True)
class Partition:
    """One entry: sectors `first` to `last`, both included. `number` counts from 1 and is the entry's place."""

    number: int
    type: UUID
    guid: UUID
    first: int
    last: int
    name: str = ""
    attributes: int = 0

    @property
    def sectors(self) -> int:
        """Its length in sectors."""
        return self.last - self.first + 1


@dataclass(frozen=True, slots=True)
class Table:
    """A partition table of a disk of `sectors` sectors; `entries` is the room for entries (128 on nearly all disks)."""

    guid: UUID
    sectors: int
    partitions: tuple[Partition, ...]
    entries: int = ENTRY_COUNT

    @property
    def entry_sectors(self) -> int:
        """Sectors that the entries take, in either copy."""
        return -(-self.entries * ENTRY_SIZE // SECTOR)

    @property
    def first_usable(self) -> int:
        """The first sector that a partition may take."""
        return 2 + self.entry_sectors

    @property
    def last_usable(self) -> int:
        """The last sector that a partition may take."""
        return self.sectors - 2 - self.entry_sectors

    def partition(self, number: int) -> Partition:
        """The partition with that number. Raises `GptLayoutError`."""
        for partition in self.partitions:
            if partition.number == number:
                return partition
        raise GptLayoutError(f"the partition table has no partition {number}")

    def grown(self, sectors: int, number: int, *, align: int = 2048) -> "Table":
        """This table on a disk of `sectors` sectors, with partition `number` stretched to the end of the disk.

        The end is rounded down to a multiple of `align` sectors. The partition must be the last one on the disk.
        Raises `GptLayoutError` if it is not, or if the disk is smaller than before.
        """
        if sectors < self.sectors:
            raise GptLayoutError(
                f"the disk has {sectors} sectors, fewer than the {self.sectors} of its partition table"
            )
        wanted = self.partition(number)
        if any(other.first > wanted.last for other in self.partitions):
            raise GptLayoutError(f"partition {number} cannot grow: another partition lies behind it")
        moved = replace(self, sectors=sectors)
        last = (moved.last_usable + 1) // align * align - 1
        stretched = replace(wanted, last=max(last, wanted.last))
        return replace(moved, partitions=tuple(stretched if p is wanted else p for p in self.partitions))


def check(table: Table) -> None:
    """Raise `GptLayoutError` if two partitions overlap, one leaves the disk, or one cannot be written down."""
    if table.entries < 1 or table.entries > MAX_ENTRY_COUNT:
        raise GptLayoutError(f"a partition table of {table.entries} entries is not supported")
    if table.first_usable > table.last_usable:
        raise GptLayoutError(f"a disk of {table.sectors} sectors is too small for a partition table")
    numbers = [partition.number for partition in table.partitions]
    if len(set(numbers)) != len(numbers):
        raise GptLayoutError("two partitions have the same number")
    end = table.first_usable
    for partition in sorted(table.partitions, key=lambda p: p.first):
        if not 1 <= partition.number <= table.entries:
            raise GptLayoutError(f"the partition number {partition.number} is not between 1 and {table.entries}")
        if partition.type == NIL:
            raise GptLayoutError(f"partition {partition.number} has no type")
        if partition.last < partition.first:
            raise GptLayoutError(f"partition {partition.number} is empty")
        if partition.first < end:
            raise GptLayoutError(f"partition {partition.number} begins inside what lies before it")
        if partition.last > table.last_usable:
            raise GptLayoutError(f"partition {partition.number} ends behind the last usable sector of the disk")
        if not 0 <= partition.attributes < 1 << 64:
            raise GptLayoutError(f"the attributes of partition {partition.number} do not fit in 64 bits")
        _encode_name(partition)
        end = partition.last + 1


def encode(table: Table, boot_code: bytes = b"") -> tuple[bytes, bytes]:
    """The first and the last sectors of the disk.

    `boot_code` (at most 440 bytes) goes into the protective MBR, for machines that boot by BIOS. The second value
    belongs at sector `table.sectors - len(it) // 512`. Raises `GptLayoutError`.
    """
    check(table)
    if len(boot_code) > BOOT_CODE_SIZE:
        raise GptLayoutError(f"boot code of {len(boot_code)} bytes does not fit into {BOOT_CODE_SIZE}")
    entries = bytearray(table.entry_sectors * SECTOR)
    for partition in table.partitions:
        _ENTRY.pack_into(
            entries,
            (partition.number - 1) * ENTRY_SIZE,
            partition.type.bytes_le,
            partition.guid.bytes_le,
            partition.first,
            partition.last,
            partition.attributes,
            _encode_name(partition),
        )
    array_crc = zlib.crc32(entries[: table.entries * ENTRY_SIZE])
    head = _protective_mbr(table.sectors, boot_code) + _encode_header(table, array_crc, backup=False) + entries
    tail = entries + _encode_header(table, array_crc, backup=True)
    return bytes(head), bytes(tail)


def decode(head: bytes, tail: bytes = b"") -> Table:
    """The table in the first sectors of a disk, or, where that copy is damaged, in its last sectors.

    `head` begins with sector 0; `tail` ends with the disk's last sector. The size of the disk is taken from the table,
    so after the disk has grown it is still the old one. Raises `GptError` if neither copy is whole.
    """
    try:
        return _decode_copy(head[SECTOR : 2 * SECTOR], lambda first, size: head[first * SECTOR : first * SECTOR + size])
    except GptError:
        if len(tail) < SECTOR:
            raise
    header = tail[-SECTOR:]

    def before_header(first: int, size: int) -> bytes:
        own = _HEADER.unpack_from(header)[5]
        start = len(tail) - (own - first + 1) * SECTOR
        return tail[start : start + size] if start >= 0 else b""

    return _decode_copy(header, before_header)


def _decode_copy(header: bytes, read: Callable[[int, int], bytes]) -> Table:
    if len(header) < SECTOR:
        raise GptError("there is no room for a partition table header")
    (
        signature, revision, size, crc, _reserved, own, other, first_usable, last_usable,
        guid, entries_at, count, entry_size, array_crc,
    ) = _HEADER.unpack_from(header)  # fmt: skip
    if signature != _SIGNATURE:
        raise GptError("there is no GUID partition table: the signature `EFI PART` is missing")
    if revision != _REVISION or not _HEADER.size <= size <= SECTOR:
        raise GptError(f"the partition table header has revision {revision:#x} and size {size}, which is unknown")
    if zlib.crc32(header[:16] + bytes(4) + header[20:size]) != crc:
        raise GptError("the checksum of the partition table header is wrong")
    if entry_size != ENTRY_SIZE or not 1 <= count <= MAX_ENTRY_COUNT:
        raise GptError(f"a partition table of {count} entries of {entry_size} bytes is not supported")
    array = read(entries_at, count * ENTRY_SIZE)
    if len(array) != count * ENTRY_SIZE:
        raise GptError("the partition table's entries lie outside the part of the disk that was read")
    if zlib.crc32(array) != array_crc:
        raise GptError("the checksum of the partition table's entries is wrong")
    partitions = tuple(
        partition
        for number in range(1, count + 1)
        if (partition := _decode_entry(number, array[(number - 1) * ENTRY_SIZE : number * ENTRY_SIZE]))
    )
    table = Table(UUID(bytes_le=guid), max(own, other) + 1, partitions, count)
    if first_usable < table.first_usable or last_usable > table.last_usable:
        raise GptError("the usable sectors of the partition table overlap the table itself")
    try:
        check(table)
    except GptLayoutError as error:
        raise GptError(f"the partition table is not valid: {error.message}") from error
    return table


def _decode_entry(number: int, entry: bytes) -> Partition | None:
    kind, guid, first, last, attributes, name = _ENTRY.unpack(entry)
    if kind == NIL.bytes_le:
        return None
    try:
        text = name.decode("utf-16-le").split("\0")[0]
    except UnicodeDecodeError as error:
        raise GptError(f"the name of partition {number} is not UTF-16") from error
    return Partition(number, UUID(bytes_le=kind), UUID(bytes_le=guid), first, last, text, attributes)


def _encode_name(partition: Partition) -> bytes:
    try:
        raw = partition.name.encode("utf-16-le")
    except UnicodeEncodeError as error:
        raise GptLayoutError(f"the name {partition.name!r} of a partition is not Unicode text") from error
    if len(raw) > 2 * NAME_UNITS or "\0" in partition.name:
        raise GptLayoutError(f"the partition name {partition.name!r} does not fit into {NAME_UNITS} characters")
    return raw


def _encode_header(table: Table, array_crc: int, *, backup: bool) -> bytes:
    last = table.sectors - 1
    own, other = (last, 1) if backup else (1, last)
    entries_at = last - table.entry_sectors if backup else 2

    def pack(crc: int) -> bytes:
        return _HEADER.pack(
            _SIGNATURE, _REVISION, _HEADER.size, crc, 0, own, other, table.first_usable, table.last_usable,
            table.guid.bytes_le, entries_at, table.entries, ENTRY_SIZE, array_crc,
        )  # fmt: skip

    return pack(zlib.crc32(pack(0))).ljust(SECTOR, b"\0")


def _protective_mbr(sectors: int, boot_code: bytes) -> bytes:
    size = min(sectors - 1, 0xFFFFFFFF)
    entry = struct.pack("<B3sB3sII", 0, b"\x00\x02\x00", 0xEE, b"\xff\xff\xff", 1, size)
    return boot_code.ljust(446, b"\0") + entry + bytes(48) + b"\x55\xaa"
