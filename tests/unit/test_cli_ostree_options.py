"""The command line of the `ostree` face is read as GLib's GOption reads it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ostler.cli.ostree.options import (
    FSYNC,
    Failure,
    HelpRequested,
    boolean,
    flag,
    many,
    number,
    parse,
    parse_boolean,
    text,
)

OPTIONS = (
    flag("recursive", "", "R"),
    flag("view", "", "v"),
    text("subpath", "PATH", "", "p"),
    number("depth", "N", "", "d"),
    boolean("bool", "B", ""),
    many("tree", "T", "", "t"),
    flag("verbose", "", "v"),
)

words = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=12)
arguments = words.filter(lambda word: not word.startswith("-"))


def test_options_and_arguments_mix() -> None:
    values = parse(OPTIONS, ["a", "--subpath=x", "b", "-R", "--tree", "1", "-t", "2", "--depth", "-3", "c"])
    assert values.arguments == ["a", "b", "c"]
    assert values.texts == {"subpath": "x"}
    assert values.flags == {"recursive"}
    assert values.lists == {"tree": ["1", "2"]}
    assert values.numbers == {"depth": -3}


def test_short_options_are_bundled_and_take_the_next_argument() -> None:
    values = parse(OPTIONS, ["-Rp", "where", "x"])
    assert (values.flags, values.texts, values.arguments) == ({"recursive"}, {"subpath": "where"}, ["x"])


def test_of_two_options_with_a_letter_the_first_has_it() -> None:
    assert parse(OPTIONS, ["-v"]).flags == {"view"}


def test_a_value_may_begin_with_a_dash_and_hold_equals_signs() -> None:
    values = parse(OPTIONS, ["--subpath", "--tree", "--tree=a=b"])
    assert (values.texts, values.lists) == ({"subpath": "--tree"}, {"tree": ["a=b"]})


def test_after_two_dashes_everything_is_an_argument_and_one_dash_always_is() -> None:
    assert parse(OPTIONS, ["-", "--", "-R", "--", "--nope"]).arguments == ["-", "-R", "--", "--nope"]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["--nope"], "Unknown option --nope"),
        (["--recursive=1"], "Unknown option --recursive=1"),
        (["-RZ"], "Unknown option -RZ"),
        (["--subpath"], "Missing argument for --subpath"),
        (["-p"], "Missing argument for -p"),
        (["--depth=x"], "Cannot parse integer value “x” for --depth"),
        (["--depth="], "Cannot parse integer value “” for --depth"),
        (["--depth=1_0"], "Cannot parse integer value “1_0” for --depth"),
        (["-d", "9999999999"], "Integer value “9999999999” for -d out of range"),
        (["-pd", "1", "2"], "Error parsing option -d"),
        (["--bool=maybe"], "Invalid boolean argument 'maybe'"),
    ],
)
def test_what_cannot_be_read_is_an_error(given: list[str], message: str) -> None:
    with pytest.raises(Failure) as raised:
        parse(OPTIONS, given)
    assert raised.value.message == message


@pytest.mark.parametrize("given", [["--help"], ["-h"], ["-?"], ["-Rh"], ["a", "--help", "--nope"]])
def test_help_is_asked_for(given: list[str]) -> None:
    with pytest.raises(HelpRequested):
        parse(OPTIONS, given)


def test_numbers_are_read_as_c_reads_them() -> None:
    assert [parse(OPTIONS, [f"--depth={n}"]).numbers["depth"] for n in ("10", "010", "0x10", "+3", "-0x1", "0")] == [
        10,
        8,
        16,
        3,
        -1,
        0,
    ]


def test_booleans_have_several_spellings() -> None:
    assert all(parse_boolean(value) for value in ("1", "true", "YES"))
    assert not any(parse_boolean(value) for value in ("0", "False", "no", "none"))


def test_the_hidden_option_for_fsync_is_not_shown() -> None:
    assert [option.shown for option in FSYNC if not option.hidden] == ["--fsync=POLICY"]


@given(st.lists(arguments), st.lists(words), st.lists(words))
def test_what_was_given_comes_out_in_order(plain: list[str], trees: list[str], behind: list[str]) -> None:
    values = parse(OPTIONS, [*(f"--tree={tree}" for tree in trees), *plain, "--", *behind])
    assert values.arguments == plain + behind
    assert values.lists.get("tree", []) == trees


@given(st.lists(words))
def test_any_line_is_read_or_refused(line: list[str]) -> None:
    try:
        values = parse(OPTIONS, line)
    except (Failure, HelpRequested):
        return
    kept = iter(line)
    assert all(argument in kept for argument in values.arguments)  # in the order they were given
