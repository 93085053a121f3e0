"""Comparing trees."""

from hypothesis import given
from hypothesis import strategies as st

from ostler.formats.objects import Checksum, DirMeta
from ostler.store.diff import TreeDiff, diff
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
