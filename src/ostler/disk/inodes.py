"""Which inodes of an ext4 file system are in use, and their times of modification.

Offsets: kernel documentation, filesystems/ext4 (super block, group descriptors, inodes). The file system comes from
mke2fs just before, so this trusts it more than a reader of foreign bytes would.
"""

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from ostler.disk.errors import DiskError
from ostler.formats.gpt import SECTOR

FIRST_ORDINARY = 12  # 11 is lost+found; those below are the file system's own
_SUPERBLOCK_AT = 1024
_SUPERBLOCK_SIZE = 1024
_MAGIC = 0xEF53
_64BIT = 0x80
_INODE_UNINIT = 0x1


def used_inodes(disk: Path, first: int) -> list[tuple[int, int]]:
    """(number, time of modification) of the inodes of files and directories in the file system at sector `first`.

    In ascending order; the time is in unix seconds. Raises `DiskError` if there is no ext4 file system.
    """
    with disk.open("rb") as file:
        return list(_used(file, first * SECTOR))


def _used(file: BinaryIO, start: int) -> Iterator[tuple[int, int]]:
    file.seek(start + _SUPERBLOCK_AT)
    superblock = file.read(_SUPERBLOCK_SIZE)
    if len(superblock) < _SUPERBLOCK_SIZE or _u16(superblock, 0x38) != _MAGIC:
        raise DiskError(f"there is no ext4 file system in {file.name} at byte {start}")
    block = 1024 << _u32(superblock, 0x18)
    per_group, inode_size = _u32(superblock, 0x28), _u16(superblock, 0x58)
    groups = -(-_u32(superblock, 0x0) // per_group)
    size = _u16(superblock, 0xFE) if _u32(superblock, 0x60) & _64BIT else 32
    file.seek(start + (_u32(superblock, 0x14) + 1) * block)
    descriptors = file.read(groups * size)
    for group in range(groups):
        descriptor = descriptors[group * size : (group + 1) * size]
        if _u16(descriptor, 0x12) & _INODE_UNINIT:
            continue
        file.seek(start + _block_number(descriptor, 0x4, 0x24) * block)
        bitmap = file.read(per_group // 8)
        used = len(bitmap.rstrip(b"\0")) * 8
        file.seek(start + _block_number(descriptor, 0x8, 0x28) * block)
        table = file.read(used * inode_size)
        for index in range(used):
            number = group * per_group + index + 1
            if number >= FIRST_ORDINARY and bitmap[index // 8] >> index % 8 & 1:
                yield number, _u32(table, index * inode_size + 0x10)


def _block_number(descriptor: bytes, low: int, high: int) -> int:
    return _u32(descriptor, low) | (_u32(descriptor, high) << 32 if len(descriptor) >= 64 else 0)


def _u16(data: bytes, at: int) -> int:
    return int(struct.unpack_from("<H", data, at)[0])


def _u32(data: bytes, at: int) -> int:
    return int(struct.unpack_from("<I", data, at)[0])
