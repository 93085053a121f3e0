"""What a name, URL or path stands for as something to pull from, and how to talk to it."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import unquote, urlsplit

from ostler.errors import NotFoundError
from ostler.formats.keyfile import split_list
from ostler.io.http import HttpOptions
from ostler.store.errors import StoreError
from ostler.store.pull_options import PullOptions
from ostler.store.repo import Remote, Repo

MIRRORLIST = "mirrorlist="
BACKOFF_SECONDS = 0.2


@dataclass(frozen=True, slots=True)
class Place:
    """Something to pull from. `name` is that of the remote, None for a URL or a path.

    `urls` of objects may be those of another server (`content_url`); either may begin with `mirrorlist=`.
    """

    name: str | None
    url: str
    content_url: str | None
    options: Mapping[str, str]

    @property
    def remote(self) -> Remote | None:
        """The configured remote that this is, if it is one."""
        return None if self.name is None else Remote(self.name, self.url, self.options)

    @property
    def folder(self) -> Path | None:
        """The folder of a repository on this machine, if this is one."""
        parts = urlsplit(self.url)
        if parts.scheme == "file":
            return Path(unquote(parts.path))
        return Path(self.url) if not parts.scheme and self.url.startswith("/") else None

    @property
    def branches(self) -> list[str]:
        """The refs that the remote's configuration names for pulling."""
        return split_list(self.options.get("branches", ""))

    def option(self, key: str) -> str | None:
        """A key of the remote's configuration; None if missing or empty."""
        return self.options.get(key) or None


def place_of(repo: Repo, remote: str | Path, options: PullOptions) -> Place:
    """What `remote` stands for: the name of a remote, or a URL or path. Raises `NotFoundError` and `StoreError`."""
    if isinstance(remote, Path):
        return _checked(Place(None, str(remote.absolute()), None, {}))
    if "/" in remote:
        url = remote if urlsplit(remote).scheme else str(Path(remote).absolute())
        return _checked(Place(None, url, None, {}))
    remotes = repo.remotes()
    if remote not in remotes:
        known = ", ".join(sorted(remotes)) or "none"
        raise NotFoundError(f'Remote "{remote}" not found', hint=f"remotes there: {known}")
    found = remotes[remote]
    _check_usable(found)
    place = Place(remote, found.url, found.options.get("contenturl") or None, found.options)
    if options.override_url is not None:
        place = replace(place, url=options.override_url, content_url=None)
    return _checked(place)


def _check_usable(remote: Remote) -> None:
    state, backend = remote.options.get("unconfigured-state"), remote.options.get("custom-backend")
    if state:
        raise StoreError(
            f"remote unconfigured-state: {state}", hint="the remote has to be set up before it can be used"
        )
    if backend:
        raise StoreError(f"Cannot fetch via libostree - remote '{remote.name}' uses custom backend '{backend}'")
    if remote.options.get("metalink"):
        raise StoreError(
            f"the remote {remote.name} is described by a metalink, which Ostler does not read",
            hint="set its url to that of a server, or mirrorlist= and a list of servers",
        )
    if not remote.url:
        raise StoreError(f'No "url" option in remote "{remote.name}"', hint="add the remote again with its URL")


def _checked(place: Place) -> Place:
    for url in (place.url, place.content_url):
        if url is None:
            continue
        try:
            scheme = urlsplit(url.removeprefix(MIRRORLIST)).scheme
        except ValueError as error:
            raise StoreError(f"Invalid URI {url}: {error}", hint="write http://HOST:PORT/PATH") from error
        if scheme in ("http", "https") or (not url.startswith(MIRRORLIST) and (scheme == "file" or url[:1] == "/")):
            continue
        raise StoreError(
            f"Invalid URI scheme in {url}",
            hint="give the name of a remote, a URL that begins with https://, http:// or file://, or a path",
        )
    return place


def http_options(repo: Repo, place: Place, options: PullOptions) -> HttpOptions:
    """How to talk to the servers of a place; raises `StoreError` if only half of a client's certificate is there."""
    certificate, key = place.option("tls-client-cert-path"), place.option("tls-client-key-path")
    if (certificate is None) is not (key is None):
        raise StoreError(
            f'Remote "{place.name}" must specify both "tls-client-cert-path" and "tls-client-key-path"',
            hint="a certificate is of no use without its key",
        )
    authority = place.option("tls-ca-path")
    cookies = repo.path / f"{place.name}.cookies.txt"
    usual = HttpOptions()
    agent = options.user_agent or usual.user_agent
    return HttpOptions(
        proxy=options.proxy or place.option("proxy"),
        ca_file=Path(authority) if authority else None,
        client_certificate=Path(certificate) if certificate else None,
        client_key=Path(key) if key else None,
        verify=place.options.get("tls-permissive", "false") not in ("true", "1"),
        attempts=options.network_retries + 1,
        backoff_seconds=BACKOFF_SECONDS,
        low_speed_bytes=options.low_speed_bytes,
        low_speed_seconds=options.low_speed_seconds,
        user_agent=f"{agent} {options.append_user_agent}" if options.append_user_agent else agent,
        headers=dict(options.http_headers),
        cookies=cookies if place.name is not None and cookies.is_file() else None,
    )
