"""What differs between two sets of packages."""

from hypothesis import given
from hypothesis import strategies as st

from ostler.packages.difference import PackageChange, compare

NAMES = st.sampled_from(["a", "b", "c", "d"])
VERSIONS = st.sampled_from(["1.0", "1.00", "1.1", "1.0~rc1", "1:0"])
SETS = st.dictionaries(NAMES, VERSIONS)


def test_each_change_is_in_its_list():
    diff = compare({"a": "1", "b": "1", "c": "2", "d": "1.0"}, {"b": "2", "c": "1", "d": "1.00", "e": "1"})
    assert diff.added == (PackageChange("e", None, "1"),)
    assert diff.removed == (PackageChange("a", "1", None),)
    assert diff.upgraded == (PackageChange("b", "1", "2"),)
    assert diff.downgraded == (PackageChange("c", "2", "1"),)
    assert [change.name for change in diff.changes] == ["a", "b", "c", "e"]


@given(SETS, SETS)
def test_the_way_back_swaps_the_lists(old, new):
    there, back = compare(old, new), compare(new, old)
    assert [change.name for change in there.added] == [change.name for change in back.removed]
    assert [change.name for change in there.upgraded] == [change.name for change in back.downgraded]
    assert bool(there) == bool(back)


@given(SETS)
def test_a_set_does_not_differ_from_itself(packages):
    assert not compare(packages, packages)
