"""Checking as libostree does: bindings, marks, tombstones, and only what whole commits need."""

import errno
import os
from pathlib import Path

import pytest
from sample_trees import add_commit, file_checksum, make_repo, object_file, object_names, sample_files

from ostler.formats.gvariant import Variant
from ostler.formats.objects import Checksum, ObjectType
from ostler.store.content import RepoMode
from ostler.store.fsck import FsckOptions, examine
from ostler.store.needs import Reason
from ostler.store.refstore import write_ref
from ostler.store.repo import Repo


@pytest.fixture
def repo(tmp_path: Path) -> Repo:
    made = make_repo(tmp_path / "repo", RepoMode.ARCHIVE)
    add_commit(made, "web/stable", sample_files(count=4))
    return made


def test_the_result_counts_whole_and_partial_commits(repo: Repo) -> None:
    partial = add_commit(repo, "other", {"a": b"a"})
    repo.mark_partial(partial, True)
    result = examine(repo)
    assert (result.commits, result.partial, result.broken) == (1, 1, 0)
    assert result.objects == len(object_names(repo))
    assert list(result.problems) == []


def test_strays_and_partial_commits_can_be_left_out(repo: Repo) -> None:
    partial = add_commit(repo, "other", {"a": b"only here"})
    file = object_file(repo, file_checksum(repo, "other", "a"))
    repo.mark_partial(partial, True)
    file.write_bytes(b"garbage")
    assert len(examine(repo).problems) == 1
    assert list(examine(repo, FsckOptions(reachable_only=True)).problems) == []


def test_commits_that_lack_objects_are_marked_when_asked(repo: Repo) -> None:
    commit = repo.resolve("web/stable")
    object_file(repo, file_checksum(repo, commit, "empty")).unlink()
    assert examine(repo).marked == []
    assert not repo.is_partial(commit)
    result = examine(repo, FsckOptions(mark_partial=True, reachable_only=True))
    assert result.marked == [commit]
    assert (repo.path / f"state/{commit}.commitpartial").read_bytes() == b"f"
    (problem,) = result.problems
    assert (problem.reason, problem.damage) == (Reason.MISSING, None)
    assert examine(repo, FsckOptions(mark_partial=True, reachable_only=True)).broken == 1


def test_damage_says_which_checksum_was_found(tmp_path: Path) -> None:
    repo = make_repo(tmp_path / "bare", RepoMode.BARE_USER)
    add_commit(repo, "x", {"a": b"content"})
    file = object_file(repo, file_checksum(repo, "x", "a"))
    file.write_bytes(b"Content")
    (problem,) = examine(repo).problems
    assert problem.reason is Reason.DAMAGED
    assert problem.damage is not None
    assert problem.damage.actual not in (None, problem.checksum)


def test_a_commit_under_a_ref_that_it_does_not_name(repo: Repo) -> None:
    commit = add_commit(repo, "bound", {"a": b"a"}, metadata={"ostree.ref-binding": Variant("as", ["bound"])})
    repo.set_ref("copy", commit)
    assert list(examine(repo).problems) == []
    (problem,) = examine(repo, FsckOptions(verify_bindings=True)).problems
    assert problem.reason is Reason.BINDING
    assert "‘copy’" in problem.message
    assert "‘bound’" in problem.message


def test_refs_that_a_commit_names_must_lead_back_to_it(repo: Repo) -> None:
    binding = {"ostree.ref-binding": Variant("as", ["one", "two"])}
    first = add_commit(repo, "one", {"a": b"a"}, metadata=binding)
    add_commit(repo, "two", {"a": b"b"}, metadata=binding)
    messages = [p.message for p in examine(repo, FsckOptions(verify_back_refs=True)).problems]
    assert f"Ref ‘two’ in bindings for commit {first} does not resolve to that commit" in messages
    repo.set_ref("two", None)
    messages = [p.message for p in examine(repo, FsckOptions(verify_back_refs=True)).problems]
    assert f"Ref ‘two’ in bindings for commit {first} does not exist" in messages


def test_commits_without_their_parent_make_way_for_tombstones(repo: Repo) -> None:
    parent = add_commit(repo, None, {"a": b"a"})
    child = add_commit(repo, None, {"a": b"b"}, parent=parent)
    object_file(repo, parent, ObjectType.COMMIT).unlink()
    result = examine(repo, FsckOptions(add_tombstones=True))
    assert result.tombstones == [child]
    assert (child, ObjectType.TOMBSTONE) in object_names(repo)
    assert (child, ObjectType.COMMIT) not in object_names(repo)


@pytest.mark.parametrize("workers", [1, 3])
def test_the_number_of_workers_changes_nothing(repo: Repo, workers: int) -> None:
    object_file(repo, file_checksum(repo, "web/stable", "empty")).write_bytes(b"x")
    assert examine(repo, FsckOptions(workers=workers)).problems == examine(repo).problems


def test_objects_of_the_parent_repository_count(tmp_path: Path, repo: Repo) -> None:
    child = make_repo(tmp_path / "child", RepoMode.ARCHIVE)
    child.write_config(child.config.with_value("core", "parent", str(repo.path)))
    child = Repo.open(child.path)
    commit = repo.resolve("web/stable")
    source = object_file(repo, commit, ObjectType.COMMIT)
    target = object_file(child, commit, ObjectType.COMMIT)
    target.parent.mkdir(exist_ok=True)
    target.write_bytes(source.read_bytes())
    assert list(examine(child).problems) == []


def test_a_ref_without_commit_names_the_ref(repo: Repo) -> None:
    write_ref(repo.path, "lost", Checksum("0" * 64), None, durable=False)
    (problem,) = examine(repo).problems
    assert (problem.ref, problem.reason) == ("lost", Reason.MISSING)


def _failing(code: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every dirmeta fails to open."""

    def fail(path: str, checksum: Checksum, kind: ObjectType) -> None:
        if kind is ObjectType.DIRMETA:
            raise OSError(code, os.strerror(code), path)

    monkeypatch.setattr("ostler.store.verify._metadata", fail)


@pytest.mark.parametrize("code", [errno.EACCES, errno.EPERM, errno.ESTALE])
def test_what_cannot_be_read_is_told_and_never_removed(repo: Repo, monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    before = object_names(repo)
    _failing(code, monkeypatch)
    result = examine(repo, FsckOptions(delete=True, workers=1))
    assert result.problems
    assert all(problem.unreadable and "--delete" not in problem.hint for problem in result.problems)
    assert object_names(repo) == before
    assert result.marked == []


def test_a_disk_that_fails_counts_as_damage(repo: Repo, monkeypatch: pytest.MonkeyPatch) -> None:
    _failing(errno.EIO, monkeypatch)
    examine(repo, FsckOptions(delete=True, workers=1))
    assert not [name for name in object_names(repo) if name[1] is ObjectType.DIRMETA]


def test_running_out_of_files_or_memory_is_no_finding(repo: Repo, monkeypatch: pytest.MonkeyPatch) -> None:
    _failing(errno.EMFILE, monkeypatch)
    with pytest.raises(OSError, match="open files"):
        examine(repo, FsckOptions(delete=True, workers=1))
