import bz2
import gzip
import io
import lzma
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ostler.formats import cpio
from ostler.formats.gvariant import FormatError
from ostler.formats.objects import DirMeta, FileMeta
from ostler.formats.tar import Kind
from ostler.store.archives import ingest_archive
from ostler.store.errors import StoreError
from ostler.store.modifier import Modifier
from ostler.store.repo import Repo, RepoMode
from ostler.store.tree import Directory


@pytest.fixture
def repo(tmp_path: Path) -> Repo:
    return Repo.create(tmp_path / "repo", RepoMode.BARE_USER, settings={"fsync": "false"})


def tar(*members: tuple[str, bytes], uid: int = 0, kind: bytes = tarfile.REGTYPE, target: str = "") -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.uid = info.gid = uid
            info.size, info.linkname = len(content), target
            info.type, info.mode = (tarfile.DIRTYPE, 0o750) if name.endswith("/") else (kind, 0o644)
            archive.addfile(info, io.BytesIO(content))
    return out.getvalue()


def newc(name: str, content: bytes = b"", mode: int = 0o100644, inode: int = 1, links: int = 1) -> bytes:
    numbers = (inode, mode, 3, 4, links, 0, len(content), 8, 1, 0, 0, len(name) + 1, 0)
    head = b"070701" + b"".join(b"%08X" % number for number in numbers) + name.encode() + b"\0"
    return head + bytes(-len(head) % 4) + content + bytes(-len(content) % 4)


END = newc("TRAILER!!!")


def zstd(data: bytes) -> bytes:
    return bytes(pytest.importorskip("zstandard").compress(data))


def store(repo: Repo, data: bytes, **options: object) -> Directory:
    with repo.transaction() as transaction:
        return ingest_archive(transaction, io.BytesIO(data), **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("pack", [bytes, gzip.compress, bz2.compress, lzma.compress, zstd])
def test_compression_is_told_by_the_first_bytes(repo: Repo, pack: Callable[[bytes], bytes]) -> None:
    tree = store(repo, pack(tar(("./", b""), ("./a", b"content"))))
    assert set(tree.files) == {"a"}
    assert tree.meta == DirMeta(0, 0, 0o40750)


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress, lzma.compress, zstd])
def test_damaged_archives_are_format_errors(repo: Repo, pack: Callable[[bytes], bytes]) -> None:
    data = bytearray(pack(tar(("./", b""), ("./a", bytes(range(256)) * 9))))
    for cut in (data[: len(data) // 2], bytes(data[:30]) + bytes(len(data) - 30)):
        with pytest.raises(FormatError):
            store(repo, bytes(cut))


def test_missing_parents_are_an_error_or_owned_like_the_member(repo: Repo) -> None:
    data = tar(("opt/x/file", b"1"), uid=7)
    with pytest.raises(FormatError, match="No such file or directory: opt"):
        store(repo, data)
    tree = store(repo, data, autocreate_parents=True)
    assert tree.meta == tree.dirs["opt"].meta == tree.dirs["opt"].dirs["x"].meta == DirMeta(7, 7, 0o40755)


def test_an_empty_archive_is_an_empty_root_only_if_parents_are_made(repo: Repo) -> None:
    with pytest.raises(FormatError, match="empty tree"):
        store(repo, tar())
    tree = store(repo, tar(), autocreate_parents=True, filter=Modifier(owner_uid=5))
    assert tree == Directory(DirMeta(5, 0, 0o40755))


def test_paths_can_be_mapped(repo: Repo) -> None:
    data = tar(("./", b""), ("./usr/", b""), ("./usr/bin/", b""), ("./usr/bin/a", b"1"))
    tree = store(repo, data, pathname=lambda path: path.replace("usr/bin/", "usr/sbin/"))
    assert {path for path, _ in tree.walk()} == {"usr", "usr/sbin", "usr/sbin/a"}
    with pytest.raises(FormatError):
        store(repo, data, pathname=lambda path: f"../{path}")


def test_an_archive_over_a_tree(repo: Repo) -> None:
    base = store(repo, tar(("./", b""), ("./usr/", b""), ("./usr/old", b"1")))
    assert store(repo, tar(("usr/new", b"2")), onto=base) is base
    assert set(base.dirs["usr"].files) == {"old", "new"}
    with pytest.raises(StoreError, match="Can't replace directory with file: usr"):
        store(repo, tar(("usr", b"2")), onto=base)
    with pytest.raises(StoreError, match="Can't replace file with directory: old"):
        store(repo, tar(("usr/old/", b"")), onto=base)


def test_a_cpio_archive(repo: Repo) -> None:
    data = (
        newc(".", mode=0o40755) + newc("a", b"content") + newc("l", b"a", 0o120777)
        + newc("one", inode=9, links=2) + newc("two", b"both", inode=9, links=2)
        + newc("empty1", inode=5, links=2) + newc("empty2", inode=5, links=2) + END
    )  # fmt: skip
    tree = store(repo, data)
    assert set(tree.files) == {"a", "l", "one", "two", "empty1", "empty2"}
    assert tree.files["one"] == tree.files["two"]
    assert tree.files["empty1"] == tree.files["empty2"]
    assert repo.open_file(tree.files["one"]).read() == b"both"
    assert repo.file_meta(tree.files["l"]) == FileMeta(3, 4, 0o120777, (), "a")


def test_devices_in_a_cpio_archive_are_members(repo: Repo) -> None:
    members = [member for member, _ in cpio.read_members(io.BytesIO(newc("dev", mode=0o20644) + END))]
    assert [member.kind for member in members] == [Kind.OTHER]


@given(data=st.binary(max_size=400), cut=st.integers(0, 400))
def test_malformed_cpio_archives_are_format_errors(data: bytes, cut: int) -> None:
    for text in (data, (newc("a", b"content") + newc("b", data) + END)[:cut] + data):
        try:
            for _, content in cpio.read_members(io.BytesIO(text)):
                content.read()
        except FormatError:
            pass
