from dataclasses import replace
from itertools import pairwise
from uuid import UUID, uuid4

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ostler.formats import gpt
from ostler.formats.gpt import GptError, GptLayoutError, Partition, Table, decode, encode

DISK = UUID("a1a2a3a4-b1b2-c1c2-d1d2-d3d4d5d6d7d8")
ROOT = Partition(1, gpt.ROOT_X86_64, UUID(int=7), 2048, 4095, "root")


@st.composite
def tables(draw: st.DrawFn) -> Table:
    sectors = draw(st.integers(200, 1 << 40))
    cuts = sorted(draw(st.sets(st.integers(34, sectors - 34), min_size=0, max_size=20)))
    numbers = draw(st.permutations(range(1, 129)))
    partitions = tuple(
        Partition(
            numbers[i],
            draw(st.sampled_from([gpt.BIOS_BOOT, gpt.EFI_SYSTEM, gpt.LINUX_DATA])),
            draw(st.uuids()),
            first,
            draw(st.integers(first, following - 1)),
            draw(st.text("aZ é€𝔘", max_size=18)),
            draw(st.integers(0, (1 << 64) - 1)),
        )
        for i, (first, following) in enumerate(pairwise(cuts))
    )
    return Table(draw(st.uuids()), sectors, tuple(sorted(partitions, key=lambda p: p.number)))


@given(tables())
@settings(max_examples=60)
def test_what_is_encoded_decodes_to_the_same_table_from_either_copy(table: Table) -> None:
    head, tail = encode(table)
    assert decode(head) == table
    assert decode(b"\0" * len(head), tail) == table


@given(tables(), st.data())
@settings(max_examples=60)
def test_a_changed_byte_in_header_or_entries_never_gives_another_table(table: Table, data: st.DataObject) -> None:
    head, tail = encode(table)
    at = data.draw(st.integers(512, len(head) - 1))
    broken = bytearray(head)
    broken[at] ^= data.draw(st.integers(1, 255))
    header_padding = 512 + 92 <= at < 1024
    if header_padding:
        assert decode(bytes(broken)) == table
    else:
        with pytest.raises(GptError):
            decode(bytes(broken))
        assert decode(bytes(broken), tail) == table


@given(st.binary(max_size=34 * 512))
def test_any_other_bytes_are_refused_with_the_documented_error(data: bytes) -> None:
    with pytest.raises(GptError):
        decode(data, data)


def test_the_protective_mbr_covers_the_disk_and_carries_the_boot_code() -> None:
    head, _ = encode(Table(DISK, 8192, (ROOT,)), b"\xeb\x63")
    assert head[:2] == b"\xeb\x63"
    assert head[446:462] == bytes.fromhex("00000200eeffffff01000000ff1f0000")
    assert head[510:512] == b"\x55\xaa"


def test_a_disk_larger_than_two_tib_has_the_largest_protective_partition() -> None:
    head, _ = encode(Table(DISK, 1 << 34, (ROOT,)))
    assert head[458:462] == b"\xff\xff\xff\xff"


def test_guids_are_stored_with_their_first_three_fields_little_endian() -> None:
    head, _ = encode(Table(DISK, 8192, (ROOT,)))
    assert head[512 + 56 : 512 + 72] == bytes.fromhex("a4a3a2a1b2b1c2c1d1d2d3d4d5d6d7d8")


@pytest.mark.parametrize(
    ("partition", "reason"),
    [
        (replace(ROOT, first=33), "begins inside"),
        (replace(ROOT, last=8192 - 33), "ends behind"),
        (replace(ROOT, last=2047), "empty"),
        (replace(ROOT, number=0), "not between"),
        (replace(ROOT, number=129), "not between"),
        (replace(ROOT, type=gpt.NIL), "no type"),
        (replace(ROOT, name="x" * 37), "does not fit"),
        (replace(ROOT, attributes=1 << 64), "64 bits"),
    ],
)
def test_partitions_that_cannot_be_are_refused(partition: Partition, reason: str) -> None:
    with pytest.raises(GptLayoutError, match=reason):
        encode(Table(DISK, 8192, (partition,)))


def test_overlapping_partitions_are_refused() -> None:
    with pytest.raises(GptLayoutError, match="begins inside"):
        encode(Table(DISK, 8192, (ROOT, replace(ROOT, number=2, first=4095, last=5000))))


def test_two_partitions_with_one_number_are_refused() -> None:
    with pytest.raises(GptLayoutError, match="same number"):
        encode(Table(DISK, 8192, (ROOT, replace(ROOT, first=5000, last=6000))))


def test_boot_code_that_is_too_long_is_refused() -> None:
    with pytest.raises(GptLayoutError, match="440"):
        encode(Table(DISK, 8192, (ROOT,)), bytes(441))


def test_growing_stretches_the_last_partition_to_the_end_of_the_disk() -> None:
    grown = Table(DISK, 8192, (ROOT,)).grown(1 << 21, 1)
    assert grown.sectors == 1 << 21
    assert grown.partition(1).last + 1 == (1 << 21) - 2048
    assert decode(encode(grown)[0]) == grown


def test_growing_never_shrinks() -> None:
    last = Partition(1, gpt.LINUX_DATA, uuid4(), 2048, 8192 - 34)
    assert Table(DISK, 8192, (last,)).grown(8192, 1).partition(1) == last
    with pytest.raises(GptLayoutError, match="fewer"):
        Table(DISK, 8192, (last,)).grown(8191, 1)


def test_only_the_last_partition_grows() -> None:
    table = Table(DISK, 8192, (ROOT, replace(ROOT, number=2, first=5000, last=6000)))
    with pytest.raises(GptLayoutError, match="behind it"):
        table.grown(1 << 20, 1)
    with pytest.raises(GptLayoutError, match="no partition 9"):
        table.grown(1 << 20, 9)
