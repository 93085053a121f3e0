from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ostler.errors import OstlerError
from ostler.formats.gvariant import MAX_VARIANTS, GVariantError, Variant, decode, encode, parse_type

NUMBERS = {
    "y": st.integers(0, 0xFF),
    "n": st.integers(-(2**15), 2**15 - 1),
    "q": st.integers(0, 0xFFFF),
    "i": st.integers(-(2**31), 2**31 - 1),
    "u": st.integers(0, 2**32 - 1),
    "x": st.integers(-(2**63), 2**63 - 1),
    "t": st.integers(0, 2**64 - 1),
}
TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=8)
BASIC = {**NUMBERS, "b": st.booleans(), "s": TEXT, "ay": st.binary(max_size=12)}


@st.composite
def typed_values(draw: st.DrawFn, depth: int = 3) -> tuple[str, Any]:
    kind = draw(
        st.sampled_from(["basic", "basic", "array", "tuple", "maybe", "variant", "dict"] if depth else ["basic"])
    )
    if kind == "basic":
        code = draw(st.sampled_from(sorted(BASIC)))
        return code, draw(BASIC[code])
    if kind == "tuple":
        members = draw(st.lists(typed_values(depth - 1), max_size=4))
        return "(" + "".join(code for code, _ in members) + ")", tuple(value for _, value in members)
    code, value = draw(typed_values(depth - 1))
    if kind == "maybe" and not code.startswith("m"):
        return "m" + code, draw(st.sampled_from([None, value]))
    if kind == "variant":
        return "v", Variant(code, value)
    if kind == "dict":
        keys = draw(st.lists(TEXT, unique=True, max_size=4))
        return "a{s" + code + "}", dict.fromkeys(keys, value)
    if code == "y":
        code, value = "u", 7
    return "a" + code, [value] * draw(st.integers(0, 5))


@given(typed_values())
@settings(max_examples=400, deadline=None)
def test_what_is_encoded_decodes_to_itself(typed: tuple[str, Any]) -> None:
    code, value = typed
    assert decode(code, encode(code, value)) == value


@given(
    st.sampled_from(["(a(say)a(sayay))", "(uuuusa(ayay))", "a{sv}", "(a{sv}aya(say)sstayay)", "aay", "ms", "(yt)"]),
    st.binary(),
)
@settings(max_examples=600, deadline=None)
def test_any_bytes_decode_to_what_encodes_to_them_or_raise_the_documented_error(code: str, data: bytes) -> None:
    try:
        value = decode(code, data)
    except GVariantError as error:
        assert isinstance(error, OstlerError)
    else:
        assert encode(code, value) == data


@given(typed_values(), st.data())
@settings(max_examples=300, deadline=None)
def test_a_damaged_byte_never_gives_a_value_that_encodes_otherwise(typed: tuple[str, Any], data: st.DataObject) -> None:
    code, value = typed
    encoded = bytearray(encode(code, value))
    if not encoded:
        return
    encoded[data.draw(st.integers(0, len(encoded) - 1))] ^= data.draw(st.integers(1, 255))
    try:
        damaged = decode(code, bytes(encoded))
    except GVariantError:
        return
    assert encode(code, damaged) == bytes(encoded)


@pytest.mark.parametrize(
    ("code", "value", "expected"),
    [
        ("()", (), "00"),
        ("a(say)", [], ""),
        ("s", "hello world", "68656c6c6f20776f726c6400"),
        ("ms", "hello world", "68656c6c6f20776f726c640000"),
        ("ab", [True, False, False, True, True], "0100000101"),
        ("(si)", ("foo", -1), "666f6f00ffffffff04"),
        ("a(si)", [("hi", -2), ("bye", -1)], "68690000feffffff0300000062796500ffffffff040915"),
        ("as", ["i", "can", "has", "strings?"], "690063616e0068617300737472696e67733f0002060a13"),
        ("((ys)as)", ((ord("i"), "can"), ["has", "strings?"]), "6963616e0068617300737472696e67733f00040d05"),
        ("(yy)", (0x70, 0x80), "7080"),
        ("(iy)", (96, 0x70), "6000000070000000"),
        ("a(iy)", [(96, 0x70), (648, 0xF7)], "600000007000000088020000f7000000"),
        ("ai", [4, 258], "0400000002010000"),
        ("{si}", ("a key", 514), "61206b65790000000202000006"),
    ],
)  # fmt: skip
def test_examples_of_the_gvariant_specification(code: str, value: Any, expected: str) -> None:
    assert encode(code, value) == bytes.fromhex(expected)
    assert decode(code, bytes.fromhex(expected)) == value


@pytest.mark.parametrize(
    "size", [0, 1, 100, 251, 252, 253, 254, 255, 256, 65530, 65531, 65532, 65533, 65534, 65535, 65536]
)
def test_offsets_grow_with_the_container(size: int) -> None:
    value = (b"x" * size, b"y", "z")
    assert decode("(ayays)", encode("(ayays)", value)) == value


@pytest.mark.parametrize(
    ("code", "data"),
    [
        ("b", "02"), ("s", "6100 00"), ("s", "61"), ("s", "ff00"), ("(yu)", "0100000102030405"), ("(yu)", "01"),
        ("v", ""), ("v", "0100"), ("v", "01007a"), ("aay", "05"), ("as", "610002ff"), ("a{sv}", "00"), ("ai", "01"),
        ("()", "01"),
        ("g", "6100"), ("o", "6100"), ("(say)", "6162"),
    ],
)  # fmt: skip
def test_bytes_in_no_normal_form_are_refused(code: str, data: str) -> None:
    with pytest.raises(GVariantError):
        decode(code, bytes.fromhex(data))


def test_offsets_wider_than_needed_are_refused() -> None:
    assert decode("aay", b"x" * 254 + b"\xfe")
    with pytest.raises(GVariantError):
        decode("aay", b"x" * 254 + b"\xfe\x00")


def test_a_repeated_key_is_refused() -> None:
    twice = encode("a(sv)", [("k", Variant("y", 1)), ("k", Variant("y", 2))])
    with pytest.raises(GVariantError, match="twice"):
        decode("a{sv}", twice)


def test_variants_nested_without_end_are_refused() -> None:
    value = Variant("y", 1)
    for _ in range(MAX_VARIANTS):
        value = Variant("v", value)
    assert decode("v", encode("v", value)) == value
    with pytest.raises(GVariantError, match="nested"):
        decode("v", encode("v", Variant("v", value)))


@pytest.mark.parametrize(
    "code", ["", "z", "(", "a", "{sv}x", "ss", "a{vs}", "m", "{s", "((((", "a" * 300, "mms", "(" * 200]
)
def test_what_is_no_type_is_refused(code: str) -> None:
    with pytest.raises(GVariantError):
        parse_type(code)


@pytest.mark.parametrize(
    ("code", "value"), [("y", 256), ("s", "a\0b"), ("s", b"a"), ("ay", "a"), ("(ss)", ("a",)), ("b", 1),
     ("v", 1), ("a{sv}", []), ("as", "ab")]
)  # fmt: skip
def test_values_of_another_type_are_refused(code: str, value: Any) -> None:
    with pytest.raises(GVariantError):
        encode(code, value)
