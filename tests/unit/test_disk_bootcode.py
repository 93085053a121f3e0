import struct

import pytest

from ostler.disk.bootcode import boot_code, place_core
from ostler.disk.errors import DiskError

BOOT_IMAGE = bytes(range(256)) + bytes(254) + b"\x55\xaa"


def test_the_boot_sector_learns_where_the_core_image_begins() -> None:
    code = boot_code(BOOT_IMAGE, 2048)
    assert len(code) == 440
    assert struct.unpack_from("<Q", code, 0x5C) == (2048,)
    assert code[0x66:0x68] == b"\x90\x90"
    untouched = [*range(0x5C), *range(0x64, 0x66), *range(0x68, 440)]
    assert all(code[i] == BOOT_IMAGE[i] for i in untouched)


def test_the_core_image_learns_where_its_rest_lies() -> None:
    core = place_core(bytes(512 * 3 + 1), 2048, 2048)
    assert len(core) == 4 * 512
    assert struct.unpack_from("<QHH", core, 0x1F4) == (2049, 3, 0x820)


def test_a_core_image_that_does_not_fit_is_refused() -> None:
    with pytest.raises(DiskError, match="2049 sectors"):
        place_core(bytes(2049 * 512), 2048, 2048)


@pytest.mark.parametrize("image", [b"", bytes(512), BOOT_IMAGE + b"x"])
def test_what_is_no_boot_sector_is_refused(image: bytes) -> None:
    with pytest.raises(DiskError):
        boot_code(image, 2048)


def test_a_truncated_core_image_is_refused() -> None:
    with pytest.raises(DiskError, match="too short"):
        place_core(bytes(512), 2048, 2048)
