"""Other programs judge the disks that we write: sfdisk, e2fsck, debugfs, fsck.vfat, mtools, qemu-img."""

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from ostler.disk.convert import to_qcow2
from ostler.disk.ext4 import Attribute
from ostler.disk.plan import MIB, Contents, DiskIdentity, DiskPlan, DiskRequest, lay_out
from ostler.disk.write import BootImages, Trees, allocated, write_raw
from ostler.formats import gpt

CAPABILITY = bytes.fromhex("0100000200200000000000000000000000000000")
IMAGES = BootImages(bytes(510) + b"\x55\xaa", bytes(range(256)) * 400, b"MZ" + bytes(900_000))
CONTENTS = Contents(root=8 * MIB, boot=3 * MIB, esp=MIB, files=10)
WriteDisk = Callable[[Path], tuple[DiskPlan, Path]]


def run(*argv: str | Path) -> str:
    return subprocess.run(list(map(str, argv)), check=True, capture_output=True, text=True).stdout


@pytest.fixture(scope="module")
def trees(tmp_path_factory: pytest.TempPathFactory) -> Trees:
    root, boot = tmp_path_factory.mktemp("root"), tmp_path_factory.mktemp("boot")
    (root / "usr/bin").mkdir(parents=True)
    ping = root / "usr/bin/ping"
    ping.write_bytes(os.urandom(3 * MIB))
    os.setxattr(ping, "user.ostreemeta", b"not for the disk")
    os.utime(ping, (0, 0))
    (root / "usr/bin/link").hardlink_to(ping)
    su = root / "usr/bin/su"
    su.write_bytes(b"x")
    os.chown(su, 7, 42)
    su.chmod(0o4750)
    (root / "bin").symlink_to("usr/bin")
    (root / "long").symlink_to("x" * 200)
    (root / 'a "quoted" name').write_bytes(b"q")
    (boot / "grub").mkdir()
    (boot / "grub/grub.cfg").symlink_to("../loader/grub.cfg")
    (boot / "vmlinuz").write_bytes(os.urandom(2 * MIB))
    named = (
        Attribute("usr/bin/ping", b"security.capability", CAPABILITY),
        Attribute('a "quoted" name', b"user.test", b"\0binary\xff"),
    )
    return Trees(root, boot, named)


def write(trees: Trees, target: Path, size: int | None = None) -> DiskPlan:
    identity = DiskIdentity.from_seed(b"a test")
    request = DiskRequest("web", "web/stable", identity=identity, time=1_700_000_000, size=size)
    plan = lay_out(request, "c" * 64, CONTENTS)
    work = target.with_suffix(".work")
    work.mkdir()
    write_raw(target, plan, IMAGES, trees, work=work)
    assert not any(work.glob("xattr-*"))
    return plan


@pytest.fixture(scope="module")
def disk(trees: Trees, tmp_path_factory: pytest.TempPathFactory) -> tuple[DiskPlan, Path]:
    target = tmp_path_factory.mktemp("disk") / "disk.raw"
    return write(trees, target), target


def extract(disk: tuple[DiskPlan, Path], number: int, to: Path) -> Path:
    """A partition as a file of its own."""
    plan, path = disk
    part = plan.partition(number)
    with path.open("rb") as file, to.open("wb") as out:
        file.seek(part.first * 512)
        out.write(file.read(part.size))
    return to


def debugfs(disk: tuple[DiskPlan, Path], number: int, command: str) -> str:
    plan, path = disk
    return run("debugfs", "-R", command, f"{path}?offset={plan.partition(number).first * 512}")


def test_sfdisk_finds_no_fault_and_the_partitions_that_were_planned(disk: tuple[DiskPlan, Path]) -> None:
    plan, path = disk
    assert "No errors detected" in run("sfdisk", "--verify", path)
    table = json.loads(run("sfdisk", "--json", path))["partitiontable"]
    assert (table["label"], table["id"].lower()) == ("gpt", str(plan.identity.disk))
    found = [(p["start"], p["size"], p["type"].lower(), p["uuid"].lower(), p["name"]) for p in table["partitions"]]
    assert found == [(p.first, p.sectors, str(p.type), str(p.guid), p.name) for p in plan.partitions]


def test_we_read_what_sfdisk_writes(tmp_path: Path) -> None:
    path = tmp_path / "disk.raw"
    with path.open("wb") as file:
        file.truncate(64 * MIB)
    script = 'label: gpt\nsize=1MiB, type=21686148-6449-6E6F-744E-656564454649, name="bios"\ntype=linux, name="rest"\n'
    subprocess.run(["sfdisk", str(path)], input=script, check=True, capture_output=True, text=True)
    data = path.read_bytes()
    table = gpt.decode(data[: gpt.HEAD_SECTORS * 512], data[-gpt.TAIL_SECTORS * 512 :])
    assert [(p.name, p.type) for p in table.partitions] == [("bios", gpt.BIOS_BOOT), ("rest", gpt.LINUX_DATA)]
    assert table == gpt.decode(b"", data[-gpt.TAIL_SECTORS * 512 :])
    head, _ = gpt.encode(table)  # sfdisk lets partitions begin later, which is in its header; the entries are equal
    assert head[1024:] == data[1024 : len(head)]


def test_a_table_that_we_have_grown_pleases_sfdisk(disk: tuple[DiskPlan, Path], tmp_path: Path) -> None:
    plan, _ = disk
    path = tmp_path / "grown.raw"
    table = plan.table.grown(8 << 30 >> 9, 4)
    head, tail = gpt.encode(table)
    with path.open("wb") as file:
        file.truncate(8 << 30)
        file.write(head)
        file.seek((8 << 30) - len(tail))
        file.write(tail)
    assert "No errors detected" in run("sfdisk", "--verify", path)


@pytest.mark.parametrize("number", [3, 4])
def test_e2fsck_finds_no_fault(disk: tuple[DiskPlan, Path], number: int) -> None:
    plan, path = disk
    run("e2fsck", "-fn", f"{path}?offset={plan.partition(number).first * 512}")


def test_the_file_systems_have_their_planned_ids_and_no_labels(disk: tuple[DiskPlan, Path]) -> None:
    plan, path = disk
    for number in (3, 4):
        shown = run("dumpe2fs", "-h", f"{path}?offset={plan.partition(number).first * 512}")
        assert plan.partition(number).filesystem_id in shown
        assert "Filesystem volume name:   <none>" in shown
        assert ("verity" in shown) == (number == 4)


def test_fsck_vfat_and_mdir_find_the_boot_loader_on_the_esp(disk: tuple[DiskPlan, Path], tmp_path: Path) -> None:
    plan, _ = disk
    esp = extract(disk, 2, tmp_path / "esp.img")
    run("fsck.vfat", "-n", esp)
    listing = run("mdir", "-b", "-i", esp, "-/", "::")
    assert "::/EFI/BOOT/BOOTX64.EFI" in listing
    run("mcopy", "-i", esp, "::/EFI/BOOT/BOOTX64.EFI", tmp_path / "efi")
    assert (tmp_path / "efi").read_bytes() == IMAGES.efi
    assert esp.read_bytes()[82:87] == b"FAT32"
    assert plan.partition(2).filesystem_id.replace("-", "") in run("mdir", "-i", esp, "::").replace("-", "")


def test_owners_modes_links_and_attributes_are_the_trees(disk: tuple[DiskPlan, Path]) -> None:
    su = debugfs(disk, 4, "stat /usr/bin/su")
    assert "Mode:  04750" in su
    assert "User:     7   Group:    42" in su
    ping = debugfs(disk, 4, "stat /usr/bin/ping")
    assert "Links: 2" in ping
    assert "security.capability (20) = 01 00 00 02 00 20" in ping
    assert "ostreemeta" not in ping
    assert 'Fast link dest: "usr/bin"' in debugfs(disk, 4, "stat /bin")
    assert "user.test (8) = 00 62 69 6e 61 72 79 ff" in debugfs(disk, 4, 'stat "/a ""quoted"" name"')
    assert 'Fast link dest: "../loader/grub.cfg"' in debugfs(disk, 3, "stat /grub/grub.cfg")


def test_all_times_are_that_of_the_plan_but_for_files_modified_at_time_zero(disk: tuple[DiskPlan, Path]) -> None:
    planned = f"{1_700_000_000:#010x}:"
    ping, su = debugfs(disk, 4, "stat /usr/bin/ping"), debugfs(disk, 4, "stat /usr/bin/su")
    assert " mtime: 0x00000000:" in ping
    assert f" mtime: {planned}" in su
    assert all(f"{name}: {planned}" in shown for shown in (ping, su) for name in ("ctime", "atime", "crtime"))


def test_equal_inputs_give_equal_bytes(disk: tuple[DiskPlan, Path], trees: Trees, tmp_path: Path) -> None:
    again = tmp_path / "again.raw"
    write(trees, again)
    run("cmp", disk[1], again)


def test_the_file_takes_up_little_more_than_its_content(disk: tuple[DiskPlan, Path]) -> None:
    plan, path = disk
    assert path.stat().st_size == plan.size
    assert allocated(path) < 16 * MIB


def test_a_large_disk_is_as_sparse_as_a_small_one(trees: Trees, tmp_path: Path) -> None:
    target = tmp_path / "large.raw"
    plan = write(trees, target, size=200 << 30)
    assert allocated(target) < 128 * MIB
    run("e2fsck", "-fn", f"{target}?offset={plan.partition(4).first * 512}")
    assert "No errors detected" in run("sfdisk", "--verify", target)


def test_qemu_img_finds_the_same_disk_in_qcow2(disk: tuple[DiskPlan, Path], tmp_path: Path) -> None:
    target = tmp_path / "disk.qcow2"
    to_qcow2(disk[1], target)
    run("qemu-img", "check", target)
    assert "Images are identical" in run("qemu-img", "compare", "-f", "raw", "-F", "qcow2", disk[1], target)
