from pathlib import Path

import pytest
from store_samples import make_tree

from ostler.errors import NotFoundError
from ostler.formats.objects import ObjectType
from ostler.store.commit import commit_tree
from ostler.store.errors import StoreError
from ostler.store.ingest import ingest_directory
from ostler.store.inspect import cat, list_files, listing, log, metadata_kind
from ostler.store.repo import Repo, RepoMode


@pytest.fixture
def repo(tmp_path: Path) -> Repo:
    repo = Repo.create(tmp_path / "repo", RepoMode.ARCHIVE, settings={"fsync": "false"})
    make_tree(tmp_path / "tree")
    with repo.transaction() as transaction:
        tree = ingest_directory(transaction, tmp_path / "tree")
        first = commit_tree(transaction, tree, timestamp=1, subject="first")
        transaction.set_ref("main", commit_tree(transaction, tree, timestamp=2, subject="second", parent=first))
    return repo


def test_history_goes_back_as_far_as_commits_are_there(repo: Repo) -> None:
    entries = list(log(repo, "main"))
    assert [commit.subject for _, commit in entries] == ["second", "first"]
    repo.object_path(entries[1][0], ObjectType.COMMIT).unlink()
    assert [commit.subject for _, commit in log(repo, "main")] == ["second"]


def test_listings_show_what_ls_would(repo: Repo) -> None:
    entries = {entry.path: entry for entry in list_files(repo, "main")}
    assert list(entries)[:2] == ["", "bin"]
    assert (entries["usr/secret"].uid, entries["usr/secret"].gid, entries["usr/secret"].size) == (12, 34, 1)
    assert entries["bin"].target == "usr/bin"
    assert [entry.path for entry in list_files(repo, "main", "/usr/", recursive=False)] == [
        "usr", "usr/big", "usr/bin", "usr/empty", "usr/noise", "usr/nothing", "usr/secret", "usr/ümläut",
    ]  # fmt: skip
    assert [entry.path for entry in list_files(repo, "main", "usr/bin/tool")] == ["usr/bin/tool"]


def test_content_can_be_read(repo: Repo) -> None:
    assert cat(repo, "main", "/usr/bin/tool").read() == b"#!/bin/sh\n"
    for directory in ("usr", "bin"):  # a symlink to a directory
        with pytest.raises(StoreError, match="Can't open directory"):
            cat(repo, "main", directory)
    with pytest.raises(NotFoundError):
        cat(repo, "main", "usr/ümläut")  # a symlink to nothing
    with pytest.raises(NotFoundError):
        cat(repo, "main", "no/such")


def test_a_listing_has_the_files_of_a_directory_before_its_directories(repo: Repo) -> None:
    paths = [entry.path for entry in listing(repo, "main")]
    assert paths == [
        "", "bin", "usr", "usr/big", "usr/noise", "usr/nothing", "usr/secret", "usr/ümläut",
        "usr/bin", "usr/bin/again", "usr/bin/tool", "usr/empty",
    ]  # fmt: skip
    assert [entry.path for entry in listing(repo, "main", "/usr/empty/")] == ["usr/empty"]
    assert [entry.path for entry in listing(repo, "main", "usr", depth=0)] == ["usr"]
    assert len(list(listing(repo, "main", depth=1))) == 3


def test_entries_name_their_objects_and_attributes(repo: Repo) -> None:
    found = {entry.path: entry for entry in listing(repo, "main")}
    empty, big = found["usr/empty"], found["usr/big"]
    assert empty.is_directory and empty.tree is not None and empty.checksum is not None
    assert repo.load_dirmeta(empty.checksum).xattrs == empty.xattrs == ((b"user.a", b"\xff"), (b"user.z", b"1"))
    assert not repo.load_dirtree(empty.tree).files
    assert big.tree is None and big.xattrs == ((b"user.note", b"value\0with NUL"),)
    assert metadata_kind(repo, empty.tree) is ObjectType.DIRTREE
    assert metadata_kind(repo, empty.checksum) is ObjectType.DIRMETA
    assert metadata_kind(repo, repo.resolve("main")) is ObjectType.COMMIT
    assert big.checksum is not None
    with pytest.raises(NotFoundError, match="No such object"):
        metadata_kind(repo, big.checksum)


def test_paths_that_lead_nowhere_are_errors(repo: Repo) -> None:
    with pytest.raises(NotFoundError, match="No such file or directory: /usr/none"):
        list(listing(repo, "main", "/usr/none"))
    with pytest.raises(StoreError, match="Not a directory"):
        list(listing(repo, "main", "/usr/big/below"))
    with pytest.raises(StoreError, match=r"\.\."):
        list(listing(repo, "main", "/usr/../usr"))
