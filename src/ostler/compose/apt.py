"""Asking apt which packages a list of names means, in a private apt root: nothing of the builder's apt is touched.

apt is told an architecture, a dpkg status (empty for a base) and the archives; it simulates an installation and
prints what it would fetch (apt-get(8) --print-uris), which is the exact set for the lock.
"""

import difflib
import re
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from pathlib import Path
from urllib.parse import unquote

from ostler.compose.debs import DebStore, PackageError, by_identity
from ostler.definition.lock import Archive, Package
from ostler.definition.model import Item
from ostler.errors import OstlerError
from ostler.io.files import remove_tree, space_errors
from ostler.io.http import NetworkError
from ostler.io.process import CommandError, MissingToolError, require_tool, run
from ostler.io.progress import Reporter, silent

KEYRINGS = (
    Path("/usr/share/keyrings/debian-archive-keyring.gpg"),
    Path("/usr/share/keyrings/debian-archive-keyring.pgp"),
)
URI_LINE = re.compile(r"'(?P<uri>[^']+)' (?P<file>\S+) (?P<size>\d+) SHA256:(?P<sha256>[0-9a-f]{64})")
REMOVAL_LINE = re.compile(r"Remv (?P<name>\S+)")
NETWORK_WORDS = re.compile(
    r"Temporary failure|Could not resolve|Could not connect|Connection (?:failed|refused|timed out|reset)|"
    r"Network is unreachable|No route to host|timed out|Unable to connect|SSL connection|TLS",
    re.IGNORECASE,
)
SIGNATURE_WORDS = re.compile(r"NO_PUBKEY|not signed|invalid signature|BADSIG|EXPKEYSIG", re.IGNORECASE)
ABSENT_WORDS = re.compile(r"does not have a Release file|404 +Not Found|File not found", re.IGNORECASE)


class ArchiveError(OstlerError):
    """A package archive has not what it should have, or its signature is not good."""

    exit_code = PackageError.exit_code


@dataclass(frozen=True, slots=True)
class Resolution:
    """`packages` would be installed (exact files); `removed` are names of installed packages that would go."""

    packages: tuple[Package, ...]
    removed: tuple[str, ...] = ()


class AptRoot:
    """A private apt configuration with its indexes in the folder `root`, for the archives given."""

    def __init__(
        self, root: Path, archives: Sequence[Archive], *, architecture: str = "amd64", proxy: str | None = None
    ) -> None:
        require_tool("apt-get", package="apt")
        self.root = root
        self.archives = tuple(archives)
        self._local = root / "local"
        for name in (
            "etc/apt/apt.conf.d", "etc/apt/sources.list.d", "etc/apt/preferences.d", "etc/apt/trusted.gpg.d",
            "var/lib/apt/lists/partial", "var/cache/apt/archives/partial", "var/lib/dpkg", "var/log/apt",
        ):  # fmt: skip
            (root / name).mkdir(parents=True, exist_ok=True)
        settings = [
            f'Dir "{root}";',
            f'Dir::State::status "{root}/var/lib/dpkg/status";',
            f'APT::Architecture "{architecture}";',
            f'APT::Architectures {{ "{architecture}"; }};',
            'APT::Install-Recommends "false";',
            'APT::Sandbox::User "root";',  # ids of other users may not exist in a namespace
            'APT::Get::Assume-Yes "true";',
            'Acquire::Languages "none";',
            'Acquire::ForceHash "SHA256";',
            'Acquire::Retries "3";',
            'Acquire::IndexTargets { deb::Contents-deb { DefaultEnabled "false"; }; '
            'deb::DEP-11 { DefaultEnabled "false"; }; };',
            # apt tells caches apart by times and sizes of files that change here several times a second.
            'Dir::Cache::pkgcache "";',
            'Dir::Cache::srcpkgcache "";',
        ]
        if proxy:
            settings += [f'Acquire::http::Proxy "{proxy}";', f'Acquire::https::Proxy "{proxy}";']
        (root / "etc/apt/apt.conf").write_text("\n".join(settings) + "\n")
        self._write_sources(local=False)
        self._write_status("")
        self._pin(())

    def update(self, report: Reporter = silent) -> None:
        """Get the indexes of all archives. Raises `NetworkError` or `ArchiveError`."""
        with space_errors("fetching package indexes", self.root):
            try:
                self._run(["apt-get", "update", "--error-on=any"], report)
            except CommandError as error:
                raise self._explained(error) from error

    def resolve(
        self,
        wanted: Sequence[str],
        *,
        unwanted: Sequence[str] = (),
        installed: str = "",
        pinned: Sequence[Package] = (),
        debs: DebStore | None = None,
    ) -> Resolution:
        """What installing `wanted` and removing `unwanted` means on a system whose dpkg status is `installed`.

        `pinned` packages keep their version as far as possible; those whose files are in `debs` are known even if no
        archive has them any more. Raises `PackageError` with apt's reason.
        """
        at_hand = [package for package in pinned if debs is not None and debs.has(package)]
        remove_tree(self._local)
        if at_hand:
            assert debs is not None
            debs.write_archive(at_hand, self._local)
        self._write_sources(local=bool(at_hand))
        self._write_status(installed)
        self._pin(pinned)
        if at_hand:
            self._update_local()
        request = [*wanted, *(f"{name}-" for name in unwanted)]
        try:
            simulated = self._run(["apt-get", "install", "--simulate", *request])
            printed = self._run(["apt-get", "install", "--print-uris", *request])
        except CommandError as error:
            raise PackageError(
                "the packages asked for do not fit together:\n" + _apt_reason(error),
                hint="apt's last lines name the packages in conflict; take one of them from the list",
            ) from error
        finally:
            remove_tree(self._local)
        known = by_identity(pinned)
        packages = [self._package(match, known) for match in URI_LINE.finditer(printed)]
        removed = sorted(match["name"] for match in REMOVAL_LINE.finditer(simulated))
        return Resolution(tuple(sorted(packages, key=lambda p: (p.name, p.architecture))), tuple(removed))

    def released(self) -> int | None:
        """When the newest of the archives was last published, in seconds since 1970, by its own signed word."""
        found = []
        for release in sorted((self.root / "var/lib/apt/lists").glob("*Release")):
            date = re.search(r"^Date: (.+)$", release.read_text("utf-8", "replace"), flags=re.MULTILINE)
            if date is not None:
                with suppress(ValueError):
                    found.append(int(parsedate_to_datetime(date[1]).timestamp()))
        return max(found, default=None)

    def names(self) -> frozenset[str]:
        """Every package name that the archives know, virtual ones included."""
        return frozenset(self._run(["apt-cache", "pkgnames"]).split())

    def check_names(self, items: Iterable[Item]) -> None:
        """Raise a `PackageError` that says file and line of each item that no archive knows."""
        known = self.names()
        unknown = [item for item in items if plain_name(item.name) not in known]
        if not unknown:
            return
        where = " and ".join(sorted({archive.suite for archive in self.archives}))
        lines = []
        for item in unknown:
            close = near_names(plain_name(item.name), known)
            meant = f"; did you mean {close}?" if close else ""
            lines.append(f"{item.file}:{item.line}: there is no package `{plain_name(item.name)}` in {where}{meant}")
        raise PackageError("\n".join(lines), hint="`apt-cache search WORD` on a Debian machine finds packages by topic")

    def _package(self, match: re.Match[str], known: Mapping[tuple[str, str, str], Package]) -> Package:
        name, version, architecture = (unquote(part) for part in match["file"].removesuffix(".deb").split("_"))
        pinned = known.get((name, version, architecture))
        if pinned is not None and pinned.sha256 == match["sha256"]:
            return pinned
        uri = match["uri"]
        for archive in self.archives:
            if uri.startswith(archive.uri + "/"):
                filename = unquote(uri.removeprefix(archive.uri + "/")).removeprefix("./")
                return Package(
                    name=name,
                    version=version,
                    architecture=architecture,
                    sha256=match["sha256"],
                    size=int(match["size"]),
                    archive=archive.name,
                    filename=filename,
                )
        raise PackageError(f"apt found {name} {version} at {uri}, which is in none of the archives asked")

    def _update_local(self) -> None:
        only = self.root / "etc/apt/local.list"
        only.write_text(f"deb [trusted=yes] copy:{self._local} ./\n")
        options = ["-o", f"Dir::Etc::SourceList={only}", "-o", "Dir::Etc::SourceParts=/dev/null"]
        self._run(["apt-get", "update", *options, "-o", "APT::Get::List-Cleanup=false"])

    def _write_sources(self, *, local: bool) -> None:
        lines = [f"deb [trusted=yes] copy:{self._local} ./"] if local else []
        keyring = next((path for path in KEYRINGS if path.exists()), None)
        for archive in self.archives:
            if archive.uri.startswith(("file:", "copy:")):
                option = "trusted=yes"
            elif keyring is None:
                raise MissingToolError(
                    "the keys of the Debian archive are not installed",
                    hint="install them with `apt-get install debian-archive-keyring`",
                )
            else:
                option = f"signed-by={keyring}"
            lines.append(f"deb [{option}] {archive.uri} {archive.suite} {' '.join(archive.components)}")
        (self.root / "etc/apt/sources.list").write_text("\n".join(lines) + "\n")

    def _write_status(self, status: str) -> None:
        (self.root / "var/lib/dpkg/status").write_text(status, "utf-8")

    def _pin(self, packages: Iterable[Package]) -> None:
        stanzas = [f"Package: {p.name}\nPin: version {p.version}\nPin-Priority: 1001\n" for p in packages]
        (self.root / "etc/apt/preferences").write_text("\n".join(stanzas))

    def _run(self, argv: Sequence[str], report: Reporter = silent) -> str:
        return run(argv, env={"APT_CONFIG": str(self.root / "etc/apt/apt.conf")}, report=report).text

    def _explained(self, error: CommandError) -> OstlerError:
        text = "\n".join(error.output)
        reason = _apt_reason(error)
        if SIGNATURE_WORDS.search(text):
            return ArchiveError(
                f"a package archive's signature cannot be checked:\n{reason}",
                hint="the package debian-archive-keyring of this machine may be too old: upgrade it",
            )
        if ABSENT_WORDS.search(text) and not NETWORK_WORDS.search(text):
            return ArchiveError(
                f"a package archive does not have the suite:\n{reason}",
                hint='check the suite in `base = "debian:…"` and `mirror` in ostler.toml',
            )
        return NetworkError(
            f"the package archives cannot be reached:\n{reason}",
            hint="check this machine's network; with an unchanged lock and what is cached a build needs none",
        )


def plain_name(name: str) -> str:
    """The package's name without a version, release or architecture behind it (`name=1.2`, `name:i386`)."""
    return re.split(r"[=/:]", name, maxsplit=1)[0]


def near_names(name: str, known: Iterable[str]) -> str:
    """The names that were probably meant, for a message; empty if none is near."""
    # Only names with the same beginning or the same letters: comparing with all of 60,000 takes seconds.
    letters = sorted(name)
    likely = [other for other in known if other[:2] == name[:2] or sorted(other) == letters or name in other]
    swapped = [other for other in likely if sorted(other) == letters]
    close = difflib.get_close_matches(name, likely, n=3, cutoff=0.7)
    return " or ".join(f"`{other}`" for other in list(dict.fromkeys([*swapped, *close]))[:3])


def _apt_reason(error: CommandError) -> str:
    lines = [line for line in error.output if line.startswith(("E:", "Err:", " ", "W:"))] or error.output
    return "\n".join(f"  {line.strip()}" for line in lines[-12:])
