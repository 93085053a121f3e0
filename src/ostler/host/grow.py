"""Growing the root partition and its file system to the disk that the image was written to.

Nothing is done where nothing can be gained, so this may run at every boot. The table is rewritten with sfdisk, which
also moves the backup table of a GPT to the disk's new end; an ext4 is grown by the kernel's own request, which
resize2fs would send too, but through whichever mount comes first, perhaps a read-only one.
"""

import fcntl
import os
import re
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ostler.host.mounts import make_writable
from ostler.io.process import require_tool, run
from ostler.io.progress import Finished, Reporter, Step, silent

SECTOR = 512
SLACK_SECTORS = 2048 + 33
"""Less than this behind the partition is alignment and the backup table, not room."""

_EXT4_RESIZE = 0x40086610
_EXT4_SUPERBLOCK = 1024
_EXT4_MAGIC = 0xEF53


@dataclass(frozen=True, slots=True)
class Mount:
    """A line of /proc/self/mountinfo."""

    device: str
    point: str
    filesystem: str
    source: str


@dataclass(frozen=True, slots=True)
class Partition:
    """A partition as sysfs shows it; sizes in sectors of 512 bytes. `last` if no other one lies behind it."""

    number: int
    node: Path
    disk: Path
    start: int
    size: int
    disk_size: int
    last: bool

    @property
    def room(self) -> int:
        """Sectors between its end and the disk's end."""
        return self.disk_size - self.start - self.size


@dataclass(frozen=True, slots=True)
class GrowResult:
    """Whether the partition and the file system were grown; `reason` says why not, if that is worth saying."""

    partition: bool = False
    filesystem: bool = False
    reason: str = ""


def parse_mounts(text: str) -> list[Mount]:
    """The mounts in a mountinfo file (proc_pid_mountinfo(5)), first to last."""
    found = []
    for line in text.splitlines():
        before, dash, after = line.partition(" - ")
        fields, tail = before.split(" "), after.split(" ")
        if dash and len(fields) > 5 and len(tail) > 1:
            found.append(Mount(fields[2], _unescape(fields[4]), tail[0], _unescape(tail[1])))
    return found


def _unescape(text: str) -> str:
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), text)


def root_mount(mounts: Sequence[Mount]) -> Mount | None:
    """The mount of the physical root: /sysroot on an OSTree machine, else /."""
    for point in ("/sysroot", "/"):
        found = [mount for mount in mounts if mount.point == point]
        if found:
            return found[-1]
    return None


def read_partition(device: str, sys: Path = Path("/sys")) -> Partition | None:
    """The partition with the device number `MAJOR:MINOR`; None if that is no partition of a disk."""
    here = (sys / "dev/block" / device).resolve()
    if not (here / "partition").exists():
        return None

    def number(path: Path) -> int:
        return int(path.read_text())

    start = number(here / "start")
    others = [number(other) for other in here.parent.glob("*/start")]
    return Partition(
        number=number(here / "partition"),
        node=Path("/dev") / here.name,
        disk=Path("/dev") / here.parent.name,
        start=start,
        size=number(here / "size"),
        disk_size=number(here.parent / "size"),
        last=all(other <= start for other in others),
    )


def grown_table(dump: str, node: str) -> str:
    """A partition table in sfdisk's form with the partition `node` as large as its disk allows."""
    lines = []
    for line in dump.splitlines():
        if line.startswith("last-lba:"):
            continue  # was the old disk's end
        if line.split(" ", 1)[0] == node:
            line = re.sub(r"\bsize=\s*\d+,?\s*", "", line)
        lines.append(line)
    return "\n".join(lines) + "\n"


def grow_partition(disk: Path, node: Path) -> None:
    """Rewrite the partition table of `disk` (or a disk image) so that `node` reaches its end; raises `CommandError`."""
    sfdisk = require_tool("sfdisk", package="fdisk")
    dump = run([sfdisk, "--dump", disk]).text
    table = grown_table(dump, str(node))
    run([sfdisk, "--no-reread", "--no-tell-kernel", "--force", "--quiet", disk], input=table.encode())


def grow_root(*, report: Reporter = silent) -> GrowResult:
    """Grow the root of the machine that this runs on. Raises `CommandError`, `MissingToolError`, `MountError`."""
    mount = root_mount(parse_mounts(Path("/proc/self/mountinfo").read_text()))
    if mount is None:
        return GrowResult(reason="the root file system was not found")
    partition = read_partition(_device_number(mount))
    if partition is None:
        return GrowResult(reason=f"{mount.source} is no partition of a disk")
    report(Step("root file system"))
    grown = False
    if partition.last and partition.room > SLACK_SECTORS:
        grow_partition(partition.disk, partition.node)
        run([require_tool("partx", package="util-linux"), "--update", "--nr", str(partition.number), partition.disk])
        grown = True
    resized = grow_filesystem(mount, partition.node)
    report(Finished("root file system", "grown" if grown or resized else "has its full size"))
    reason = "" if partition.last else f"another partition lies behind {partition.node}"
    return GrowResult(grown, resized, reason)


def _device_number(mount: Mount) -> str:
    """btrfs shows numbers of its own in mountinfo; those of the source are meant then."""
    if not mount.device.startswith("0:"):
        return mount.device
    try:
        number = os.stat(mount.source).st_rdev  # noqa: PTH116
    except OSError:
        return mount.device
    return f"{os.major(number)}:{os.minor(number)}"


def grow_filesystem(mount: Mount, node: Path) -> bool:
    """Grow the mounted file system to its partition; whether that was needed, as far as can be known."""
    if mount.filesystem == "ext4":
        return _grow_ext4(Path(mount.point), node)
    if mount.filesystem == "xfs":
        make_writable()
        run([require_tool("xfs_growfs", package="xfsprogs"), "-d", mount.point])
    elif mount.filesystem == "btrfs":
        make_writable()
        run([require_tool("btrfs", package="btrfs-progs"), "filesystem", "resize", "max", mount.point])
    return False


def _grow_ext4(point: Path, node: Path) -> bool:
    with open(node, "rb", buffering=0) as device:
        size = device.seek(0, os.SEEK_END)
        device.seek(_EXT4_SUPERBLOCK)
        superblock = device.read(1024)
    blocks, _ = ext4_size(superblock)
    wanted = wanted_blocks(superblock, size)
    if wanted <= blocks:
        return False
    if os.statvfs(point).f_flag & os.ST_RDONLY:
        make_writable()
    fd = os.open(point, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.ioctl(fd, _EXT4_RESIZE, struct.pack("Q", wanted))
    finally:
        os.close(fd)
    return True


def ext4_size(superblock: bytes) -> tuple[int, int]:
    """(blocks, bytes in a block) of an ext4 by its superblock (`struct ext4_super_block`); (0, 0) if it is none."""
    if len(superblock) < 1024 or struct.unpack_from("<H", superblock, 0x38)[0] != _EXT4_MAGIC:
        return 0, 0
    low, exponent = struct.unpack_from("<I", superblock, 0x04)[0], struct.unpack_from("<I", superblock, 0x18)[0]
    wide = struct.unpack_from("<I", superblock, 0x60)[0] & 0x80  # INCOMPAT_64BIT
    high = struct.unpack_from("<I", superblock, 0x150)[0] if wide else 0
    return (high << 32) + low, 1024 << exponent


def wanted_blocks(superblock: bytes, device_size: int) -> int:
    """The blocks that an ext4 should have on a device of this many bytes: all, but for a last group that is too small.

    A group needs room for its own bitmaps and inode table; below twice that it is not worth having, and some kernels
    refuse it.
    """
    _, block_size = ext4_size(superblock)
    if not block_size:
        return 0
    total = device_size // block_size
    first = struct.unpack_from("<I", superblock, 0x14)[0]
    per_group, inodes = struct.unpack_from("<I", superblock, 0x20)[0], struct.unpack_from("<I", superblock, 0x28)[0]
    inode_size = struct.unpack_from("<H", superblock, 0x58)[0]
    overhead = 2 + inodes * inode_size // block_size + 1 + struct.unpack_from("<H", superblock, 0xCE)[0]
    rest = (total - first) % per_group
    return total - rest if 0 < rest < 2 * overhead + 50 else total
