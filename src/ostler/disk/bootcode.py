"""The boot sectors of a machine that starts by BIOS: GRUB's two images, told where they lie.

`boot.img` goes into the code area of the protective MBR and loads the first sector of `core.img`, which lies in the
BIOS boot partition and loads the rest of it. The offsets are those of `grub-core/boot/i386/pc/{boot,diskboot}.S`.
"""

import struct

from ostler.disk.errors import DiskError
from ostler.formats.gpt import BOOT_CODE_SIZE, SECTOR

_CORE_ADDRESS = struct.Struct("<Q")
_CORE_ADDRESS_AT = 0x5C  # in boot.img: the sector that it loads
_DRIVE_CHECK_AT = 0x66  # in boot.img: a jump that distrusts the drive number, which is for floppies
_NOPS = b"\x90\x90"
_BLOCK_LIST = struct.Struct("<QHH")
_BLOCK_LIST_AT = 0x1F4  # in core.img's first sector: start, count, segment of the rest
_CORE_SEGMENT = 0x820
_MAX_CORE_SECTORS = 0xFFFF


def boot_code(boot_image: bytes, core_first: int) -> bytes:
    """The 440 bytes of the MBR that load the sector `core_first`. Raises `DiskError` if that is no `boot.img`."""
    if len(boot_image) != SECTOR or boot_image[-2:] != b"\x55\xaa":
        raise DiskError("the image's boot.img is not a boot sector of 512 bytes")
    code = bytearray(boot_image[:BOOT_CODE_SIZE])
    _CORE_ADDRESS.pack_into(code, _CORE_ADDRESS_AT, core_first)
    code[_DRIVE_CHECK_AT : _DRIVE_CHECK_AT + len(_NOPS)] = _NOPS
    return bytes(code)


def place_core(core_image: bytes, first: int, room: int) -> bytes:
    """`core.img` as it must lie from sector `first` on. `room` is in sectors. Raises `DiskError` if it does not fit."""
    sectors = -(-len(core_image) // SECTOR)
    if sectors < 2:
        raise DiskError("the image's core.img is too short to be a GRUB core image")
    if sectors > min(room, _MAX_CORE_SECTORS):
        raise DiskError(f"the image's core.img takes {sectors} sectors, the BIOS boot partition has {room}")
    core = bytearray(core_image.ljust(sectors * SECTOR, b"\0"))
    _BLOCK_LIST.pack_into(core, _BLOCK_LIST_AT, first + 1, sectors - 1, _CORE_SEGMENT)
    return bytes(core)
