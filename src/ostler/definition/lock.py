"""`ostler.lock`: the exact packages, the base's digest, and the ids of system users, written so that diffs are small.

The file is TOML with one package a line. `created` becomes the time of everything in the image that needs one.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from ostler.definition.document import parse_document, read_document
from ostler.definition.errors import Findings
from ostler.definition.lock_reading import Reader
from ostler.definition.toml_text import toml_inline, toml_key, toml_value
from ostler.errors import NotFoundError
from ostler.io.files import atomic_write

FORMAT = 1
HEADER = "# written by ostler lock; commit it\n"


@dataclass(frozen=True, slots=True)
class Archive:
    """A package archive that packages were resolved from, under a `name` that packages refer to it by."""

    name: str
    uri: str
    suite: str
    components: tuple[str, ...] = ("main",)


@dataclass(frozen=True, slots=True, order=True)
class Package:
    """One pinned package: `filename` is its path in the archive of that name, `size` is in bytes."""

    name: str
    version: str
    architecture: str
    sha256: str
    size: int
    filename: str
    archive: str


@dataclass(frozen=True, slots=True)
class LockedSet:
    """The packages of one layer.

    `digest` identifies the layer that was made of them (None before the first build); `recipe` the steps that make it;
    `requested` are the names that people asked for, of which the packages are the consequence.
    """

    packages: tuple[Package, ...] = ()
    requested: tuple[str, ...] = ()
    digest: str | None = None
    recipe: str | None = None


@dataclass(frozen=True, slots=True)
class Lock:
    """Everything that is pinned. `created` is in seconds since 1970; `users` and `groups` map names to ids."""

    created: int
    mirrors: tuple[Archive, ...] = ()
    base: LockedSet = LockedSet()
    folder: LockedSet = LockedSet()
    users: Mapping[str, int] = field(default_factory=dict)
    groups: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Change:
    """A package that differs between two locks; `old` is None if it is new, `new` is None if it is gone."""

    name: str
    old: str | None
    new: str | None


def strip_credentials(uri: str) -> str:
    """An address without user and password, which must not be written down."""
    parts = urlsplit(uri)
    if "@" not in parts.netloc:
        return uri
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


def dump_lock(lock: Lock) -> str:
    """The text of the lock file: equal locks give equal text, whatever the order of what is in them."""
    blocks = [f"{HEADER}version = {FORMAT}\ncreated = {lock.created}\n"]
    for archive in sorted(lock.mirrors, key=lambda archive: archive.name):
        lines = [
            "[[archive]]",
            f"name = {toml_value(archive.name)}",
            f"uri = {toml_value(strip_credentials(archive.uri))}",
            f"suite = {toml_value(archive.suite)}",
            f"components = {toml_value(archive.components)}",
        ]
        blocks.append("\n".join(lines) + "\n")
    blocks.append(_dump_set("base", lock.base))
    blocks.append(_dump_set("folder", lock.folder))
    blocks.append(_dump_ids("users", lock.users))
    blocks.append(_dump_ids("groups", lock.groups))
    return "\n".join(blocks)


def _dump_set(name: str, locked: LockedSet) -> str:
    lines = [f"[{name}]"]
    if locked.digest is not None:
        lines.append(f"digest = {toml_value(locked.digest)}")
    if locked.recipe is not None:
        lines.append(f"recipe = {toml_value(locked.recipe)}")
    lines.append("requested = [")
    lines += [f"  {toml_value(requested)}," for requested in sorted(locked.requested)]
    lines += ["]", "packages = ["]
    for package in sorted(locked.packages):
        values: dict[str, str | int | tuple[str, ...]] = {
            "name": package.name,
            "version": package.version,
            "architecture": package.architecture,
            "sha256": package.sha256,
            "size": package.size,
            "filename": package.filename,
            "archive": package.archive,
        }
        lines.append(f"  {toml_inline(values)},")
    lines.append("]")
    return "\n".join(lines) + "\n"


def _dump_ids(name: str, ids: Mapping[str, int]) -> str:
    lines = [f"[{name}]"]
    lines += [f"{toml_key(key)} = {number}" for key, number in sorted(ids.items(), key=lambda item: (item[1], item[0]))]
    return "\n".join(lines) + "\n"


def write_lock(path: Path, lock: Lock) -> bool:
    """Write the lock file in one rename, unless it says the same already; returns whether it was written."""
    data = dump_lock(lock).encode()
    if path.is_file() and path.read_bytes() == data:
        return False
    atomic_write(path, data)
    return True


def read_lock(path: Path, *, shown: str | None = None) -> Lock:
    """Read a lock file; messages name it as `shown`.

    Raises `DefinitionError` with file and line for anything a lock does not say, `NotFoundError` if there is none.
    """
    try:
        document = read_document(path, shown or str(path))
    except FileNotFoundError as error:
        raise NotFoundError(f"{shown or path} does not exist", hint="`ostler lock` writes it") from error
    return _lock(Reader(document.root, Findings()))


def parse_lock(data: bytes, shown: str = "ostler.lock") -> Lock:
    """Like `read_lock`, from the file's content."""
    return _lock(Reader(parse_document(data, shown).root, Findings()))


def _lock(reader: Reader) -> Lock:
    if reader.integer("version") != FORMAT:
        reader.fault(
            "version", f"this version of Ostler reads locks of version {FORMAT}", "use the Ostler that wrote it"
        )
        reader.findings.raise_if_any()
    lock = Lock(
        created=reader.integer("created", largest=2**33),
        mirrors=tuple(_archive(one) for one in reader.tables("archive", optional=True)),
        base=_set(reader.table("base")),
        folder=_set(reader.table("folder")),
        users=reader.table("users").integers(),
        groups=reader.table("groups").integers(),
    )
    reader.close()
    _check_archives(lock, reader)
    reader.findings.raise_if_any()
    return lock


def _archive(reader: Reader) -> Archive:
    archive = Archive(
        reader.text("name"), reader.text("uri"), reader.text("suite"), tuple(reader.texts("components", least=1))
    )
    reader.close()
    return archive


def _set(reader: Reader) -> LockedSet:
    packages = [_package(one) for one in reader.tables("packages")]
    reader.unique("packages", [package.name for package in packages])
    requested = reader.texts("requested")
    reader.unique("requested", requested)
    locked = LockedSet(
        tuple(sorted(packages)),
        tuple(sorted(requested)),
        reader.text("digest") if reader.has("digest") else None,
        reader.text("recipe") if reader.has("recipe") else None,
    )
    reader.close()
    return locked


def _package(reader: Reader) -> Package:
    package = Package(
        name=reader.text("name", r"[a-z0-9][a-z0-9+.-]+", "the name of a package"),
        version=reader.text("version", r"[A-Za-z0-9.+:~-]+", "a version"),
        architecture=reader.text("architecture", r"[a-z0-9-]+", "an architecture"),
        sha256=reader.text("sha256", r"[0-9a-f]{64}", "a SHA-256 digest in hexadecimal"),
        size=reader.integer("size", largest=2**40),
        filename=reader.text("filename", r"(?!/)(?!(.*/)?\.\.(/|$))[ -~]+", "a path in an archive"),
        archive=reader.text("archive"),
    )
    reader.close()
    return package


def _check_archives(lock: Lock, reader: Reader) -> None:
    reader.unique("archive", [archive.name for archive in lock.mirrors])
    names = {archive.name for archive in lock.mirrors}
    for table in ("base", "folder"):
        for package in reader.table(table).tables("packages"):
            name = package.text("archive")
            if name and name not in names:
                package.fault("archive", f'no [[archive]] has the name "{name}"')


def package_changes(old: Lock | None, new: Lock) -> list[Change]:
    """The packages of base and folder together that differ, sorted by name; without an old lock all are new."""
    before = {} if old is None else versions(old)
    after = versions(new)
    return [
        Change(name, before.get(name), after.get(name))
        for name in sorted(before.keys() | after.keys())
        if before.get(name) != after.get(name)
    ]


def versions(lock: Lock) -> dict[str, str]:
    """The version of each pinned package, by name."""
    return {package.name: package.version for package in (*lock.base.packages, *lock.folder.packages)}
