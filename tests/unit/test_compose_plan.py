"""Keys and reasons of build steps."""

from hypothesis import given
from hypothesis import strategies as st

from ostler.compose.digests import step_key
from ostler.compose.plan import BuildPlan, changed_inputs, explain, plan_step

INPUTS = st.dictionaries(st.text(max_size=5), st.text(max_size=5), max_size=5)


@given(INPUTS, INPUTS)
def test_keys_differ_exactly_when_inputs_differ(one, other):
    assert (step_key("a", one) == step_key("a", other)) == (one == other)


@given(INPUTS, INPUTS)
def test_every_difference_is_named(one, other):
    words = changed_inputs(one, other)
    assert bool(words) == (one != other)
    assert len(words) == len({name for name in {*one, *other} if one.get(name) != other.get(name)})


def test_the_reason_names_what_changed():
    before = {"overlay/etc/motd": "1", "keys/root": "1"}
    assert explain({"overlay/etc/motd": "2", "keys/root": "1"}, before, cached=False) == "overlay/etc/motd changed"
    assert explain({"keys/root": "1"}, before, cached=False) == "overlay/etc/motd is gone"
    assert explain({**before, "package htop": "3"}, before, cached=False) == "package htop is new"


def test_the_reason_lists_a_few_changes_and_counts_the_others():
    inputs = {str(number): "x" for number in range(9)}
    assert explain(inputs, {}, cached=False) == "0 is new, 1 is new, 2 is new and 6 more"


def test_other_reasons_to_run_or_not():
    assert explain({"a": "1"}, None, cached=False) == "built for the first time"
    assert explain({"a": "1"}, {"a": "1"}, cached=False) == "its result is not in the cache any more"
    assert explain({"a": "1"}, {"a": "1"}, cached=True) == "nothing it depends on changed"
    assert explain({"a": "2"}, {"a": "1"}, cached=True) == "the same was built before"


def test_a_plan_is_up_to_date_only_if_all_steps_are_known_and_cached():
    cached = plan_step("files", {"a": "1"}, cached=True, before=None)
    assert BuildPlan((cached,)).up_to_date
    assert not BuildPlan((cached,), ("initramfs",)).up_to_date
    assert not BuildPlan((plan_step("files", {}, cached=False, before=None),)).up_to_date
