import io
import stat
import tarfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ostler.errors import CorruptError
from ostler.formats.objects import Checksum, DirMeta, FileMeta, ObjectType
from ostler.oci.tarball import iterate_tar, pax_record, write_tar
from ostler.store.content import RepoMode
from ostler.store.repo import Repo
from ostler.store.transaction import Transaction
from ostler.store.tree import Directory

LONG = "n" * 255
CAPABILITY = (b"security.capability", bytes.fromhex("0100000200200000000000000000000000000000"))


def add(transaction: Transaction, tree: Directory, path: str, content: bytes, **meta: object) -> None:
    values: dict[str, object] = {"uid": 0, "gid": 0, "mode": stat.S_IFREG | 0o644, **meta}
    tree.set_file(path, transaction.write_file(FileMeta(**values), content))  # type: ignore[arg-type]


def sample(transaction: Transaction) -> Directory:
    tree = Directory()
    add(transaction, tree, "usr/bin/tool", b"#!" + b"x" * 3_000_000, mode=stat.S_IFREG | 0o4755)
    add(transaction, tree, "usr/bin/ping", b"elf", xattrs=((CAPABILITY), (b"user.note", b"a\0b\n")))
    add(transaction, tree, "usr/lib/link", b"", mode=stat.S_IFLNK | 0o777, target="../bin/tool")
    add(transaction, tree, "usr/lib/long-link", b"", mode=stat.S_IFLNK | 0o777, target="../" * 60 + "étage")
    add(transaction, tree, f"usr/share/{LONG}/{LONG}", b"long")
    add(transaction, tree, "usr/share/é", b"accent", uid=3_000_000, gid=4_294_967_294)
    add(transaction, tree, "etc/empty", b"")
    add(transaction, tree, "etc/.wh.gone", b"")
    add(transaction, tree, "usr/exact", b"y" * 512)
    tree.ensure_dir("var/tmp", DirMeta(0, 0, stat.S_IFDIR | 0o1777, ((b"user.d", b"1"),)))
    return tree


FAITHFUL = (RepoMode.BARE, RepoMode.BARE_USER, RepoMode.ARCHIVE)
"""The modes that hold owners, set-id bits and extended attributes."""


@pytest.fixture(params=FAITHFUL)
def repo(request: pytest.FixtureRequest, tmp_path: Path) -> Repo:
    return Repo.create(tmp_path / "repo", request.param, settings={"fsync": "false"})


def members_of(data: bytes) -> dict[str, tarfile.TarInfo]:
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        members = archive.getmembers()
    assert len({member.name for member in members}) == len(members)
    return {member.name: member for member in members}


def test_a_tree_comes_out_of_every_kind_of_repository_as_the_same_archive(tmp_path: Path) -> None:
    archives = set()
    for mode in FAITHFUL:
        repo = Repo.create(tmp_path / mode, mode, settings={"fsync": "false"})
        with repo.transaction() as transaction:
            tree = sample(transaction)
        out = io.BytesIO()
        assert write_tar(repo, tree, out) == len(out.getvalue())
        archives.add(out.getvalue())
    assert len(archives) == 1


def test_everything_a_layer_can_hold_is_in_the_archive(repo: Repo) -> None:
    with repo.transaction() as transaction:
        tree = sample(transaction)
    data = b"".join(iterate_tar(repo, tree))
    assert len(data) % 512 == 0
    found = members_of(data)
    tool = found["usr/bin/tool"]
    assert (tool.size, tool.mode, tool.mtime, tool.uname) == (3_000_002, 0o4755, 0, "")
    headers = found["usr/bin/ping"].pax_headers
    assert headers["SCHILY.xattr.user.note"] == "a\0b\n"
    assert "SCHILY.xattr.security.capability" in headers
    assert found["usr/lib/link"].linkname == "../bin/tool"
    assert found["usr/lib/long-link"].linkname == "../" * 60 + "étage"
    assert f"usr/share/{LONG}/{LONG}" in found
    assert (found["usr/share/é"].uid, found["usr/share/é"].gid) == (3_000_000, 4_294_967_294)
    assert found["etc/.wh.gone"].size == 0
    assert found["var/tmp"].mode == 0o1777
    assert found["var/tmp"].pax_headers["SCHILY.xattr.user.d"] == "1"
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        content = archive.extractfile("usr/bin/tool")
        assert content is not None
        assert content.read() == b"#!" + b"x" * 3_000_000


def test_directories_come_before_what_is_in_them_and_names_are_sorted(repo: Repo) -> None:
    with repo.transaction() as transaction:
        tree = sample(transaction)
    names = list(members_of(b"".join(iterate_tar(repo, tree))))
    assert names[0] == "."
    seen = {"."}
    for name in names[1:]:
        assert (name.rpartition("/")[0] or ".") in seen
        seen.add(name)
    assert names[1:] == sorted(names[1:], key=lambda name: [part.encode() for part in name.split("/")])


def test_the_order_in_which_a_tree_was_made_does_not_matter(repo: Repo) -> None:
    with repo.transaction() as transaction:
        tree = sample(transaction)

    def reverse(directory: Directory) -> Directory:
        dirs = {name: reverse(below) for name, below in reversed(directory.dirs.items())}
        return Directory(directory.meta, dict(reversed(directory.files.items())), dirs)

    assert b"".join(iterate_tar(repo, tree)) == b"".join(iterate_tar(repo, reverse(tree)))


def test_an_object_that_was_cut_off_is_noticed(tmp_path: Path) -> None:
    repo = Repo.create(tmp_path / "repo", RepoMode.ARCHIVE)
    with repo.transaction() as transaction:
        checksum = transaction.write_file(FileMeta(0, 0, stat.S_IFREG | 0o644), bytes(range(256)) * 4000)
    path = repo.object_path(checksum, ObjectType.FILE)
    path.write_bytes(path.read_bytes()[:-500])
    with pytest.raises(CorruptError):
        b"".join(iterate_tar(repo, Directory(files={"big": Checksum(checksum)})))


@given(st.binary(min_size=1, max_size=30), st.integers(0, 1100))
@settings(max_examples=300)
def test_a_pax_record_states_its_own_length(key: bytes, size: int) -> None:
    record = pax_record(key, b"v" * size)
    assert int(record.partition(b" ")[0]) == len(record)


@pytest.mark.parametrize("path", ["usr/bin/tool", "usr/exact", "etc/empty", "usr/lib/link"])
def test_a_damaged_object_does_not_get_into_an_archive(tmp_path: Path, path: str) -> None:
    repo = Repo.create(tmp_path / "repo", RepoMode.BARE_USER)
    with repo.transaction() as transaction:
        tree = sample(transaction)
        other = transaction.write_file(FileMeta(0, 0, stat.S_IFREG | 0o644), b"z" * 512)
        link = transaction.write_file(FileMeta(0, 0, stat.S_IFLNK | 0o777, target="elsewhere"), b"")
    checksum = tree.lookup(path)
    assert isinstance(checksum, str)
    victim = repo.object_path(checksum, ObjectType.FILE)
    victim.unlink()
    victim.hardlink_to(repo.object_path(link if path.endswith("link") else other, ObjectType.FILE))
    with pytest.raises(CorruptError, match=checksum):
        b"".join(iterate_tar(repo, tree))
