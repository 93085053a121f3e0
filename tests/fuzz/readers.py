"""Every reader of bytes that come from elsewhere, with well-formed samples to start from.

A reader may raise `CorruptError` (of which `FormatError` is one kind) and nothing else, whatever it is given.
"""

import io
import lzma
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import BinaryIO, cast

from ostler.formats import bsdiff, cpio, delta, filez, gvariant, openpgp
from ostler.formats.delta import Fallback, PartHeader, SignedSuperblock, Superblock, digests_variant
from ostler.formats.delta_parts import Op, Part, encode_operation, inflate_part, read_operations
from ostler.formats.gvariant import FormatError, Variant
from ostler.formats.keyfile import Keyfile
from ostler.formats.objects import (
    Commit,
    DirMeta,
    DirTree,
    FileMeta,
    ObjectType,
    checksum_of,
    decode_detached,
    encode_detached,
)
from ostler.formats.tar import read_members
from ostler.store.deflate import InflateReader, deflate
from ostler.store.summary import Summary, SummaryEntry

CHUNK = 1 << 16
SOME = checksum_of(b"some")
OTHER = checksum_of(b"other")


@dataclass(frozen=True)
class Reader:
    """What reads, and samples that it accepts."""

    read: Callable[[bytes], object]
    samples: tuple[bytes, ...]


def read_filez(data: bytes) -> None:
    """Header and content of an archive's file object."""
    source = io.BytesIO(data)
    meta, size = filez.read_header(source.read)
    if not meta.is_symlink:
        content = InflateReader(cast(BinaryIO, source), size)
        while content.read(CHUNK):
            pass


def read_tar(data: bytes) -> None:
    """Every member of a tar archive with its content."""
    for _, content in read_members(io.BytesIO(data)):
        while content.read(CHUNK):
            pass


def read_cpio(data: bytes) -> None:
    """Every member of a cpio archive with its content."""
    for _, content in cpio.read_members(io.BytesIO(data)):
        while content.read(CHUNK):
            pass


def read_summary(data: bytes) -> None:
    """All entries of a summary, which are decoded when they are looked at, and the deltas it lists."""
    summary = Summary.decode(data)
    for name in summary.refs:
        assert summary.refs[name].commit
    dict(summary.metadata)
    delta.digests_in(summary.metadata)


def read_superblock(data: bytes) -> None:
    """A superblock, signed or not, with the objects of its parts."""
    superblock = delta.decode_superblock(data)
    for part in superblock.parts:
        list(part.objects())


def read_part(data: bytes) -> None:
    """A part of a delta, inflated already, and the operations in it."""
    part = Part.decode(data)
    list(read_operations(part.operations, iter([ObjectType.FILE, ObjectType.DIRTREE] * 32)))


def inflate(data: bytes) -> None:
    """A part as it comes; little memory must do for any."""
    for _ in inflate_part(iter([data]), memory=1 << 26):
        pass


def read_differences(data: bytes) -> None:
    """A stream of differences against some file, behind two bytes that hold the size of the new file."""
    for _ in bsdiff.patch(b"old" * 100, data[2:], int.from_bytes(data[:2], "big")):
        pass


def read_openpgp(data: bytes) -> None:
    """Packets of keys and signatures, with armor or without."""
    openpgp.public_keys(data)
    openpgp.is_detached_signature(data)


def read_keyfile(data: bytes) -> None:
    """A keyfile, as the configuration of a repository is read."""
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        raise FormatError("not UTF-8") from error
    keyfile = Keyfile.parse(text)
    for group, keys in keyfile.groups.items():
        for key in keys:
            for get in (lambda: keyfile.get_bool(group, key, False), lambda: keyfile.get_int(group, key, 0)):  # noqa: B023
                with suppress(FormatError):  # most values are neither
                    get()
            keyfile.get_list(group, key)
    assert Keyfile.parse(keyfile.dump()) == keyfile


def round_trip(type_string: str) -> Callable[[bytes], None]:
    """Reads a GVariant; what is accepted must be written again as it was."""

    def read(data: bytes) -> None:
        assert gvariant.encode(type_string, gvariant.decode(type_string, data)) == data

    return read


def _tar_sample() -> bytes:
    import tarfile

    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name, kind in (("a", tarfile.DIRTYPE), ("a/f" * 60, tarfile.REGTYPE), ("a/l", tarfile.SYMTYPE)):
            member = tarfile.TarInfo(name)
            member.type, member.linkname = kind, "f" if kind == tarfile.SYMTYPE else ""
            member.size = 5 if kind == tarfile.REGTYPE else 0
            member.pax_headers = {"SCHILY.xattr.user.x": "1"}
            archive.addfile(member, io.BytesIO(b"hello"))
    return buffer.getvalue()


def _cpio_sample() -> bytes:
    archive = b""
    for name, mode, content in (
        ("a", 0o40755, b""),
        ("a/f", 0o100644, b"hello"),
        ("a/l", 0o120777, b"f"),
        ("TRAILER!!!", 0, b""),
    ):
        raw = name.encode() + b"\0"
        numbers = (1, mode, 0, 0, 1, 0, len(content), 0, 0, 0, 0, len(raw), 0)
        header = b"070701" + b"".join(b"%08x" % number for number in numbers) + raw
        archive += header + bytes(-len(header) % 4) + content + bytes(-len(content) % 4)
    return archive


_REGULAR = FileMeta(0, 0, 0o100644, ((b"user.x", b"1"),))
_LINK = FileMeta(1000, 5, 0o120777, (), "target")
_METADATA = {
    "version": Variant("s", "1"),
    "ostree.ref-binding": Variant("as", ["a", "b"]),
    "nested": Variant("v", Variant("a{sv}", {"x": Variant("t", 7)})),
}

_SUPERBLOCK = Superblock(
    to=OTHER,
    commit=Commit(SOME, OTHER, 1_700_000_000, "subject").encode(),
    from_=SOME,
    timestamp=1_700_000_000,
    parts=(PartHeader(SOME, 100, 200, delta.encode_names([(ObjectType.FILE, SOME), (ObjectType.DIRTREE, OTHER)])),),
    fallbacks=(Fallback(ObjectType.FILE, OTHER, 5_000_000, 9_000_000),),
    metadata={"ostree.static-deltas": digests_variant({SOME: OTHER})},
).encode()
_OPERATIONS = b"".join(
    [
        encode_operation(Op.OPEN, 0, 0, 10),
        encode_operation(Op.WRITE, 5, 0),
        encode_operation(Op.SET_SOURCE, 32),
        encode_operation(Op.PATCH, 0, 5),
        encode_operation(Op.UNSET_SOURCE),
        encode_operation(Op.CLOSE),
        encode_operation(Op.SPLICE, 3, 1),
    ]
)
_PART = b"".join(Part(((0, 0, 0o100644),), ((), ((b"user.x", b"1"),)), b"blob" * 20, _OPERATIONS).encode())

READERS: dict[str, Reader] = {
    "gvariant-dictionary": Reader(round_trip("a{sv}"), (encode_detached(_METADATA), b"")),
    "gvariant-everything": Reader(
        round_trip("(bynqiuxtdsogvaymsa{sv}(yu)a(ayv))"),
        (
            gvariant.encode(
                "(bynqiuxtdsogvaymsa{sv}(yu)a(ayv))",
                (
                    True,
                    1,
                    -2,
                    3,
                    -4,
                    5,
                    -6,
                    7,
                    1.5,
                    "s",
                    "/o",
                    "s",
                    Variant("s", "v"),
                    b"ay",
                    None,
                    _METADATA,
                    (1, 2),
                    [(b"x", Variant("y", 1))],
                ),
            ),
        ),
    ),
    "commit": Reader(
        Commit.decode,
        (
            Commit(SOME, OTHER, 1_700_000_000, "subject", "body", SOME, _METADATA).encode(),
            Commit(SOME, OTHER, 0).encode(),
        ),
    ),
    "dirtree": Reader(
        DirTree.decode,
        (DirTree().encode(), DirTree((("a", SOME), ("b", OTHER)), (("c", SOME, OTHER), ("d", SOME, OTHER))).encode()),
    ),
    "dirmeta": Reader(DirMeta.decode, (DirMeta(0, 0, 0o40755, ((b"user.a", b"x"), (b"user.b", b""))).encode(),)),
    "file-header": Reader(FileMeta.decode, (_REGULAR.header()[8:], _LINK.header()[8:])),
    "filez": Reader(
        read_filez,
        (
            filez.encode_header(_REGULAR, 4000) + deflate(b"0123" * 1000, 6),
            filez.encode_header(_REGULAR, 0) + deflate(b"", 6),
            filez.encode_header(_LINK, 0),
        ),
    ),
    "detached": Reader(decode_detached, (encode_detached({"ostree.sign.ed25519": Variant("aay", [b"x" * 64])}),)),
    "summary": Reader(
        read_summary,
        (
            Summary(
                {
                    "a": SummaryEntry(SOME, 200, {"ostree.commit.timestamp": Variant("t", 5)}),
                    "b/c": SummaryEntry(OTHER, 300),
                },
                {"ostree.static-deltas": Variant("a{sv}", {SOME: Variant("ay", b"x" * 32)})},
            ).encode(),
        ),
    ),
    "keyfile": Reader(
        read_keyfile,
        (b'[core]\nrepo_version=1\nmode=bare\n\n# c\n[remote "a"]\nurl=https://x\nbranches=a;b\\;c;\nn=\\s5\\n\n',),
    ),
    "tar": Reader(read_tar, (_tar_sample(),)),
    "cpio": Reader(read_cpio, (_cpio_sample(),)),
    "delta-superblock": Reader(read_superblock, (_SUPERBLOCK, SignedSuperblock(_SUPERBLOCK, {}).encode())),
    "delta-index": Reader(delta.decode_index, (delta.encode_index({SOME: OTHER, f"{OTHER}-{SOME}": SOME}),)),
    "delta-part": Reader(read_part, (_PART,)),
    "delta-inflate": Reader(inflate, (b"\0" + _PART, b"x" + lzma.compress(_PART * 20))),
    "bsdiff": Reader(
        read_differences,
        (
            b"\0\x11"
            + bsdiff.encode_control(10, 5, -3)
            + b"\1" * 10
            + b"hello"
            + bsdiff.encode_control(2, 0, 0)
            + b"ab",
        ),
    ),
    "openpgp": Reader(read_openpgp, (bytes([0xC2, 5]) + b"\4\0\1\2\3", bytes([0x98, 3]) + b"key")),
}
