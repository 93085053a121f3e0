"""KVM or emulation: KVM only where it runs a guest, and emulation only with a QEMU that emulates well.

`/dev/kvm` may exist, be accessible, and still not run guests (nested virtualisation that lacks half of it). So a guest
of two hundred bytes is run: it enters 64-bit mode, runs a VEX-coded instruction as kernels do, and leaves by a debug
device.
"""

import os
import re
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from ostler.io.process import BASE_ENVIRONMENT, require_tool, run
from ostler.vm.errors import QemuTooOldError, VmError

QEMU = "qemu-system-x86_64"
PACKAGE = "qemu-system-x86"
OLDEST_QEMU_FOR_EMULATION = (8, 0)
PROBE_SECONDS = 3.0

# The probe, which lies at 0xff00 of a ROM of 64 KiB (in GNU assembler's notation):
#   cli; lgdtl %cs:gdtr; set CR0.PE; ljmpl $8,$pm                        16 bit
#   pm: load data segments; page tables at 0x1000 map the first 2 MiB; set CR4.PAE, EFER.LME, CR0.PG; ljmpl $24,$lm
#   lm: cpuid leaf 7; if BMI2: shlx %ecx,%ecx,%edx; mov $0x10,%al; out %al,$0xf4; hlt
_PROBE_AT = 0xFF00
_PROBE = bytes.fromhex(
    "fa2e660f0116b0ff0f20c00c010f22c066ea18ff0f000800b0100fb6c08ed88ec08ed0c7050010000003200000c7050020000003"
    "300000c7050030000083000000b8001000000f22d80f20e00c200f22e0b9800000c00f3280cc010f300f20c00d000000800f22c0"
    "ea6fff0f001800b80700000031c90fa20fbae308730ab901000000c4e271f7d1b010e6f4f4ebfd900000000000000000ffff0000"
    "009acf00ffff00000092cf00ffff0000009aaf001f0090ff0f00"
)
_RESET_VECTOR_AT = 0xFFF0
_JUMP_TO_PROBE = bytes.fromhex("e90dff")
_ROM_SIZE = 0x10000
_PROBE_STATUS = 33  # isa-debug-exit: (0x10 << 1) | 1


@dataclass(frozen=True, slots=True)
class Accelerator:
    """How QEMU runs the guest: the values of its options -accel and -cpu."""

    name: str
    accel: str
    cpu: str

    @property
    def emulated(self) -> bool:
        """Whether every instruction is emulated, some ten times slower."""
        return self.name == "tcg"


KVM = Accelerator("kvm", "kvm", "host")
TCG = Accelerator("tcg", "tcg,thread=multi", "max")


def qemu_version() -> tuple[int, ...]:
    """The version of the installed QEMU, like (10, 0, 2). Raises `MissingToolError`, `VmError`."""
    require_tool(QEMU, package=PACKAGE)
    return parse_version(run([QEMU, "--version"]).text)


def parse_version(text: str) -> tuple[int, ...]:
    """The version in what `qemu --version` prints. Raises `VmError`."""
    found = re.search(r"version (\d+(?:\.\d+)*)", text)
    if found is None:
        raise VmError(f"{QEMU} does not say which version it is: {text.strip()[:80]!r}")
    return tuple(int(part) for part in found[1].split("."))


def choose(*, probe_seconds: float = PROBE_SECONDS) -> Accelerator:
    """KVM where it works, else emulation. Raises `QemuTooOldError` where neither does, and `MissingToolError`."""
    version = qemu_version()
    if kvm_works(probe_seconds):
        return KVM
    check_emulation(version)
    return TCG


def check_emulation(version: tuple[int, ...]) -> None:
    """Raise `QemuTooOldError` if that version of QEMU must not emulate."""
    if version < OLDEST_QEMU_FOR_EMULATION:
        shown = ".".join(map(str, version))
        raise QemuTooOldError(
            f"KVM does not work here, and QEMU {shown} crashes Debian 13 kernels at random when it emulates",
            hint="install QEMU 8 or newer; on Debian 12 from bookworm-backports: "
            f"`apt-get install -t bookworm-backports {PACKAGE} qemu-utils`",
        )


def kvm_works(seconds: float = PROBE_SECONDS) -> bool:
    """Whether KVM runs a guest; takes some 50 ms where it does, at most `seconds` where it does not."""
    if not os.access("/dev/kvm", os.R_OK | os.W_OK):
        return False
    return probe(KVM, seconds)


def probe(accelerator: Accelerator, seconds: float = PROBE_SECONDS) -> bool:
    """Whether the probe guest comes to its end with this accelerator."""
    with tempfile.TemporaryDirectory(prefix="ostler-probe-") as directory:
        rom = Path(directory) / "probe.rom"
        rom.write_bytes(probe_rom())
        argv = [
            QEMU, "-accel", accelerator.accel, "-cpu", accelerator.cpu, "-machine", "pc", "-m", "16", "-nodefaults",
            "-display", "none", "-no-reboot", "-bios", str(rom), "-device", "isa-debug-exit,iobase=0xf4,iosize=1",
        ]  # fmt: skip
        try:
            done = subprocess.run(
                argv,
                env=dict(BASE_ENVIRONMENT),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                timeout=seconds,
                check=False,
            )
        except (subprocess.TimeoutExpired, OSError):
            return False
    return done.returncode == _PROBE_STATUS


def probe_rom() -> bytes:
    """The firmware image whose only work is to show that instructions run."""
    rom = bytearray(b"\xf4" * _ROM_SIZE)
    rom[_PROBE_AT : _PROBE_AT + len(_PROBE)] = _PROBE
    rom[_RESET_VECTOR_AT : _RESET_VECTOR_AT + len(_JUMP_TO_PROBE)] = _JUMP_TO_PROBE
    return bytes(rom)
