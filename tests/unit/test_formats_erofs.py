import hashlib
import stat
import struct

import pytest

from ostler.formats import erofs
from ostler.formats.erofs import Node, encode_image
from ostler.formats.erofs_xattrs import xxh32
from ostler.formats.fsverity import FsVerity, fsverity_digest
from ostler.formats.gvariant import FormatError


def image(root: Node) -> bytes:
    return b"".join(encode_image(root))


def directory(**children: Node) -> Node:
    return Node(0o40755, children={name.encode(): node for name, node in children.items()})


def test_the_digest_of_a_file_is_that_of_the_kernel() -> None:
    # `fsverity digest` of empty files and of "hello\n".
    assert fsverity_digest(b"").hex() == "3d248ca542a24fc62d1c43b916eae5016878e2533c88238480b26128a1f1af95"
    pieces = FsVerity()
    data = bytes(range(256)) * 5000
    for start in range(0, len(data), 999):
        pieces.update(data[start : start + 999])
    assert pieces.digest() == fsverity_digest(data)
    assert len({fsverity_digest(b"x" * size) for size in (1, 4095, 4096, 4097, 128 * 4096, 128 * 4096 + 1)}) == 6


def test_the_hash_of_names_is_xxhash() -> None:
    assert xxh32(b"", 0) == 0x02CC5D05
    assert xxh32(b"abc", 0) == 0x32D153FF
    assert xxh32(b"Nobody inspects the spammish repetition", 0) == 0xE2293B2F


def test_an_image_has_the_headers_and_hides_the_object_store() -> None:
    data = image(directory(a=Node(0o100644, size=5, target=b"ab/cd.file")))
    assert len(data) % 4096 == 0
    assert struct.unpack_from("<IIII", data) == (0xD078629A, 1, 0, 0)
    magic, inodes = struct.unpack_from("<I12xQ", data, 1024)
    assert magic == 0xE0F5E1E2 and inodes == 1 + 1 + 256
    assert b"/ab/cd.file" in data and b"trusted.overlay" not in data  # prefixes are indexes


def test_names_of_the_tree_are_not_hidden() -> None:
    inodes = struct.unpack_from("<Q", image(directory(ab=directory())), 1024 + 16)[0]
    assert inodes == 1 + 256


def test_equal_trees_in_another_order_are_equal_images() -> None:
    files = {name: Node(0o100644, 1, 2, 3, ((b"user.x", name.encode()),)) for name in ("x", "y", "zz")}
    assert image(directory(**files)) == image(directory(**dict(reversed(files.items()))))


def test_whiteouts_of_the_tree_are_escaped() -> None:
    data = image(directory(gone=Node(stat.S_IFCHR | 0o600)))
    assert struct.unpack_from("<IIII", data) == (0xD078629A, 1, 0, 1)
    assert data.count(b"overlay.overlay.whiteout") == 2 and data.count(b"overlay.overlay.opaque") == 1


@pytest.mark.parametrize(
    "root",
    [
        Node(0o100644),
        directory(**{"..": Node(0o100644)}),
        directory(a=Node(0o644)),
        directory(a=Node(0o120777)),
        directory(a=Node(0o120777, target=b"x" * 5000)),
        directory(a=Node(0o100644, children={b"b": Node(0o100644)})),
        directory(a=Node(0o100644, size=3, content=b"four")),
        directory(a=Node(0o100644, size=1 << 60)),
        directory(a=Node(0o100644, xattrs=((b"user.x", b"x" * 70_000),))),
        directory(**{"n" * 256: Node(0o100644)}),
    ],
)
def test_what_does_not_fit_is_an_error(root: Node) -> None:
    with pytest.raises(FormatError):
        image(root)


def test_large_directories_and_long_targets_get_blocks() -> None:
    many = directory(**{f"{number:0200}": Node(0o100644) for number in range(100)})
    assert len(image(many)) > len(image(directory())) + 5 * 4096
    long = directory(a=Node(0o120777, target=b"t" * 4090))
    assert b"t" * 4090 in image(long)
    assert len(hashlib.sha256(image(long)).digest()) == 32 and erofs.BLOCK == 4096
