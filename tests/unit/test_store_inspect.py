from pathlib import Path

import pytest
from store_samples import make_tree

from ostler.errors import NotFoundError
from ostler.formats.objects import ObjectType
from ostler.store.commit import commit_tree
from ostler.store.errors import StoreError
from ostler.store.ingest import ingest_directory
from ostler.store.inspect import cat, list_files, log
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
    with pytest.raises(StoreError, match="directory"):
        cat(repo, "main", "usr")
    with pytest.raises(NotFoundError, match="symlink"):
        cat(repo, "main", "bin")
    with pytest.raises(NotFoundError):
        cat(repo, "main", "no/such")
