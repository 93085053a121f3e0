import errno
import os
from pathlib import Path

import pytest

from ostler.errors import BusyError, NotFoundError
from ostler.formats.objects import Checksum, Commit, DirMeta, DirTree
from ostler.store.errors import StoreError
from ostler.store.repo import CommitState, Repo, RepoMode


@pytest.fixture
def repo(tmp_path: Path) -> Repo:
    Repo.create(tmp_path / "repo", RepoMode.ARCHIVE, settings={"fsync": "false", "collection-id": "org.example.Own"})
    return Repo.open(tmp_path / "repo")


def commit(repo: Repo, number: int = 1) -> Checksum:
    with repo.transaction() as transaction:
        meta = transaction.write_metadata(DirMeta(0, 0, 0o40755))
        return transaction.write_metadata(Commit(transaction.write_metadata(DirTree()), meta, number))


def test_an_alias_follows_its_ref(repo: Repo) -> None:
    first, second = commit(repo, 1), commit(repo, 2)
    repo.set_ref("os/stable", first)
    repo.set_alias("deep/er/alias", "os/stable")
    assert (repo.path / "refs/heads/deep/er/alias").readlink() == Path("../../os/stable")
    assert repo.aliases() == {"deep/er/alias": "os/stable"}
    repo.set_ref("os/stable", second)
    assert repo.refs()["deep/er/alias"] == repo.resolve("deep/er/alias") == second
    repo.set_ref("deep/er/alias", first)
    assert repo.aliases() == {}
    assert repo.resolve("os/stable") == second


def test_aliases_need_a_ref_to_stand_for(repo: Repo) -> None:
    with pytest.raises(NotFoundError, match="non-existent ref: nothing"):
        repo.set_alias("alias", "nothing")
    repo.set_ref("main", commit(repo))
    with pytest.raises(StoreError, match="alias of itself"):
        repo.set_alias("main", "main")
    assert repo.aliases() == {}


def test_refs_of_collections(repo: Repo) -> None:
    checksum = commit(repo)
    repo.set_ref("main", checksum, collection="org.example.Own")
    repo.set_ref("a/b", checksum, collection="org.example.Other")
    with repo.transaction() as transaction:
        transaction.set_ref("c", checksum, collection="org.example.Other")
    assert repo.refs() == {"main": checksum}
    assert set(repo.collection_refs()) == {("org.example.Other", "a/b"), ("org.example.Other", "c")}
    assert ("org.example.Own", "main") in repo.collection_refs(heads=True)
    assert repo.resolve_collection_ref("org.example.Other", "c") == checksum
    assert repo.resolve_collection_ref("org.example.Own", "main") == checksum
    repo.set_ref("c", None, collection="org.example.Other")
    with pytest.raises(NotFoundError, match=r"org\.example\.Other, c"):
        repo.resolve_collection_ref("org.example.Other", "c")


def test_a_remote_can_have_a_collection(repo: Repo) -> None:
    checksum = commit(repo)
    repo.add_remote("origin", "https://example.org", {"collection-id": "org.example.Far"})
    repo.set_ref("main", checksum, remote="origin")
    assert repo.collection_refs(remotes=True) == {("org.example.Far", "main"): checksum}
    assert repo.resolve_collection_ref("org.example.Far", "main") == checksum


def test_a_ref_that_only_a_remote_has_is_found(repo: Repo) -> None:
    checksum = commit(repo)
    repo.set_ref("os/main", checksum, remote="origin")
    assert repo.resolve("os/main") == repo.resolve("origin/os/main") == repo.resolve("origin:os/main") == checksum
    with pytest.raises(NotFoundError, match="Refspec 'other' not found"):
        repo.resolve("other")


def test_names_that_look_like_checksums_are_refused(repo: Repo) -> None:
    checksum = commit(repo)
    with pytest.raises(StoreError, match="looks like a checksum"):
        repo.set_ref("ab" * 32, checksum)


def test_folders_without_refs_make_room(repo: Repo) -> None:
    checksum = commit(repo)
    (repo.path / "refs/heads/a/b/c").mkdir(parents=True)
    repo.set_ref("a", checksum)
    assert repo.refs() == {"a": checksum}


def test_what_is_no_ref_is_passed_over(repo: Repo) -> None:
    repo.set_ref("main", commit(repo))
    (repo.path / "refs/heads/.rsync_info").write_text("x")
    (repo.path / "refs/heads/dangling").symlink_to("nothing")
    assert set(repo.refs()) == {"main"}


def test_the_state_of_commits(repo: Repo) -> None:
    checksum = commit(repo)
    assert repo.commit_state(checksum) is CommitState.NORMAL
    repo.mark_partial(checksum, True)
    assert repo.commit_state(checksum) is CommitState.PARTIAL
    repo.mark_partial(checksum, True, broken=True)
    assert repo.commit_state(checksum) is CommitState.BROKEN
    assert repo.is_partial(checksum)
    repo.mark_partial(checksum, False)
    assert repo.commit_state(checksum) is CommitState.NORMAL


def test_parents_are_read_through_but_not_for_ever(tmp_path: Path) -> None:
    for name, parent in (("a", "b"), ("b", "a")):
        Repo.create(tmp_path / name, RepoMode.ARCHIVE)
        config = tmp_path / name / "config"
        config.write_text(config.read_text() + f"parent={tmp_path / parent}\n")
    with pytest.raises(StoreError, match="parents"):
        Repo.open(tmp_path / "a")
    (tmp_path / "b/config").write_text("[core]\nrepo_version=1\nmode=archive\nparent=/does/not/exist\n")
    with pytest.raises(NotFoundError, match="While checking parent repository"):
        Repo.open(tmp_path / "b")


def test_fsync_can_be_switched_off_for_one_object(repo: Repo) -> None:
    other = Repo.create(repo.path.parent / "other", RepoMode.ARCHIVE)
    assert other.fsync
    other.fsync = False
    assert not other.fsync
    assert Repo.open(other.path).fsync


def test_a_folder_of_refs_that_cannot_be_read_is_no_empty_one(repo: Repo, monkeypatch: pytest.MonkeyPatch) -> None:
    repo.set_ref("os/main", commit(repo))
    scandir = os.scandir

    def refuse(path: str) -> object:
        if os.fspath(path).endswith("/heads/os"):
            raise PermissionError(errno.EACCES, "Permission denied", path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(StoreError, match="heads/os cannot be read: Permission denied"):
        repo.refs()


def test_a_ref_cannot_be_set_to_a_commit_that_is_not_there(repo: Repo) -> None:
    with pytest.raises(NotFoundError, match="No such metadata object"):
        repo.set_ref("main", Checksum("0" * 64))
    assert repo.refs() == {}


def test_a_ref_is_not_set_while_objects_are_removed(repo: Repo) -> None:
    checksum = commit(repo)
    repo.write_config(repo.config.with_value("core", "lock-timeout-secs", "0"))
    with repo.lock(exclusive=True), pytest.raises(BusyError):
        repo.set_ref("main", checksum)
