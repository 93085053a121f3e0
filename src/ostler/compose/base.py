"""The base layer: exactly the locked packages, installed by mmdebstrap, made into the tree of an image."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ostler.compose.bytecode import compile_system
from ostler.compose.cache import Cache
from ostler.compose.chroot import ISOLATED
from ostler.compose.digests import digest_of
from ostler.compose.edit import TreeEditor
from ostler.compose.normalise import normalise
from ostler.compose.users import Renumbering, parse_ids, renumber
from ostler.definition.lock import Archive, Lock, Package
from ostler.formats.objects import Checksum, DirMeta, FileMeta
from ostler.io.files import space_errors
from ostler.io.process import CommandError, require_tool, run
from ostler.io.progress import Reporter, silent
from ostler.store.ingest import ingest_directory

RECIPE_VERSION = 3  # raised whenever what this package makes of the same packages changes
BASE_PACKAGES = (
    # It boots,
    "systemd", "systemd-sysv", "libpam-systemd", "udev", "kmod", "dbus", "dracut", "ostree", "ostree-boot",
    "grub-pc-bin", "grub-efi-amd64-bin", "e2fsprogs", "dosfstools", "fdisk", "zstd",
    # one can reach it,
    "openssh-server", "systemd-resolved", "systemd-timesyncd", "iproute2", "netbase", "ca-certificates",
    # it updates itself,
    "python3", "python3-cryptography", "python3-zstandard",
    # and a person finds what they expect.
    "apt", "debian-archive-keyring", "login", "passwd", "procps", "iputils-ping", "less", "nano",
)  # fmt: skip
PSEUDO_DIRECTORIES = ("dev", "proc", "sys", "run", "tmp")
KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
SOURCES = "etc/apt/sources.list.d/debian.sources"


@dataclass(frozen=True, slots=True)
class Ids:
    """Numbers of users and groups by name."""

    users: Mapping[str, int]
    groups: Mapping[str, int]

    def as_note(self) -> dict[str, Any]:
        """For a layer's note."""
        return {"users": dict(self.users), "groups": dict(self.groups)}

    @staticmethod
    def from_note(note: Mapping[str, Any]) -> "Ids":
        """What `as_note` gave."""
        return Ids(dict(note.get("users", {})), dict(note.get("groups", {})))

    def agree_with(self, locked: "Ids") -> bool:
        """Whether a layer made with these numbers is what the lock asks for."""
        for mine, theirs in ((self.users, locked.users), (self.groups, locked.groups)):
            taken = {number: name for name, number in theirs.items()}
            if any(theirs.get(name, number) != number for name, number in mine.items()):
                return False
            if any(taken.get(number, name) != name for name, number in mine.items()):
                return False
        return True


def base_request(kernel: str) -> tuple[str, ...]:
    """What apt is asked for: every essential package, and the names of the base."""
    return ("?essential", *sorted({*BASE_PACKAGES, kernel}))


def base_recipe(suite: str, kernel: str) -> str:
    """The digest of what the base is asked to be: another one means that the lock's base set is out of date."""
    return digest_of(["debian", suite, base_request(kernel)])


def base_inputs(lock: Lock) -> dict[str, str]:
    """What the base layer depends on, besides numbers of accounts."""
    inputs = {f"package {p.name}": f"{p.version} {p.architecture} {p.sha256}" for p in lock.base.packages}
    inputs["Ostler's recipe for the base"] = str(RECIPE_VERSION)
    inputs["time of the lock"] = str(lock.created)
    inputs["package archives"] = digest_of(sorted([a.uri, a.suite, list(a.components)] for a in lock.mirrors))
    return inputs


def make_base(cache: Cache, lock: Lock, key: str, suite: str, *, report: Reporter = silent) -> Checksum:
    """Install the base packages of the lock (their files are in the cache) and record the layer under `key`."""
    packages = lock.base.packages
    with cache.work("base") as work, space_errors("installing the base packages", cache.root):
        archive, root = work / "archive", work / "root"
        cache.debs.write_archive(packages, archive)
        _mmdebstrap(root, archive, packages, lock, suite, report)
        compile_system(root, report)
        users, groups = installed_ids(root, lock)
        with cache.repo.transaction() as transaction:
            tree = ingest_directory(transaction, root, filter=ownership_filter(users, groups))
            editor = TreeEditor(cache.repo, transaction, tree)
            normalise(editor, users, groups)
            write_sources(editor, lock.mirrors)
            note = Ids(present(users, root / "etc/passwd"), present(groups, root / "etc/group")).as_note()
            return cache.record(transaction, key, tree, note, lock.created)


def installed_ids(root: Path, lock: Lock) -> tuple[Renumbering, Renumbering]:
    """The renumbering of users and of groups that an installed system needs."""
    users = renumber(parse_ids((root / "etc/passwd").read_text()), lock.users)
    groups = renumber(parse_ids((root / "etc/group").read_text()), lock.groups)
    return users, groups


def present(numbers: Renumbering, table: Path) -> dict[str, int]:
    """The wanted numbers of those names that the system has."""
    return {name: numbers.ids[name] for name in sorted(parse_ids(table.read_text()))}


class ownership_filter:  # noqa: N801 - used as a function
    """A filter for ingestion: numbers of owners as wanted, nothing below the kernel's and run-time directories."""

    def __init__(self, users: Renumbering, groups: Renumbering) -> None:
        self._users = users
        self._groups = groups

    def __call__(self, path: str, meta: FileMeta | DirMeta) -> FileMeta | DirMeta | None:
        """The metadata to store, or None to leave the file out."""
        if path.partition("/")[0] in PSEUDO_DIRECTORIES and "/" in path:
            return None
        uid, gid = self._users.apply(meta.uid), self._groups.apply(meta.gid)
        if isinstance(meta, DirMeta):
            return DirMeta(uid, gid, meta.mode, meta.xattrs)
        return FileMeta(uid, gid, meta.mode, meta.xattrs, meta.target)


def write_sources(tree: TreeEditor, archives: Sequence[Archive]) -> None:
    """The image's apt sources: the archives of the lock that can be reached from elsewhere."""
    stanzas = [
        f"Types: deb\nURIs: {archive.uri}\nSuites: {archive.suite}\n"
        f"Components: {' '.join(archive.components)}\nSigned-By: {KEYRING}\n"
        for archive in sorted(archives, key=lambda archive: archive.name)
        if archive.uri.startswith(("http://", "https://"))
    ]
    if stanzas:
        tree.write(SOURCES, "\n".join(stanzas))


def _mmdebstrap(
    root: Path, archive: Path, packages: Sequence[Package], lock: Lock, suite: str, report: Reporter
) -> None:
    require_tool("mmdebstrap", package="mmdebstrap")
    argv = [
        *ISOLATED,  # what it mounts is gone when it is killed, before its directory is removed
        "mmdebstrap", "--mode=root", "--variant=custom", "--format=directory", "--architectures=amd64",
        "--include=" + ",".join(sorted(p.name for p in packages)),
        '--aptopt=APT::Sandbox::User "root"', '--aptopt=Acquire::Languages "none"',
        "--dpkgopt=force-unsafe-io", "--skip=update/keyring",
        suite, str(root), f"deb [trusted=yes] copy:{archive} ./",
    ]  # fmt: skip
    try:
        environment = {"SOURCE_DATE_EPOCH": str(lock.created), "INITRD": "No", "TMPDIR": str(archive.parent)}
        run(argv, env=environment, capture=False, report=report)
    except CommandError as error:
        if any("No space left on device" in line for line in error.output):
            with space_errors("installing the base packages", root):
                raise OSError(28, "No space left on device") from error
        raise
