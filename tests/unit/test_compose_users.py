"""Numbers of system accounts stay what the lock says."""

from hypothesis import given
from hypothesis import strategies as st

from ostler.compose.users import (
    Renumbering,
    parse_ids,
    renumber,
    rewrite_group,
    rewrite_passwd,
    rewrite_shadow,
    sysusers,
)

NAMES = st.text("abcdefgh", min_size=1, max_size=4)
SYSTEM = st.integers(100, 999)


def unique_ids(strategy=SYSTEM):
    return st.dictionaries(NAMES, strategy).map(
        lambda ids: {name: number for number, name in {number: name for name, number in ids.items()}.items()}
    )


@given(unique_ids(), unique_ids())
def test_a_locked_name_gets_its_locked_number_and_no_two_names_share_one(installed, locked):
    result = renumber(installed, locked)
    assert all(result.ids[name] == number for name, number in locked.items())
    assert len(set(result.ids.values())) == len(result.ids)
    assert {result.apply(number) for number in installed.values()} == {result.ids[name] for name in installed}


@given(unique_ids(), unique_ids())
def test_renumbering_what_was_renumbered_changes_nothing(installed, locked):
    first = renumber(installed, locked)
    again = renumber({name: first.ids[name] for name in installed}, first.ids)
    assert again.moves == {}
    assert again.ids == first.ids


def test_numbers_fixed_by_debian_are_never_moved():
    assert renumber({"root": 0, "www-data": 33, "nobody": 65534}, {}).moves == {}


def test_a_new_name_does_not_take_the_number_of_a_name_that_is_only_in_the_lock():
    result = renumber({"new": 990}, {"gone": 990})
    assert result.ids["new"] != 990
    assert result.ids["gone"] == 990


def test_two_names_can_swap_numbers():
    assert renumber({"a": 100, "b": 101}, {"a": 101, "b": 100}).moves == {100: 101, 101: 100}


def test_account_files_are_rewritten_sorted_and_without_dates():
    users, groups = Renumbering({"b": 101, "root": 0}, {100: 101}), Renumbering({"g": 201}, {200: 201})
    passwd = rewrite_passwd("b:x:100:200:B:/:/bin/sh\nroot:x:0:0::/root:/bin/sh\n", users, groups)
    assert passwd == "root:x:0:0::/root:/bin/sh\nb:x:101:201:B:/:/bin/sh\n"
    assert rewrite_group("g:x:200:b\nroot:x:0:\n", groups) == "root:x:0:\ng:x:201:b\n"
    shadow = rewrite_shadow("b:!:20000::::::\nroot:*:20001:0:99999:7:::\n", ["root", "b"])
    assert shadow == "root:*::0:99999:7:::\nb:!:::::::\n"
    assert rewrite_shadow("g:!::b\nroot:*::\n", ["root", "g"]) == "root:*::\ng:!::b\n"


def test_sysusers_lines_name_numbers_groups_and_members():
    passwd = 'root:x:0:0::/root:/bin/sh\nweb:x:900:900:Web "x":/srv:/bin/false\nme:x:1000:1000::/home/me:/bin/sh\n'
    text = sysusers(passwd, "root:x:0:\nweb:x:900:\nextra:x:901:web,me\n")
    assert text.splitlines() == [
        "g web 900", "g extra 901", 'u web 900 "Web x" /srv /bin/false', "m web extra",
    ]  # fmt: skip


def test_malformed_account_lines_are_passed_over():
    assert parse_ids("a:x:1:1\nbroken\nb:x:no:1::\n") == {"a": 1}
