"""GVariant values as text, as GLib prints and parses them."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ostler.formats.gvariant import FormatError, Variant, encode
from ostler.formats.gvariant_text import byteswapped, format_text, parse_text, split_types

SAMPLES = [  # as GLib 2.74 prints them
    ("s", 'it\'s "q"', '"it\'s \\"q\\""'),
    ("s", "é\n\x01", "'é\\n\\u0001'"),
    ("ay", b"abc\0", "b'abc'"),
    ("ay", b"\x01xff\0", "b'\\001xff'"),
    ("ay", b"\x01\x02", "[byte 0x01, 0x02]"),
    ("ay", b"", "@ay []"),
    ("aay", [b"a\0", b"b\0"], "[b'a', b'b']"),
    ("ad", [1.0, 2.5], "[1.0, 2.5]"),
    ("ami", [None, 3], "[@mi nothing, 3]"),
    ("(i)", (1,), "(1,)"),
    ("a{iv}", {1: Variant("s", "x")}, "{1: <'x'>}"),
    ("a{sv}", {}, "@a{sv} {}"),
    ("as", [], "@as []"),
    ("d", 1e10, "10000000000.0"),
    ("d", 0.1, "0.10000000000000001"),
    ("d", 1e-5, "1.0000000000000001e-05"),
    ("q", 3, "uint16 3"),
    ("x", -5, "int64 -5"),
    ("y", 5, "byte 0x05"),
    ("b", True, "true"),
    ("o", "/a", "objectpath '/a'"),
    ("g", "a{sv}", "signature 'a{sv}'"),
    ("v", Variant("v", Variant("i", 1)), "<<1>>"),
    ("au", [5, 6], "[uint32 5, 6]"),
    ("aai", [[], [1]], "[@ai [], [1]]"),
    ("mi", 3, "@mi 3"),
    ("a(is)", [(1, "x"), (2, "y")], "[(1, 'x'), (2, 'y')]"),
]


@pytest.mark.parametrize(("type", "value", "text"), SAMPLES)
def test_values_are_printed_as_glib_does_and_read_back(type: str, value: object, text: str) -> None:
    assert format_text(type, value) == text
    assert parse_text(text) == Variant(type, value)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[1, 2.5]", Variant("ad", [1.0, 2.5])),
        ("[1, uint32 2]", Variant("au", [1, 2])),
        ("[just 3, nothing]", Variant("ami", [3, None])),
        ("@u 5", Variant("u", 5)),
        ("int32 5", Variant("i", 5)),
        ("0x1F", Variant("i", 31)),
        ("{'a': 1, 'b': 2}", Variant("a{si}", {"a": 1, "b": 2})),
        ("('a', <@as []>)", Variant("(sv)", ("a", Variant("as", [])))),
        ("  [ ( 1 , ) ]  ", Variant("a(i)", [(1,)])),
        ("'\\U0001f600'", Variant("s", "😀")),
        ("[[], [[]], [[1]]]", Variant("aaai", [[], [[]], [[1]]])),
    ],
)
def test_types_are_inferred(text: str, expected: Variant) -> None:
    assert parse_text(text) == expected


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{}", "foo", "[1, 's']", "@u -5", "0x7fffffffffff", "(1", "'x", "1 2", "('a' 'b')", "nothing", "@z 1"],
)
def test_what_is_no_value_is_refused(text: str) -> None:
    with pytest.raises(FormatError):
        parse_text(text)


def test_deep_nesting_is_refused() -> None:
    with pytest.raises(FormatError):
        parse_text("[" * 5000 + "]" * 5000)


def test_numbers_are_byteswapped_however_deep() -> None:
    value = {"k": Variant("(utay)", (1, 2, b"ab"))}
    swapped = byteswapped("a{sv}", value)
    assert swapped == {"k": Variant("(utay)", (1 << 24, 2 << 56, b"ab"))}
    assert byteswapped("a{sv}", swapped) == value


def test_types_are_split() -> None:
    assert split_types("a{sv}u(iay)mma(s)") == ["a{sv}", "u", "(iay)", "mma(s)"]


def values(type: str) -> st.SearchStrategy[object]:
    """Values of a type, for a few types."""
    text = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=8)
    basic = {"s": text, "i": st.integers(-(2**31), 2**31 - 1), "t": st.integers(0, 2**64 - 1), "b": st.booleans()}
    basic |= {"d": st.floats(allow_nan=False), "y": st.integers(0, 255), "ay": st.binary(max_size=6)}
    if type in basic:
        return basic[type]
    if type[0] == "a" and type[1] != "{":
        return st.lists(values(type[1:]), max_size=4)
    if type[0] == "(":
        return st.tuples(*map(values, split_types(type[1:-1])))
    if type[0] == "v":
        return st.sampled_from(["s", "t", "as", "(iay)"]).flatmap(lambda t: st.builds(Variant, st.just(t), values(t)))
    key, value = split_types(type[2:-1])
    return st.dictionaries(values(key), values(value), max_size=4)


types = st.sampled_from(["s", "i", "t", "b", "d", "y", "ay", "as", "aay", "at", "a(sv)", "a{sv}", "a{t(yas)}", "(vab)"])


@given(types.flatmap(lambda t: st.tuples(st.just(t), values(t))))
def test_what_is_printed_is_read_back(sample: tuple[str, object]) -> None:
    type, value = sample
    read = parse_text(format_text(type, value))
    assert read.type == type
    assert encode(type, read.value) == encode(type, value)


@given(st.text(st.sampled_from("[](){}<>'\"@ab,:1. \\usiyvjtn"), max_size=20))
def test_any_text_is_read_or_refused(text: str) -> None:
    with contextlib.suppress(FormatError):
        parse_text(text)
