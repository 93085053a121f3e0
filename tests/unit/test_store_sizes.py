import pytest
from hypothesis import given
from hypothesis import strategies as st

from ostler.formats.gvariant import FormatError, Variant
from ostler.formats.objects import Checksum, ObjectType
from ostler.store.sizes import SIZES_KEY, ObjectSize, SizeLog, decode_sizes, encode_sizes

kinds = st.sampled_from([ObjectType.FILE, ObjectType.DIRTREE, ObjectType.DIRMETA, None])
checksums = st.binary(min_size=32, max_size=32).map(lambda raw: Checksum(raw.hex()))
entries = st.builds(ObjectSize, checksums, st.integers(0, 2**63), st.integers(0, 2**63), kinds)


@given(st.lists(entries, unique_by=lambda entry: entry.checksum))
def test_sizes_read_back_in_the_order_of_checksums(sizes: list[ObjectSize]) -> None:
    found = decode_sizes({SIZES_KEY: encode_sizes(sizes)})
    assert found == sorted(sizes, key=lambda size: size.checksum)


def test_the_bytes_of_an_entry() -> None:
    encoded = encode_sizes([ObjectSize(Checksum("ab" * 32), 300, 127, ObjectType.DIRTREE)])
    assert encoded == Variant("aay", [b"\xab" * 32 + b"\xac\x02" + b"\x7f" + b"\x02"])


@given(st.binary(max_size=60))
def test_malformed_entries_are_format_errors(entry: bytes) -> None:
    try:
        found = decode_sizes({SIZES_KEY: Variant("aay", [entry])})
        assert found is not None
    except FormatError:
        pass


def test_another_type_is_refused() -> None:
    with pytest.raises(FormatError):
        decode_sizes({SIZES_KEY: Variant("s", "x")})
    assert decode_sizes({}) is None


def test_a_log_forgets_commits_repetitions_and_what_was_taken() -> None:
    log = SizeLog()
    for kind, letter in ((ObjectType.COMMIT, "c"), (ObjectType.FILE, "f"), (ObjectType.FILE, "f")):
        log.add(kind, Checksum(letter * 64), unpacked=2, stored=1)
    assert decode_sizes(log.take()) == [ObjectSize(Checksum("f" * 64), 1, 2, ObjectType.FILE)]
    assert log.take() == {}
