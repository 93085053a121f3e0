from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ostler.errors import CorruptError
from ostler.formats.objects import Checksum, DirMeta, DirTree
from ostler.store import tree as tree_module
from ostler.store.commit import commit_tree
from ostler.store.errors import StoreError
from ostler.store.repo import Repo, RepoMode
from ostler.store.tree import Directory, load_commit_tree, load_tree, write_tree

A, B = Checksum("aa" * 32), Checksum("bb" * 32)
NAMES = st.sampled_from(["a", "b", "é", "Z", "usr", "etc"])
METAS = st.builds(DirMeta, st.integers(0, 3), st.just(0), st.sampled_from([0o40755, 0o40700]))


@st.composite
def trees(draw: st.DrawFn, depth: int = 3) -> Directory:
    names = draw(st.lists(NAMES, unique=True, max_size=4))
    here = Directory(draw(METAS))
    for name in names:
        if depth and draw(st.booleans()):
            here.dirs[name] = draw(trees(depth - 1))
        else:
            here.files[name] = draw(st.sampled_from([A, B]))
    return here


@given(trees())
@settings(max_examples=60, deadline=None)
def test_a_stored_tree_loads_as_it_was(tmp_path_factory: pytest.TempPathFactory, tree: Directory) -> None:
    repo = Repo.create(tmp_path_factory.mktemp("r") / "repo", RepoMode.ARCHIVE, settings={"fsync": "false"})
    with repo.transaction() as transaction:
        names = write_tree(transaction, tree)
    assert load_tree(repo, *names) == tree


@given(trees())
def test_a_copy_is_equal_and_independent(tree: Directory) -> None:
    copy = tree.copy()
    assert copy == tree
    copy.ensure_dir("new/deep").files["x"] = A
    assert tree.lookup("new") is None


@given(trees())
def test_walking_finds_what_lookup_finds(tree: Directory) -> None:
    found = list(tree.walk())
    assert len({path for path, _ in found}) == len(found)
    assert all(tree.lookup(path) is item for path, item in found)
    assert sum(isinstance(item, str) for _, item in found) == tree.file_count()


def test_paths_are_made_replaced_and_removed() -> None:
    tree = Directory()
    tree.set_file("usr/bin/x", A)
    assert tree.lookup("/usr/bin/x/") == A
    assert tree.lookup("usr/bin/x/y") is None
    assert tree.lookup("") is tree
    with pytest.raises(StoreError, match="is a file"):
        tree.ensure_dir("usr/bin/x/y")
    tree.set_dir("usr/bin/x", Directory())
    assert isinstance(tree.lookup("usr/bin/x"), Directory)
    tree.set_file("usr/bin", B)
    assert tree.lookup("usr/bin") == B
    assert tree.remove("usr/bin")
    assert not tree.remove("usr/bin")
    assert not tree.remove("no/such/path")


@pytest.mark.parametrize("path", ["a/../b", "..", "./a"])
def test_paths_must_not_climb(path: str) -> None:
    with pytest.raises(StoreError):
        Directory().ensure_dir(path)


@pytest.mark.parametrize("name", ["", "a\0b"])
def test_files_need_a_name(name: str) -> None:
    with pytest.raises(CorruptError):
        Directory().set_file(name, A)


def test_equal_arguments_give_equal_commits(tmp_path: Path) -> None:
    commits = set()
    for mode in RepoMode:
        repo = Repo.create(tmp_path / mode, mode)
        with repo.transaction() as transaction:
            commits.add(commit_tree(transaction, Directory(), timestamp=7, subject="s", body="b"))
        assert load_commit_tree(repo, next(iter(commits))) == Directory()
    assert len(commits) == 1


def test_a_tree_of_few_objects_that_stands_for_too_many_directories_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tree_module, "MAX_TREE_ENTRIES", 1000)
    repo = Repo.create(tmp_path, RepoMode.ARCHIVE)
    with repo.transaction() as transaction:
        meta = transaction.write_metadata(DirMeta(0, 0, 0o40755))
        tree = transaction.write_metadata(DirTree())
        for _ in range(4):
            tree = transaction.write_metadata(DirTree(dirs=tuple((f"{n}", tree, meta) for n in range(10))))
    with pytest.raises(CorruptError, match="more than 1000"):
        load_tree(repo, tree, meta)
