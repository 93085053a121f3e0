"""Finding OVMF, the UEFI firmware for virtual machines, where distributions put it."""

import shutil
from collections.abc import Iterable
from pathlib import Path

from ostler.vm.errors import FirmwareMissingError

# directory, code, variables; images of 4 MiB first, as newer firmware comes in these only. None asks for Secure Boot.
CANDIDATES = (
    ("/usr/share/OVMF", "OVMF_CODE_4M.fd", "OVMF_VARS_4M.fd"),
    ("/usr/share/OVMF", "OVMF_CODE.fd", "OVMF_VARS.fd"),
    ("/usr/share/edk2/ovmf", "OVMF_CODE.fd", "OVMF_VARS.fd"),
    ("/usr/share/edk2/x64", "OVMF_CODE.4m.fd", "OVMF_VARS.4m.fd"),
    ("/usr/share/qemu", "ovmf-x86_64-code.bin", "ovmf-x86_64-vars.bin"),
)


def find_firmware(candidates: Iterable[tuple[str, str, str]] = CANDIDATES) -> tuple[Path, Path]:
    """The files with OVMF's code and its empty variables. Raises `FirmwareMissingError`."""
    for directory, code, variables in candidates:
        pair = Path(directory) / code, Path(directory) / variables
        if all(path.is_file() for path in pair):
            return pair
    raise FirmwareMissingError(
        "the UEFI firmware for virtual machines (OVMF) is not installed",
        hint="install it with `apt-get install ovmf`, or run the machine with BIOS firmware",
    )


def fresh_variables(template: Path, place: Path) -> Path:
    """A writable copy of the empty variables at `place`."""
    shutil.copyfile(template, place)
    return place
