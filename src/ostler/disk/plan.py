"""What a disk will hold, decided before a byte is written.

Layout (it cannot be changed later on rented servers): GPT with 1 the BIOS boot partition, 2 the ESP, 3 /boot (ext4,
found by GRUB as the third partition of the disk it came from), 4 the root. Everything is aligned to 1 MiB.

How large: with size "auto" the root file system gets its content, a tenth of that and 256 MiB more, and what ext4
itself needs; the disk adds the three small partitions before it. The file is sparse, so it takes up only the content;
on first boot the root file system grows to its real disk, where the room for further deployments comes from.
"""

import hashlib
import time
import uuid
from dataclasses import dataclass
from uuid import UUID

from ostler.disk import ext4
from ostler.disk.errors import DiskSizeError, FilesystemError
from ostler.formats import gpt
from ostler.formats.gpt import SECTOR

MIB = 1 << 20
ALIGNMENT = MIB // SECTOR
BIOS_BOOT_MIB = 1
ESP_MIB = 64
BOOT_MIB = 512
BOOT_JOURNAL_MIB = 16
ROOT_JOURNAL_MIB = 64
MARGIN_PERCENT = 10
MARGIN = 256 * MIB
BIOS_BOOT, ESP, BOOT, ROOT = 1, 2, 3, 4  # partition numbers; core.img knows that /boot is the third
MINIMUM_ROOT = 160 * MIB  # mke2fs gives the journal at most half of the file system
MAXIMUM_SIZE = 16 << 40


@dataclass(frozen=True, slots=True)
class DiskIdentity:
    """The ids that tell this disk from every other one: `disk` and `parts` in the GPT, the others in file systems."""

    disk: UUID
    parts: tuple[UUID, UUID, UUID, UUID]
    boot: UUID
    root: UUID
    esp_serial: int

    @classmethod
    def random(cls) -> "DiskIdentity":
        """Ids that no other disk has."""
        return cls.from_seed(uuid.uuid4().bytes)

    @classmethod
    def from_seed(cls, seed: bytes) -> "DiskIdentity":
        """Ids that follow from `seed`: the same disk again from the same commit. For tests; never for real machines."""

        def derived(name: str) -> UUID:
            return UUID(bytes=hashlib.sha256(name.encode() + b"\0" + seed).digest()[:16], version=4)

        return cls(
            disk=derived("disk"),
            parts=(derived("part1"), derived("part2"), derived("part3"), derived("part4")),
            boot=derived("boot"),
            root=derived("root"),
            esp_serial=derived("esp").int & 0xFFFFFFFF,
        )


@dataclass(frozen=True, slots=True)
class DiskRequest:
    """What the disk is to be, apart from the commit on it.

    `size` is in bytes, None for content plus the margin; `kernel_arguments` come behind those that Ostler sets itself;
    `remote_url` is where the machine's updates come from, if anywhere. `identity` is None for fresh random ids; with
    one and `time` (unix seconds) the disk comes out with the same bytes every time.
    """

    osname: str
    ref: str
    remote_url: str | None = None
    kernel_arguments: tuple[str, ...] = ()
    size: int | None = None
    filesystem: str = "ext4"
    keep: int = 2
    identity: DiskIdentity | None = None
    time: int | None = None


@dataclass(frozen=True, slots=True)
class Contents:
    """What goes onto the disk: bytes in whole blocks on `root`, `boot` and `esp`, and the number of `files` on root."""

    root: int
    boot: int
    esp: int
    files: int


@dataclass(frozen=True, slots=True)
class PlannedPartition:
    """A partition to make. `first` and `sectors` count sectors of 512 bytes; `content` is in bytes."""

    number: int
    name: str
    type: UUID
    guid: UUID
    first: int
    sectors: int
    filesystem: str
    filesystem_id: str
    content: int

    @property
    def size(self) -> int:
        """Its length in bytes."""
        return self.sectors * SECTOR


@dataclass(frozen=True, slots=True)
class DiskPlan:
    """All that decides what the disk will be; `str()` and `to_json` show it."""

    osname: str
    ref: str
    commit: str
    remote_url: str | None
    kernel_arguments: tuple[str, ...]
    sectors: int
    identity: DiskIdentity
    partitions: tuple[PlannedPartition, ...]
    files: int
    time: int
    keep: int = 2

    @property
    def size(self) -> int:
        """The length of the disk in bytes."""
        return self.sectors * SECTOR

    @property
    def table(self) -> gpt.Table:
        """The partition table."""
        return gpt.Table(
            self.identity.disk,
            self.sectors,
            tuple(
                gpt.Partition(p.number, p.type, p.guid, p.first, p.first + p.sectors - 1, p.name)
                for p in self.partitions
            ),
        )

    def partition(self, number: int) -> PlannedPartition:
        """The partition with that number."""
        return next(p for p in self.partitions if p.number == number)

    def to_json(self) -> dict[str, object]:
        """The plan as JSON values; sizes and offsets in bytes."""
        return {
            "osname": self.osname,
            "ref": self.ref,
            "commit": self.commit,
            "remote-url": self.remote_url,
            "kernel-arguments": list(self.kernel_arguments),
            "size": self.size,
            "files": self.files,
            "disk-guid": str(self.identity.disk),
            "partitions": [
                {
                    "number": p.number,
                    "name": p.name,
                    "type": gpt.TYPE_NAMES[p.type],
                    "type-guid": str(p.type),
                    "guid": str(p.guid),
                    "start": p.first * SECTOR,
                    "size": p.size,
                    "filesystem": p.filesystem,
                    "filesystem-id": p.filesystem_id,
                    "content": p.content,
                }
                for p in self.partitions
            ],
        }

    def __str__(self) -> str:
        lines = [
            f"disk of {_size(self.size)} for {self.osname}, commit {self.commit[:12]} of {self.ref}",
            f"  updates from      {self.remote_url or 'nowhere (pushed to the machine)'}",
            f"  kernel arguments  {' '.join(self.kernel_arguments)}",
        ]
        for p in self.partitions:
            filesystem = f"{p.filesystem or 'no file system':<14}  {p.filesystem_id}".rstrip()
            lines.append(f"  {p.number}  {p.name:<5}  {_size(p.size):>10}  {_size(p.content):>10} used  {filesystem}")
        return "\n".join(lines)


def lay_out(request: DiskRequest, commit: str, contents: Contents) -> DiskPlan:
    """Plan the disk.

    Raises `DiskSizeError` if `request.size` is too small and `FilesystemError` for a file system that we cannot make.
    """
    if request.filesystem != "ext4":
        raise FilesystemError(
            f"the root file system cannot be {request.filesystem!r}",
            hint='write `filesystem = "ext4"` under [disk]: only that can be filled without root and mount',
        )
    pairs = request.keep + 1  # an update writes the new pair before it removes an old one
    if contents.boot > (BOOT_MIB - BOOT_JOURNAL_MIB) * MIB // pairs:
        raise DiskSizeError(
            f"kernel and initramfs take {_size(contents.boot)}; /boot of {BOOT_MIB} MiB must hold {pairs} such pairs",
            hint="lower `keep` in [update], or leave drivers out of the initramfs (etc/dracut.conf.d)",
        )
    if contents.esp > (ESP_MIB - 2) * MIB:
        raise DiskSizeError(f"the boot loader takes {_size(contents.esp)}, the ESP has {ESP_MIB} MiB")
    identity = request.identity or DiskIdentity.random()
    before_root = (1 + BIOS_BOOT_MIB + ESP_MIB + BOOT_MIB) * ALIGNMENT
    needed = max(contents.root + ext4.overhead(contents.root, ROOT_JOURNAL_MIB * MIB), MINIMUM_ROOT)
    after_root = ALIGNMENT  # the second copy of the table, rounded up
    if request.size is None:
        margin = contents.root * MARGIN_PERCENT // 100 + MARGIN
        root_sectors = _aligned(needed + margin)
        sectors = before_root + root_sectors + after_root
    else:
        minimum = before_root + _aligned(needed) + after_root
        if request.size < minimum * SECTOR:
            raise DiskSizeError(
                f"a disk of {_size(request.size)} is too small: this image needs at least {_mib(minimum * SECTOR)} MiB",
                hint=f'write `size = "{_mib(minimum * SECTOR)}M"` or more under [disk], or `size = "auto"`',
            )
        if request.size > MAXIMUM_SIZE:
            raise DiskSizeError(f"a disk of {_size(request.size)} is larger than this can make (16 TiB)")
        sectors = request.size // SECTOR
        root_sectors = (sectors - before_root - gpt.TAIL_SECTORS) // ALIGNMENT * ALIGNMENT
    sizes = (BIOS_BOOT_MIB * ALIGNMENT, ESP_MIB * ALIGNMENT, BOOT_MIB * ALIGNMENT, root_sectors)
    kinds = (
        ("bios", gpt.BIOS_BOOT, "", "", 0),
        (
            "esp",
            gpt.EFI_SYSTEM,
            "vfat",
            f"{identity.esp_serial >> 16:04X}-{identity.esp_serial & 0xFFFF:04X}",
            contents.esp,
        ),
        ("boot", gpt.EXTENDED_BOOT, "ext4", str(identity.boot), contents.boot),
        ("root", gpt.ROOT_X86_64, request.filesystem, str(identity.root), contents.root),
    )
    partitions = []
    first = ALIGNMENT
    for number, (size, guid, (name, kind, filesystem, filesystem_id, content)) in enumerate(
        zip(sizes, identity.parts, kinds, strict=True), start=1
    ):
        partitions.append(PlannedPartition(number, name, kind, guid, first, size, filesystem, filesystem_id, content))
        first += size
    plan = DiskPlan(
        osname=request.osname,
        ref=request.ref,
        commit=commit,
        remote_url=request.remote_url,
        kernel_arguments=kernel_arguments(identity, request.kernel_arguments),
        sectors=sectors,
        identity=identity,
        partitions=tuple(partitions),
        files=contents.files,
        time=int(time.time()) if request.time is None else request.time,
        keep=request.keep,
    )
    gpt.check(plan.table)
    return plan


def kernel_arguments(identity: DiskIdentity, own: tuple[str, ...]) -> tuple[str, ...]:
    """The first deployment's kernel arguments: the root, a reboot where nobody would see a shell, then `own`."""
    return (f"root=UUID={identity.root}", "rw", "panic=30", "rd.shell=0", "rd.emergency=reboot", *own)


def _aligned(size: int) -> int:
    return -(-size // MIB) * ALIGNMENT


def _mib(size: int) -> int:
    return -(-size // MIB)


def _size(size: int) -> str:
    return (
        f"{size / (1 << 30):.1f} GiB" if size >= 10 << 30 else f"{size / MIB:.0f} MiB" if size >= MIB else f"{size} B"
    )
