"""Mending a damaged repository from a copy."""

from pathlib import Path

import pytest
from sample_trees import add_commit, content_of, file_checksum, make_repo, object_file, sample_files

from ostler.errors import CorruptError, OstlerError
from ostler.formats.objects import ObjectType
from ostler.publish.folder import publish_folder
from ostler.publish.server import FolderServer
from ostler.store.content import RepoMode
from ostler.store.fsck import fsck
from ostler.store.pull import pull
from ostler.store.repair import repair
from ostler.store.repo import Repo


@pytest.fixture
def copies(tmp_path: Path) -> tuple[Repo, Repo]:
    """A repository, and another that pulled from it."""
    source, repo = make_repo(tmp_path / "source"), make_repo(tmp_path / "repo", RepoMode.ARCHIVE)
    add_commit(source, "web/stable", sample_files(count=8))
    pull(repo, source.path, ["web/stable"])
    return source, repo


def spoil(repo: Repo) -> None:
    object_file(repo, file_checksum(repo, "web/stable", "empty")).write_bytes(b"garbage")
    object_file(repo, file_checksum(repo, "web/stable", "usr/bin/tool.sh")).unlink()
    tree = repo.load_dirtree(repo.load_commit(repo.resolve("web/stable")).root_tree).dirs[0][1]
    below = repo.load_dirtree(tree).dirs[1][1]
    object_file(repo, below, ObjectType.DIRTREE).unlink()


def test_damaged_and_missing_objects_come_back_from_a_folder(copies: tuple[Repo, Repo]) -> None:
    source, repo = copies
    spoil(repo)
    result = repair(repo, source.path)
    assert len(result.before.problems) == 3
    assert list(result.after.problems) == []
    assert result.mended == (repo.resolve("web/stable"),)
    assert not repo.is_partial(repo.resolve("web/stable"))
    assert content_of(repo, "web/stable") == content_of(source, "web/stable")


def test_a_whole_repository_is_left_alone(copies: tuple[Repo, Repo], tmp_path: Path) -> None:
    result = repair(copies[1], tmp_path / "nothing is here")
    assert result.before is result.after
    assert result.mended == ()


def test_a_lost_commit_comes_back_over_http(copies: tuple[Repo, Repo], tmp_path: Path) -> None:
    source, repo = copies
    publish_folder(source, {"web/stable": "web/stable"}, tmp_path / "www")
    commit = repo.resolve("web/stable")
    object_file(repo, commit, ObjectType.COMMIT).unlink()
    spoiled = object_file(repo, file_checksum(source, "web/stable", "empty"))
    spoiled.write_bytes(b"garbage")
    with FolderServer(tmp_path / "www") as server:
        result = repair(repo, server.url)
    assert list(result.after.problems) == []
    assert fsck(repo) == []


def test_what_the_source_lacks_remains_a_problem(copies: tuple[Repo, Repo], tmp_path: Path) -> None:
    _, repo = copies
    spoil(repo)
    other = make_repo(tmp_path / "other")
    add_commit(other, "x", {"a": b"a"})
    result = repair(repo, other.path)
    assert result.failures is not None
    assert list(result.failures) == [repo.resolve("web/stable")]
    assert len(result.after.problems) == 3


def test_damage_in_the_source_is_not_taken_over(copies: tuple[Repo, Repo]) -> None:
    source, repo = copies
    same = object_file(source, file_checksum(source, "web/stable", "usr/bin/tool.sh"))
    same.chmod(0o755)
    same.write_bytes(b"tampered")
    object_file(repo, file_checksum(repo, "web/stable", "usr/bin/tool.sh")).unlink()
    with pytest.raises(CorruptError, match="Corrupted"):
        repair(repo, source.path)
    assert len(fsck(repo)) == 1


def test_nothing_is_removed_if_the_source_cannot_be_opened(copies: tuple[Repo, Repo], tmp_path: Path) -> None:
    _, repo = copies
    damaged = object_file(repo, file_checksum(repo, "web/stable", "empty"))
    spoil(repo)
    for source in (tmp_path / "nothing is here", "unknown", "http://127.0.0.1:1/"):
        with pytest.raises(OstlerError):
            repair(repo, source)
        assert damaged.exists()


def test_a_bare_name_may_be_a_folder(copies: tuple[Repo, Repo], monkeypatch: pytest.MonkeyPatch) -> None:
    source, repo = copies
    spoil(repo)
    monkeypatch.chdir(source.path.parent)
    assert list(repair(repo, source.path.name).after.problems) == []


def test_what_is_missing_is_not_told_to_be_removed(copies: tuple[Repo, Repo]) -> None:
    _, repo = copies
    object_file(repo, file_checksum(repo, "web/stable", "usr/bin/tool.sh")).unlink()
    (problem,) = fsck(repo)
    assert "remove" not in problem.hint
    assert "--repair-from" in problem.hint
