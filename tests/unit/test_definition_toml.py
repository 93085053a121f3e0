"""The scanner for positions, held against tomllib, and syntax errors as file:line."""

import tomllib

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ostler.definition.document import parse_document
from ostler.definition.errors import DefinitionError
from ostler.definition.toml_positions import scan
from ostler.definition.toml_text import toml_inline, toml_key, toml_string

TRICKY = st.text(alphabet="ab\"'\\#[]{}=,.\n\t é", max_size=12)
ONE_LINE = st.text(alphabet="ab#[]{}=,. é", max_size=8)


class Writer:
    """Writes random documents; every key and number is unique, so that its line can be recognised."""

    def __init__(self, draw):
        self.draw = draw
        self.count = 0
        self.lines = []

    def number(self):
        self.count += 1
        return 1000 + self.count

    def choose(self, *options):
        return self.draw(st.sampled_from(options))

    def key(self):
        name = f"k{self.number()}-" + (self.draw(ONE_LINE) if self.choose(False, True) else "x")
        if name.replace("-", "").isalnum() and name.isascii() and self.choose(True, False):
            return name
        return toml_string(name) if "'" in name or self.choose(True, False) else f"'{name}'"

    def blank(self):
        return self.choose("", " ", "\t")

    def junk(self):
        """What may stand between the elements of an array."""
        return self.choose("", " ", "\n", ' # [x] = {"\n', "\n\n\t")

    def string(self):
        text = self.draw(TRICKY)
        style = self.choose("basic", "literal", "long", "long-literal")
        if style == "literal" and "'" not in text and "\n" not in text:
            return f"'{text}'"
        if style == "long":
            return '"""' + self.choose("", "\n") + text.replace("\\", "\\\\").replace('"""', '""\\"') + 'e"""'
        if style == "long-literal" and "'" not in text:
            return "'''" + text + self.choose("", "'", "''") + "'''"
        return toml_string(text)

    def value(self, depth):
        kind = self.choose("number", "string", "other", *(("array", "inline") if depth < 3 else ()))
        if kind == "number":
            return str(self.number())
        if kind == "string":
            return self.string()
        if kind == "array":
            parts = [self.junk() + self.value(depth + 1) + self.junk() for _ in range(self.draw(st.integers(0, 3)))]
            return "[" + ",".join(parts) + ("," if parts and self.choose(False, True) else "") + self.junk() + "]"
        if kind == "inline":
            return self.inline(depth)
        return self.choose(
            "true", "1979-05-27 07:32:00", "1979-05-27T07:32:00Z", "-inf", "0x1F", "1_000", "07:32:00.5", "6e-3"
        )

    def inline(self, depth):
        return (
            "{"
            + ",".join(self.blank() + self.pair(depth + 1) + self.blank() for _ in range(self.draw(st.integers(0, 2))))
            + "}"
        )

    def pair(self, depth):
        parts = [self.key() for _ in range(self.draw(st.integers(1, 3)))]
        dot = self.blank() + "." + self.blank()
        return self.blank() + dot.join(parts) + self.blank() + "=" + self.blank() + self.value(depth)

    def table(self, prefix, depth):
        for _ in range(self.draw(st.integers(0, 3))):
            self.lines.append(self.pair(0) + self.choose("", " # x = [", "\n\n"))
        if depth == 3:
            return
        for _ in range(self.draw(st.integers(0, 2))):
            name = [*prefix, *(self.key() for _ in range(self.draw(st.integers(1, 2))))]
            if self.choose(True, False):
                self.lines.append(f"[{'.'.join(name)}]")
                self.table(name, depth + 1)
                continue
            for _ in range(self.draw(st.integers(1, 2))):
                self.lines.append(f"[[ {' . '.join(name)} ]]")
                self.table(name, depth + 1)


@st.composite
def documents(draw):
    writer = Writer(draw)
    writer.table([], 0)
    return "\n".join(writer.lines) + writer.choose("", "\n")


def paths(value, path=()):
    members = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, member in members:
        yield (*path, name), member
        yield from paths(member, (*path, name))


@settings(max_examples=250, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(documents())
def test_every_value_that_tomllib_finds_has_a_line_with_its_key_or_value(text):
    lines = text.split("\n")
    found = scan(text)
    expected = dict(paths(tomllib.loads(text)))
    assert found.keys() == expected.keys()
    for path, line in found.items():
        if isinstance(path[-1], str):
            assert path[-1].partition("-")[0] in lines[line - 1]
        elif isinstance(expected[path], int) and expected[path] > 1000:
            assert str(expected[path]) in lines[line - 1]


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(documents())
def test_windows_line_ends_change_no_line(text):
    assert scan(text.replace("\n", "\r\n")) == scan(text)


@given(st.text(alphabet=st.characters(exclude_categories=["Cs"])))
def test_written_strings_and_keys_read_back(text):
    assert tomllib.loads(f"{toml_key(text)} = {toml_string(text)}") == {text: text}
    assert tomllib.loads(f"x = {toml_inline({text: (text,), 'a b': 3})}")["x"] == {text: [text], "a b": 3}


@pytest.mark.parametrize(
    ("text", "where", "what", "hint"),
    [
        ("name = web\n", 1, "not valid TOML", 'double quotes: "web"'),
        ('a = 1\n\nname: "web"\n', 3, "not valid TOML", "not `key: value`"),
        ("[boot\n", 1, "not valid TOML", "[boot]"),
        ("a = yes\n", 1, "not valid TOML", "yes"),
        ("a = TRUE\n", 1, "not valid TOML", "write true"),
        ('a = 1\na = "x"\n', 2, "a second time", "once"),
        ("[boot]\n[disk]\n[boot]\n", 3, "[boot] begins a second time", "below one such line"),
        ("a = [1,\n2\n", 2, "end of the file", None),
        ("<<<<<<< ours\na = 1\n=======\na = 2\n>>>>>>> theirs\n", 1, "merge conflict", "one of the two"),
        ('a = "\x01"\n', 1, "not valid TOML", None),
    ],
)
def test_syntax_errors_name_file_line_and_remedy(text, where, what, hint):
    with pytest.raises(DefinitionError) as caught:
        parse_document(text.encode(), "web/ostler.toml")
    (problem,) = caught.value.problems
    assert problem.where == f"web/ostler.toml:{where}"
    assert what in problem.message
    assert (hint or "") in (problem.hint or "")
    assert "at line" not in problem.message


def test_text_that_is_not_utf8_is_an_error_with_its_line():
    with pytest.raises(DefinitionError, match=r"^x:2: is not UTF-8 text \(byte 0xff\)"):
        parse_document(b"a = 1\nb = '\xff'\n", "x")


def test_nesting_beyond_reason_is_an_error():
    with pytest.raises(DefinitionError, match="nested too deeply"):
        parse_document(b"a = " + b"[" * 100_000, "x")


@settings(max_examples=200, deadline=None)
@given(st.one_of(st.binary(max_size=60), st.text(alphabet="ab=[]{}\"'\n.#\\ 1", max_size=40).map(str.encode)))
def test_any_bytes_are_a_document_with_positions_or_a_definition_error(data):
    try:
        document = parse_document(data, "x")
    except DefinitionError as error:
        assert all(problem.file == "x" for problem in error.problems)
    else:
        assert scan(document.text).keys() == dict(paths(document.values)).keys()


def test_a_byte_order_mark_is_ignored():
    assert parse_document(b"\xef\xbb\xbfa = 1\n", "x").values == {"a": 1}
