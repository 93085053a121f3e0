"""From a tar stream into the store: one pass, bounded memory, files hashed and compressed beside the reading."""

import stat
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import BinaryIO, cast

from ostler.formats.gvariant import FormatError
from ostler.formats.objects import Checksum, DirMeta, FileMeta
from ostler.formats.tar import Kind, Member, MemberContent, read_members
from ostler.store.errors import StoreError, UnsupportedFileError
from ostler.store.parallel import default_threads
from ostler.store.transaction import Transaction
from ostler.store.tree import DEFAULT_META, MAX_TREE_DEPTH, Directory

MAX_ENTRIES = 4_000_000
MAX_IMPLIED = 1_000_000
_IN_MEMORY = 4 << 20
_QUEUED_BYTES = 64 << 20


@dataclass(slots=True)
class _Stored:
    """A file of the archive as it was stored, for hard links that come later."""

    found: FileMeta
    kept: FileMeta
    checksum: "Future[Checksum]"


def ingest_tar(
    transaction: Transaction,
    source: BinaryIO,
    *,
    filter: Callable[[str, FileMeta | DirMeta], FileMeta | DirMeta | None] | None = None,
    threads: int | None = None,
) -> Directory:
    """Store the files of an (uncompressed) tar stream and return its tree; reads `source` to its end.

    Whiteouts stay files. Later members replace earlier ones of the same path; missing parents are root's, 0755; hard
    links become files of their own. `filter` is that of `ingest_directory`. Raises `FormatError` for a malformed
    archive or a path that leaves the root, `UnsupportedFileError` for devices and fifos, unless the filter drops them.
    """
    count = threads or default_threads()
    with ThreadPoolExecutor(count, thread_name_prefix="storing files") as pool:
        reader = _Reader(transaction, filter, pool)
        try:
            for number, (member, content) in enumerate(read_members(source)):
                if number >= MAX_ENTRIES:
                    raise FormatError(f"the tar archive has more than {MAX_ENTRIES} members")
                reader.add(member, content)
            return reader.finish()
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


class _Reader:
    def __init__(
        self,
        transaction: Transaction,
        filter: Callable[[str, FileMeta | DirMeta], FileMeta | DirMeta | None] | None,
        pool: ThreadPoolExecutor,
    ) -> None:
        self._transaction = transaction
        self._filter = filter
        self._pool = pool
        self._root = Directory(DEFAULT_META)
        self._implied = 0
        self._stored: dict[str, _Stored] = {}
        self._pending: dict[tuple[int, str], tuple[Directory, str, Future[Checksum]]] = {}
        self._room = threading.Semaphore(_QUEUED_BYTES // _IN_MEMORY)

    def add(self, member: Member, content: MemberContent) -> None:
        path = _clean_path(member.path)
        if member.kind is Kind.DIRECTORY:
            self._add_directory(path, member)
        elif not path:
            raise FormatError("the root of a tar archive is no directory")
        elif member.kind is Kind.HARDLINK:
            self._add_hard_link(path, _clean_path(member.target))
        else:
            self._add_file(path, member, content)

    def finish(self) -> Directory:
        for directory, name, future in self._pending.values():
            checksum = future.result()
            if name in directory.files:
                directory.files[name] = checksum
        return self._root

    def _filtered(self, path: str, meta: FileMeta | DirMeta) -> FileMeta | DirMeta | None:
        return meta if self._filter is None else self._filter(path, meta)

    def _add_directory(self, path: str, member: Member) -> None:
        meta = self._filtered(path, DirMeta(member.uid, member.gid, stat.S_IFDIR | member.mode, member.xattrs))
        if meta is None:
            return
        if not isinstance(meta, DirMeta):
            raise StoreError(f"the filter made a file of the directory {path}")
        parent, _, name = path.rpartition("/")
        folder = self._parent(parent)
        folder.files.pop(name, None)
        folder.ensure_dir(name).meta = meta

    def _parent(self, path: str) -> Directory:
        """The directory at `path`, made with its missing parents."""
        found = self._root.directory(path)
        if found is not None:
            return found
        parent, _, name = path.rpartition("/")
        folder = self._parent(parent)
        self._implied += 1
        if self._implied > MAX_IMPLIED:
            raise FormatError(f"the tar archive implies more than {MAX_IMPLIED} directories that are no members of it")
        try:
            return folder.ensure_dir(name)
        except StoreError as error:
            raise FormatError(f"the tar archive uses a file as a directory: {error.message}") from error

    def _add_file(self, path: str, member: Member, content: MemberContent) -> None:
        kinds = {Kind.FILE: stat.S_IFREG, Kind.SYMLINK: stat.S_IFLNK, Kind.OTHER: stat.S_IFCHR}
        mode = 0o777 if member.kind is Kind.SYMLINK else member.mode
        target = member.target if member.kind is Kind.SYMLINK else ""
        found = FileMeta(member.uid, member.gid, kinds[member.kind] | mode, member.xattrs, target)
        meta = self._filtered(path, found)
        if meta is None:
            return
        if not isinstance(meta, FileMeta) or not (stat.S_ISREG(meta.mode) or meta.is_symlink):
            raise UnsupportedFileError(f"/{path} in the tar archive is a device or fifo, which a commit cannot hold")
        self._place(path, found, meta, self._store(meta, member, content))

    def _place(self, path: str, found: FileMeta, kept: FileMeta, checksum: "Future[Checksum]") -> None:
        parent, _, name = path.rpartition("/")
        folder = self._parent(parent)
        folder.dirs.pop(name, None)
        folder.files[name] = Checksum("")
        self._pending[id(folder), name] = (folder, name, checksum)
        self._stored[path] = _Stored(found, kept, checksum)

    def _store(self, meta: FileMeta, member: Member, content: MemberContent) -> "Future[Checksum]":
        if member.size > _IN_MEMORY:
            done: Future[Checksum] = Future()
            done.set_result(self._transaction.write_file(meta, cast(BinaryIO, content)))
            return done
        data = content.readall() or b""
        self._room.acquire()
        future = self._pool.submit(self._transaction.write_file, meta, data)
        future.add_done_callback(lambda _: self._room.release())
        return future

    def _add_hard_link(self, path: str, target: str) -> None:
        original = self._stored.get(target)
        if original is None:
            if self._filter is not None and self._filter(target, FileMeta(0, 0, stat.S_IFREG | 0o644)) is None:
                return
            raise FormatError(f"/{path} in the tar archive is a hard link to {target!r}, which is not in it")
        meta = self._filtered(path, original.found)
        if meta is None:
            return
        if not isinstance(meta, FileMeta):
            raise StoreError(f"the filter made a directory of the file {path}")
        checksum = original.checksum
        if meta != original.kept:
            checksum = Future()
            with self._transaction.repo.open_file(original.checksum.result()) as content:
                checksum.set_result(self._transaction.write_file(meta, content))
        self._place(path, original.found, meta, checksum)


def _clean_path(path: str) -> str:
    """The path without leading "/" and "./"; raises `FormatError` if it climbs, or lies too deep."""
    parts = [part for part in path.split("/") if part not in ("", ".")]
    if ".." in parts or len(parts) > MAX_TREE_DEPTH:
        raise FormatError(f"the path {path!r} in a tar archive leaves its root or lies too deep")
    return "/".join(parts)
