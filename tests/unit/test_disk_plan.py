import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ostler.disk.errors import DiskSizeError, FilesystemError
from ostler.disk.plan import MIB, Contents, DiskIdentity, DiskRequest, lay_out
from ostler.formats import gpt

CONTENTS = Contents(root=400 * MIB, boot=36 * MIB, esp=MIB, files=12000)
IDENTITY = DiskIdentity.from_seed(b"a test")
REQUEST = DiskRequest("web", "web/stable", kernel_arguments=("console=ttyS0",), identity=IDENTITY)


def test_the_partitions_are_bios_boot_esp_boot_and_root_in_this_order() -> None:
    plan = lay_out(REQUEST, "c" * 64, CONTENTS)
    assert [(p.number, p.name, p.filesystem) for p in plan.partitions] == [
        (1, "bios", ""),
        (2, "esp", "vfat"),
        (3, "boot", "ext4"),
        (4, "root", "ext4"),
    ]
    assert [p.type for p in plan.partitions] == [gpt.BIOS_BOOT, gpt.EFI_SYSTEM, gpt.EXTENDED_BOOT, gpt.ROOT_X86_64]
    assert [p.size // MIB for p in plan.partitions[:3]] == [1, 64, 512]


@given(st.integers(0, 1 << 40), st.integers(0, 100 * MIB), st.integers(0, 60 * MIB))
def test_every_automatic_plan_is_a_valid_aligned_table_with_the_stated_margin(root: int, boot: int, esp: int) -> None:
    plan = lay_out(REQUEST, "c" * 64, Contents(root, boot, esp, 1))
    gpt.check(plan.table)
    assert all(p.first % 2048 == 0 and p.sectors % 2048 == 0 for p in plan.partitions)
    size = plan.partition(4).size
    assert size >= root + root // 10 + 256 * MIB
    assert size <= root + root // 10 + 256 * MIB + root // 32 + 161 * MIB


def test_an_explicit_size_is_kept_and_its_rest_goes_to_the_root() -> None:
    plan = lay_out(replace(REQUEST, size=10 << 30), "c" * 64, CONTENTS)
    assert plan.size == 10 << 30
    assert (10 << 30) - 2 * MIB <= (plan.partition(4).first * 512 + plan.partition(4).size) < 10 << 30


def test_a_size_that_is_too_small_says_how_much_is_needed_and_that_is_enough() -> None:
    with pytest.raises(DiskSizeError, match=r"needs at least \d+ MiB") as caught:
        lay_out(replace(REQUEST, size=600 * MIB), "c" * 64, CONTENTS)
    needed = int(caught.value.message.split()[-2])
    lay_out(replace(REQUEST, size=needed * MIB), "c" * 64, CONTENTS)
    with pytest.raises(DiskSizeError):
        lay_out(replace(REQUEST, size=needed * MIB - MIB), "c" * 64, CONTENTS)


def test_file_systems_that_cannot_be_filled_without_root_are_refused() -> None:
    with pytest.raises(FilesystemError, match="btrfs"):
        lay_out(replace(REQUEST, filesystem="btrfs"), "c" * 64, CONTENTS)


def test_kernels_that_would_not_fit_three_times_are_refused() -> None:
    with pytest.raises(DiskSizeError, match="3 such pairs"):
        lay_out(REQUEST, "c" * 64, replace(CONTENTS, boot=200 * MIB))


def test_kernel_arguments_begin_with_the_root_and_end_with_the_definitions_own() -> None:
    plan = lay_out(REQUEST, "c" * 64, CONTENTS)
    assert plan.kernel_arguments == (
        f"root=UUID={IDENTITY.root}", "rw", "panic=30", "rd.shell=0", "rd.emergency=reboot", "console=ttyS0",
    )  # fmt: skip


def test_every_disk_has_ids_of_its_own_unless_they_are_given() -> None:
    random = replace(REQUEST, identity=None)
    one, other = (lay_out(random, "c" * 64, CONTENTS).identity for _ in range(2))
    ids = [*one.parts, one.disk, one.boot, one.root, *other.parts, other.disk, other.boot, other.root]
    assert len(set(ids)) == len(ids)
    assert lay_out(REQUEST, "c" * 64, CONTENTS) == lay_out(REQUEST, "c" * 64, CONTENTS)


def test_the_plan_shows_as_text_and_as_json() -> None:
    plan = lay_out(REQUEST, "c" * 64, CONTENTS)
    assert str(IDENTITY.root) in str(plan)
    shown = json.loads(json.dumps(plan.to_json()))
    assert shown["partitions"][3]["start"] == 578 * MIB
    assert shown["size"] == plan.size
