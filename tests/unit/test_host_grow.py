"""Growing the root to its disk."""

import subprocess
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from ostler.host.grow import (
    Mount,
    ext4_size,
    grow_partition,
    grown_table,
    parse_mounts,
    read_partition,
    root_mount,
    wanted_blocks,
)

MOUNTS = """\
22 28 0:21 / /proc rw,nosuid shared:12 - proc proc rw
29 1 254:4 /ostree/deploy/web/deploy/x.0 / rw,relatime shared:1 - ext4 /dev/vda4 rw
30 29 254:4 / /sysroot ro,relatime shared:2 - ext4 /dev/vda4 rw
31 29 254:3 / /boot rw,relatime shared:3 - ext4 /dev/vda3 rw
32 29 254:9 / /mnt/a\\040b rw shared:4 - xfs /dev/vdb rw
"""


def test_the_physical_root_is_found_among_the_mounts() -> None:
    mounts = parse_mounts(MOUNTS)
    assert root_mount(mounts) == Mount("254:4", "/sysroot", "ext4", "/dev/vda4")
    assert mounts[-1].point == "/mnt/a b"
    assert root_mount(mounts[:2]) == Mount("254:4", "/", "ext4", "/dev/vda4")
    assert root_mount([]) is None


def make_sys(folder: Path, *, others: tuple[int, ...] = (2048, 4096)) -> Path:
    disk = folder / "devices/vda"
    for number, start in enumerate((*others, 135168), 1):
        part = disk / f"vda{number}"
        part.mkdir(parents=True)
        for name, value in (("partition", number), ("start", start), ("size", 100)):
            (part / name).write_text(f"{value}\n")
    (disk / "size").write_text("4194304\n")
    (folder / "dev/block").mkdir(parents=True)
    (folder / "dev/block/254:4").symlink_to(f"../../devices/vda/vda{len(others) + 1}")
    (folder / "dev/block/254:0").symlink_to("../../devices/vda")
    return folder


def test_a_partition_is_described_by_sysfs(tmp_path: Path) -> None:
    sys = make_sys(tmp_path)
    found = read_partition("254:4", sys)
    assert found is not None
    assert (found.number, found.node, found.disk, found.last) == (3, Path("/dev/vda3"), Path("/dev/vda"), True)
    assert found.room == 4194304 - 135168 - 100
    assert read_partition("254:0", sys) is None
    assert read_partition("9:9", sys) is None


def test_a_partition_with_another_behind_it_is_not_the_last(tmp_path: Path) -> None:
    found = read_partition("254:4", make_sys(tmp_path, others=(2048, 999999)))
    assert found is not None
    assert not found.last


def test_the_table_grows_with_its_disk(tmp_path: Path) -> None:
    image = tmp_path / "disk.raw"
    with image.open("wb") as file:
        file.truncate(100 << 20)
    table = "label: gpt\nsize=1MiB, name=one\nsize=64MiB\nname=root\n"
    subprocess.run(["sfdisk", "--quiet", image], input=table.encode(), check=True)
    before = subprocess.run(["sfdisk", "--dump", image], capture_output=True, text=True, check=True).stdout
    with image.open("r+b") as file:
        file.truncate(1 << 30)
    grow_partition(image, Path(f"{image}3"))
    after = subprocess.run(["sfdisk", "--dump", image], capture_output=True, text=True, check=True).stdout
    verified = subprocess.run(["sfdisk", "--verify", image], capture_output=True, text=True, check=True).stdout
    assert "No errors" in verified
    sizes = [int(line.split("size=")[1].split(",")[0]) for line in after.splitlines() if "size=" in line]
    assert sizes[:2] == [2048, 131072]
    assert sizes[2] > 1_950_000

    def identity(text: str) -> list[str]:
        return [line.split("type=")[1] for line in text.splitlines() if "type=" in line]

    assert identity(after) == identity(before)


def test_a_table_keeps_what_it_does_not_grow() -> None:
    dump = "label: gpt\nlast-lba: 99\n\n/dev/a1 : start= 1, size= 2, type=X\n/dev/a11 : start= 3, size= 4, type=Y\n"
    assert grown_table(dump, "/dev/a11") == (
        "label: gpt\n\n/dev/a1 : start= 1, size= 2, type=X\n/dev/a11 : start= 3, type=Y\n"
    )


def test_an_ext4_is_measured_by_its_superblock(tmp_path: Path) -> None:
    image = tmp_path / "ext4"
    subprocess.run(["mke2fs", "-q", "-t", "ext4", "-b", "4096", image, "64M"], check=True)
    superblock = image.read_bytes()[1024:2048]
    assert ext4_size(superblock) == (16384, 4096)
    assert wanted_blocks(superblock, 64 << 20) == 16384
    assert wanted_blocks(superblock, 1 << 30) == 262144
    assert wanted_blocks(superblock, (128 << 20) + 4096) == 32768  # one block is no group


@given(st.binary(max_size=1024))
def test_what_is_no_ext4_is_left_alone(superblock: bytes) -> None:
    if superblock[0x38:0x3A] != b"\x53\xef":
        assert ext4_size(superblock) == (0, 0)
        assert wanted_blocks(superblock, 1 << 30) == 0
