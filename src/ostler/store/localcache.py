"""Repositories on this machine from which a pull takes what they have, before it asks the server."""

from collections.abc import Iterator, Sequence

from ostler.errors import CorruptError, NotFoundError
from ostler.formats.objects import Checksum, ObjectType
from ostler.store.copy import LocalPath
from ostler.store.repo import Repo
from ostler.store.transaction import Transaction


class _Cache(LocalPath):
    """One of them: a file that it turns out not to have (any more) is left out, for the source to bring."""

    def store_file(self, checksum: Checksum, transaction: Transaction) -> int:
        """See `Source`; 0 for what was left out."""
        try:
            return super().store_file(checksum, transaction)
        except (NotFoundError, FileNotFoundError):
            return 0


class LocalCaches:
    """Some repositories, the first that has an object being asked for it. With `link`, see `LocalPath`."""

    def __init__(self, repos: Sequence[Repo], *, link: bool) -> None:
        self._sources = [_Cache(repo, link=link) for repo in repos]

    def load(self, checksum: Checksum, kind: ObjectType) -> bytes | None:
        """The verified bytes of a metadata object; None if no cache has a good one."""
        for source in self._sources:
            try:
                return source.repo.load_bytes(checksum, kind)
            except (NotFoundError, FileNotFoundError, CorruptError):
                continue
        return None

    def share_out(self, checksums: Sequence[Checksum]) -> Iterator[tuple[LocalPath, list[Checksum]]]:
        """For each cache the file objects to take from it, as a source that leaves out what it cannot give."""
        left = list(checksums)
        for source in self._sources:
            there = [checksum for checksum in left if source.repo.has(checksum, ObjectType.FILE)]
            if there:
                yield source, there
                taken = set(there)
                left = [checksum for checksum in left if checksum not in taken]

    def lacking(self, checksums: Sequence[Checksum]) -> list[Checksum]:
        """The file objects that no cache has."""
        return [c for c in checksums if not any(source.repo.has(c, ObjectType.FILE) for source in self._sources)]
