"""A published repository behind HTTP as source of a transfer, asked for things in the order in which libostree does."""

from collections.abc import Callable, Mapping
from typing import BinaryIO, cast
from urllib.parse import quote

from ostler.errors import CorruptError, OstlerError
from ostler.formats.gvariant import FormatError, Variant
from ostler.formats.keyfile import Keyfile
from ostler.formats.objects import MAX_METADATA_SIZE, Checksum, ObjectType, decode_detached, parse_checksum
from ostler.io.http import Body, Fetcher, HttpStatusError, fetch_bytes, fetch_optional, redact
from ostler.store.content import RepoMode
from ostler.store.summary import MAX_SUMMARY, Summary
from ostler.store.transaction import Transaction
from ostler.store.transfer import damaged, missing

MAX_CONFIG = 1024 * 1024
MAX_REF = 1024
MAX_COMMIT = 16 * 1024 * 1024  # detached metadata too
MAX_FILE = 64 * 1024**3  # larger than any file that belongs into an image; a bound for servers that never end


class NotARepositoryError(OstlerError):
    """What is at a URL is no repository, or none that can be pulled from."""


class RemoteHttp:
    """The repository at `url`; objects come from `content_url` if that is another place.

    The constructor asks the server for its summary and configuration. It raises `NetworkError` and, if there is no
    repository of mode archive, `NotARepositoryError`. `on_stop` is called when a transfer is given up.
    """

    def __init__(
        self,
        url: str,
        fetcher: Fetcher,
        *,
        content_url: str | None = None,
        on_stop: Callable[[], None] = lambda: None,
    ) -> None:
        self._url = url.rstrip("/")
        self._content_url = (content_url or url).rstrip("/")
        self._fetcher = fetcher
        self._on_stop = on_stop
        self._summary = self._load_summary()
        self._check_config()

    @property
    def name(self) -> str:
        """The URL, without password."""
        return redact(self._url)

    def refs(self) -> Mapping[str, Checksum]:
        """The refs in the summary; none if there is no summary."""
        return {ref: entry.commit for ref, entry in self._summary.refs.items()} if self._summary else {}

    def find(self, ref: str) -> Checksum | None:
        """The commit of a ref, from the summary or else from the ref's own file; None if there is no such ref."""
        listed = self.refs().get(ref)
        if listed is not None:
            return listed
        data = fetch_optional(self._fetcher, f"{self._url}/refs/heads/{quote(ref)}", limit=MAX_REF)
        if data is None:
            return None
        try:
            return parse_checksum(data.decode("ascii", "replace").strip())
        except FormatError as error:
            raise CorruptError(f"{self.name}: the file of the ref {ref} holds no checksum: {error.message}") from error

    def load_metadata(self, checksum: Checksum, kind: ObjectType) -> bytes:
        """See `Source`."""
        limit = MAX_COMMIT if kind is ObjectType.COMMIT else MAX_METADATA_SIZE
        try:
            return fetch_bytes(self._fetcher, self._object_url(checksum, kind), limit=limit)
        except HttpStatusError as error:
            raise self._missing(error, checksum, kind) from error

    def load_detached(self, commit: Checksum) -> Mapping[str, Variant] | None:
        """See `Source`."""
        url = self._object_url(commit, ObjectType.DETACHED)
        data = fetch_optional(self._fetcher, url, limit=MAX_COMMIT)
        try:
            return None if data is None else decode_detached(data)
        except FormatError as error:
            raise damaged(self.name, commit, ObjectType.DETACHED, error) from error

    def store_file(self, checksum: Checksum, transaction: Transaction) -> int:
        """See `Source`."""

        def consume(body: Body) -> int:
            return transaction.write_filez(cast(BinaryIO, body), checksum)

        try:
            return self._fetcher.get(self._object_url(checksum, ObjectType.FILE), consume, limit=MAX_FILE)
        except HttpStatusError as error:
            raise self._missing(error, checksum, ObjectType.FILE) from error

    def stop(self) -> None:
        """See `Source`."""
        self._on_stop()

    def _object_url(self, checksum: Checksum, kind: ObjectType) -> str:
        return f"{self._content_url}/objects/{checksum[:2]}/{checksum[2:]}.{RepoMode.ARCHIVE.extension(kind)}"

    def _missing(self, error: HttpStatusError, checksum: Checksum, kind: ObjectType) -> OstlerError:
        return missing(self.name, checksum, kind) if error.absent else error

    def _load_summary(self) -> Summary | None:
        data = fetch_optional(self._fetcher, f"{self._url}/summary", limit=MAX_SUMMARY)
        try:
            return None if data is None else Summary.decode(data)
        except FormatError as error:
            raise CorruptError(
                f"{self.name}: the file `summary` is damaged: {error.message}",
                hint="whoever publishes there must write it again (`ostree summary --update`)",
            ) from error

    def _check_config(self) -> None:
        data = fetch_optional(self._fetcher, f"{self._url}/config", limit=MAX_CONFIG)
        if data is None:
            raise NotARepositoryError(
                f"{self.name} is no OSTree repository: it has no file `config`",
                hint="check the address; it must be that of the folder which holds `config` and `objects`",
            )
        try:
            mode = Keyfile.parse(data.decode()).get("core", "mode")
        except (UnicodeDecodeError, FormatError) as error:
            raise NotARepositoryError(
                f"{self.name} is no OSTree repository: its file `config` cannot be read",
                hint="check the address; a login page or the like may stand in front",
            ) from error
        if mode not in ("archive", RepoMode.ARCHIVE):
            raise NotARepositoryError(
                f"the repository {self.name} has mode {mode}; only mode archive can be pulled over HTTP",
                hint="publish from it into a repository of mode archive (`ostler publish`)",
            )
