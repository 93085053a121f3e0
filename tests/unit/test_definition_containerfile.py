"""Containerfiles must derive from the base; what they may copy."""

import re

import pytest
from definition_folder import loaded, make, only_problem
from hypothesis import given
from hypothesis import strategies as st

from ostler.definition.containerfile import check_containerfile, parse_instructions
from ostler.definition.context import context_files, is_owned
from ostler.definition.errors import DefinitionError, Findings
from ostler.definition.patterns import IgnoreRules


@pytest.mark.parametrize(
    "text",
    [
        "FROM base\n",
        "# syntax=docker/dockerfile:1\n\nfrom base as final\nRUN true\n",
        "ARG BASE=base\nFROM ${BASE}\n",
        'ARG X="base"\nARG BASE=$X\nFROM $BASE\n',
        "FROM ${NOTHING:-base}\n",
        "FROM --platform=linux/amd64 base\n",
        "FROM docker.io/library/golang AS build\nRUN make\nFROM base\nCOPY --from=build /x /usr/bin/x\n",
        "FROM base AS one\nRUN true\nFROM one AS two\nFROM TWO\n",
        "FROM \\\n  # a comment\n  base\n",
        "# escape=`\nFROM `\n base\nRUN echo \\\n",
        "FROM base\nRUN <<EOF\nFROM debian\nEOF\nRUN true\n",
        "FROM base\nCOPY <<-'a' <<b /x/\nFROM x\n\ta\nFORM y\nb\n",
        "FROM base\r\nRUN true\r\n",
    ],
)
def test_what_derives_from_the_base_is_accepted(tmp_path, text):
    web = loaded(tmp_path, {"Containerfile": text})
    assert web.containerfile == tmp_path / "web" / "Containerfile"


@pytest.mark.parametrize("text", ["", "\n\n", "# FROM base\n"])
def test_nothing_in_it_means_nothing_to_do(tmp_path, text):
    assert loaded(tmp_path, {"Containerfile": text}).containerfile is None


@pytest.mark.parametrize(
    ("text", "line", "message", "hint"),
    [
        ("FROM debian:trixie\n", 1, "from `debian:trixie`", "FROM base"),
        ("# x\n\nRUN true\n", 3, "`RUN` without a FROM", "begin with `FROM base`"),
        ("RUN true\nFROM base\n", 1, "`RUN` without a FROM", "begin with `FROM base`"),
        ("ARG X=1\n", 1, "`ARG` without a FROM", "begin with `FROM base`"),
        ("FROM base AS a\nFROM debian\n", 2, "the last stage is from `debian`", "FROM base"),
        ("FROM debian AS a\nRUN true\nFROM a\n", 3, "the last stage is from `a`", "FROM base"),
        ("ARG X=debian\nFROM $X\n", 2, "from `debian`", "FROM base"),
        ("ARG X\nFROM $X\n", 2, "`$X` has no value", "ARG NAME=value"),
        ("FROM base extra\n", 1, "is not understood", "FROM base"),
        ("FORM base\n", 1, "`FORM` is not an instruction", "`FROM`"),
        ("FROM base\nRUM true\n", 2, "`RUM` is not an instruction", "`RUN`"),
        ("FROM debian AS base\nFROM base\n", 1, "hides the machine's base", "another name"),
    ],
)
def test_what_does_not_derive_from_the_base_is_named_with_its_line(tmp_path, text, line, message, hint):
    folder = make(tmp_path, {"Containerfile": text})
    findings = Findings()
    check_containerfile(text, "web/Containerfile", findings)
    problem = findings.problems[0]
    assert problem.where == f"web/Containerfile:{line}"
    assert message in problem.message
    assert hint in (problem.hint or "")
    with pytest.raises(DefinitionError):
        context_files(folder) and loaded(tmp_path, {"Containerfile": text})


def test_instructions_have_the_lines_they_begin_on():
    text = "FROM base\n\n# x\nRUN a \\\n  # y\n\n  b\nCOPY <<E /x\nbody\nE\nUSER z"
    assert [(one.name, one.rest, one.line) for one in parse_instructions(text)] == [
        ("FROM", "base", 1),
        ("RUN", "a b", 4),
        ("COPY", "<<E /x", 8),
        ("USER", "z", 11),
    ]


@given(st.text(alphabet='FROMbaseRUN \\\n#<E$A{}="', max_size=60))
def test_any_text_is_checked_without_a_crash(text):
    findings = Findings()
    check_containerfile(text, "Containerfile", findings)
    assert all(problem.line for problem in findings.problems)


def test_the_context_is_everything_that_is_not_ostlers(tmp_path):
    files = {
        "Containerfile": "FROM base\n", "ostler.lock": "", "packages/install.txt": "", "systemd/enable.txt": "",
        "overlay/etc/x": "", "build/web.raw": "", ".git/config": "", ".gitignore": "", "app/build/x": "",
        "app/main.py": "",
        "src/.gitkeep": "", "README.md": "",
    }  # fmt: skip
    folder = make(tmp_path, files)
    (folder / "link").symlink_to("app/main.py")
    expected = (
        "Containerfile", "README.md", "app", "app/build", "app/build/x", "app/main.py", "link", "src", "src/.gitkeep",
    )  # fmt: skip
    assert loaded(tmp_path).context == expected
    assert context_files(folder) == expected


def test_the_context_is_not_read_without_a_containerfile(tmp_path):
    assert loaded(tmp_path, {"app/main.py": ""}).context == ()


def test_an_ignore_file_leaves_things_out_of_the_context(tmp_path):
    ignore = "# comment\nnode_modules\n*.log\n/tmp/\nkeep/*\n!keep/this\n**/*.pyc\n!keep/this/no.log\n"
    files = {
        "Containerfile": "FROM base\n", ".containerignore": ignore, ".dockerignore": "*", "node_modules/a/b": "",
        "x.log": "", "a/x.log": "", "tmp/x": "", "a/tmp": "", "keep/that": "", "keep/this/no.log": "", "a/b/c.pyc": "",
    }  # fmt: skip
    expected = (
        ".containerignore", ".dockerignore", "Containerfile", "a", "a/b", "a/tmp", "a/x.log", "keep", "keep/this",
        "keep/this/no.log",
    )  # fmt: skip
    assert loaded(tmp_path, files).context == expected


@pytest.mark.parametrize(
    ("rules", "left_out", "kept"),
    [
        ("*/temp*", ["somedir/temporary.txt", "somedir/temp/x"], ["temp", "a/b/temp"]),
        ("*/*/temp*", ["a/b/temporary.txt"], ["a/temp"]),
        ("temp?", ["tempa", "tempb/x"], ["temp", "a/tempa"]),
        ("*.md\n!README.md", ["a.md"], ["README.md"]),
        ("*.md\n!README*.md\nREADME-secret.md", ["README-secret.md"], ["README.md"]),
        ("*.md\nREADME-secret.md\n!README*.md", ["a.md"], ["README-secret.md"]),
        ("*\n!src", ["a", "b/c"], ["src", "src/x"]),
        ("./foo/bar/", ["foo/bar", "foo/bar/x"], ["foo", "bar"]),
    ],
)
def test_ignore_rules_mean_what_they_mean_to_buildah(rules, left_out, kept):
    found = IgnoreRules(rules)
    assert [path for path in left_out + kept if found.excludes(path)] == left_out


def test_a_bad_ignore_pattern_names_the_file(tmp_path):
    problem = only_problem(tmp_path, {"Containerfile": "FROM base\n", ".containerignore": "a[b\n"})
    assert problem.file == "web/.containerignore"
    assert re.search("not closed", problem.message)


@pytest.mark.parametrize(
    "name", ["ostler.toml", "keys", "secrets", "first.bu", ".git", ".github", ".gitattributes", "build"]
)
def test_what_ostler_owns(name):
    assert is_owned(name)
    assert not is_owned(f"x{name}x")
