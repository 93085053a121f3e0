"""What a prune keeps of the history, what it leaves in the place of commits, and how it counts."""

import os
from pathlib import Path

import pytest
from sample_trees import add_commit, make_repo, object_file, object_names, sample_files

from ostler.errors import NotFoundError
from ostler.formats.delta import delta_folder, index_path
from ostler.formats.objects import Checksum, ObjectType
from ostler.store.content import RepoMode
from ostler.store.errors import StoreError
from ostler.store.fsck import fsck
from ostler.store.prune import prune
from ostler.store.reach import ObjectSet, reachable
from ostler.store.repo import Repo

DAY = 86400


@pytest.fixture
def repo(tmp_path: Path) -> Repo:
    return make_repo(tmp_path / "repo", RepoMode.ARCHIVE)


def branch(repo: Repo, name: str, times: list[int]) -> list[Checksum]:
    """Commits of a ref at these times, oldest first, each the parent of the next."""
    commits: list[Checksum] = []
    for number, moment in enumerate(times):
        files = {"common": b"common", "own": f"{name} {number}".encode()}
        commits.append(add_commit(repo, name, files, parent=commits[-1] if commits else None, timestamp=moment))
    return commits


def commits_in(repo: Repo) -> set[Checksum]:
    return {checksum for checksum, kind in object_names(repo) if kind is ObjectType.COMMIT}


def test_young_commits_stay_and_so_does_an_old_tip(repo: Repo) -> None:
    stable = branch(repo, "stable", [1 * DAY, 2 * DAY, 10 * DAY, 11 * DAY])
    old = branch(repo, "old", [1 * DAY, 2 * DAY])
    prune(repo, keep_younger_than=10 * DAY)
    assert commits_in(repo) == {*stable[2:], old[1]}
    assert fsck(repo) == []


def test_age_is_followed_along_parents_until_the_first_that_is_too_old(repo: Repo) -> None:
    commits = branch(repo, "stable", [20 * DAY, 1 * DAY, 20 * DAY])
    prune(repo, keep_younger_than=10 * DAY)
    assert commits_in(repo) == {commits[2]}


def test_single_branches_may_keep_more(repo: Repo) -> None:
    stable, dev = branch(repo, "stable", [1, 2, 3, 4]), branch(repo, "dev", [1, 2, 3, 4])
    prune(repo, depth=0, retain_branch_depth={"stable": 1})
    assert commits_in(repo) == {*stable[2:], dev[3]}


def test_a_branch_may_keep_all_while_others_go_by_age(repo: Repo) -> None:
    stable, dev = branch(repo, "stable", [1, 2, 3]), branch(repo, "dev", [1, 2, 3])
    prune(repo, keep_younger_than=3, retain_branch_depth={"stable": -1})
    assert commits_in(repo) == {*stable, dev[2]}


def test_only_some_branches_are_pruned(repo: Repo) -> None:
    stable, dev = branch(repo, "stable", [1, 2, 3]), branch(repo, "dev", [1, 2, 3])
    prune(repo, depth=0, only_branch=["dev"])
    assert commits_in(repo) == {*stable, dev[2]}
    with pytest.raises(NotFoundError, match="BACON"):
        prune(repo, only_branch=["BACON"])


def test_mirrored_refs_count_whatever_the_options(repo: Repo) -> None:
    commits = branch(repo, "stable", [1, 2, 3])
    folder = repo.path / "refs/mirrors/org.example.Other"
    folder.mkdir(parents=True)
    (folder / "some").write_text(f"{commits[1]}\n")
    prune(repo, depth=0)
    assert commits_in(repo) == set(commits[1:])
    prune(repo, depth=0, keep_younger_than=3)
    assert commits_in(repo) == set(commits[1:])


def test_a_deleted_commit_leaves_a_tombstone_which_goes_when_it_comes_back(repo: Repo) -> None:
    commits = branch(repo, "stable", [1, 2, 3])
    data = object_file(repo, commits[0], ObjectType.COMMIT).read_bytes()
    repo.mark_partial(commits[0], True)
    prune(repo, delete_commit=commits[0], refs_only=False, depth=-1)
    assert commits_in(repo) == set(commits[1:])
    assert (commits[0], ObjectType.TOMBSTONE) in object_names(repo)
    assert Repo.open(repo.path).config.get("core", "tombstone-commits") == "true"
    assert not (repo.path / f"state/{commits[0]}.commitpartial").exists()
    assert fsck(repo) == []
    with repo.transaction() as transaction:
        transaction.write_metadata_bytes(ObjectType.COMMIT, data, expected=commits[0])
    assert (commits[0], ObjectType.TOMBSTONE) not in object_names(repo)


def test_what_a_ref_points_at_cannot_be_deleted(repo: Repo) -> None:
    commits = branch(repo, "stable", [1, 2])
    with pytest.raises(StoreError, match="stable"):
        prune(repo, delete_commit=commits[1])
    with pytest.raises(StoreError, match="does not have it"):
        prune(repo, delete_commit=Checksum("0" * 64))
    with pytest.raises(StoreError, match="dry run"):
        prune(repo, delete_commit=commits[0], dry_run=True)
    assert commits_in(repo) == set(commits)


def test_deltas_to_one_commit_can_go_alone(repo: Repo) -> None:
    old, new = branch(repo, "stable", [1, 2])
    for from_, to in ((old, new), (None, new), (None, old)):
        folder = repo.path / delta_folder(from_, to)
        folder.mkdir(parents=True)
        (folder / "superblock").touch()
    index = repo.path / index_path(new)
    index.parent.mkdir(parents=True)
    index.touch()
    with pytest.raises(StoreError, match="requires --delete-commit"):
        prune(repo, static_deltas_only=True)
    prune(repo, static_deltas_only=True, delete_commit=new, refs_only=False, depth=-1)
    assert commits_in(repo) == {old, new}
    assert not index.exists()
    assert [path.parent for path in repo.path.glob("deltas/??/*/superblock")] == [repo.path / delta_folder(None, old)]


def test_commits_can_go_alone(repo: Repo) -> None:
    commits = branch(repo, "stable", [1, 2, 3])
    others = {name for name in object_names(repo) if name[1] is not ObjectType.COMMIT}
    result = prune(repo, depth=1, commit_only=True)
    assert (result.total, result.removed) == (3, 1)
    assert object_names(repo) - others == {(commit, ObjectType.COMMIT) for commit in commits[1:]}


def test_notes_of_contents_go_with_the_files_that_they_name(tmp_path: Path) -> None:
    repo = make_repo(tmp_path / "repo", RepoMode.BARE)
    add_commit(repo, "x", {"a": b"a"})
    (kept,) = [checksum for checksum, kind in object_names(repo) if kind is ObjectType.FILE]
    folder = repo.path / "objects/00"
    folder.mkdir(exist_ok=True)
    good, stale = folder / f"{'1' * 62}.payload-link", folder / f"{'2' * 62}.payload-link"
    good.symlink_to(f"../{kept[:2]}/{kept[2:]}.file")
    stale.symlink_to(f"../ab/{'c' * 62}.file")
    assert prune(repo).removed == 1
    assert good.is_symlink()
    assert not stale.is_symlink()


def test_kept_summaries_of_remotes_that_are_gone_go(repo: Repo) -> None:
    branch(repo, "stable", [1])
    repo.add_remote("origin", "https://example.org", {"gpg-verify": "false"})
    folder = repo.path / "tmp/cache/summaries"
    folder.mkdir(parents=True)
    for name in ("origin", "origin.sig", "gone", "gone.sig"):
        (folder / name).touch()
    prune(repo)
    assert sorted(os.listdir(folder)) == ["origin", "origin.sig"]  # noqa: PTH208


def test_files_of_other_names_are_left_alone(repo: Repo) -> None:
    branch(repo, "stable", [1])
    odd = [repo.path / "objects/zz/readme.txt", repo.path / "objects/00/abc.filez", repo.path / "objects/note"]
    for path in odd:
        path.parent.mkdir(exist_ok=True)
        path.write_text("mine")
    prune(repo)
    assert all(path.exists() for path in odd)


def test_sets_of_objects_hold_names_as_raw_digests() -> None:
    first, second = Checksum("ab" * 32), Checksum("cd" * 32)
    names = ObjectSet([(first, ObjectType.FILE), (first, ObjectType.FILE), (second, ObjectType.COMMIT)])
    assert len(names) == 2
    assert set(names) == {(first, ObjectType.FILE), (second, ObjectType.COMMIT)}
    assert (first, ObjectType.COMMIT) not in names
    assert names.of(ObjectType.FILE) == {b"\xab" * 32}


def test_what_a_partial_commit_lacks_is_still_missed_by_others(repo: Repo) -> None:
    first = add_commit(repo, "first", sample_files(count=4))
    second = add_commit(repo, "second", {**sample_files(count=4), "more": b"more"})
    tree = repo.load_dirtree(repo.load_commit(first).root_tree).dirs[0][1]
    object_file(repo, repo.load_dirtree(tree).dirs[0][1], ObjectType.DIRTREE).unlink()
    repo.mark_partial(first, True)
    assert len(reachable(repo, [first])) > 4
    with pytest.raises(NotFoundError):
        reachable(repo, [first, second])
