"""Pulling refs from a remote: a published repository behind HTTP, or a repository on this machine."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol
from urllib.parse import unquote, urlsplit

from ostler.errors import CorruptError, NotFoundError
from ostler.formats.gvariant import FormatError
from ostler.formats.objects import Checksum, Commit, ObjectType, checksum_of, parse_checksum
from ostler.formats.refs import join_refspec, validate_ref
from ostler.io.http import Fetcher, HttpFetcher, HttpOptions
from ostler.io.progress import Reporter, silent
from ostler.store.copy import LocalPath
from ostler.store.errors import ChecksumMismatchError, StoreError
from ostler.store.remote import RemoteHttp
from ostler.store.repo import Remote, Repo
from ostler.store.transfer import Source, TransferResult, Wanted, check_binding, damaged, transfer

CONNECTIONS = 8
MAX_LISTED = 20


class SignatureRequiredError(StoreError):
    """A remote demands signatures, which cannot be checked here."""


class RefSource(Source, Protocol):
    """A `Source` that knows refs too."""

    def refs(self) -> Mapping[str, Checksum]:
        """The refs that it lists; perhaps none although there are some."""

    def find(self, ref: str) -> Checksum | None:
        """The commit of a ref, or None."""


@dataclass(frozen=True, slots=True)
class PullResult:
    """What a pull did: the commit of each ref asked for, and what had to be moved for them."""

    refs: Mapping[str, Checksum]
    transfer: TransferResult

    @property
    def objects(self) -> int:
        """Objects fetched."""
        return self.transfer.objects

    @property
    def bytes_received(self) -> int:
        """Bytes of objects as they came over the wire (from a local repository: uncompressed)."""
        return self.transfer.bytes_moved


def pull(
    repo: Repo,
    remote: str | Path,
    refs: Sequence[str],
    *,
    connections: int = CONNECTIONS,
    fetcher: Fetcher | None = None,
    report: Reporter = silent,
) -> PullResult:
    """Bring the commits of `refs` with all they contain into `repo`, then point its refs at them.

    `remote` is the name of one of the repository's remotes, whose refs become `REMOTE:REF` here; or a URL (`http`,
    `https`, `file`) or a path, whose refs become refs of the repository itself. Instead of a ref a whole checksum can
    be given; then no ref is set. Without `fetcher` one is made with the settings of the remote.

    Raises `NotFoundError` (no such ref; objects missing), `CorruptError` (what came does not have its digest; nothing
    becomes visible), `NetworkError` (what came before is kept for the next try), `SignatureRequiredError`.
    """
    place = _place(repo, remote)
    name = place.name or None
    with open_source(repo, remote, fetcher=fetcher) as source:
        commits = {ref: _resolve(source, ref) for ref in refs}
        wanted = [
            Wanted(commit) if ref == commit else Wanted(commit, ref, name, repo.refs().get(join_refspec(name, ref)))
            for ref, commit in commits.items()
        ]
        moved = transfer(repo, source, wanted, workers=connections, activity="pull", report=report)
    return PullResult(commits, moved)


def remote_refs(repo: Repo, remote: str | Path, *, fetcher: Fetcher | None = None) -> dict[str, Checksum]:
    """The refs that a remote lists in its summary. Raises as `pull` does."""
    with open_source(repo, remote, fetcher=fetcher) as source:
        return dict(source.refs())


def remote_commit(
    repo: Repo, remote: str | Path, ref: str, *, fetcher: Fetcher | None = None
) -> tuple[Checksum, Commit]:
    """The commit that a remote has for a ref, looked at without changing anything here. Raises as `pull` does."""
    with open_source(repo, remote, fetcher=fetcher) as source:
        checksum = _resolve(source, ref)
        commit = _load_commit(repo, source, checksum)
    if ref != checksum:
        check_binding(source.name, ref, checksum, commit)
    return checksum, commit


@contextmanager
def open_source(repo: Repo, remote: str | Path, *, fetcher: Fetcher | None = None) -> Iterator[RefSource]:
    """What `remote` (as in `pull`) stands for, as a source of objects and refs."""
    place = _place(repo, remote)
    _check_signatures(place)
    scheme = urlsplit(place.url).scheme
    if scheme in ("http", "https"):
        content_url = place.options.get("contenturl")
        if fetcher is not None:
            yield RemoteHttp(place.url, fetcher, content_url=content_url)
            return
        with HttpFetcher(_http_options(place)) as own:
            yield RemoteHttp(place.url, own, content_url=content_url, on_stop=own.close)
    elif scheme == "file":
        yield LocalPath(Repo.open(Path(unquote(urlsplit(place.url).path))))
    elif Path(place.url).is_absolute():
        yield LocalPath(Repo.open(Path(place.url)))
    else:
        raise StoreError(
            f"cannot pull from {place.url!r}",
            hint="give the name of a remote, a URL that begins with https://, http:// or file://, or a path",
        )


def _place(repo: Repo, remote: str | Path) -> Remote:
    """The remote of that name; or one without name for a URL or path."""
    if isinstance(remote, Path):
        return Remote("", str(remote.absolute()), {"gpg-verify": "false"})
    if "/" in remote:
        url = remote if urlsplit(remote).scheme else str(Path(remote).absolute())
        return Remote("", url, {"gpg-verify": "false"})
    remotes = repo.remotes()
    if remote not in remotes:
        known = ", ".join(sorted(remotes)) or "none"
        raise NotFoundError(f"the repository {repo.path} has no remote {remote!r}", hint=f"remotes there: {known}")
    return remotes[remote]


def _check_signatures(remote: Remote) -> None:
    demands = [
        key
        for key, default in (
            ("gpg-verify", "true"),
            ("gpg-verify-summary", "false"),
            ("sign-verify", "false"),
            ("sign-verify-summary", "false"),
        )
        if remote.options.get(key, default).strip().lower() not in ("false", "0", "")
    ]
    if demands:
        raise SignatureRequiredError(
            f"the remote {remote.name} demands signatures ({', '.join(demands)}), which Ostler cannot check yet",
            hint=f'if digests and https are enough, set {demands[0]}=false in [remote "{remote.name}"]',
        )


def _http_options(remote: Remote) -> HttpOptions:
    def path(key: str) -> Path | None:
        value = remote.options.get(key)
        return Path(value) if value else None

    return HttpOptions(
        proxy=remote.options.get("proxy") or None,
        ca_file=path("tls-ca-path"),
        client_certificate=path("tls-client-cert-path"),
        client_key=path("tls-client-key-path"),
        verify=remote.options.get("tls-permissive", "false") != "true",
    )


def _resolve(source: RefSource, ref: str) -> Checksum:
    try:
        return parse_checksum(ref)
    except FormatError:
        found = source.find(validate_ref(ref))
    if found is not None:
        return found
    known = sorted(source.refs())
    shown = ", ".join(known[:MAX_LISTED]) + (f" and {len(known) - MAX_LISTED} more" if len(known) > MAX_LISTED else "")
    raise NotFoundError(
        f"{source.name} has no ref {ref}",
        hint=f"refs there: {shown}" if known else "it lists no refs at all; check the name with whoever publishes it",
    )


def _load_commit(repo: Repo, source: Source, checksum: Checksum) -> Commit:
    if repo.has(checksum, ObjectType.COMMIT):
        return repo.load_commit(checksum)
    data = source.load_metadata(checksum, ObjectType.COMMIT)
    try:
        if checksum_of(data) != checksum:
            raise ChecksumMismatchError(checksum, checksum_of(data), "commit")
        return Commit.decode(data)
    except CorruptError as error:
        raise damaged(source.name, checksum, ObjectType.COMMIT, error) from error
