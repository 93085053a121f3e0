from itertools import pairwise
from pathlib import Path

import pytest

from ostler.vm.accelerator import KVM, TCG, check_emulation, parse_version, probe_rom
from ostler.vm.command import VmRequest, build_command, disk_format
from ostler.vm.errors import FirmwareMissingError, QemuTooOldError, VmError
from ostler.vm.firmware import find_firmware, fresh_variables

REQUEST = VmRequest(Path("/d/web.raw"), ssh_port=2222)


def option(argv: list[str], name: str, containing: str = "") -> str:
    """The value of the first option `name` that contains a text."""
    return next(v for k, v in pairwise(argv) if k == name and containing in v)


def test_changes_to_the_disk_are_thrown_away_unless_they_are_to_persist() -> None:
    thrown = option(build_command(REQUEST, TCG, None), "-drive")
    assert "snapshot=on" in thrown
    assert "cache=unsafe" in thrown
    kept = option(build_command(VmRequest(REQUEST.disk, persist=True), TCG, None), "-drive")
    assert "snapshot" not in kept
    assert "unsafe" not in kept


def test_ssh_is_forwarded_from_the_loopback_address_only() -> None:
    assert option(build_command(REQUEST, TCG, None), "-netdev") == "user,id=net0,hostfwd=tcp:127.0.0.1:2222-:22"


def test_emulation_uses_several_threads_and_every_feature_and_kvm_the_hosts_processor() -> None:
    emulated, real = build_command(REQUEST, TCG, None), build_command(REQUEST, KVM, None)
    assert (option(emulated, "-accel"), option(emulated, "-cpu")) == ("tcg,thread=multi", "max")
    assert (option(real, "-accel"), option(real, "-cpu")) == ("kvm", "host")


def test_uefi_adds_read_only_code_and_variables_of_the_machines_own() -> None:
    argv = build_command(REQUEST, TCG, (Path("/f/code.fd"), Path("/m/vars.fd")))
    assert "readonly=on" in option(argv, "-drive", "code.fd")
    assert "readonly" not in option(argv, "-drive", "vars.fd")
    assert not any("pflash" in word for word in build_command(REQUEST, TCG, None))


def test_the_disks_format_is_told_to_qemu_and_commas_in_paths_are_escaped() -> None:
    argv = build_command(VmRequest(Path("/a,b/web.qcow2"), format="qcow2"), TCG, None)
    assert "format=qcow2" in option(argv, "-drive")
    assert option(argv, "-drive").endswith("file=/a,,b/web.qcow2")


def test_the_console_goes_here_or_into_a_file() -> None:
    assert "stdio" in option(build_command(REQUEST, TCG, None), "-chardev")
    to_file = VmRequest(REQUEST.disk, serial=Path("/x/console.log"))
    assert option(build_command(to_file, TCG, None), "-chardev") == "file,id=console0,path=/x/console.log"


def test_a_machine_that_must_not_reboot_ends_instead() -> None:
    assert "-no-reboot" in build_command(VmRequest(REQUEST.disk, reboot=False), TCG, None)
    assert "-no-reboot" not in build_command(REQUEST, TCG, None)


def test_an_old_qemu_must_not_emulate_and_the_hint_names_a_newer_one() -> None:
    with pytest.raises(QemuTooOldError, match=r"QEMU 7\.2") as caught:
        check_emulation((7, 2))
    assert "bookworm-backports" in (caught.value.hint or "")
    check_emulation((8, 0))
    check_emulation((10, 0, 2))


def test_versions_are_read_from_what_qemu_prints() -> None:
    assert parse_version("QEMU emulator version 10.0.2 (Debian 1:10.0.2+ds-2)\n") == (10, 0, 2)
    with pytest.raises(VmError):
        parse_version("nothing of the kind")


def test_the_probe_firmware_jumps_from_the_reset_vector_to_its_code() -> None:
    rom = probe_rom()
    assert len(rom) == 65536
    displacement = int.from_bytes(rom[0xFFF1:0xFFF3], "little")
    assert (0xFFF3 + displacement) & 0xFFFF == 0xFF00
    assert rom[0xFF00:0xFF01] == b"\xfa"


def test_firmware_is_found_as_a_pair_and_its_variables_are_copied(tmp_path: Path) -> None:
    (tmp_path / "code").write_bytes(b"c")
    candidates = [(str(tmp_path), "code", "missing"), (str(tmp_path), "code", "vars")]
    with pytest.raises(FirmwareMissingError, match="OVMF"):
        find_firmware(candidates)
    (tmp_path / "vars").write_bytes(b"v")
    (tmp_path / "vars").chmod(0o444)
    code, template = find_firmware(candidates)
    own = fresh_variables(template, tmp_path / "own")
    assert (code.name, own.read_bytes()) == ("code", b"v")
    own.write_bytes(b"changed")


def test_the_disks_format_is_known_by_its_content_whatever_its_name(tmp_path: Path) -> None:
    disk = tmp_path / "web.raw"
    disk.write_bytes(b"QFI\xfb" + bytes(100))
    assert disk_format(disk) == "qcow2"
    disk.write_bytes(bytes(100))
    assert disk_format(disk) == "raw"
