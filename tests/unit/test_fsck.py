"""Checking repositories: every kind of damage is found, named, and can be mended by pulling again."""

from collections.abc import Callable
from pathlib import Path

import pytest
from sample_trees import add_commit, content_of, file_checksum, make_repo, object_file, object_names, sample_files

from ostler.formats.objects import Checksum, ObjectType
from ostler.store.content import RepoMode
from ostler.store.fsck import fsck
from ostler.store.pull import pull
from ostler.store.refstore import write_ref
from ostler.store.repo import Repo


@pytest.fixture(params=list(RepoMode))
def repo(tmp_path: Path, request: pytest.FixtureRequest) -> Repo:
    made = make_repo(tmp_path / "repo", request.param)
    add_commit(made, "web/stable", sample_files(count=8))
    return made


def test_a_whole_repository_has_no_problem(repo: Repo) -> None:
    assert fsck(repo) == []


def test_an_empty_repository_has_no_problem(tmp_path: Path) -> None:
    assert fsck(make_repo(tmp_path / "repo")) == []


@pytest.mark.parametrize("path", ["usr/lib/large", "usr/bin/tool.sh", "empty"])
def test_a_changed_file_is_found_with_its_path(repo: Repo, path: str) -> None:
    checksum = file_checksum(repo, "web/stable", path)
    file = object_file(repo, checksum)
    file.chmod(0o755)
    file.write_bytes(file.read_bytes()[:-1] + b"?")
    (problem,) = fsck(repo)
    assert (problem.checksum, problem.kind, problem.path) == (checksum, ObjectType.FILE, f"/{path}")
    assert checksum in problem.message
    assert f"/{path}" in problem.message
    assert "damaged" in problem.message
    assert problem.hint
    assert problem.commits == (repo.resolve("web/stable"),)


def test_changed_permissions_of_a_bare_file_are_found(tmp_path: Path) -> None:
    repo = make_repo(tmp_path / "repo", RepoMode.BARE)
    add_commit(repo, "x", sample_files(count=1))
    checksum = file_checksum(repo, "x", "usr/bin/tool.sh")
    object_file(repo, checksum).chmod(0o777)
    assert [problem.checksum for problem in fsck(repo)] == [checksum]


def _longer(data: bytes) -> bytes:
    return data + b"more"


def _cut(data: bytes) -> bytes:
    return data[:-3]


def _size(data: bytes) -> bytes:
    return data[:15] + bytes([data[15] ^ 1]) + data[16:]


@pytest.mark.parametrize("change", [_longer, _cut, _size])
def test_what_the_digest_does_not_cover_in_an_archive_is_checked_too(
    tmp_path: Path, change: Callable[[bytes], bytes]
) -> None:
    repo = make_repo(tmp_path / "repo", RepoMode.ARCHIVE)
    add_commit(repo, "x", sample_files(count=1))
    file = object_file(repo, file_checksum(repo, "x", "usr/bin/tool.sh"))
    file.write_bytes(change(file.read_bytes()))
    assert len(fsck(repo)) == 1


@pytest.mark.parametrize("kind", [ObjectType.COMMIT, ObjectType.DIRTREE, ObjectType.DIRMETA, ObjectType.FILE])
def test_a_missing_object_is_found(repo: Repo, kind: ObjectType) -> None:
    names = sorted(name for name in object_names(repo) if name[1] is kind)
    object_file(repo, *names[0]).unlink()
    problems = fsck(repo)
    assert [(problem.checksum, problem.kind) for problem in problems] == [names[0]]
    assert "missing" in problems[0].message


@pytest.mark.parametrize("kind", [ObjectType.COMMIT, ObjectType.DIRTREE, ObjectType.DIRMETA])
def test_damaged_metadata_is_found(repo: Repo, kind: ObjectType) -> None:
    names = sorted(name for name in object_names(repo) if name[1] is kind)
    file = object_file(repo, *names[0])
    file.write_bytes(file.read_bytes() + b"\0")
    assert [(problem.checksum, problem.kind) for problem in fsck(repo)] == [names[0]]


def test_a_ref_to_nothing_is_found(repo: Repo) -> None:
    write_ref(repo.path, "web/lost", Checksum("0" * 64), None, durable=False)
    write_ref(repo.path, "web/lost", Checksum("1" * 64), "origin", durable=False)
    first, second = fsck(repo)
    assert "origin:web/lost" in first.message
    assert "web/lost" in second.message
    assert second.checksum == "0" * 64


def test_a_partial_commit_may_lack_objects_but_not_hold_damaged_ones(repo: Repo) -> None:
    commit = repo.resolve("web/stable")
    repo.mark_partial(commit, True)
    object_file(repo, file_checksum(repo, commit, "empty")).unlink()
    assert fsck(repo) == []
    file = object_file(repo, file_checksum(repo, commit, "usr/bin/tool.sh"))
    file.chmod(0o755)
    file.write_bytes(b"other")
    assert len(fsck(repo)) == 1


def test_damage_that_several_commits_share_is_one_problem(repo: Repo) -> None:
    first = repo.resolve("web/stable")
    second = add_commit(repo, "web/testing", {**sample_files(count=8), "more": b"more"})
    object_file(repo, file_checksum(repo, first, "usr/bin/tool.sh")).unlink()
    (problem,) = fsck(repo)
    assert set(problem.commits) == {first, second}


def test_a_damaged_object_that_no_commit_needs_is_found(repo: Repo) -> None:
    stray = object_file(repo, Checksum("ab" * 32), ObjectType.DIRTREE)
    stray.parent.mkdir(exist_ok=True)
    stray.write_bytes(b"garbage")
    assert [problem.checksum for problem in fsck(repo)] == ["ab" * 32]


def test_deleting_damage_lets_the_next_pull_mend_it(tmp_path: Path) -> None:
    source, repo = make_repo(tmp_path / "source"), make_repo(tmp_path / "repo", RepoMode.ARCHIVE)
    commit = add_commit(source, "x", sample_files(count=8))
    pull(repo, source.path, ["x"])
    damaged, missing = (object_file(repo, file_checksum(repo, "x", path)) for path in ("empty", "usr/bin/tool.sh"))
    damaged.write_bytes(b"garbage")
    missing.unlink()
    tree = object_file(repo, repo.load_commit(commit).root_tree, ObjectType.DIRTREE)
    assert len(fsck(repo, delete=True)) == 2
    assert not damaged.exists()
    assert tree.exists()
    assert repo.is_partial(commit)
    assert all("missing" in problem.message for problem in fsck(repo))
    assert len(fsck(repo)) == 2
    pull(repo, source.path, ["x"])
    assert not repo.is_partial(commit)
    assert content_of(repo, "x") == content_of(source, "x")
    assert fsck(repo) == []
