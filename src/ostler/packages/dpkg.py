"""Reading Debian's package database and control files (deb822(5)), and comparing versions.

Versions follow Debian Policy 5.6.12: `[epoch:]upstream[-revision]`, compared part by part with runs of non-digits
and runs of digits in turn, `~` before everything, letters before other characters.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from ostler.errors import CorruptError, OstlerError

NAME = re.compile(r"[a-z0-9][a-z0-9+.-]+\Z", re.ASCII)
_UPSTREAM = re.compile(r"[A-Za-z0-9][A-Za-z0-9.+~:-]*\Z", re.ASCII)
_REVISION = re.compile(r"[A-Za-z0-9.+~]+\Z", re.ASCII)
_RUN = re.compile(r"([^0-9]*)([0-9]*)", re.ASCII)
_DEPENDENCY = re.compile(
    r"\s*(?P<name>[^\s(\[<:]+)(?::(?P<architecture>[a-z0-9-]+))?\s*"
    r"(?:\(\s*(?P<relation><<|<=|=|>=|>>)\s*(?P<version>[^\s)]+)\s*\))?\s*\Z"
)
_END = ((0,), 0)  # what a part that has ended counts as
ABSENT_STATES = frozenset({"not-installed", "config-files"})


class ControlError(CorruptError):
    """Text that should be a control file or a package database is not one; the message says which line."""


class VersionError(OstlerError):
    """A version number that Debian Policy does not allow."""


class Stanza(Mapping[str, str]):
    """The fields of one paragraph of a control file. Names are looked up in any case and listed in lower case.

    Continuation lines stay part of the value: each begins after a newline, without its first blank.
    """

    __slots__ = ("_fields",)

    def __init__(self, fields: dict[str, str]) -> None:
        self._fields = fields

    def __getitem__(self, name: str) -> str:
        return self._fields[name.lower()]

    def __iter__(self) -> Iterator[str]:
        return iter(self._fields)

    def __len__(self) -> int:
        return len(self._fields)


@dataclass(frozen=True, slots=True)
class Dependency:
    """One alternative of a dependency: a package, perhaps of an architecture, perhaps with a bound on its version."""

    name: str
    architecture: str | None = None
    relation: str | None = None
    version: str | None = None


@dataclass(frozen=True, slots=True)
class InstalledPackage:
    """A package in the database whose files are in the system.

    `depends` has Pre-Depends and Depends: all groups must hold, of each group one alternative. `state` is the last
    word of dpkg's status, "installed" unless something went wrong.
    """

    name: str
    version: str
    architecture: str
    source: str
    source_version: str
    essential: bool
    depends: tuple[tuple[Dependency, ...], ...]
    provides: tuple[str, ...]
    state: str


def parse_stanzas(data: bytes | str) -> Iterator[Stanza]:
    """The paragraphs of a control file, such as dpkg's status or an archive's Packages. Raises `ControlError`."""
    text = data.decode("utf-8", "replace") if isinstance(data, bytes) else data
    fields: dict[str, str] = {}
    last: str | None = None
    for number, line in enumerate(text.split("\n"), 1):
        if not line or line.isspace():
            if fields:
                yield Stanza(fields)
            fields, last = {}, None
        elif line[0] in " \t":
            if last is None:
                raise ControlError(f"line {number} of the package data continues a field, but none began")
            fields[last] += "\n" + line[1:]
        elif line[0] != "#":
            name, colon, value = line.partition(":")
            if not colon or not name or name != name.strip():
                raise ControlError(f"line {number} of the package data is not `Field: value`: {line[:60]!r}")
            last = name.lower()
            if last in fields:
                raise ControlError(f"line {number} of the package data gives the field {name} a second time")
            fields[last] = value.strip()
    if fields:
        yield Stanza(fields)


def parse_status(data: bytes | str) -> dict[str, InstalledPackage]:
    """The packages of a dpkg status file that are there, by name; a second architecture's as `name:architecture`.

    Removed packages of which only configuration is left are not there. Raises `ControlError`.
    """
    packages: dict[str, InstalledPackage] = {}
    for stanza in parse_stanzas(data):
        state = stanza.get("Status", "install ok installed").split()[-1:]
        if state and state[0] in ABSENT_STATES:
            continue
        package = _installed(stanza, state[0] if state else "installed")
        key = package.name if package.name not in packages else f"{package.name}:{package.architecture}"
        packages[key] = package
    return packages


def _installed(stanza: Stanza, state: str) -> InstalledPackage:
    name, version = stanza.get("Package", ""), stanza.get("Version", "")
    if not name or not version:
        raise ControlError(f"a package in the database lacks a name or a version (name {name!r}, version {version!r})")
    source, _, source_version = stanza.get("Source", name).partition(" ")
    needs = ", ".join(filter(None, (stanza.get("Pre-Depends"), stanza.get("Depends"))))
    provides = parse_dependencies(stanza.get("Provides", ""))
    return InstalledPackage(
        name=name,
        version=version,
        architecture=stanza.get("Architecture", ""),
        source=source,
        source_version=source_version.strip("() ") or version,
        essential=stanza.get("Essential", "no") == "yes",
        depends=parse_dependencies(needs),
        provides=tuple(alternative.name for group in provides for alternative in group),
        state=state,
    )


def parse_dependencies(text: str) -> tuple[tuple[Dependency, ...], ...]:
    """A Depends field: groups that must all hold, each a choice of alternatives. Raises `ControlError`."""
    groups = []
    for group in text.replace("\n", " ").split(","):
        if not group.strip():
            continue
        alternatives = []
        for alternative in group.split("|"):
            match = _DEPENDENCY.match(alternative)
            if match is None:
                raise ControlError(f"not a dependency on a package: {alternative.strip()!r}")
            alternatives.append(Dependency(*match.group("name", "architecture", "relation", "version")))
        groups.append(tuple(alternatives))
    return tuple(groups)


def split_version(version: str) -> tuple[int, str, str]:
    """A version's epoch, upstream version and revision ("" if it has none). Raises `VersionError`."""
    epoch, colon, rest = version.partition(":")
    if not colon:
        epoch, rest = "0", version
    upstream, dash, revision = rest.rpartition("-")
    if not dash:
        upstream, revision = rest, ""
    wrong = (
        not (epoch.isascii() and epoch.isdigit())
        or not _UPSTREAM.match(upstream)
        or (dash and not _REVISION.match(revision))
        or (not colon and ":" in upstream)
    )
    if wrong:
        raise VersionError(
            f"{version!r} is not a package version", hint="a version has the form [epoch:]upstream[-revision]"
        )
    return int(epoch), upstream, revision


def compare_versions(a: str, b: str) -> int:
    """Negative, zero or positive as version `a` is older than, equal to or newer than `b`. Raises `VersionError`."""
    if a == b:
        return 0
    key_a, key_b = version_key(a), version_key(b)
    return (key_a > key_b) - (key_a < key_b)


VersionKey = tuple[int, tuple[tuple[tuple[int, ...], int], ...], tuple[tuple[tuple[int, ...], int], ...]]


def version_key(version: str) -> VersionKey:
    """A value that sorts as the version does. Raises `VersionError`."""
    epoch, upstream, revision = split_version(version)
    return epoch, _part_key(upstream), _part_key(revision)


def _part_key(text: str) -> tuple[tuple[tuple[int, ...], int], ...]:
    """Runs of non-digits and digits in turn; a run of non-digits ends with 0, which is above `~` and below the rest."""
    runs: list[tuple[tuple[int, ...], int]] = []
    for letters, digits in _RUN.findall(text):
        runs.append(((*map(_order, letters), 0), int(digits or 0)))
    while runs and runs[-1] == _END:
        runs.pop()
    return (*runs, _END, _END)  # twice, for a part such as "0~1", whose own first run looks like the end


def _order(character: str) -> int:
    if character == "~":
        return -1
    return ord(character) if character.isalpha() else ord(character) + 256
