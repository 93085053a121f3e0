"""Opening what is pulled from: the right kind of source for a place, set up as the remote and the caller want it."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from ostler.errors import CorruptError
from ostler.formats.objects import Checksum, ObjectType
from ostler.io.http import Fetcher, HttpFetcher
from ostler.store.content import RepoMode
from ostler.store.copy import LocalPath
from ostler.store.errors import StoreError
from ostler.store.mirrors import Mirrors, find_mirrors
from ostler.store.place import Place, http_options
from ostler.store.pull_options import PullOptions, UseDeltas
from ostler.store.remote import EagerRemoteHttp, RemoteHttp
from ostler.store.remote_summary import SummaryFiles
from ostler.store.repo import Repo
from ostler.store.signing.verify import Verifier, verifier_of
from ostler.store.source import Source
from ostler.store.summary import MAX_SUMMARY, Summary
from ostler.store.summary_cache import SummaryCache


class RefSource(Source, Protocol):
    """A `Source` that knows refs too."""

    def refs(self) -> Mapping[str, Checksum]:
        """The refs that it lists; perhaps none although there are some."""

    def find(self, ref: str) -> Checksum | None:
        """The commit of a ref, or None."""

    def is_deleted(self, commit: Checksum) -> bool:
        """Whether it says that the commit was deleted on purpose."""

    def summary(self) -> Summary | None:
        """Its summary, if it has one."""

    def summary_files(self, *, with_signature: bool = False) -> SummaryFiles:
        """The files `summary` and `summary.sig`, verified as demanded."""


class LocalSource(LocalPath):
    """A repository on this machine with its refs, or those of its summary where that must be signed."""

    def __init__(self, repo: Repo, verifier: Verifier, *, trusted: bool, user_only: bool) -> None:
        super().__init__(repo, link=trusted, verify=not trusted, user_only=user_only)
        self._verifier = verifier

    def refs(self) -> Mapping[str, Checksum]:
        """See `RefSource`."""
        if self._verifier.checks_summary:
            summary = self.summary()
            return {ref: entry.commit for ref, entry in summary.refs.items()} if summary else {}
        return super().refs()

    def find(self, ref: str) -> Checksum | None:
        """See `RefSource`."""
        return self.refs().get(ref) if self._verifier.checks_summary else super().find(ref)

    def is_deleted(self, commit: Checksum) -> bool:
        """See `RefSource`."""
        return self.repo.has(commit, ObjectType.TOMBSTONE)

    def summary(self) -> Summary | None:
        """See `RefSource`."""
        return self.summary_files().parse(self.name)

    def summary_files(self, *, with_signature: bool = False) -> SummaryFiles:
        """See `RefSource`."""
        found = SummaryFiles(_read(self.repo.path / "summary"), _read(self.repo.path / "summary.sig"))
        if self._verifier.checks_summary:
            self._verifier.verify_summary(found.summary or b"", found.signature if found.summary else None)
        return found


def _read(path: Path) -> bytes | None:
    try:
        with open(path, "rb") as file:
            data = file.read(MAX_SUMMARY + 1)
    except FileNotFoundError:
        return None
    if len(data) > MAX_SUMMARY:
        raise CorruptError(f"{path} is longer than {MAX_SUMMARY} bytes")
    return data


def verifier_at(repo: Repo, place: Place, options: PullOptions, *, local: bool = False) -> Verifier:
    """What is demanded of commits and summary of a place. `local`: only what the options say. Raises as TRUST does."""
    demands = {
        "gpg_verify": options.gpg_verify,
        "gpg_verify_summary": options.gpg_verify_summary,
        "sign_verify": options.sign_verify,
        "sign_verify_summary": options.sign_verify_summary,
    }
    if place.name is None and any(demands.values()):
        raise StoreError(
            "Must specify remote name to enable gpg verification",
            hint="which keys are trusted is part of a remote's configuration",
        )
    if local:
        demands = {key: bool(value) for key, value in demands.items()}
    return verifier_of(repo, place.remote, **demands, places=options.places)


@contextmanager
def open_place(
    repo: Repo, place: Place, options: PullOptions, verifier: Verifier, *, fetcher: Fetcher | None = None
) -> Iterator[RefSource]:
    """The source for a place. Without `fetcher` one is made with the settings of the remote."""
    folder = place.folder
    if folder is not None and options.static_deltas is not UseDeltas.REQUIRE:
        source = Repo.open(folder)
        yield LocalSource(source, verifier, trusted=not options.untrusted, user_only=options.bareuseronly_files)
    elif folder is not None:
        from ostler.io.file_fetcher import FileFetcher

        mirrors = Mirrors(FileFetcher(), [f"file://{folder}"])
        yield RemoteHttp(mirrors, mirrors, verifier=verifier, user_only=options.bareuseronly_files)
    elif fetcher is not None:
        yield _over_http(repo, place, options, verifier, fetcher, lambda: None)
    else:
        with HttpFetcher(http_options(repo, place, options)) as own:
            yield _over_http(repo, place, options, verifier, own, own.close)


def _over_http(
    repo: Repo,
    place: Place,
    options: PullOptions,
    verifier: Verifier,
    fetcher: Fetcher,
    on_stop: Callable[[], None],
) -> RemoteHttp:
    meta = find_mirrors(fetcher, place.url)
    content = find_mirrors(fetcher, place.content_url) if place.content_url is not None else meta
    cache = None
    if place.name is not None:
        cache = SummaryCache(options.cache_dir or repo.path / "tmp" / "cache", place.name)
    mirroring = options.mirror and repo.mode is RepoMode.ARCHIVE
    settings = {
        "verifier": verifier,
        "cache": cache,
        "refuse_stale_cache": options.refuse_stale_cache,
        "user_only": options.bareuseronly_files,
        "verify_files": not (options.http_trusted and mirroring and not options.untrusted),
    }
    if isinstance(fetcher, HttpFetcher):
        return EagerRemoteHttp(meta, content, fetcher, on_stop=on_stop, **settings)
    return RemoteHttp(meta, content, on_stop=on_stop, **settings)  # type: ignore[arg-type]
