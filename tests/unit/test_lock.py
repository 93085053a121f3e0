"""ostler.lock: written and read back, strict, with small diffs and no passwords."""

import dataclasses
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ostler.definition.errors import DefinitionError
from ostler.definition.lock import (
    Archive,
    Change,
    Lock,
    LockedSet,
    Package,
    dump_lock,
    package_changes,
    parse_lock,
    read_lock,
    strip_credentials,
    write_lock,
)
from ostler.errors import NotFoundError

NAMES = st.from_regex(r"[a-z0-9][a-z0-9+.-]{1,8}\Z", fullmatch=True)
PRINTABLE = st.text(alphabet=st.characters(min_codepoint=32, max_codepoint=126), min_size=1, max_size=10)
ARCHIVES = ("trixie", "trixie-security")


def package(name="bash", version="5.2-1", **changes):
    base = Package(name, version, "amd64", "a" * 64, 100, f"pool/main/{name}_{version}_amd64.deb", "trixie")
    return dataclasses.replace(base, **changes)


def lock(**changes):
    mirrors = tuple(Archive(name, "https://debian.example.org/debian", name, ("main",)) for name in ARCHIVES)
    base = LockedSet((package(), package("apt", "3.0")), digest="sha256:00", recipe="1")
    folder = LockedSet((package("nginx", "1.26"),), requested=("nginx",))
    whole = Lock(1_763_700_000, mirrors, base, folder, {"root": 0, "_apt": 42}, {"root": 0, "adm": 4})
    return dataclasses.replace(whole, **changes)


PACKAGES = st.builds(
    Package,
    name=NAMES,
    version=st.from_regex(r"[0-9][A-Za-z0-9.+~-]{0,6}\Z", fullmatch=True),
    architecture=st.sampled_from(["amd64", "all"]),
    sha256=st.from_regex(r"[0-9a-f]{64}\Z", fullmatch=True),
    size=st.integers(0, 2**40),
    filename=st.from_regex(r"pool/[a-z0-9_+~.%-]{1,10}\.deb\Z", fullmatch=True),
    archive=st.sampled_from(ARCHIVES),
)
SETS = st.builds(
    LockedSet,
    packages=st.lists(PACKAGES, max_size=3, unique_by=lambda one: one.name).map(lambda found: tuple(sorted(found))),
    requested=st.lists(NAMES, max_size=3, unique=True).map(lambda found: tuple(sorted(found))),
    digest=st.none() | PRINTABLE,
    recipe=st.none() | PRINTABLE,
)
IDS = st.dictionaries(PRINTABLE, st.integers(0, 2**32 - 1), max_size=4)
LOCKS = st.builds(
    lambda created, base, folder, users, groups: lock(
        created=created, base=base, folder=folder, users=users, groups=groups
    ),
    st.integers(0, 2**33),
    SETS,
    SETS,
    IDS,
    IDS,
)


@settings(max_examples=100, deadline=None)
@given(LOCKS)
def test_what_is_written_reads_back_the_same(value):
    text = dump_lock(value)
    assert parse_lock(text.encode()) == value
    assert dump_lock(parse_lock(text.encode())) == text


@settings(max_examples=30, deadline=None)
@given(LOCKS, st.randoms())
def test_the_order_in_memory_does_not_show_in_the_file(value, shuffle: random.Random):
    def mixed(items):
        return tuple(shuffle.sample(list(items), len(items)))

    other = dataclasses.replace(
        value,
        mirrors=mixed(value.mirrors),
        base=dataclasses.replace(value.base, packages=mixed(value.base.packages)),
        folder=dataclasses.replace(value.folder, requested=mixed(value.folder.requested)),
        users=dict(mixed(value.users.items())),
    )
    assert dump_lock(other) == dump_lock(value)


def test_the_file_says_what_to_do_with_it_and_has_one_package_a_line():
    lines = dump_lock(lock()).splitlines()
    assert lines[0] == "# written by ostler lock; commit it"
    assert sum('version = "5.2-1"' in line and 'name = "bash"' in line and "sha256" in line for line in lines) == 1


def test_one_new_version_changes_one_line():
    newer = lock(base=dataclasses.replace(lock().base, packages=(package("apt", "3.0"), package(version="5.3-1"))))
    old, new = dump_lock(lock()).splitlines(), dump_lock(newer).splitlines()
    assert len(old) == len(new)
    assert sum(a != b for a, b in zip(old, new, strict=True)) == 1


def test_passwords_of_mirrors_are_not_written():
    archive = Archive("trixie", "https://me:secret@debian.example.org:8080/debian", "trixie")
    text = dump_lock(lock(mirrors=(archive, lock().mirrors[1])))
    assert "secret" not in text
    assert 'uri = "https://debian.example.org:8080/debian"' in text
    assert strip_credentials("file:///srv/debian") == "file:///srv/debian"


@pytest.mark.parametrize(
    ("old", "new", "what"),
    [
        ("created = 1763700000", 'created = "now"', "`created` must be a whole number, but is text"),
        ("created = 1763700000", "created = 1763700000\nmade = 1", "unknown key `made`"),
        ("version = 1", "version = 2", "this version of Ostler reads locks of version 1"),
        ('name = "bash"', 'name = "apt"', '`packages` has "apt" twice'),
        ('version = "5.2-1", ', "", "`version` is missing"),
        ('sha256 = "' + "a" * 64, 'sha256 = "abc', "`sha256` is not a SHA-256 digest in hexadecimal"),
        ("size = 100", "size = -1", "`size` must be from 0 to"),
        ('"pool/main/bash', '"../bash', "`filename` is not a path in an archive"),
        ('"pool/main/bash', '"/bash', "`filename` is not a path in an archive"),
        ('"pool/main/bash', '"pool/../../bash', "`filename` is not a path in an archive"),
        ('deb", archive = "trixie"', 'deb", archive = "sid"', 'no [[archive]] has the name "sid"'),
        ('architecture = "amd64"', 'architecure = "amd64"', "unknown key `architecure`"),
        ("_apt = 42", "_apt = -4", "`_apt` must be from 0"),
        ('components = ["main"]', "components = []", "`components` must be a list of text with at least 1"),
        ('  "nginx",', "  7,", "`requested` must be a list of text, but has a number"),
    ],
)
def test_anything_else_than_a_lock_is_refused_with_its_line(old, new, what):
    text = dump_lock(lock())
    assert old in text
    changed = text.replace(old, new)
    with pytest.raises(DefinitionError) as caught:
        parse_lock(changed.encode(), "web/ostler.lock")
    problems = [problem for problem in caught.value.problems if what in problem.message]
    assert problems, caught.value.message
    number = problems[0].line
    assert number is not None
    assert changed.splitlines()[number - 1] != (text.splitlines() + [""] * 9)[number - 1] or "missing" in what
    assert problems[0].hint


def test_missing_tables_are_named():
    with pytest.raises(DefinitionError) as caught:
        parse_lock(b"version = 1\ncreated = 1\n", "ostler.lock")
    assert {problem.message for problem in caught.value.problems} == {
        f"`{name}` is missing" for name in ("base", "folder", "users", "groups")
    }


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_a_damaged_lock_is_read_or_refused_and_nothing_else(data):
    text = dump_lock(lock())
    at = data.draw(st.integers(0, len(text) - 1))
    piece = data.draw(st.sampled_from(["", "\n", '"', "]", "x", "= 1", "[[base]]\n", "{}"]))
    damaged = text[:at] + piece + text[at + data.draw(st.integers(0, 40)) :]
    try:
        parse_lock(damaged.encode())
    except DefinitionError as error:
        assert all(problem.file == "ostler.lock" for problem in error.problems)


def test_a_missing_lock_is_told_from_a_bad_one(tmp_path):
    with pytest.raises(NotFoundError, match="does not exist"):
        read_lock(tmp_path / "ostler.lock")


def test_writing_the_same_again_leaves_the_file_alone(tmp_path):
    path = tmp_path / "ostler.lock"
    assert write_lock(path, lock())
    before = path.stat().st_mtime_ns
    assert not write_lock(path, lock())
    assert path.stat().st_mtime_ns == before
    assert read_lock(path) == parse_lock(dump_lock(lock()).encode())


def test_package_changes_cover_base_and_folder():
    new = lock(
        base=LockedSet((package(version="5.3-1"), package("apt", "3.0"))),
        folder=LockedSet((package("tree", "2.2"),), requested=("tree",)),
    )
    assert package_changes(lock(), new) == [
        Change("bash", "5.2-1", "5.3-1"),
        Change("nginx", "1.26", None),
        Change("tree", None, "2.2"),
    ]
    assert [change.old for change in package_changes(None, new)] == [None, None, None]
    assert package_changes(new, new) == []
