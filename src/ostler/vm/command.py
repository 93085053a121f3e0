"""From what is wanted to QEMU's command line: pure, so that it can be shown and compared."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from ostler.errors import NotFoundError
from ostler.vm.accelerator import QEMU, Accelerator

STDIO = "stdio"
QCOW2_MAGIC = b"QFI\xfb"


@dataclass(frozen=True, slots=True)
class VmRequest:
    """A machine to run.

    `memory` is in MiB. `ssh_port` is the port of 127.0.0.1 that leads to the guest's port 22; 0 takes a free one.
    Changes to `disk` are thrown away unless `persist`; its `format` is found by whoever starts it. `serial` is "stdio"
    (the console here, Ctrl-A X ends) or a file for its output. Without `reboot` the machine ends instead of rebooting.
    """

    disk: Path
    firmware: Literal["bios", "uefi"] = "bios"
    memory: int = 2048
    cpus: int = 2
    ssh_port: int = 0
    persist: bool = False
    serial: str | Path = STDIO
    reboot: bool = True
    name: str = "ostler"
    format: Literal["raw", "qcow2"] = "raw"

    def command(self) -> list[str]:
        """The command that `start` and the others would run here and now, without the control socket.

        Raises `NotFoundError`, `MissingToolError`, `QemuTooOldError`, `FirmwareMissingError`.
        """
        from ostler.vm.accelerator import choose
        from ostler.vm.firmware import find_firmware

        firmware = find_firmware() if self.firmware == "uefi" else None
        return build_command(replace(self, format=disk_format(self.disk)), choose(), firmware)


def disk_format(path: Path) -> Literal["raw", "qcow2"]:
    """What kind of disk file it is, by its first bytes. Raises `NotFoundError`."""
    if not path.is_file():
        raise NotFoundError(f"the disk {path} does not exist", hint="write it with `ostler disk`")
    with path.open("rb") as file:
        return "qcow2" if file.read(4) == QCOW2_MAGIC else "raw"


def build_command(
    request: VmRequest, accelerator: Accelerator, firmware: tuple[Path, Path] | None, *, control: str | None = None
) -> list[str]:
    """QEMU's arguments. `firmware` is OVMF's code and this machine's own variables; `control` a QMP socket's path."""
    argv = [
        QEMU,
        "-name", request.name,
        "-machine", "q35",
        "-accel", accelerator.accel,
        "-cpu", accelerator.cpu,
        "-smp", str(request.cpus),
        "-m", str(request.memory),
        "-display", "none",
        "-nodefaults",
        *([] if request.reboot else ["-no-reboot"]),
        *_firmware(firmware),
        *_disk(request),
        "-netdev", f"user,id=net0{_forward(request.ssh_port)}",
        "-device", "virtio-net-pci,netdev=net0,romfile=",
        "-object", "rng-random,id=rng0,filename=/dev/urandom",
        "-device", "virtio-rng-pci,rng=rng0",
        "-device", "i6300esb",
        *_serial(request.serial),
    ]  # fmt: skip
    if control is not None:
        argv += ["-qmp", f"unix:{_escaped(control)},server=on,wait=off"]
    return argv


def _firmware(firmware: tuple[Path, Path] | None) -> list[str]:
    if firmware is None:
        return []
    code, variables = firmware
    return [
        "-drive", f"if=pflash,unit=0,format=raw,readonly=on,file={_escaped(str(code))}",
        "-drive", f"if=pflash,unit=1,format=raw,file={_escaped(str(variables))}",
    ]  # fmt: skip


def _disk(request: VmRequest) -> list[str]:
    keep = "cache=writeback" if request.persist else "snapshot=on,cache=unsafe"
    drive = f"if=none,id=disk0,format={request.format},{keep},discard=unmap,file={_escaped(str(request.disk))}"
    return ["-drive", drive, "-device", "virtio-blk-pci,drive=disk0,bootindex=0,serial=ostler0"]


def _forward(port: int) -> str:
    return f",hostfwd=tcp:127.0.0.1:{port}-:22" if port else ""


def _serial(serial: str | Path) -> list[str]:
    if serial == STDIO:
        return ["-chardev", "stdio,id=console0,mux=on,signal=off", "-serial", "chardev:console0", "-mon", "console0"]
    return ["-chardev", f"file,id=console0,path={_escaped(str(serial))}", "-serial", "chardev:console0"]


def _escaped(path: str) -> str:
    """A path inside an option's value, where a comma is written twice."""
    return path.replace(",", ",,")
