"""Static deltas as bytes: superblocks, parts, operations and the stream of differences."""

import contextlib
import lzma
import random
import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ostler.formats import bsdiff, delta, delta_parts, gvariant
from ostler.formats.delta import Endianness, Fallback, PartHeader, SignedSuperblock, Superblock
from ostler.formats.delta_parts import Op, Part
from ostler.formats.gvariant import FormatError, Variant
from ostler.formats.objects import Checksum, Commit, ObjectType, checksum_of

CHECKSUMS = st.binary(min_size=32, max_size=32).map(lambda raw: Checksum(raw.hex()))
NUMBERS = st.integers(0, (1 << 63) - 1)
KINDS = st.sampled_from([ObjectType.FILE, ObjectType.DIRTREE, ObjectType.DIRMETA])
COMMIT = Commit(checksum_of(b"tree"), checksum_of(b"meta"), 1_700_000_000, "subject").encode()
HEADERS = st.builds(
    PartHeader,
    CHECKSUMS,
    NUMBERS,
    NUMBERS,
    st.lists(st.tuples(KINDS, CHECKSUMS), max_size=4).map(delta.encode_names),
)
SUPERBLOCKS = st.builds(
    Superblock,
    to=CHECKSUMS,
    commit=st.just(COMMIT),
    from_=st.none() | CHECKSUMS,
    timestamp=NUMBERS,
    parts=st.lists(HEADERS, max_size=3).map(tuple),
    fallbacks=st.lists(st.builds(Fallback, KINDS, CHECKSUMS, NUMBERS, NUMBERS), max_size=3).map(tuple),
    endianness=st.sampled_from(list(Endianness)),
)


@given(SUPERBLOCKS)
def test_a_superblock_comes_back_as_it_was(superblock: Superblock) -> None:
    decoded = Superblock.decode(superblock.encode())
    assert decoded.metadata.keys() == {"ostree.endianness"}
    assert (decoded.parts, decoded.fallbacks, decoded.name) == (superblock.parts, superblock.fallbacks, superblock.name)
    assert (decoded.timestamp, decoded.commit) == (superblock.timestamp, COMMIT)
    assert decoded.encode() == superblock.encode()


@given(SUPERBLOCKS, st.integers(0, 4000), st.binary(min_size=1, max_size=8))
def test_a_damaged_superblock_is_refused_or_read(superblock: Superblock, at: int, damage: bytes) -> None:
    data = bytearray(superblock.encode())
    data[at % len(data) : at % len(data) + len(damage)] = damage
    try:
        decoded = delta.decode_superblock(bytes(data))
        for part in decoded.parts:
            list(part.objects())
        dict(decoded.metadata)
    except FormatError:
        pass


@given(CHECKSUMS, st.none() | CHECKSUMS)
def test_places_and_names_lead_back_to_the_commits(to: Checksum, from_: Checksum | None) -> None:
    _, fanout, name = delta.delta_folder(from_, to).split("/")
    assert delta.parse_delta_folder(fanout, name) == (from_, to)
    assert delta.parse_delta_name(delta.delta_name(from_, to)) == (from_, to)
    _, fanout, name = delta.index_path(to).split("/")
    assert delta.parse_index_path(fanout, name) == to


@pytest.mark.parametrize("name", ["", "AB", "A" * 43, "A" * 44, "!" * 43, "A" * 42 + "é", "A" * 43 + "-" + "B" * 43])
def test_folders_that_are_no_deltas_are_refused(name: str) -> None:
    if name == "A" * 43:  # 43 letters A are 32 zero bytes
        assert delta.parse_delta_folder(name[:2], name[2:]) == (None, "0" * 64)
        return
    with pytest.raises(FormatError):
        delta.parse_delta_folder(name[:2], name[2:])


def test_sizes_without_a_byte_order_are_taken_as_big_endian_if_else_they_make_no_sense() -> None:
    names = delta.encode_names([(ObjectType.FILE, checksum_of(b"x"))])
    plain = Superblock(checksum_of(b"to"), COMMIT, parts=(PartHeader(checksum_of(b"part"), 700, 1000, names),))

    def without_order(superblock: Superblock) -> bytes:
        fields = list(gvariant.decode(delta.SUPERBLOCK_TYPE, superblock.encode()))
        fields[0] = {}
        return gvariant.encode(delta.SUPERBLOCK_TYPE, tuple(fields))

    for order in Endianness:
        written = Superblock(plain.to, COMMIT, parts=plain.parts, endianness=order)
        read = Superblock.decode(without_order(written))
        assert read.guessed and read.endianness is order and read.parts == plain.parts
        assert Superblock.decode(written.encode()).parts == plain.parts


def test_signed_superblocks_are_told_from_others() -> None:
    inner = Superblock(checksum_of(b"to"), COMMIT)
    signed = SignedSuperblock(inner.encode(), {"ostree.sign.dummy": Variant("aay", [b"me"])})
    data = signed.encode()
    assert delta.is_signed(data) and not delta.is_signed(inner.encode())
    assert SignedSuperblock.decode(data) == signed
    assert delta.decode_superblock(data) == delta.decode_superblock(inner.encode())
    with pytest.raises(FormatError, match="no signatures in static-delta"):
        SignedSuperblock.decode(inner.encode())


@given(st.dictionaries(st.text("0123456789abcdef-", min_size=1, max_size=9), CHECKSUMS, max_size=4))
def test_an_index_comes_back_as_it_was(deltas: dict[str, Checksum]) -> None:
    assert delta.decode_index(delta.encode_index(deltas)) == deltas


IDS = st.integers(0, 0xFFFF_FFFF)
PARTS = st.builds(
    Part,
    st.lists(st.tuples(IDS, IDS, IDS), max_size=3).map(tuple),
    st.lists(st.just(((b"user.a", b"1"), (b"user.b", b""))) | st.just(()), max_size=3).map(tuple),
    st.binary(max_size=70_000) | st.integers(0, 80_000).map(bytes),
    st.binary(max_size=300),
)


@given(PARTS)
def test_a_part_comes_back_as_it_was_and_is_a_gvariant(part: Part) -> None:
    data = b"".join(part.encode())
    assert gvariant.encode("(a(uuu)aa(ayay)ayay)", gvariant.decode("(a(uuu)aa(ayay)ayay)", data)) == data
    decoded = Part.decode(data)
    assert (tuple(decoded.modes), tuple(decoded.xattrs), bytes(decoded.blob), decoded.operations) == (
        part.modes,
        part.xattrs,
        part.blob,
        part.operations,
    )


@given(st.binary(max_size=200))
def test_anything_is_a_part_or_refused(data: bytes) -> None:
    try:
        part = Part.decode(data)
        list(part.modes)
        list(part.xattrs)
        list(delta_parts.read_operations(part.operations, iter([ObjectType.FILE] * 5)))
    except FormatError:
        pass


def test_enormous_tables_cost_no_more_than_their_bytes() -> None:
    entries = 1_000_000
    empty = bytes(entries * 12) + bytes(4 * entries)  # no attributes: only the places where entries end
    ends = [len(empty), len(empty), entries * 12]
    data = empty + b"".join(end.to_bytes(4, "little") for end in ends)
    tracemalloc.start()
    try:
        part = Part.decode(data)
        assert (len(part.modes), part.modes[entries - 1]) == (entries, (0, 0, 0))
        assert (len(part.xattrs), part.xattrs[7]) == (entries, ())
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


def test_metadata_of_a_superblock_are_bounded_unless_they_are_parts() -> None:
    many = b"x" * (delta.MAX_VALUE + 1)
    metadata = {"text": Variant("ay", many), "part": Variant(delta.INLINE_PART_TYPE, (0, many))}
    decoded = Superblock.decode(Superblock(to=checksum_of(b"to"), commit=COMMIT, metadata=metadata).encode())
    assert decoded.metadata["part"].value == (0, many)
    with pytest.raises(FormatError, match="more than"):
        decoded.metadata["text"]


def test_a_superblock_lists_only_so_much(monkeypatch: pytest.MonkeyPatch) -> None:
    fallbacks = (Fallback(ObjectType.FILE, checksum_of(b"file"), 5, 6),) * 3
    data = Superblock(to=checksum_of(b"to"), commit=COMMIT, fallbacks=fallbacks).encode()
    assert Superblock.decode(data).fallbacks == fallbacks
    monkeypatch.setattr(delta, "MAX_LISTED", 2)
    with pytest.raises(FormatError, match="3 elements"):
        Superblock.decode(data)


@given(st.binary(max_size=200))
def test_anything_inflates_or_is_refused(data: bytes) -> None:
    for start in (b"", b"x", b"\0", b"x" + lzma.compress(b"part")):
        with contextlib.suppress(FormatError):
            pieces = delta_parts.inflate_part(iter([start + data]), memory=1 << 26)
            assert all(len(piece) <= 1 << 20 for piece in pieces)


def test_a_part_must_end_with_its_compressed_stream() -> None:
    packed = b"x" + lzma.compress(b"part" * 1000)
    assert b"".join(delta_parts.inflate_part(iter([packed[:9], packed[9:]]), memory=1 << 26)) == b"part" * 1000
    for wrong in (packed + b"!", packed[:-1], packed[:1], b"", b"g" + packed[1:]):
        with pytest.raises(FormatError):
            list(delta_parts.inflate_part(iter([wrong]), memory=1 << 26))


@given(NUMBERS)
def test_numbers_of_any_length_come_back(number: int) -> None:
    data = delta_parts.encode_varint(number)
    assert delta_parts.read_varint(data + b"\xff", 0) == (number, len(data))


@pytest.mark.parametrize("data", [b"", b"\x80", b"\xff" * 9, b"\xff" * 9 + b"\x01", b"\x80" * 12 + b"\1"])
def test_numbers_that_do_not_end_or_fit_are_refused(data: bytes) -> None:
    with pytest.raises(FormatError):
        delta_parts.read_varint(data, 0)


def test_operations_come_back_as_they_were() -> None:
    written = [(Op.SPLICE, 7, 300), (Op.OPEN, 0, 1, 70_000), (Op.SET_SOURCE, 9), (Op.WRITE, 5, 6), (Op.PATCH, 1, 2)]
    written += [(Op.UNSET_SOURCE,), (Op.CLOSE,), (Op.SPLICE, 0, 0, 12, 13)]
    code = b"".join(delta_parts.encode_operation(*operation) for operation in written)
    kinds = [ObjectType.DIRTREE, ObjectType.FILE, ObjectType.FILE]
    assert list(delta_parts.read_operations(code, iter(kinds))) == written
    with pytest.raises(FormatError):
        list(delta_parts.read_operations(code, iter(kinds[:2])))
    with pytest.raises(FormatError):
        list(delta_parts.read_operations(b"?", iter([])))


@given(st.binary(max_size=500), st.randoms(use_true_random=False))
def test_bytes_are_added_and_subtracted_each_by_itself(data: bytes, rng: random.Random) -> None:
    other = rng.randbytes(len(data))
    assert bsdiff.add(data, other) == bytes((a + b) & 255 for a, b in zip(data, other, strict=True))
    assert bsdiff.subtract(data, other) == bytes((a - b) & 255 for a, b in zip(data, other, strict=True))
    assert bsdiff.add(bsdiff.subtract(data, other), other) == data


def test_long_strings_are_added_and_subtracted_too() -> None:
    rng = random.Random(1)
    for size in (16383, 16384, 16385, 100_000):
        first, second = rng.randbytes(size), rng.randbytes(size)
        assert bsdiff.add(bsdiff.subtract(first, second), second) == first


RUN = st.tuples(st.binary(max_size=40), st.binary(max_size=40), st.integers(-200, 200))


@given(st.binary(max_size=100), st.lists(RUN, min_size=1, max_size=5))
def test_a_stream_of_differences_is_followed_also_beyond_the_old_file(
    old: bytes, runs: list[tuple[bytes, bytes, int]]
) -> None:
    stream, expected, at = b"", b"", 0
    for added, literal, seek in runs:
        stream += bsdiff.encode_control(len(added), len(literal), seek) + added + literal
        base = [old[at + k] if 0 <= at + k < len(old) else 0 for k in range(len(added))]
        expected += bytes((a + b) & 255 for a, b in zip(base, added, strict=True)) + literal
        at += len(added) + seek
    assert b"".join(bsdiff.patch(old, stream, len(expected))) == expected
    if expected:
        with pytest.raises(FormatError):
            list(bsdiff.patch(old, stream, len(expected) + 1))
        with pytest.raises(FormatError):
            list(bsdiff.patch(old, stream[:-1], len(expected))) if runs[-1][0] + runs[-1][1] else list(
                bsdiff.patch(old, b"", 1)
            )


@settings(max_examples=200)
@given(st.binary(max_size=150), st.integers(0, 1 << 40))
def test_any_stream_makes_what_it_should_or_is_refused(stream: bytes, size: int) -> None:
    made = 0
    try:
        for piece in bsdiff.patch(b"old" * 5, stream, size):
            made += len(piece)
            assert made <= size
    except FormatError:
        return
    assert made == size
