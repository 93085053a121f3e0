"""A published repository behind HTTP as source of a transfer, asked for things in the order in which libostree does."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from urllib.parse import quote

from ostler.errors import CorruptError, OstlerError
from ostler.formats.gvariant import FormatError, Variant
from ostler.formats.keyfile import Keyfile
from ostler.formats.objects import MAX_METADATA_SIZE, Checksum, ObjectType, decode_detached, parse_checksum
from ostler.io.http import Body, HttpFetcher, HttpStatusError, NetworkError
from ostler.store.content import RepoMode
from ostler.store.filez_in import store_filez
from ostler.store.mirrors import MAX_CONFIG, Mirrors
from ostler.store.remote_summary import SummaryFiles, fetch_summary
from ostler.store.signing.verify import NOTHING, Verifier
from ostler.store.source import damaged, missing
from ostler.store.summary import Summary
from ostler.store.summary_cache import SummaryCache
from ostler.store.transaction import Transaction

MAX_REF = 1024
MAX_COMMIT = 16 * 1024 * 1024  # detached metadata too
MAX_FILE = 64 * 1024**3  # larger than any file that belongs into an image; a bound for servers that never end
_SHOWN_OF_A_BAD_REF = 64


class NotARepositoryError(OstlerError):
    """What is at a URL is no repository, or none that can be pulled from."""


class RemoteHttp:
    """The repository at `meta`; its objects come from `content`, its summary, refs and signatures do not.

    The summary is asked for when it is first needed, and must be signed as `verifier` demands. `user_only` refuses
    files that `bare-user-only` cannot hold, `verify_files` False keeps them as they come (for archives only). `on_stop`
    is called when a transfer is given up. Methods raise `NetworkError`, `NotARepositoryError` and `CorruptError`.
    """

    def __init__(
        self,
        meta: Mirrors,
        content: Mirrors,
        *,
        verifier: Verifier = NOTHING,
        cache: SummaryCache | None = None,
        refuse_stale_cache: bool = False,
        user_only: bool = False,
        verify_files: bool = True,
        on_stop: Callable[[], None] = lambda: None,
    ) -> None:
        self.meta = meta
        self.content = content
        self._verifier = verifier
        self._cache = cache
        self._refuse_stale_cache = refuse_stale_cache
        self._user_only = user_only
        self._verify_files = verify_files
        self._on_stop = on_stop
        self._files: SummaryFiles | None = None
        self._signature_asked = False
        self._summary: Summary | None = None
        self._config: Keyfile | None = None

    @property
    def name(self) -> str:
        """The URL, without password."""
        return self.meta.name

    # --- what the repository says of itself

    def summary_files(self, *, with_signature: bool = False) -> SummaryFiles:
        """The files `summary` and `summary.sig`, verified as demanded."""
        if self._files is None or (with_signature and not self._signature_asked):
            self._summary = None
            self._files = fetch_summary(
                self.meta,
                self._verifier,
                self._cache,
                with_signature=with_signature,
                refuse_stale_cache=self._refuse_stale_cache,
            )
            self._signature_asked = with_signature or self._verifier.checks_summary
        return self._files

    def summary(self) -> Summary | None:
        """The summary, if there is one."""
        if self._summary is None:
            self._summary = self.summary_files().parse(self.name)
        return self._summary

    @property
    def summary_loaded(self) -> bool:
        """Whether the summary was asked for."""
        return self._files is not None

    def config(self) -> Keyfile:
        """The repository's file `config`."""
        if self._config is None:
            self._config = self._load_config()
        return self._config

    def check_usable(self) -> None:
        """Raise `NotARepositoryError` unless this is a repository of mode archive."""
        mode = None
        if self.summary_loaded and (summary := self.summary()) is not None:
            stated = summary.metadata.get("ostree.summary.mode")
            mode = str(stated.value) if stated is not None and stated.type == "s" else None
        mode = mode or self.config().get("core", "mode", "bare")
        if mode not in ("archive", RepoMode.ARCHIVE):
            raise NotARepositoryError(
                f'Can\'t pull from archives with mode "{mode}": the repository {self.name} has mode {mode}; '
                "only mode archive can be pulled over HTTP",
                hint="publish from it into a repository of mode archive (`ostler publish`)",
            )

    def refs(self) -> Mapping[str, Checksum]:
        """The refs in the summary; none if there is no summary."""
        summary = self.summary()
        return {ref: entry.commit for ref, entry in summary.refs.items()} if summary else {}

    def find(self, ref: str) -> Checksum | None:
        """The commit of a ref; None if there is no such ref.

        The summary alone says which refs there are; only where there is none is the ref's own file asked, as nobody
        signs that.
        """
        summary = self.summary()
        if summary is None:
            return self.find_file(f"refs/heads/{quote(ref)}", ref)
        entry = summary.refs.get(ref)
        return None if entry is None else entry.commit

    def find_file(self, path: str, ref: str) -> Checksum | None:
        """What the ref file at `path` holds; None if there is no such file."""
        data = self.meta.load_optional(path, limit=MAX_REF)
        if data is None:
            return None
        text = data.decode("utf-8", "replace").strip()
        try:
            return parse_checksum(text)
        except FormatError as error:
            shown = text[:_SHOWN_OF_A_BAD_REF].replace("\n", " ")
            raise CorruptError(
                f"Fetching checksum for ref ((empty), {ref}): Invalid rev {shown}",
                hint="check the address; a login page or the like may stand in front",
            ) from error

    def is_deleted(self, commit: Checksum) -> bool:
        """Whether the repository has a tombstone for the commit, where it keeps such."""
        summary = self.summary() if self.summary_loaded else None
        stated = summary.metadata.get("ostree.summary.tombstone-commits") if summary else None
        if stated is None or stated.value is not True:
            return False
        return self.content.load_optional(object_path(commit, ObjectType.TOMBSTONE), limit=MAX_REF) is not None

    def _load_config(self) -> Keyfile:
        data = self.meta.load_optional("config", limit=MAX_CONFIG)
        if data is None:
            raise NotARepositoryError(
                f"{self.name} is no OSTree repository: it has no file `config` (the server answered 404)",
                hint="check the address; it must be that of the folder which holds `config` and `objects`",
            )
        try:
            return Keyfile.parse(data.decode())
        except (UnicodeDecodeError, FormatError) as error:
            raise NotARepositoryError(
                f"{self.name} is no OSTree repository: its file `config` cannot be read",
                hint="check the address; a login page or the like may stand in front",
            ) from error

    # --- objects

    def load_metadata(self, checksum: Checksum, kind: ObjectType) -> bytes:
        """See `Source`."""
        try:
            return self.content.load(object_path(checksum, kind), limit=_limit(kind))
        except HttpStatusError as error:
            raise self._missing(error, checksum, kind) from error

    def load_detached(self, commit: Checksum) -> Mapping[str, Variant] | None:
        """See `Source`."""
        data = self.meta.load_optional(object_path(commit, ObjectType.DETACHED), limit=MAX_COMMIT)
        try:
            return None if data is None else decode_detached(data)
        except FormatError as error:
            raise damaged(self.name, commit, ObjectType.DETACHED, error) from error

    def store_file(self, checksum: Checksum, transaction: Transaction) -> int:
        """See `Source`."""
        path = object_path(checksum, ObjectType.FILE)
        try:
            return self.content.get(path, self._storing(transaction, checksum), limit=MAX_FILE)
        except HttpStatusError as error:
            raise self._missing(error, checksum, ObjectType.FILE) from error

    def _storing(self, transaction: Transaction, checksum: Checksum) -> Callable[[Body], int]:
        return lambda body: self._store(transaction, checksum, body)

    def _store(self, transaction: Transaction, checksum: Checksum, body: Body) -> int:
        return store_filez(transaction, body, checksum, user_only=self._user_only, verify=self._verify_files)

    def stop(self) -> None:
        """See `Source`."""
        self._on_stop()

    def _missing(self, error: HttpStatusError, checksum: Checksum, kind: ObjectType) -> OstlerError:
        return missing(self.name, checksum, kind, f" (the server answered {error.status})") if error.absent else error


class EagerRemoteHttp(RemoteHttp):
    """The same over `fetcher`, which can have several requests under way: see `EagerSource`."""

    def __init__(self, meta: Mirrors, content: Mirrors, fetcher: HttpFetcher, **settings: object) -> None:
        super().__init__(meta, content, **settings)  # type: ignore[arg-type]
        self._fetcher = fetcher
        self._settings = settings

    def in_child(self) -> "EagerRemoteHttp":
        """See `EagerSource`."""
        fetcher = self._fetcher.afresh()
        settings = {**self._settings, "on_stop": fetcher.close}
        return EagerRemoteHttp(self.meta.with_fetcher(fetcher), self.content.with_fetcher(fetcher), fetcher, **settings)

    def each_metadata(
        self, next_wanted: Callable[[], tuple[Checksum, ObjectType] | None], lanes: int
    ) -> Iterator[tuple[Checksum, ObjectType, bytes]]:
        """See `EagerSource`."""
        from ostler.io.http_lanes import Lanes

        under_way: Lanes[tuple[Checksum, ObjectType]] = Lanes(self._fetcher, lanes)
        base = self.content.urls[0]
        try:
            while True:
                while under_way.free and (wanted := next_wanted()) is not None:
                    try:
                        under_way.send(wanted, f"{base}/{object_path(*wanted)}", limit=_limit(wanted[1]))
                    except NetworkError as error:
                        yield *wanted, self._elsewhere(*wanted, error)
                if not under_way.pending:
                    return
                (checksum, kind), data = under_way.take(lambda _, body: body.read())
                if isinstance(data, NetworkError):
                    data = self._elsewhere(checksum, kind, data)
                yield checksum, kind, data
        finally:
            under_way.drop()

    def _elsewhere(self, checksum: Checksum, kind: ObjectType, error: NetworkError) -> bytes:
        try:
            return self.content.get(
                object_path(checksum, kind), lambda body: body.read(), limit=_limit(kind), after=error
            )
        except HttpStatusError as last:
            raise self._missing(last, checksum, kind) from last

    def store_files(self, checksums: Sequence[Checksum], transaction: Transaction, lanes: int) -> Iterator[int]:
        """See `EagerSource`."""
        from ostler.io.http_lanes import Lanes

        under_way: Lanes[Checksum] = Lanes(self._fetcher, lanes)
        base = self.content.urls[0]
        todo = iter(checksums)

        def store(checksum: Checksum, body: Body) -> int:
            try:
                return self._store(transaction, checksum, body)
            except CorruptError as error:
                raise damaged(self.name, checksum, ObjectType.FILE, error) from error

        try:
            for checksum in todo:
                try:
                    under_way.send(checksum, f"{base}/{object_path(checksum, ObjectType.FILE)}", limit=MAX_FILE)
                except NetworkError as error:
                    yield self._stored((checksum, error), transaction)
                if not under_way.free:
                    yield self._stored(under_way.take(store), transaction)
            while under_way.pending:
                yield self._stored(under_way.take(store), transaction)
        finally:
            under_way.drop()

    def _stored(self, taken: tuple[Checksum, int | NetworkError], transaction: Transaction) -> int:
        checksum, found = taken
        if isinstance(found, int):
            return found
        path = object_path(checksum, ObjectType.FILE)
        try:
            return self.content.get(path, self._storing(transaction, checksum), limit=MAX_FILE, after=found)
        except HttpStatusError as last:
            raise self._missing(last, checksum, ObjectType.FILE) from last
        except CorruptError as error:
            raise damaged(self.name, checksum, ObjectType.FILE, error) from error


def object_path(checksum: Checksum, kind: ObjectType) -> str:
    """Where in a repository of mode archive the object is."""
    return f"objects/{checksum[:2]}/{checksum[2:]}.{RepoMode.ARCHIVE.extension(kind)}"


def _limit(kind: ObjectType) -> int:
    return MAX_COMMIT if kind is ObjectType.COMMIT else MAX_METADATA_SIZE
