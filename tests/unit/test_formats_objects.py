import io
import stat
from collections.abc import Callable
from hashlib import sha256

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ostler.formats import filez, gvariant
from ostler.formats.gvariant import FormatError, Variant
from ostler.formats.objects import (
    EMPTY_TREE,
    Checksum,
    Commit,
    DirMeta,
    DirTree,
    FileMeta,
    ObjectType,
    decode_metadata,
    parse_checksum,
)

A, B = Checksum("aa" * 32), Checksum("bb" * 32)
NAMES = st.text(st.characters(exclude_characters="\0/", exclude_categories=["Cs"]), min_size=1, max_size=6).filter(
    lambda name: name not in (".", "..")
)
CHECKSUMS = st.binary(min_size=32, max_size=32).map(lambda raw: Checksum(raw.hex()))
XATTRS = st.dictionaries(st.binary(min_size=1, max_size=6).filter(lambda n: b"\0" not in n), st.binary(max_size=9)).map(
    lambda found: tuple(sorted(found.items()))
)
IDS = st.integers(0, 2**32 - 1)


@given(IDS, IDS, st.integers(0, 0o7777), XATTRS)
def test_directory_metadata_round_trips(uid: int, gid: int, mode: int, xattrs: tuple[tuple[bytes, bytes], ...]) -> None:
    meta = DirMeta(uid, gid, stat.S_IFDIR | mode, xattrs)
    assert DirMeta.decode(meta.encode()) == meta


@given(IDS, IDS, st.integers(0, 0o7777), XATTRS, st.integers(0, 2**64 - 1))
def test_file_headers_round_trip(
    uid: int, gid: int, mode: int, xattrs: tuple[tuple[bytes, bytes], ...], size: int
) -> None:
    meta = FileMeta(uid, gid, stat.S_IFREG | mode, xattrs)
    header = meta.header()
    assert FileMeta.decode(header[8:]) == meta
    assert int.from_bytes(header[:4], "big") == len(header) - 8
    data = filez.encode_header(meta, size)
    assert filez.read_header(_reader(data + b"content")) == (meta, size)


def _reader(data: bytes) -> Callable[[int], bytes]:
    return io.BytesIO(data).read


@given(st.dictionaries(NAMES, CHECKSUMS), st.dictionaries(NAMES, st.tuples(CHECKSUMS, CHECKSUMS)))
@settings(deadline=None)
def test_trees_round_trip_with_names_in_the_order_of_their_bytes(
    files: dict[str, Checksum], dirs: dict[str, tuple[Checksum, Checksum]]
) -> None:
    dirs = {name: pair for name, pair in dirs.items() if name not in files}
    ordered = sorted(files.items(), key=lambda item: item[0].encode())
    tree = DirTree(tuple(ordered), tuple((name, *dirs[name]) for name in sorted(dirs)))
    assert DirTree.decode(tree.encode()) == tree


@given(st.sampled_from([ObjectType.DIRTREE, ObjectType.DIRMETA, ObjectType.COMMIT]), st.binary())
@settings(max_examples=300, deadline=None)
def test_any_bytes_are_an_object_that_encodes_to_them_or_an_error(kind: ObjectType, data: bytes) -> None:
    try:
        value = decode_metadata(kind, data)
    except FormatError:
        return
    assert value.encode() == data


@given(st.binary(max_size=200))
def test_any_bytes_are_a_filez_header_or_an_error(data: bytes) -> None:
    for candidate in (data, len(data).to_bytes(4, "big") + bytes(4) + data):
        try:
            meta, size = filez.read_header(_reader(candidate))
        except FormatError:
            continue
        assert candidate.startswith(filez.encode_header(meta, size))


def test_the_empty_tree_has_its_well_known_checksum() -> None:
    assert DirTree().checksum == EMPTY_TREE


def test_golden_bytes_of_metadata() -> None:
    meta = DirMeta(1, 2, 0o40755)
    assert meta.encode().hex() == "0000000100000002000041ed"
    with_xattr = DirMeta(0, 0, 0o40700, ((b"user.a", b"x"),))
    assert with_xattr.encode().hex() == "0000000000000000000041c0757365722e61007807 09".replace(" ", "")
    link = FileMeta(0, 0, 0o120777, target="a")
    assert link.header().hex() == "0000001300000000" + "0000000000000000" + "0000a1ff00000000" + "610012"


def test_golden_bytes_of_a_commit() -> None:
    commit = Commit(A, B, 0x0102030405060708, "subject", "", metadata={"version": Variant("s", "1")})
    assert Commit.decode(commit.encode()) == commit
    assert bytes.fromhex("0102030405060708") in commit.encode()
    assert commit.content_checksum == sha256(bytes.fromhex(A + B)).hexdigest()


def test_unsorted_repeated_and_dangerous_names_are_refused() -> None:
    raw = bytes(32)
    for names in (["b", "a"], ["a", "a"], [""], ["."], [".."], ["a/b"]):
        for members in (([(name, raw) for name in names], []), ([], [(name, raw, raw) for name in names])):
            data = gvariant.encode("(a(say)a(sayay))", members)
            with pytest.raises(FormatError):
                DirTree.decode(data)
    with pytest.raises(FormatError, match="both"):
        DirTree.decode(gvariant.encode("(a(say)a(sayay))", ([("a", raw)], [("a", raw, raw)])))


def test_checksums_of_the_wrong_length_are_refused() -> None:
    with pytest.raises(FormatError):
        DirTree.decode(gvariant.encode("(a(say)a(sayay))", ([("a", bytes(31))], [])))


@pytest.mark.parametrize("mode", [0o100644, 0o755, 0o40755 | 1 << 20, 0o140755])
def test_a_mode_that_is_no_directory_is_refused(mode: int) -> None:
    with pytest.raises(FormatError):
        DirMeta(0, 0, mode).encode()


@pytest.mark.parametrize(
    "meta",
    [FileMeta(0, 0, 0o20644), FileMeta(0, 0, 0o100644, target="x"), FileMeta(0, 0, 0o120777), FileMeta(0, 0, 0o40755)],
)
def test_devices_and_targets_that_do_not_fit_the_type_are_refused(meta: FileMeta) -> None:
    with pytest.raises(FormatError):
        meta.header()


def test_unsorted_extended_attributes_are_refused() -> None:
    with pytest.raises(FormatError):
        DirMeta(0, 0, 0o40755, ((b"b", b""), (b"a", b""))).encode()
    with pytest.raises(FormatError):
        DirMeta.decode(gvariant.encode("(uuua(ayay))", (0, 0, 0xED410000, [(b"a", b"")])))


def test_a_symlink_that_claims_content_is_refused() -> None:
    data = filez.encode_header(FileMeta(0, 0, 0o120777, target="a"), 5)
    with pytest.raises(FormatError):
        filez.read_header(_reader(data))


@pytest.mark.parametrize("text", ["", "a" * 63, "a" * 65, "A" * 64, "g" * 64, "a" * 64 + "\n"])
def test_what_is_no_checksum_is_refused(text: str) -> None:
    with pytest.raises(FormatError):
        parse_checksum(text)


def test_symlink_targets_longer_than_linux_allows_are_refused() -> None:
    longest, longer = (FileMeta(0, 0, 0o120777, target="é" * 2047 + end) for end in ("a", "é"))
    assert filez.read_header(_reader(filez.encode_header(longest, 0))) == (longest, 0)
    with pytest.raises(FormatError, match="4095"):
        longer.header()
    with pytest.raises(FormatError, match="4095"):
        FileMeta.decode(gvariant.encode("(uuuusa(ayay))", (0, 0, 0xFFA10000, 0, longer.target, [])))
