from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ostler.formats.gvariant import FormatError
from ostler.formats.keyfile import Keyfile, escape, join_list, split_list, unescape

WORD = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,8}", fullmatch=True)
TEXT = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=12)


@given(st.dictionaries(WORD, st.dictionaries(WORD, TEXT.map(str.strip)), max_size=4))
def test_what_is_dumped_parses_to_itself(groups: dict[str, dict[str, str]]) -> None:
    keyfile = Keyfile(groups)
    assert Keyfile.parse(keyfile.dump()) == keyfile


@given(st.text(max_size=20).filter(lambda text: "\0" not in text))
def test_escaped_text_reads_back(text: str) -> None:
    assert unescape(escape(text)) == text


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=6)))
def test_lists_read_back(items: list[str]) -> None:
    assert split_list(join_list(items)) == items


@given(st.text(max_size=60))
def test_any_text_parses_or_raises_the_documented_error(text: str) -> None:
    with suppress(FormatError):
        Keyfile.parse(text).dump()


def test_a_libostree_configuration_is_read() -> None:
    text = '[core]\nrepo_version=1\nmode=bare\n# comment\n\n[remote "origin"]\nurl=http://x/y\ngpg-verify=false\nbranches=a;b;\n'
    keyfile = Keyfile.parse(text)
    assert keyfile.get("core", "mode") == "bare"
    assert keyfile.get_bool('remote "origin"', "gpg-verify", True) is False
    assert keyfile.get_list('remote "origin"', "branches") == ["a", "b"]
    assert keyfile.get_int("core", "repo_version", 0) == 1
    assert keyfile.get("core", "absent") is None


def test_changes_are_copies() -> None:
    before = Keyfile.parse("[a]\nb=1\n")
    after = before.with_value("a", "b", "2").with_value("c", "d", "3")
    assert before.get("a", "b") == "1"
    assert after.dump() == "[a]\nb=2\n\n[c]\nd=3\n"
    assert after.with_value("a", "b", None).without("c").dump() == "[a]\n"


@pytest.mark.parametrize("text", ["a=1", "[a\nb=1", "[]", "[a]\nnothing", "[a]\n=1"])
def test_bad_lines_are_named_by_number(text: str) -> None:
    with pytest.raises(FormatError, match=r"line \d"):
        Keyfile.parse(text)


@pytest.mark.parametrize("value", ["maybe", ""])
def test_bad_booleans_and_numbers_are_refused(value: str) -> None:
    keyfile = Keyfile({"a": {"b": value}})
    with pytest.raises(FormatError):
        keyfile.get_bool("a", "b", True)
    with pytest.raises(FormatError):
        keyfile.get_int("a", "b", 1)
