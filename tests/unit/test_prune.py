"""Pruning: what refs need stays, the rest goes."""

from pathlib import Path

import pytest
from sample_trees import add_commit, content_of, file_checksum, make_repo, object_file, object_names, sample_files

from ostler.errors import BusyError, NotFoundError
from ostler.formats.gvariant import Variant
from ostler.formats.objects import Checksum, ObjectType
from ostler.store.content import RepoMode
from ostler.store.fsck import fsck
from ostler.store.prune import prune
from ostler.store.repo import Repo


@pytest.fixture
def repo(tmp_path: Path) -> Repo:
    return make_repo(tmp_path / "repo")


def chain(repo: Repo, length: int = 4) -> list[Checksum]:
    """Commits of one ref, oldest first, each with a file of its own and files in common."""
    commits: list[Checksum] = []
    for number in range(length):
        files = {**sample_files(count=4), "own": f"content {number}".encode()}
        commits.append(add_commit(repo, "web/stable", files, parent=commits[-1] if commits else None))
    return commits


def commits_in(repo: Repo) -> set[Checksum]:
    return {checksum for checksum, kind in object_names(repo) if kind is ObjectType.COMMIT}


@pytest.mark.parametrize("mode", list(RepoMode))
def test_only_what_the_ref_needs_stays(tmp_path: Path, mode: RepoMode) -> None:
    repo = make_repo(tmp_path / "repo", mode)
    commits = chain(repo)
    expected = content_of(repo, commits[-1])
    fresh = make_repo(tmp_path / "fresh", mode)
    add_commit(fresh, None, {**sample_files(count=4), "own": b"content 3"}, parent=commits[-2])
    result = prune(repo)
    assert object_names(repo) == object_names(fresh)
    assert content_of(repo, "web/stable") == expected
    assert fsck(repo) == []
    assert result.kept == len(object_names(repo))
    assert result.removed == 3 * 3  # commit, root directory and own file of each
    assert result.bytes_freed > 0


@pytest.mark.parametrize(("depth", "kept"), [(0, 1), (1, 2), (2, 3), (-1, 4), (99, 4)])
def test_parents_stay_as_deep_as_asked(repo: Repo, depth: int, kept: int) -> None:
    commits = chain(repo)
    prune(repo, depth=depth)
    assert commits_in(repo) == set(commits[-kept:])
    assert fsck(repo) == []


def test_a_commit_that_is_root_and_parent_keeps_its_own_depth(repo: Repo) -> None:
    commits = chain(repo)
    repo.set_ref("older", commits[2])
    prune(repo, depth=1)
    assert commits_in(repo) == set(commits[1:])


def test_refs_of_remotes_and_commits_to_keep_count(repo: Repo) -> None:
    commits = chain(repo)
    repo.set_ref("web/stable", commits[0], remote="origin")
    prune(repo, keep=[commits[1]])
    assert commits_in(repo) == {commits[0], commits[1], commits[3]}


def test_without_refs_only_every_commit_is_kept(repo: Repo) -> None:
    commits = chain(repo)
    with repo.transaction() as transaction:
        transaction.write_metadata(repo.load_dirmeta(repo.load_commit(commits[0]).root_meta))
    repo.set_ref("web/stable", None)
    assert prune(repo, refs_only=False).removed == 0
    assert commits_in(repo) == set(commits)
    assert prune(repo).kept == 0
    assert object_names(repo) == set()


def test_a_dry_run_removes_nothing_and_says_the_same(repo: Repo) -> None:
    chain(repo)
    before = object_names(repo)
    planned = prune(repo, dry_run=True)
    assert object_names(repo) == before
    assert prune(repo) == planned


def test_detached_metadata_goes_with_its_commit(repo: Repo) -> None:
    commits = chain(repo, 2)
    with repo.transaction() as transaction:
        for commit in commits:
            transaction.write_detached(commit, {"signature": Variant("ay", b"x")})
    prune(repo)
    assert {name for name in object_names(repo) if name[1] is ObjectType.DETACHED} == {
        (commits[1], ObjectType.DETACHED)
    }


def test_a_partial_commit_keeps_what_it_has(repo: Repo) -> None:
    (commit,) = chain(repo, 1)
    object_file(repo, file_checksum(repo, commit, "empty")).unlink()
    tree = repo.load_commit(commit).root_tree
    below = repo.load_dirtree(tree).dirs[0][1]
    object_file(repo, below, ObjectType.DIRTREE).unlink()
    with pytest.raises(NotFoundError, match=below):
        prune(repo)
    repo.mark_partial(commit, True)
    prune(repo)
    assert (tree, ObjectType.DIRTREE) in object_names(repo)
    assert repo.is_partial(commit)
    repo.set_ref("web/stable", None)
    prune(repo)
    assert not repo.is_partial(commit)


def test_whoever_adds_objects_is_not_disturbed(tmp_path: Path) -> None:
    repo = make_repo(tmp_path / "repo")
    repo.write_config(repo.config.with_value("core", "lock-timeout-secs", "0"))
    with Repo.open(repo.path).transaction(), pytest.raises(BusyError):
        prune(repo)


def test_deltas_to_commits_that_are_gone_go_too(repo: Repo) -> None:
    from base64 import b64encode

    commits = chain(repo, 2)

    def named(checksum: Checksum) -> str:
        return b64encode(bytes.fromhex(checksum)).decode().rstrip("=").replace("/", "_")

    old, new = map(named, commits)
    folders = [
        f"{old[:2]}/{old[2:]}",
        f"{new[:2]}/{new[2:]}",
        f"{old[:2]}/{old[2:]}-{new}",
        f"{new[:2]}/{new[2:]}-{old}",
    ]
    for folder in folders:
        (repo.path / "deltas" / folder).mkdir(parents=True)
        (repo.path / "deltas" / folder / "superblock").touch()
    prune(repo)
    assert [(repo.path / "deltas" / folder).exists() for folder in folders] == [False, True, True, False]
