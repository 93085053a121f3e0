"""Comparing trees."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sample_trees import add_commit, make_repo

from ostler.formats.objects import Checksum, DirMeta
from ostler.store.checkout import checkout, stored_tree
from ostler.store.diff import DiffOptions, SideDiff, TreeDiff, diff, diff_sides, diff_stats
from ostler.store.errors import StoreError
from ostler.store.repo import Repo
from ostler.store.tree import Directory

ONE, TWO = Checksum("1" * 64), Checksum("2" * 64)
PRIVATE = DirMeta(0, 0, 0o40700)


def tree(**files: Checksum) -> Directory:
    made = Directory()
    for path, checksum in files.items():
        made.set_file(path.replace("_", "/"), checksum)
    return made


def test_equal_trees_do_not_differ() -> None:
    assert diff(tree(a=ONE, b_c=TWO), tree(a=ONE, b_c=TWO)) == TreeDiff()
    assert not diff(tree(a=ONE), tree(a=ONE))


def test_files_are_added_removed_and_changed() -> None:
    found = diff(tree(a=ONE, b=ONE, d_x=ONE), tree(b=TWO, c=ONE, d_x=ONE))
    assert found == TreeDiff(added=("c",), removed=("a",), changed=("b",))
    assert found


def test_directories_count_with_all_below() -> None:
    assert diff(tree(a=ONE), tree(a=ONE, d_e_f=ONE)) == TreeDiff(added=("d", "d/e", "d/e/f"))
    assert diff(tree(a=ONE, d_e_f=ONE), tree(a=ONE)) == TreeDiff(removed=("d", "d/e", "d/e/f"))


def test_a_directory_changes_with_its_own_metadata_only() -> None:
    new = tree(d_x=TWO)
    assert diff(tree(d_x=ONE), new) == TreeDiff(changed=("d/x",))
    new.dirs["d"].meta = PRIVATE
    assert diff(tree(d_x=ONE), new) == TreeDiff(changed=("d", "d/x"))
    new.meta = PRIVATE
    assert diff(tree(d_x=ONE), new) == TreeDiff(changed=("", "d", "d/x"))


def test_a_file_in_place_of_a_directory_is_a_change() -> None:
    assert diff(tree(d_x=ONE), tree(d=ONE)) == TreeDiff(removed=("d/x",), changed=("d",))
    assert diff(tree(d=ONE), tree(d_x=ONE)) == TreeDiff(added=("d/x",), changed=("d",))


def test_an_empty_directory_counts() -> None:
    new = tree(a=ONE)
    new.ensure_dir("empty")
    assert diff(tree(a=ONE), new) == TreeDiff(added=("empty",))
    assert diff(new, tree(a=ONE)) == TreeDiff(removed=("empty",))


NAMES = st.sampled_from(["a", "b", "c"])
TREES = st.recursive(
    st.builds(Directory, files=st.dictionaries(NAMES, st.sampled_from([ONE, TWO]))),
    lambda below: st.builds(
        lambda meta, files, dirs: Directory(meta, {n: c for n, c in files.items() if n not in dirs}, dirs),
        st.sampled_from([DirMeta(0, 0, 0o40755), PRIVATE]),
        st.dictionaries(NAMES, st.sampled_from([ONE, TWO])),
        st.dictionaries(NAMES, below, max_size=2),
    ),
    max_leaves=6,
)


@given(TREES, TREES)
def test_a_diff_is_what_sets_of_paths_say(old: Directory, new: Directory) -> None:
    def flat(root: Directory) -> dict[str, Checksum | DirMeta]:
        listed = {path: node.meta if isinstance(node, Directory) else node for path, node in root.walk()}
        return {"": root.meta, **listed}

    before, after = flat(old), flat(new)
    assert diff(old, new) == TreeDiff(
        tuple(sorted(after.keys() - before.keys())),
        tuple(sorted(before.keys() - after.keys())),
        tuple(sorted(path for path in before.keys() & after.keys() if before[path] != after[path])),
    )
    reverse = diff(new, old)
    assert (reverse.added, reverse.removed) == (diff(old, new).removed, diff(old, new).added)


@pytest.fixture
def sides(tmp_path: Path) -> tuple[Repo, Path]:
    repo = make_repo(tmp_path / "repo")
    add_commit(repo, "old", {"same": b"same", "gone/x": b"x", "kind": b"file", "d/changed": b"1", "d/kept": b"k"})
    add_commit(repo, "new", {"same": b"same", "added/y": b"y", "kind/z": b"z", "d/changed": b"2", "d/kept": b"k"})
    checkout(repo, stored_tree(repo, "new"), tmp_path / "folder")
    return repo, tmp_path / "folder"


def test_commits_and_folders_are_compared_alike(sides: tuple[Repo, Path]) -> None:
    repo, folder = sides
    expected = SideDiff(["kind", "d/changed"], ["gone"], ["added", "added/y"])
    old, new = stored_tree(repo, "old"), stored_tree(repo, "new")
    assert diff_sides(repo, old, new) == expected
    assert diff_sides(repo, old, folder) == expected
    assert diff_sides(repo, new, folder) == diff_sides(repo, folder, new) == SideDiff()


def test_files_on_disk_can_be_given_another_owner(sides: tuple[Repo, Path]) -> None:
    repo, folder = sides
    new = stored_tree(repo, "new")
    found = diff_sides(repo, new, folder, DiffOptions(owner_uid=4321))
    assert found.changed == ["same", "added", "added/y", "d", "d/changed", "d/kept", "kind", "kind/z"]
    assert diff_sides(repo, folder, new, DiffOptions(owner_uid=4321)) == SideDiff()


def test_folders_must_exist(sides: tuple[Repo, Path]) -> None:
    repo, folder = sides
    with pytest.raises(StoreError, match="No such file"):
        diff_sides(repo, stored_tree(repo, "new"), folder / "none")


def test_statistics_count_what_two_commits_share(sides: tuple[Repo, Path]) -> None:
    repo, _ = sides
    stats = diff_stats(repo, "old", "new")
    assert (stats.old_objects, stats.new_objects) == (1 + 3 + 1 + 5, 1 + 4 + 1 + 5)
    assert stats.common_objects == 1 + 2
    assert stats.common_bytes > len(b"samek")
    assert diff_stats(repo, "old", "old").common_objects == 10
