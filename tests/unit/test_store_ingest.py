import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from store_samples import make_tree

from ostler.errors import OstlerError
from ostler.formats.objects import DirMeta, FileMeta
from ostler.io.progress import Event, Progress
from ostler.store.checkout import checkout
from ostler.store.commit import commit_tree
from ostler.store.errors import StoreError, UnsupportedFileError
from ostler.store.ingest import Meta, ingest_directory, inode_index
from ostler.store.repo import Repo, RepoMode


@pytest.fixture
def repo(tmp_path: Path) -> Repo:
    return Repo.create(tmp_path / "repo", RepoMode.BARE_USER, settings={"fsync": "false"})


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "tree").mkdir()
    return tmp_path / "tree"


def test_everything_in_a_folder_is_stored(repo: Repo, folder: Path) -> None:
    make_tree(folder)
    with repo.transaction() as transaction:
        tree = ingest_directory(transaction, folder)
        assert transaction.stats.file_objects == 7
    secret = tree.lookup("usr/secret")
    assert isinstance(secret, str)
    assert repo.file_meta(secret) == FileMeta(12, 34, 0o100000)
    link = tree.lookup("usr/ümläut")
    assert isinstance(link, str)
    assert repo.file_meta(link) == FileMeta(56, 78, 0o120777, target="../does/not/exist")
    assert tree.dirs["usr"].dirs["empty"].meta == DirMeta(9, 8, 0o41777, ((b"user.a", b"\xff"), (b"user.z", b"1")))
    assert tree.lookup("usr/bin/tool") == tree.lookup("usr/bin/again")


def test_the_number_of_threads_changes_nothing(repo: Repo, folder: Path) -> None:
    make_tree(folder)
    with repo.transaction() as transaction:
        assert ingest_directory(transaction, folder, threads=1) == ingest_directory(transaction, folder, threads=7)


def test_the_filter_changes_metadata_and_leaves_things_out(repo: Repo, folder: Path) -> None:
    make_tree(folder)
    os.mkfifo(folder / "fifo")
    seen = []

    def only_root(path: str, meta: Meta) -> Meta | None:
        seen.append(path)
        if path in ("usr/bin", "fifo"):
            return None
        if isinstance(meta, DirMeta):
            return DirMeta(0, 0, 0o40755)
        return FileMeta(0, 0, meta.mode | 0o444, target=meta.target)

    with repo.transaction() as transaction:
        tree = ingest_directory(transaction, folder, filter=only_root)
    assert tree.lookup("usr/bin") is None
    assert tree.lookup("fifo") is None
    assert tree.dirs["usr"].dirs["empty"].meta == DirMeta(0, 0, 0o40755)
    assert repo.file_meta(tree.dirs["usr"].files["secret"]) == FileMeta(0, 0, 0o100444)
    assert seen[0] == ""
    assert "usr/bin/tool" not in seen


def test_hard_links_that_the_filter_tells_apart_become_two_files(repo: Repo, folder: Path) -> None:
    (folder / "a").write_bytes(b"x")
    (folder / "b").hardlink_to(folder / "a")

    def by_name(path: str, meta: Meta) -> Meta:
        return FileMeta(1 if path == "a" else 2, 0, meta.mode) if isinstance(meta, FileMeta) else meta

    with repo.transaction() as transaction:
        tree = ingest_directory(transaction, folder, filter=by_name)
    assert [repo.file_meta(tree.files[name]).uid for name in "ab"] == [1, 2]


def test_what_a_commit_cannot_hold_is_named(repo: Repo, folder: Path) -> None:
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(str(folder / "socket"))
        with repo.transaction() as transaction, pytest.raises(UnsupportedFileError, match=r"/socket is a socket"):
            ingest_directory(transaction, folder)
    (folder / "socket").unlink()
    with open(os.fsencode(folder) + b"/\xff", "wb"):
        pass
    with repo.transaction() as transaction, pytest.raises(UnsupportedFileError, match="UTF-8"):
        ingest_directory(transaction, folder)


def test_a_file_that_cannot_be_read_fails_the_whole(repo: Repo, folder: Path) -> None:
    for number in range(200):
        (folder / str(number)).write_bytes(b"%d" % number)

    class Vanishing:
        def __call__(self, path: str, meta: Meta) -> Meta:
            if path == "77":
                (folder / path).unlink()
            return meta

    with pytest.raises(StoreError, match=r"cannot read .*/77"), repo.transaction() as transaction:
        ingest_directory(transaction, folder, filter=Vanishing())
    assert list(repo.objects()) == []


def test_the_filter_must_not_leave_out_the_root(repo: Repo, folder: Path) -> None:
    with repo.transaction() as transaction, pytest.raises(StoreError):
        ingest_directory(transaction, folder, filter=lambda *_: None)


def test_progress_is_reported(repo: Repo, folder: Path) -> None:
    make_tree(folder)
    events: list[Event] = []
    with repo.transaction() as transaction:
        ingest_directory(transaction, folder, report=events.append)
    last = events[-1]
    assert isinstance(last, Progress)
    assert last.done == last.total


def test_untouched_files_of_a_checkout_are_not_read_again(repo: Repo, folder: Path, tmp_path: Path) -> None:
    make_tree(folder)
    with repo.transaction() as transaction:
        tree = ingest_directory(transaction, folder)
    copy = tmp_path / "copy"
    checkout(repo, tree, copy)
    known = inode_index(copy, tree)
    (copy / "usr/nothing").write_bytes(b"n")
    (copy / "usr/secret").write_bytes(b"t")
    (copy / "usr/bin/tool").chmod(0o755)
    (copy / "usr/new").write_bytes(b"new")
    (copy / "usr/noise").rename(copy / "usr/moved")
    with repo.transaction() as transaction:
        found = ingest_directory(transaction, copy, known=known)
        plain = ingest_directory(transaction, copy)
        assert transaction.stats.file_objects == 4
    assert found == plain


def test_known_files_are_read_if_the_filter_changes_them(repo: Repo, folder: Path) -> None:
    (folder / "a").write_bytes(b"x")
    with repo.transaction() as transaction:
        tree = ingest_directory(transaction, folder)
        known = inode_index(folder, tree)

        def owned(path: str, meta: Meta) -> Meta:
            return FileMeta(7, 7, meta.mode) if isinstance(meta, FileMeta) else meta

        changed = ingest_directory(transaction, folder, filter=owned, known=known)
        assert ingest_directory(transaction, folder, known=known) == tree
    assert repo.file_meta(changed.files["a"]).uid == 7


def test_errors_are_ours(repo: Repo, tmp_path: Path) -> None:
    deep = tmp_path / "deep"
    path = deep
    path.mkdir()
    for _ in range(300):
        path = path / "d"
        path.mkdir()
    with repo.transaction() as transaction, pytest.raises(OstlerError, match="deep"):
        ingest_directory(transaction, deep)


def test_a_folder_that_does_not_exist_is_named(repo: Repo, tmp_path: Path) -> None:
    with repo.transaction() as transaction, pytest.raises(StoreError, match=r"cannot read .*/absent"):
        ingest_directory(transaction, tmp_path / "absent")


IN_NAMESPACE = """
import os, sys
from pathlib import Path
from ostler.io.userns import enter_user_namespace
enter_user_namespace()
from ostler.store.checkout import checkout
from ostler.store.commit import commit_tree
from ostler.store.ingest import ingest_directory
from ostler.store.repo import Repo, RepoMode
from ostler.store.tree import load_commit_tree, write_tree
source, work = map(Path, sys.argv[1:])
tree = load_commit_tree(Repo.open(source), "main")
checkout(Repo.open(source), tree, work / "copy")
repo = Repo.create(work / "inner", RepoMode.BARE_USER)
with repo.transaction() as transaction:
    assert ingest_directory(transaction, work / "copy") == tree
"""


def test_the_same_tree_comes_out_of_a_user_namespace(repo: Repo, folder: Path, tmp_path: Path) -> None:
    make_tree(folder)
    with repo.transaction() as transaction:
        tree = ingest_directory(transaction, folder)
        transaction.set_ref("main", commit_tree(transaction, tree, timestamp=1))
    subprocess.run([sys.executable, "-c", IN_NAMESPACE, repo.path, tmp_path], check=True)
