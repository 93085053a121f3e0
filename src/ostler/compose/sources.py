"""Which package archives a Debian base comes from: the folder's, else the builder's own, else mmdebstrap's default.

No archive is named here. Formats: sources.list(5), both the one-line and the deb822 form.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

from ostler.definition.lock import Archive
from ostler.errors import OstlerError
from ostler.io.process import require_tool, run
from ostler.packages.dpkg import ControlError, parse_stanzas

ONE_LINE = re.compile(r"deb\s+(?:\[[^\]]*\]\s+)?(?P<uri>\S+)\s+(?P<suite>\S+)(?P<components>(?:\s+[^\s#]+)*)")
ROLLING = frozenset({"sid", "unstable"})  # have neither updates nor a security archive
COMPONENTS = ("main",)


class SourcesError(OstlerError):
    """No package archive is known for a suite."""


@dataclass(frozen=True, slots=True)
class Source:
    """One archive, suite and its components, as an apt source says it."""

    uri: str
    suite: str
    components: tuple[str, ...]


def parse_one_line(text: str) -> list[Source]:
    """The binary sources of a `.list` file."""
    found = []
    for line in text.splitlines():
        match = ONE_LINE.match(line.strip())
        if match:
            found.append(Source(match["uri"].rstrip("/"), match["suite"], tuple(match["components"].split())))
    return found


def parse_deb822(text: str) -> list[Source]:
    """The enabled binary sources of a `.sources` file; a malformed file has none."""
    found = []
    try:
        for stanza in parse_stanzas(text):
            if "deb" not in stanza.get("Types", "").split() or stanza.get("Enabled", "yes").lower() in ("no", "false"):
                continue
            for uri in stanza.get("URIs", "").split():
                for suite in stanza.get("Suites", "").split():
                    found.append(Source(uri.rstrip("/"), suite, tuple(stanza.get("Components", "").split())))
    except ControlError:
        return []
    return found


def read_sources(apt: Path) -> list[Source]:
    """All sources of an apt configuration directory (`/etc/apt`), in apt's order. Unreadable files have none."""
    found: list[Source] = []
    parts = apt / "sources.list.d"
    files = [apt / "sources.list", *(sorted(parts.iterdir()) if parts.is_dir() else [])]
    for file in files:
        try:
            text = file.read_text("utf-8", "replace")
        except OSError:
            continue
        if file.suffix == ".list":
            found += parse_one_line(text)
        elif file.suffix == ".sources":
            found += parse_deb822(text)
    return [resolved for source in found if (resolved := _through_mirror_list(source)) is not None]


def derive(sources: Iterable[Source], codename: str, suite: str) -> list[Archive]:
    """The archives of `suite` at the servers where a builder of release `codename` gets its own packages.

    Missing roles (the security archive, say) are missing in the result.
    """
    aliases = {codename, "stable", "testing", "unstable", "sid", "oldstable"}
    main = security = None
    for source in sources:
        if "main" not in source.components:
            continue
        if source.suite in aliases and main is None:
            main = source.uri
        elif source.suite in {f"{alias}-security" for alias in aliases} and security is None:
            security = source.uri
    found = []
    if main is not None:
        found.append(Archive(suite, main, suite, COMPONENTS))
        if suite not in ROLLING:
            found.append(Archive(f"{suite}-updates", main, f"{suite}-updates", COMPONENTS))
    if security is not None and suite not in ROLLING:
        found.append(Archive(f"{suite}-security", security, f"{suite}-security", COMPONENTS))
    return found


def builder_archives(
    suite: str, *, apt: Path = Path("/etc/apt"), release: Path = Path("/etc/os-release")
) -> list[Archive]:
    """What `derive` finds on this machine; nothing if it does not run Debian."""
    try:
        pairs = dict(line.split("=", 1) for line in release.read_text().splitlines() if "=" in line)
    except OSError:
        return []
    if pairs.get("ID", "").strip('"') != "debian":
        return []
    return derive(read_sources(apt), pairs.get("VERSION_CODENAME", "").strip('"'), suite)


def default_archives(suite: str) -> list[Archive]:
    """The archives that mmdebstrap uses for `suite` when none are named: it writes them down, and is stopped then."""
    require_tool("mmdebstrap", package="mmdebstrap")
    show = 'cat "$1"/etc/apt/sources.list "$1"/etc/apt/sources.list.d/* 2>/dev/null; exit 1'
    argv = ["mmdebstrap", "--mode=root", "--variant=extract", f"--setup-hook={show}", suite, "/dev/null"]
    result = run(argv, check=False)
    sources = parse_one_line(result.text) or parse_deb822(result.text)
    if not sources:
        raise SourcesError(
            f"no package archive is known for the suite {suite}",
            hint='is the name right? Otherwise name an archive in ostler.toml: mirror = "…"',
        )
    return [Archive(source.suite, source.uri, source.suite, source.components) for source in sources]


def archives_for(suite: str, named: Sequence[Source]) -> tuple[Archive, ...]:
    """The archives to use for `suite`: those that the folder names, else the builder's, else mmdebstrap's."""
    if named:
        names: dict[str, int] = {}
        found = []
        for source in named:
            names[source.suite] = names.get(source.suite, 0) + 1
            name = source.suite if names[source.suite] == 1 else f"{source.suite}-{names[source.suite]}"
            found.append(Archive(name, source.uri.rstrip("/"), source.suite, source.components))
        return tuple(found)
    own = builder_archives(suite)
    wanted = {suite} if suite in ROLLING else {suite, f"{suite}-updates", f"{suite}-security"}
    missing = wanted - {archive.suite for archive in own}
    if missing:
        own += [archive for archive in default_archives(suite) if archive.suite in missing]
    return tuple(own)


def _through_mirror_list(source: Source) -> Source | None:
    """Cloud images name a file with a list of mirrors (apt-transport-mirror(1)): take the first. Others pass."""
    if not source.uri.startswith("mirror+file:"):
        return source if urlsplit(source.uri).scheme in ("http", "https", "file", "copy") else None
    try:
        lines = Path(unquote(urlsplit(source.uri.removeprefix("mirror+")).path)).read_text().splitlines()
    except OSError:
        return None
    uris = [line.split()[0] for line in lines if line.strip() and not line.startswith("#")]
    return Source(uris[0].rstrip("/"), source.suite, source.components) if uris else None
