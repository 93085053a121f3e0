import io
import tarfile
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ostler.formats.gvariant import FormatError
from ostler.formats.tar import Kind, Member, read_members


def archive(*members: tuple[tarfile.TarInfo, bytes], format: int = tarfile.PAX_FORMAT) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=format) as tar:
        for info, content in members:
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return out.getvalue()


def info(name: str, **attributes: object) -> tarfile.TarInfo:
    made = tarfile.TarInfo(name)
    for key, value in attributes.items():
        setattr(made, key, value)
    return made


def read(data: bytes) -> list[tuple[Member, bytes]]:
    return [(member, content.readall()) for member, content in read_members(io.BytesIO(data))]


@pytest.mark.parametrize("format", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_ordinary_members_of_each_format(format: int) -> None:
    data = archive(
        (info("dir", type=tarfile.DIRTYPE, mode=0o1777), b""),
        (info("dir/" + "n" * 90, mode=0o4755, uid=5, gid=6), b"content" * 200),
        (info("link", type=tarfile.SYMTYPE, linkname="dir"), b""),
        (info("hard", type=tarfile.LNKTYPE, linkname="dir/x"), b""),
        (info("dev", type=tarfile.CHRTYPE), b""),
        format=format,
    )
    members = read(data)
    assert [member.kind for member, _ in members] == [
        Kind.DIRECTORY, Kind.FILE, Kind.SYMLINK, Kind.HARDLINK, Kind.OTHER,
    ]  # fmt: skip
    assert members[0][0].mode == 0o1777
    assert members[1] == (Member("dir/" + "n" * 90, Kind.FILE, 0o4755, 5, 6, 1400, ""), b"content" * 200)
    assert members[2][0].target == "dir"


@pytest.mark.parametrize("format", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_long_names_and_targets_large_ids_and_unicode(format: int) -> None:
    name = "/".join(["ü" * 50] * 8)
    data = archive((info(name, type=tarfile.SYMTYPE, linkname="t" * 300, uid=3_000_000_000), b""), format=format)
    ((member, _),) = read(data)
    assert (member.path, member.target, member.uid) == (name, "t" * 300, 3_000_000_000)


def test_extended_attributes_of_pax_headers_may_be_binary() -> None:
    made = info("a", pax_headers={"SCHILY.xattr.security.capability": "\x01\x00\x00\x02\x00"})
    ((member, content),) = read(archive((made, b"x")))
    assert member.xattrs == ((b"security.capability", b"\x01\x00\x00\x02\x00"),)
    assert content == b"x"


def test_content_that_is_not_read_is_skipped() -> None:
    data = archive((info("a"), b"x" * 5000), (info("b"), b"y"))
    assert [member.path for member, _ in read_members(io.BytesIO(data))] == ["a", "b"]


@given(st.binary(max_size=2000))
def test_any_bytes_are_read_or_raise_the_documented_error(data: bytes) -> None:
    with suppress(FormatError):
        read(data)


@given(st.data())
@settings(max_examples=300, deadline=None)
def test_damaged_archives_are_read_or_raise_the_documented_error(data: st.DataObject) -> None:
    whole = bytearray(SAMPLE)
    for _ in range(data.draw(st.integers(1, 3))):
        position = data.draw(st.integers(0, len(whole) - 1))
        block = position - position % 512
        whole[position] = data.draw(st.integers(0, 255))
        # A right checksum lets the damage get past the first check.
        header = whole[block : block + 512]
        total = sum(header) - sum(header[148:156]) + 256
        whole[block + 148 : block + 156] = b"%06o\0 " % total
    with suppress(FormatError):
        read(bytes(whole[: data.draw(st.integers(0, len(whole)))]))


SAMPLE = archive(
    (info("a" * 150, uid=2**31, pax_headers={"SCHILY.xattr.user.x": "1"}), b"x" * 700),
    (info("d", type=tarfile.DIRTYPE), b""),
)


def test_truncated_archives_are_refused() -> None:
    data = archive((info("a"), b"x" * 5000))
    for end in (100, 512, 3000, 5511):
        with pytest.raises(FormatError, match="ends within"):
            read(data[:end])


def test_sparse_files_and_giant_headers_are_refused() -> None:
    with pytest.raises(FormatError, match="sparse"):
        read(archive((info("a", pax_headers={"GNU.sparse.major": "1"}), b"")))
    with pytest.raises(FormatError, match="larger than"):
        read(archive((info("a", pax_headers={"comment": "x" * 2_000_000}), b"")))


def test_names_that_are_not_utf8_or_too_long_are_refused() -> None:
    with pytest.raises(FormatError, match="UTF-8"):
        read(archive((info("\udcff"), b""), format=tarfile.GNU_FORMAT))
    with pytest.raises(FormatError, match="too long"):
        read(archive((info("x" * 5000), b"")))
