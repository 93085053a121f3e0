"""ext4 file systems made of a directory by `mke2fs -d`, straight into their place in the disk file.

The features are written down here and not taken from the builder's mke2fs.conf, so that they are the same everywhere
and GRUB 2.12 can read /boot.
"""

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

from ostler.disk.inodes import used_inodes
from ostler.errors import NoSpaceError
from ostler.formats.gpt import SECTOR
from ostler.io.process import CommandError, require_tool, run
from ostler.io.progress import Event, Output

BLOCK = 4096
INODE = 256
INODE_RATIO = 16384  # bytes of disk for each inode; kept when the file system grows
PACKAGE = "e2fsprogs"
_IMMUTABLE, _EXTENTS = 0x10, 0x80000  # inode flags
_CONFIGURATION = f"""\
[defaults]
    base_features = sparse_super,large_file,filetype,resize_inode,dir_index,ext_attr
    default_mntopts = acl,user_xattr
    enable_periodic_fsck = 0
    blocksize = {BLOCK}
    inode_size = {INODE}
    inode_ratio = {INODE_RATIO}
[fs_types]
    ext4 = {{
        features = has_journal,extent,huge_file,flex_bg,metadata_csum,64bit,dir_nlink,extra_isize
    }}
    small = {{
        inode_size = {INODE}
    }}
    big = {{
        inode_size = {INODE}
    }}
    huge = {{
        inode_size = {INODE}
    }}
"""


@dataclass(frozen=True, slots=True)
class Ext4:
    """How one ext4 file system is to be: its place (sectors of 512 bytes), ids and a few properties.

    `journal` is in MiB. With `verity` the fs-verity feature is on. `time` (unix seconds) is when it says that it was
    made, its inodes last changed and its files last read and modified, but for those that `tree` has as modified at 0
    (OSTree's objects and checkouts): they stay so. Equal times, ids and trees give equal bytes.
    """

    first: int
    sectors: int
    uuid: UUID
    hash_seed: UUID
    journal: int
    time: int
    verity: bool = False


@dataclass(frozen=True, slots=True)
class Attribute:
    """An extended attribute to set on a file of the file system; `path` is relative to its root."""

    path: str
    name: bytes
    value: bytes


def overhead(content: int, journal: int) -> int:
    """Bytes that an ext4 file system needs beside `content` bytes in blocks, rounded up generously."""
    inode_tables = (content + journal) * INODE // INODE_RATIO
    group_descriptors = 8 << 20  # with the blocks reserved for growing
    return inode_tables + group_descriptors + journal + (content >> 10)


def write_ext4(
    disk: Path,
    how: Ext4,
    tree: Path,
    attributes: Iterable[Attribute] = (),
    immutable: Iterable[str] = (),
    *,
    work: Path,
) -> None:
    """Make the file system in the file `disk` and copy the directory `tree` into it, without extended attributes.

    `disk` must be zero there. Ownership, modes, hard links and symlinks are those of `tree`; then `attributes` are set,
    the directories `immutable` (paths below `tree`, a few entries each) get that flag, and all get their times. `work`
    is a directory for temporary files. Raises `NoSpaceError` and `CommandError`.
    """
    require_tool("mke2fs", package=PACKAGE)
    configuration = work / "mke2fs.conf"
    configuration.write_text(_CONFIGURATION)
    env = {"MKE2FS_CONFIG": str(configuration), "MKE2FS_SKIP_CHECK_MSG": "1", **_clock(how)}
    extended = [
        f"offset={how.first * SECTOR}", f"hash_seed={how.hash_seed}", "root_owner=0:0", "no_copy_xattrs",
        "assume_storage_prezeroed=1", "nodiscard",
    ]  # fmt: skip
    argv = [
        "mke2fs", "-q", "-F", "-t", "ext4", "-U", str(how.uuid), "-m", "1", "-e", "remount-ro",
        "-J", f"size={how.journal}", *(["-O", "verity"] if how.verity else []), "-E", ",".join(extended),
        "-d", str(tree), str(disk), f"{how.sectors * SECTOR // 1024}k",
    ]  # fmt: skip
    _run(argv, env, disk)
    _finish(disk, how, attributes, immutable, work)


def _finish(disk: Path, how: Ext4, attributes: Iterable[Attribute], immutable: Iterable[str], work: Path) -> None:
    """Set times, flags and extended attributes by debugfs: 40,000 such commands take a tenth of a second."""
    commands = [
        f"set_inode_field <{inode}> {field} @{time}"
        for inode, modified in used_inodes(disk, how.first)
        for field, time in (("mtime", how.time if modified else 0), ("atime", how.time), ("ctime", how.time))
    ]
    commands += [f"set_inode_field {_quoted('/' + path)} flags {_EXTENTS | _IMMUTABLE:#x}" for path in immutable]
    values: dict[bytes, Path] = {}
    for attribute in attributes:
        value = values.setdefault(attribute.value, work / f"xattr-{len(values)}")
        if not value.exists():
            value.write_bytes(attribute.value)
        commands.append(
            f"ea_set -f {_quoted(str(value))} {_quoted('/' + attribute.path)} {os.fsdecode(attribute.name)}"
        )
    try:
        run_debugfs(disk, how, commands, work=work)
    finally:
        for value in values.values():
            value.unlink(missing_ok=True)


def run_debugfs(disk: Path, how: Ext4, commands: Sequence[str], *, work: Path) -> None:
    """Run debugfs commands that print nothing when they go well. Raises `CommandError`."""
    if not commands:
        return
    require_tool("debugfs", package=PACKAGE)
    script = work / "debugfs.script"
    script.write_text("\n".join(commands) + "\n")
    argv = ["debugfs", "-w", "-f", str(script), f"{disk}?offset={how.first * SECTOR}"]
    complaints: list[str] = []
    _run(argv, _clock(how), disk, complaints)
    if complaints:  # debugfs ends with 0 whatever its commands did
        raise CommandError(argv, 1, complaints[-20:])


def _clock(how: Ext4) -> dict[str, str]:
    """What makes e2fsprogs take `how.time` for now: the second name before 1.47.1, the first since."""
    return {"SOURCE_DATE_EPOCH": str(how.time), "E2FSPROGS_FAKE_TIME": str(how.time)}


def _run(argv: Sequence[str], env: dict[str, str], disk: Path, complaints: list[str] | None = None) -> None:
    def collect(event: Event) -> None:
        if complaints is not None and isinstance(event, Output) and not event.line.startswith("debugfs 1."):
            complaints.append(event.line)

    try:
        run(argv, env=env, report=collect)
    except CommandError as error:
        if any("No space left on device" in line or "Disk quota exceeded" in line for line in error.output):
            raise NoSpaceError(
                f"no space left on the file system of {disk.parent} while writing {disk.name}",
                hint=f"free some space there (`df -h {disk.parent}` shows it) and run the same command again",
            ) from error
        raise


def _quoted(word: str) -> str:
    return '"' + word.replace('"', '""') + '"'
