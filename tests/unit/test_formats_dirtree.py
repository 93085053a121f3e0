from hashlib import sha256

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ostler.formats import gvariant
from ostler.formats.dirtree import read_entries
from ostler.formats.gvariant import FormatError
from ostler.formats.objects import DIRTREE_TYPE, Checksum, DirTree

NAMES = st.text(min_size=1, max_size=300).filter(
    lambda name: name not in (".", "..") and "/" not in name and "\0" not in name and name.isprintable()
)


def digest(text: str) -> Checksum:
    return Checksum(sha256(text.encode()).hexdigest())


@given(st.lists(NAMES, unique=True, max_size=40), st.integers(0, 40))
@settings(max_examples=100, deadline=None)
def test_entries_are_read_as_they_were_written(names: list[str], split: int) -> None:
    files = tuple((name, digest(name)) for name in sorted(names[split:]))
    dirs = tuple((name, digest(name + "t"), digest(name + "m")) for name in sorted(names[:split]))
    data = DirTree(files, dirs).encode()
    assert read_entries(data) == (list(files), [(name, tree + meta) for name, tree, meta in dirs])
    assert DirTree.decode(data) == DirTree(files, dirs)


@given(st.binary(max_size=400))
@settings(max_examples=200, deadline=None)
def test_bytes_of_any_kind_are_refused_in_one_way(data: bytes) -> None:
    try:
        DirTree.decode(data)
    except FormatError:
        return


@given(st.integers(0, 10_000), st.integers(0, 255), st.booleans())
@settings(max_examples=300, deadline=None)
def test_what_is_taken_is_what_the_general_decoder_takes(place: int, byte: int, cut: bool) -> None:
    files = tuple((name, digest(name)) for name in ("a", "bc", "d" * 260))
    data = bytearray(DirTree(files, (("e", digest("1"), digest("2")),)).encode())
    if cut:
        del data[place % len(data)]
    else:
        data[place % len(data)] = byte
    taken = read_entries(bytes(data))
    if taken is not None:
        plain, below = gvariant.decode(DIRTREE_TYPE, bytes(data))
        assert taken[0] == [(name, raw.hex()) for name, raw in plain]
        assert taken[1] == [(name, tree.hex() + meta.hex()) for name, tree, meta in below]


def test_an_empty_directory_is_one_byte() -> None:
    assert read_entries(b"\0") == ([], [])
    assert read_entries(b"") is None
    with pytest.raises(FormatError):
        DirTree.decode(b"\1")
