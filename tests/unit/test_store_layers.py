from pathlib import Path

import pytest
from hypothesis import given, settings
from test_store_tree import trees

from ostler.formats.objects import Checksum, DirMeta, FileMeta
from ostler.store.errors import StoreError
from ostler.store.layers import apply_layer, bootable_tree, diff_layers, merge_layers
from ostler.store.repo import Repo, RepoMode
from ostler.store.tree import Directory

A, B, W = Checksum("aa" * 32), Checksum("bb" * 32), Checksum("cc" * 32)


def tree(*paths: str, checksum: Checksum = A) -> Directory:
    made = Directory()
    for path in paths:
        if path.endswith("/"):
            made.ensure_dir(path)
        else:
            made.set_file(path, checksum)
    return made


def paths(directory: Directory) -> list[str]:
    return [path for path, _ in directory.walk()]


@pytest.fixture(scope="module")
def repo(tmp_path_factory: pytest.TempPathFactory) -> Repo:
    return Repo.create(tmp_path_factory.mktemp("layers") / "repo", RepoMode.ARCHIVE, settings={"fsync": "false"})


@given(trees(), trees())
@settings(max_examples=100, deadline=None)
def test_a_difference_applied_gives_the_new_tree(repo: Repo, old: Directory, new: Directory) -> None:
    before = old.copy()
    with repo.transaction() as transaction:
        layer = diff_layers(old, new, transaction)
    assert apply_layer(old, layer) == new
    assert old == before


@given(trees())
def test_a_tree_and_itself_differ_in_nothing(repo: Repo, same: Directory) -> None:
    with repo.transaction() as transaction:
        assert diff_layers(same, same, transaction) == Directory(same.meta)


@given(trees(), trees(), trees())
@settings(max_examples=60, deadline=None)
def test_differences_stack(repo: Repo, one: Directory, two: Directory, three: Directory) -> None:
    with repo.transaction() as transaction:
        layers = [one, diff_layers(one, two, transaction), diff_layers(two, three, transaction)]
    assert merge_layers(layers) == three


def test_whiteouts_hide_what_lies_below_but_not_what_lies_beside() -> None:
    base = tree("a", "b/c", "b/d", "e/f")
    layer = tree(".wh.a", "b/.wh.c", ".wh.e", "e/new", ".wh.absent")
    assert paths(apply_layer(base, layer)) == ["b", "b/d", "e", "e/new"]


def test_an_opaque_directory_hides_everything_below() -> None:
    base = tree("d/a", "d/b/c", "x")
    assert paths(apply_layer(base, tree("d/.wh..wh..opq", "d/new"))) == ["d", "d/new", "x"]


def test_files_and_directories_replace_one_another() -> None:
    assert paths(apply_layer(tree("a/b"), tree("a"))) == ["a"]
    assert paths(apply_layer(tree("a"), tree("a/b"))) == ["a", "a/b"]


def test_the_layers_stay_as_they_are_and_share_nothing_with_the_result() -> None:
    base, layer = tree("a/b"), tree("c/d")
    merged = apply_layer(base, layer)
    merged.ensure_dir("a").files.clear()
    merged.ensure_dir("c").files.clear()
    assert paths(base) == ["a", "a/b"]
    assert paths(layer) == ["c", "c/d"]


def test_metadata_of_a_directory_in_both_comes_from_the_upper_one_unless_the_lower_is_to_be_kept() -> None:
    lower, upper = Directory(dirs={"d": Directory(DirMeta(0, 0, 0o40700))}), Directory(dirs={"d": Directory()})
    assert apply_layer(lower, upper).dirs["d"].meta.mode == 0o40755
    assert apply_layer(lower, upper, keep_directory_metadata=True).dirs["d"].meta.mode == 0o40700
    upper.dirs["d"].files[".wh..wh..opq"] = W
    assert apply_layer(lower, upper, keep_directory_metadata=True).dirs["d"].meta.mode == 0o40755


def test_a_name_that_looks_like_a_whiteout_cannot_be_in_a_layer(repo: Repo) -> None:
    for new in (tree(".wh.a"), tree("d/.wh.a")):
        with repo.transaction() as transaction, pytest.raises(StoreError, match="cannot be in an image"):
            diff_layers(Directory(), new, transaction)


def test_a_bootable_tree_has_usr_etc_and_empty_runtime_directories(tmp_path: Path) -> None:
    repo = Repo.create(tmp_path / "r", RepoMode.ARCHIVE)
    with repo.transaction() as transaction:
        empty = transaction.write_file(FileMeta(0, 0, 0o100644), b"")
        link = transaction.write_file(FileMeta(0, 0, 0o120777, target="x"), b"")
        merged = tree("etc/passwd", "run/lock/x", "tmp/x", "dev/null", "var/lib/x", "usr/bin/x", checksum=empty)
        merged.set_file("etc/hostname", empty)
        merged.set_file("etc/resolv.conf", link)
        before = merged.copy()
        boot = bootable_tree(merged, repo)
    assert merged == before
    assert [path for path in paths(boot) if path.count("/") or path in ("run", "tmp", "dev", "etc")] == [
        "dev", "run", "tmp", "usr/bin", "usr/bin/x", "usr/etc", "usr/etc/passwd", "usr/etc/resolv.conf", "var/lib",
        "var/lib/x",
    ]  # fmt: skip


def test_etc_and_usr_etc_together_are_refused(repo: Repo) -> None:
    with pytest.raises(StoreError, match="both"):
        bootable_tree(tree("etc/a", "usr/etc/b"), repo)
    assert paths(bootable_tree(tree("etc/", "usr/etc/"), repo)) == ["usr", "usr/etc"]
