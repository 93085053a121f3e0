"""What becomes of local changes of /etc. That libostree does the same is tested in tests/interop."""

import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ostler.sysroot.errors import EtcConflictError
from ostler.sysroot.etc_merge import (
    EtcChanges,
    EtcMergePlan,
    check_conflicts,
    compare_etc,
    merge_etc,
    plan_etc_merge,
    snapshot,
)

Tree = dict[str, object]
"""Name → bytes (file), str (link), dict (directory), or (thing, mode)."""


def build(root: Path, tree: Tree) -> None:
    root.mkdir(exist_ok=True)
    for name, what in tree.items():
        thing, mode = what if isinstance(what, tuple) else (what, None)
        path = root / name
        if isinstance(thing, dict):
            build(path, thing)
        elif isinstance(thing, str):
            path.symlink_to(thing)
        elif thing is None:
            os.mkfifo(path)
        else:
            assert isinstance(thing, bytes)
            path.write_bytes(thing)
        if mode is not None:
            path.chmod(mode)


def read(root: Path) -> Tree:
    found: Tree = {}
    for entry in sorted(os.scandir(root), key=lambda entry: entry.name):
        path = Path(entry.path)
        if path.is_symlink():
            found[entry.name] = str(path.readlink())
        elif path.is_dir():
            found[entry.name] = read(path)
        else:
            found[entry.name] = path.read_bytes()
    return found


def merge(folder: Path, base: Tree, local: Tree, new: Tree) -> Tree:
    for name, tree in (("base", base), ("local", local), ("new", new)):
        build(folder / name, tree)
    plan = plan_etc_merge(*(snapshot(folder / name) for name in ("base", "local", "new")))
    merge_etc(plan, folder / "local", folder / "new")
    return read(folder / "new")


@pytest.mark.parametrize(
    ("base", "local", "new", "merged"),
    [
        pytest.param({"a": b"1"}, {"a": b"1"}, {"a": b"2"}, {"a": b"2"}, id="unchanged takes the new default"),
        pytest.param({"a": b"1"}, {"a": b"1"}, {}, {}, id="unchanged follows a deletion"),
        pytest.param({"a": b"1"}, {"a": b"x"}, {"a": b"2"}, {"a": b"x"}, id="modified wins"),
        pytest.param({"a": b"1"}, {"a": b"x"}, {}, {"a": b"x"}, id="modified survives a deletion"),
        pytest.param({"a": b"1"}, {}, {"a": b"2"}, {}, id="removed stays removed"),
        pytest.param({"d": {"a": b"1"}}, {}, {"d": {"a": b"2", "b": b""}}, {}, id="a removed directory goes whole"),
        pytest.param({}, {"a": b"x"}, {}, {"a": b"x"}, id="added is kept"),
        pytest.param({}, {"a": b"x"}, {"a": b"2"}, {"a": b"x"}, id="added wins"),
        pytest.param({}, {"l": "to"}, {"l": b""}, {"l": "to"}, id="an added link wins over a file"),
        pytest.param({}, {"d": {"e": {"a": b"x"}}}, {}, {"d": {"e": {"a": b"x"}}}, id="added directories come along"),
        pytest.param(
            {"d": {"a": b"1"}}, {"d": {"a": b"x"}}, {}, {"d": {"a": b"x"}}, id="the folder of a change is made again"
        ),
        pytest.param({"a": b"1"}, {"a": {"b": b"x"}}, {"a": b"2"}, {"a": {"b": b"x"}}, id="directory over file"),
        pytest.param({}, {"p": None}, {}, {}, id="a pipe is passed over"),
        pytest.param(  # as newer libostree; 2022.7 gives up here
            {}, {"d": {"p": None, "a": b"x"}}, {}, {"d": {"a": b"x"}}, id="a pipe in an added directory is passed over"
        ),
        pytest.param(
            {"d": {"a": b"1"}},
            {"d": {"a": b"x"}},
            {"d": "e", "e": {}},
            {"d": "e", "e": {"a": b"x"}},
            id="a change follows its folder to where a link leads",
        ),
        pytest.param(
            {"d": {"a": b"1"}},
            {"d": {"a": b"x"}},
            {"d": "/etc/e", "e": {}},
            {"d": "/etc/e", "e": {"a": b"x"}},
            id="an absolute link is followed inside the new etc",
        ),
    ],
)
def test_merge(tmp_path: Path, base: Tree, local: Tree, new: Tree, merged: Tree) -> None:
    assert merge(tmp_path, base, local, new) == merged


@pytest.mark.parametrize(
    ("base", "local", "new"),
    [
        pytest.param({"a": b"1"}, {"a": b"x"}, {"a": {}}, id="file against directory"),
        pytest.param({"d": {"a": b"1"}}, {"d": {"a": b"x"}}, {"d": b"2"}, id="change below a file"),
        pytest.param({"d": {"a": b"1"}}, {"d": {"a": b"x"}}, {"d": "/var/d"}, id="change below a link out of etc"),
        pytest.param({"d": {"a": b"1"}}, {"d": {"a": b"x"}}, {"d": "../../x"}, id="change below a link upwards"),
    ],
)
def test_conflicts_are_found_before_anything_changes(tmp_path: Path, base: Tree, local: Tree, new: Tree) -> None:
    with pytest.raises(EtcConflictError) as caught:
        merge(tmp_path, {**base, "z": b"1"}, {**local, "z": b"x"}, {**new, "z": b"2"})
    assert caught.value.paths in (("a",), ("d/a",))
    assert f"/etc/{caught.value.paths[0]}" in caught.value.message
    assert read(tmp_path / "new") == {**new, "z": b"2"}


def test_only_the_mode_of_a_directory_is_not_kept_unless_something_in_it_is(tmp_path: Path) -> None:
    base: Tree = {"d": ({"a": b"1"}, 0o755), "e": ({"a": b"1"}, 0o755)}
    local: Tree = {"d": ({"a": b"1"}, 0o700), "e": ({"a": b"x"}, 0o700)}
    merge(tmp_path, base, local, {"d": ({"a": b"1"}, 0o755), "e": ({"a": b"1"}, 0o755)})
    assert (tmp_path / "new/d").stat().st_mode & 0o777 == 0o755
    assert (tmp_path / "new/e").stat().st_mode & 0o777 == 0o700


def test_a_file_of_which_only_the_mode_changed_keeps_its_old_content(tmp_path: Path) -> None:
    merged = merge(tmp_path, {"a": (b"1", 0o644)}, {"a": (b"1", 0o600)}, {"a": (b"2", 0o644)})
    assert merged == {"a": b"1"}
    assert (tmp_path / "new/a").stat().st_mode & 0o777 == 0o600


def test_changes_are_listed_by_kind() -> None:
    changes = compare_etc({}, {})
    assert changes == EtcChanges()
    check_conflicts(EtcMergePlan(changes, (), {}))


files = st.binary(max_size=2) | st.sampled_from(["nowhere", "a"])
trees = st.recursive(
    st.dictionaries(st.sampled_from("abc"), files, max_size=3),
    lambda inner: st.dictionaries(st.sampled_from("abc"), files | inner, max_size=3),
    max_leaves=6,
)


@settings(max_examples=25, deadline=None)
@given(trees, trees)
def test_without_local_changes_the_new_defaults_come_as_they_are(
    tmp_path_factory: pytest.TempPathFactory, base: Tree, new: Tree
) -> None:
    assert merge(tmp_path_factory.mktemp("merge"), base, base, new) == new


@settings(max_examples=25, deadline=None)
@given(trees, trees)
def test_with_unchanged_defaults_the_local_etc_is_kept(
    tmp_path_factory: pytest.TempPathFactory, base: Tree, local: Tree
) -> None:
    folder = tmp_path_factory.mktemp("merge")
    try:
        assert merge(folder, base, local, base) == local
    except EtcConflictError as error:  # libostree's rule: a file in place of a default directory
        assert all((folder / "base" / path).is_dir() for path in error.paths)
