import io
import tarfile
from pathlib import Path

import pytest
from sample_trees import add_commit, make_repo, object_file
from store_samples import BIG, make_tree

from ostler.errors import CorruptError, NotFoundError
from ostler.formats.objects import Checksum, DirMeta, FileMeta
from ostler.store.checkout import stored_tree
from ostler.store.content import RepoMode
from ostler.store.errors import StoreError
from ostler.store.export import export_tar
from ostler.store.ingest import ingest_directory, ingest_tar
from ostler.store.repo import Repo
from ostler.store.tree import Directory, load_commit_tree

LONG = "n" * 90


def exported(repo: Repo, tree: Directory, **options: object) -> bytes:
    out = io.BytesIO()
    written = export_tar(repo, tree, out, mtime=1_700_000_000, **options)  # type: ignore[arg-type]
    assert written == len(out.getvalue()) and written % 10240 == 0
    return out.getvalue()


def members(data: bytes) -> dict[str, tarfile.TarInfo]:
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        return {member.name: member for member in tar}


@pytest.fixture
def repo(tmp_path: Path) -> Repo:
    repo = make_repo(tmp_path / "repo", RepoMode.ARCHIVE)
    add_commit(
        repo, "main", {f"{LONG}/{LONG}/file": b"x", f"{LONG}/link": "t" * 150, "plain": b"y" * 513, "empty": b""}
    )
    return repo


def test_members_have_their_names_content_and_the_time(repo: Repo) -> None:
    found = members(exported(repo, load_commit_tree(repo, "main")))
    assert set(found) == {".", "plain", "empty", LONG, f"{LONG}/link", f"{LONG}/{LONG}", f"{LONG}/{LONG}/file"}
    assert found[f"{LONG}/link"].linkname == "t" * 150
    assert found["plain"].size == 513
    assert {member.mtime for member in found.values()} == {1_700_000_000}


def test_a_part_of_the_tree_under_another_name(repo: Repo) -> None:
    tree = load_commit_tree(repo, "main")
    found = members(exported(repo, tree, subpath=f"/{LONG}", prefix="pre/fix-"))
    assert set(found) == {"pre/fix-", "pre/fix-link", f"pre/fix-{LONG}", f"pre/fix-{LONG}/file"}
    stored = io.BytesIO()
    export_tar(repo, stored_tree(repo, "main"), stored, mtime=1_700_000_000, subpath=LONG, prefix="pre/fix-")
    assert stored.getvalue() == exported(repo, tree, subpath=f"/{LONG}", prefix="pre/fix-")
    with pytest.raises(StoreError, match="no directory"):
        exported(repo, tree, subpath="plain")
    with pytest.raises(NotFoundError):
        export_tar(repo, stored_tree(repo, "main"), io.BytesIO(), mtime=0, subpath="none")


def test_an_export_comes_back_as_the_same_tree(tmp_path: Path) -> None:
    repo = make_repo(tmp_path / "repo", RepoMode.BARE_USER)
    make_tree(tmp_path / "tree")
    with repo.transaction() as transaction:
        tree = ingest_directory(transaction, tmp_path / "tree")
    data = exported(repo, tree)
    with repo.transaction() as transaction:
        assert ingest_tar(transaction, io.BytesIO(data)) == tree
    assert "SCHILY.xattr.user.note" in members(data)["usr/big"].pax_headers
    assert not members(exported(repo, tree, xattrs=False))["usr/big"].pax_headers
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        content = tar.extractfile("usr/big")
        assert content is not None and content.read() == BIG


def test_large_numbers_are_kept(tmp_path: Path) -> None:
    repo = make_repo(tmp_path / "repo", RepoMode.ARCHIVE)
    with repo.transaction() as transaction:
        file = transaction.write_file(FileMeta(4_000_000_000, 2_097_152, 0o100644), b"")
    tree = Directory(DirMeta(2_097_151, 0, 0o40755), files={"f": file})
    found = members(exported(repo, tree))
    assert (found["f"].uid, found["f"].gid, found["."].uid) == (4_000_000_000, 2_097_152, 2_097_151)


def test_damaged_objects_are_not_exported(tmp_path: Path) -> None:
    repo = make_repo(tmp_path / "repo", RepoMode.BARE_USER)
    add_commit(repo, "main", {"file": b"content"})
    tree = load_commit_tree(repo, "main")
    object_file(repo, Checksum(tree.files["file"])).write_bytes(b"CONTENT")
    with pytest.raises(CorruptError):
        exported(repo, tree)
