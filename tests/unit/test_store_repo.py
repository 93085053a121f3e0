import multiprocessing
from pathlib import Path

import pytest

from ostler.errors import BusyError, CorruptError, NotFoundError
from ostler.formats.gvariant import Variant
from ostler.formats.objects import Checksum, DirMeta, DirTree, FileMeta, ObjectType
from ostler.store.commit import commit_tree
from ostler.store.errors import ChecksumMismatchError, StoreError
from ostler.store.repo import Repo, RepoMode
from ostler.store.tree import Directory

FILE = FileMeta(0, 0, 0o100644)


@pytest.fixture
def repo(tmp_path: Path) -> Repo:
    return Repo.create(tmp_path / "repo", RepoMode.ARCHIVE, settings={"fsync": "false"})


def add_commit(repo: Repo, content: bytes, parent: Checksum | None = None, ref: str | None = None) -> Checksum:
    with repo.transaction() as transaction:
        tree = Directory(files={"a": transaction.write_file(FILE, content)})
        commit = commit_tree(transaction, tree, timestamp=1, parent=parent)
        if ref:
            transaction.set_ref(ref, commit)
    return commit


def test_a_new_repository_opens_with_its_mode(tmp_path: Path) -> None:
    for mode in RepoMode:
        Repo.create(tmp_path / mode, mode)
        assert Repo.open(tmp_path / mode).mode is mode


def test_creating_twice_needs_permission_and_the_same_mode(tmp_path: Path) -> None:
    Repo.create(tmp_path, RepoMode.BARE)
    assert Repo.create(tmp_path, RepoMode.BARE, exist_ok=True).mode is RepoMode.BARE
    with pytest.raises(StoreError, match="already"):
        Repo.create(tmp_path, RepoMode.BARE)
    with pytest.raises(StoreError, match="already"):
        Repo.create(tmp_path, RepoMode.ARCHIVE, exist_ok=True)


def test_what_is_no_usable_repository_is_named(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="no OSTree repository"):
        Repo.open(tmp_path)
    (tmp_path / "objects").mkdir()
    with pytest.raises(NotFoundError, match="config"):
        Repo.open(tmp_path)
    for config in ("[core]\nrepo_version=2\nmode=bare\n", "[core]\nrepo_version=1\nmode=bare-split-xattrs\n"):
        (tmp_path / "config").write_text(config)
        with pytest.raises(StoreError):
            Repo.open(tmp_path)
    (tmp_path / "config").write_bytes(b"\xff\xfe")
    with pytest.raises(CorruptError):
        Repo.open(tmp_path)


def test_remotes_are_kept_in_the_configuration(repo: Repo) -> None:
    repo.add_remote("origin", "https://example.org/repo", {"gpg-verify": "false"})
    found = Repo.open(repo.path).remotes()["origin"]
    assert (found.url, found.options) == ("https://example.org/repo", {"gpg-verify": "false"})


def test_revisions_resolve(repo: Repo) -> None:
    first = add_commit(repo, b"1", ref="web/stable")
    second = add_commit(repo, b"2", parent=first, ref="web/stable")
    repo.set_ref("web/old", first, remote="origin")
    assert repo.resolve("web/stable") == second
    assert repo.resolve("web/stable^") == first
    assert repo.resolve("origin:web/old") == first
    assert repo.resolve(second[:12]) == second
    assert repo.resolve(second) == second
    assert repo.refs() == {"web/stable": second, "origin:web/old": first}
    assert repo.refs("web") == {"web/stable": second}
    for bad in ("web", "web/stable^^", "other:web/stable", "../../config", "", "^", "0" * 12):
        with pytest.raises(NotFoundError):
            repo.resolve(bad)


def test_refs_can_be_removed_and_replaced_by_shorter_ones(repo: Repo) -> None:
    commit = add_commit(repo, b"1", ref="a/b")
    with pytest.raises(StoreError, match="Conflict: a/b exists under a"):
        repo.set_ref("a", commit)
    repo.set_ref("a/b", None)
    repo.set_ref("a", commit)
    assert repo.refs() == {"a": commit}
    with pytest.raises(StoreError, match="beginning"):
        repo.set_ref("a/b", commit)
    with pytest.raises(NotFoundError):
        repo.set_ref("a/b", None)


def test_a_damaged_ref_is_an_error(repo: Repo) -> None:
    (repo.path / "refs/heads/x").write_text("nonsense\n")
    with pytest.raises(CorruptError, match="damaged"):
        repo.resolve("x")


def test_damaged_metadata_objects_are_noticed_when_read(repo: Repo) -> None:
    commit = add_commit(repo, b"1")
    path = repo.object_path(commit, ObjectType.COMMIT)
    path.write_bytes(path.read_bytes() + b"x")
    with pytest.raises(ChecksumMismatchError):
        repo.load_commit(commit)
    with pytest.raises(NotFoundError):
        repo.load_commit(Checksum("0" * 64))


def test_damaged_content_is_noticed_at_its_end(tmp_path: Path) -> None:
    repo = Repo.create(tmp_path / "r", RepoMode.BARE_USER)
    with repo.transaction() as transaction:
        checksum = transaction.write_file(FILE, b"right")
    repo.object_path(checksum, ObjectType.FILE).write_bytes(b"wrong")
    assert repo.open_file(checksum).read() == b"wrong"
    with pytest.raises(ChecksumMismatchError):
        repo.open_file(checksum, verify=True).read()


@pytest.mark.parametrize("change", [lambda d: d[:-3], lambda d: d + b"x", lambda d: d[:8] + b"\0" * 7 + b"\1" + d[16:]])
def test_archive_objects_with_a_wrong_size_or_end_are_refused(repo: Repo, change) -> None:  # type: ignore[no-untyped-def]
    with repo.transaction() as transaction:
        checksum = transaction.write_file(FILE, b"content" * 100)
    path = repo.object_path(checksum, ObjectType.FILE)
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(CorruptError):
        repo.open_file(checksum).read()


def test_detached_metadata_is_replaced_and_removed(repo: Repo) -> None:
    commit = add_commit(repo, b"1")
    assert repo.load_detached(commit) == {}
    for metadata in ({"a": Variant("s", "1")}, {"b": Variant("aay", [b"x"])}, {}):
        with repo.transaction() as transaction:
            transaction.write_detached(commit, metadata)
        assert repo.load_detached(commit) == metadata


def test_objects_lists_what_is_there(repo: Repo) -> None:
    commit = add_commit(repo, b"1")
    found = set(repo.objects())
    assert (commit, ObjectType.COMMIT) in found
    assert sorted(kind for _, kind in found) == [
        ObjectType.FILE, ObjectType.DIRTREE, ObjectType.DIRMETA, ObjectType.COMMIT,
    ]  # fmt: skip


def test_partial_commits_are_marked(repo: Repo) -> None:
    commit = add_commit(repo, b"1")
    repo.mark_partial(commit, True)
    assert repo.is_partial(commit)
    repo.mark_partial(commit, False)
    assert not repo.is_partial(commit)


def _hold(path: Path, ready: "multiprocessing.synchronize.Event", done: "multiprocessing.synchronize.Event") -> None:
    with Repo.open(path).lock():
        ready.set()
        done.wait(30)


def test_shared_locks_go_together_and_exclude_an_exclusive_one(repo: Repo) -> None:
    repo.write_config(repo.config.with_value("core", "lock-timeout-secs", "0"))
    context = multiprocessing.get_context("spawn")
    ready, done = context.Event(), context.Event()
    holder = context.Process(target=_hold, args=(repo.path, ready, done))
    holder.start()
    try:
        assert ready.wait(30)
        with repo.lock():
            pass
        with pytest.raises(BusyError, match=f"pid {holder.pid}"), repo.lock(exclusive=True):
            pass
    finally:
        done.set()
        holder.join()
    with repo.lock(exclusive=True):
        pass


def test_locking_can_be_turned_off(repo: Repo) -> None:
    repo.write_config(repo.config.with_value("core", "locking", "false"))
    with repo.lock(exclusive=True), repo.lock(exclusive=True):
        assert not (repo.path / ".lock").exists()


def test_names_in_trees_never_reach_the_disk_unchecked(repo: Repo) -> None:
    evil = Directory(files={"../evil": Checksum("0" * 64)})
    with pytest.raises(CorruptError), repo.transaction() as transaction:
        commit_tree(transaction, evil, timestamp=1)
    assert DirTree().encode() == b"\0"
    assert DirMeta(0, 0, 0o40755).checksum
