from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ostler.io.files import UnsafePathError, atomic_write, remove_tree, safe_join, swap_symlink


def test_an_atomic_write_replaces_the_file_with_the_mode_asked_for(tmp_path: Path) -> None:
    target = tmp_path / "file"
    target.write_bytes(b"old")
    atomic_write(target, b"new", mode=0o600)
    assert target.read_bytes() == b"new"
    assert target.stat().st_mode & 0o7777 == 0o600
    assert list(tmp_path.iterdir()) == [target]


def test_an_atomic_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    target = tmp_path / "folder"
    target.mkdir()
    (target / "in").touch()
    with pytest.raises(OSError, match="directory"):
        atomic_write(target, b"new")
    assert list(tmp_path.iterdir()) == [target]


def test_a_symlink_is_swapped_in_one_step(tmp_path: Path) -> None:
    link = tmp_path / "loader"
    link.symlink_to("loader.0")
    swap_symlink(link, "loader.1")
    assert str(link.readlink()) == "loader.1"


@given(st.lists(st.sampled_from(["a", "..", ".", "b", ""]), max_size=6).map("/".join))
def test_a_joined_path_never_leaves_its_root(relative: str) -> None:
    root = Path("/root-of-it/x")
    try:
        joined = safe_join(root, relative)
    except UnsafePathError:
        assert relative.startswith("/") or ".." in relative.split("/")
    else:
        assert joined == root or root in joined.parents
        assert ".." not in joined.parts


def test_a_tree_with_closed_directories_is_removed(tmp_path: Path) -> None:
    inner = tmp_path / "tree" / "closed"
    inner.mkdir(parents=True)
    (inner / "file").touch()
    inner.chmod(0)
    remove_tree(tmp_path / "tree")
    remove_tree(tmp_path / "tree")
    assert list(tmp_path.iterdir()) == []
