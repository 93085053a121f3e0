"""Debian's package database and version order; dpkg itself judges the order."""

import subprocess

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ostler.packages.dpkg import (
    ControlError,
    Dependency,
    VersionError,
    compare_versions,
    parse_dependencies,
    parse_stanzas,
    parse_status,
    split_version,
    version_key,
)

STATUS = """\
Package: libc6
Status: install ok installed
Priority: optional
Source: glibc (2.41-12)
Version: 2.41-12+b1
Architecture: amd64
Multi-Arch: same
Replaces: libc6-amd64
Depends: libgcc-s1, libxcrypt (>= 1:4.4.10-10~) | libcrypt1
Description: GNU C Library: Shared libraries
 Contains the standard libraries.
 .
 More of it.

Package: libc6
Status: install ok installed
Version: 2.41-12
Architecture: i386

Package: dpkg
Essential: yes
Status: install ok half-configured
Version: 1.22.21
Architecture: amd64
Pre-Depends: libc6:any (>= 2.38), tar (>= 1.28-1~)
Depends: tar
Provides: dpkg-dev-x (= 1), other

Package: gone
Status: deinstall ok config-files
Version: 1
Architecture: all

Package: never
Status: unknown ok not-installed
"""

UPSTREAM = st.from_regex(r"[0-9][A-Za-z0-9.+~]{0,8}\Z", fullmatch=True)
REVISION = st.one_of(st.just(""), st.from_regex(r"-[A-Za-z0-9.+~]{1,5}\Z", fullmatch=True))
EPOCH = st.one_of(st.just(""), st.integers(0, 3).map(lambda number: f"{number}:"))
VERSIONS = st.builds("{}{}{}".format, EPOCH, UPSTREAM, REVISION)


@st.composite
def near_pairs(draw):
    """Two versions that often share a beginning."""
    first = draw(VERSIONS)
    if draw(st.booleans()):
        return first, draw(VERSIONS)
    cut = draw(st.integers(1, len(first)))
    second = first[:cut] + draw(st.text(alphabet="01.~+az", max_size=4)) + first[cut + draw(st.integers(0, 2)) :]
    try:
        split_version(second)
    except VersionError:
        return first, draw(VERSIONS)
    return first, second


def dpkg_says(a, relation, b):
    return (
        subprocess.run(["dpkg", "--compare-versions", a, relation, b], check=False, capture_output=True).returncode == 0
    )


@settings(max_examples=300, deadline=None)
@given(near_pairs())
def test_versions_are_ordered_as_dpkg_orders_them(pair):
    a, b = pair
    order = compare_versions(a, b)
    relation = "lt" if order < 0 else "gt" if order > 0 else "eq"
    assert dpkg_says(a, relation, b), f"{a} {relation} {b}"


@pytest.mark.parametrize(
    ("older", "newer"),
    [
        ("1.0~rc1", "1.0"),
        ("1.0", "1.0-1"),
        ("1.0-1", "1.0-1+b1"),
        ("1.9", "1.10"),
        ("2.0", "1:1.0"),
        ("1.0a", "1.0+"),
        ("0~1", "0"),
        ("1-0~1", "1"),
    ],
)
def test_well_known_pairs(older, newer):
    assert compare_versions(older, newer) < 0 < compare_versions(newer, older)
    assert dpkg_says(older, "lt", newer)


@pytest.mark.parametrize(("a", "b"), [("1.0", "1.00"), ("0:1", "1"), ("1", "1-0"), ("1.0", "1.0-0")])
def test_spellings_of_the_same_version_are_equal(a, b):
    assert compare_versions(a, b) == 0
    assert version_key(a) == version_key(b)


@pytest.mark.parametrize("wrong", ["", "-1", "1:", "a:1", "1.0-", "1 0", "1.0_1", "é", "1.0-1:2"])
def test_what_is_no_version_is_refused(wrong):
    with pytest.raises(VersionError, match="is not a package version"):
        compare_versions(wrong, "1")


def test_installed_packages_are_those_whose_files_are_there():
    packages = parse_status(STATUS)
    assert list(packages) == ["libc6", "libc6:i386", "dpkg"]
    libc = packages["libc6"]
    assert (libc.version, libc.architecture, libc.source, libc.source_version) == (
        "2.41-12+b1",
        "amd64",
        "glibc",
        "2.41-12",
    )
    assert libc.depends == (
        (Dependency("libgcc-s1"),),
        (Dependency("libxcrypt", None, ">=", "1:4.4.10-10~"), Dependency("libcrypt1")),
    )
    dpkg = packages["dpkg"]
    assert dpkg.essential and dpkg.state == "half-configured"
    assert [group[0].name for group in dpkg.depends] == ["libc6", "tar", "tar"]
    assert dpkg.provides == ("dpkg-dev-x", "other")
    assert (dpkg.source, dpkg.source_version) == ("dpkg", "1.22.21")


def test_bytes_that_are_not_utf8_do_not_stop_reading():
    assert parse_status(STATUS.encode().replace(b"GNU", b"\xff"))["libc6"].name == "libc6"


def test_fields_are_found_in_any_case_and_continuations_are_kept():
    stanza = next(parse_stanzas(STATUS))
    assert stanza["Multi-Arch"] == stanza["multi-arch"] == "same"
    assert stanza["Description"].split("\n")[1:] == ["Contains the standard libraries.", ".", "More of it."]
    assert "Nothing" not in stanza


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (" continued\n", "line 1 .* continues a field"),
        ("Package: a\n\nnonsense\n", "line 3 .* is not `Field: value`"),
        ("Package: a\npackage: b\n", "line 2 .* a second time"),
    ],
)
def test_malformed_control_data_names_the_line(text, message):
    with pytest.raises(ControlError, match=message):
        list(parse_stanzas(text))


def test_a_package_without_a_version_is_an_error():
    with pytest.raises(ControlError, match="lacks a name or a version"):
        parse_status("Package: a\nStatus: install ok installed\n")


def test_dependencies_of_a_form_that_policy_does_not_know_are_errors():
    with pytest.raises(ControlError, match="not a dependency"):
        parse_dependencies("libc6 (~> 2)")


@settings(max_examples=150, deadline=None)
@given(st.text(alphabet="Aa: \n\t#-x,|()=", max_size=80))
def test_any_text_gives_stanzas_or_a_control_error(text):
    try:
        parse_status(text)
        parse_dependencies(text)
    except ControlError:
        pass
