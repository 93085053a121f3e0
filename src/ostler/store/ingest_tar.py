"""From a tar stream into the store: one pass, bounded memory, files hashed and compressed beside the reading."""

import stat
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, BinaryIO, TypeAlias, cast

from ostler.formats.gvariant import FormatError
from ostler.formats.objects import Checksum, DirMeta, FileMeta
from ostler.formats.tar import Kind, Member, MemberContent, read_members
from ostler.store.content import RepoMode
from ostler.store.errors import StoreError, UnsupportedFileError
from ostler.store.forked import processors
from ostler.store.modifier import Filter, canonical_filter
from ostler.store.transaction import Transaction
from ostler.store.tree import DEFAULT_META, MAX_TREE_DEPTH, Directory

if TYPE_CHECKING:
    from concurrent.futures import Future, ThreadPoolExecutor

Members: TypeAlias = Iterable[tuple[Member, MemberContent]]

MAX_ENTRIES = 4_000_000
MAX_IMPLIED = 1_000_000
_IN_MEMORY = 4 << 20
_QUEUED_BYTES = 64 << 20


class Parents(Enum):
    """What to do about directories that an archive has files in but does not hold itself, its root among them."""

    ROOTS = "root's, with mode 0755"
    OWNED_LIKE_MEMBER = "of the owner of the member that needs them, with mode 0755"
    REQUIRED = "an error"


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
    filter: Filter | None = None,
    threads: int | None = None,
) -> Directory:
    """Store the files of an (uncompressed) tar stream and return its tree; reads `source` to its end.

    Whiteouts stay files. Later members replace earlier ones of the same path; missing parents are root's, 0755; hard
    links become files of their own. `filter` is that of `ingest_directory`. Raises `FormatError` for a malformed
    archive or a path that leaves the root, `UnsupportedFileError` for devices and fifos, unless the filter drops them.
    """
    return ingest_members(transaction, read_members(source), filter=filter, threads=threads)


def ingest_members(
    transaction: Transaction,
    members: Members,
    *,
    filter: Filter | None = None,
    threads: int | None = None,
    parents: Parents = Parents.ROOTS,
    pathname: Callable[[str], str] | None = None,
    onto: Directory | None = None,
) -> Directory:
    """`ingest_tar` for the members of any archive.

    `pathname` maps each path (without leading "/" and "./", a directory's may end in "/") to another. With `onto` the
    files go into that tree, over what it has; it is what is returned. Then, and unless `parents` are root's, a file
    cannot replace a directory, nor a directory a file.
    """
    from concurrent.futures import ThreadPoolExecutor

    count = threads or max(2, processors())  # so that reading and computing overlap
    with ThreadPoolExecutor(count, thread_name_prefix="storing files") as pool:
        reader = _Reader(transaction, filter, pool, parents, pathname, onto)
        try:
            for number, (member, content) in enumerate(members):
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
        filter: Filter | None,
        pool: "ThreadPoolExecutor",
        parents: Parents,
        pathname: Callable[[str], str] | None,
        onto: Directory | None,
    ) -> None:
        user_only = transaction.repo.mode is RepoMode.BARE_USER_ONLY
        self._transaction = transaction
        self._filter = canonical_filter(filter) if user_only else filter
        self._pool = pool
        self._parents = parents
        self._pathname = pathname
        self._strict = onto is not None or parents is not Parents.ROOTS
        self._root = Directory(DEFAULT_META) if onto is None else onto
        self._rooted = onto is not None or parents is Parents.ROOTS
        self._implied = 0
        self._stored: dict[str, _Stored] = {}
        self._pending: dict[tuple[int, str], tuple[Directory, str, Future[Checksum]]] = {}
        self._room = threading.Semaphore(_QUEUED_BYTES // _IN_MEMORY)

    def add(self, member: Member, content: MemberContent) -> None:
        path = self._path(member.path)
        if member.kind is Kind.DIRECTORY:
            self._add_directory(path, member)
        elif not path:
            raise FormatError("the root of a tar archive is no directory")
        elif member.kind is Kind.HARDLINK:
            self._add_hard_link(path, self._path(member.target), member)
        else:
            self._add_file(path, member, content)

    def _path(self, written: str) -> str:
        path = _clean_path(written)
        if self._pathname is None:
            return path
        return _clean_path(self._pathname(path + "/" if path and written.endswith("/") else path))

    def finish(self) -> Directory:
        for directory, name, future in self._pending.values():
            checksum = future.result()
            if name in directory.files:
                directory.files[name] = checksum
        if not self._rooted and self._parents is Parents.REQUIRED:
            raise FormatError("Can't commit an empty tree: the archive does not hold its root directory")
        if not self._rooted:
            meta = self._filtered("", DEFAULT_META)
            self._root.meta = meta if isinstance(meta, DirMeta) else DEFAULT_META
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
        folder = self._parent(parent, member)
        if name in folder.files:
            if self._strict:
                raise StoreError(f"Can't replace file with directory: {name}")
            del folder.files[name]
        folder.ensure_dir(name).meta = meta
        self._rooted = self._rooted or not path

    def _parent(self, path: str, member: Member) -> Directory:
        """The directory at `path`, made with its missing parents."""
        found = self._root.directory(path)
        if found is not None:
            return found
        if self._parents is Parents.REQUIRED:
            missing = next(part for part in _ancestors(path) if self._root.directory(part) is None)
            raise FormatError(
                f"No such file or directory: {missing}",
                hint="the archive does not hold this directory; have missing parents made",
            )
        meta = DEFAULT_META
        if self._parents is Parents.OWNED_LIKE_MEMBER:  # libostree then does so with all of them, and the root
            meta = DirMeta(member.uid, member.gid, DEFAULT_META.mode)
            self._root.meta = meta
            self._rooted = True
        here = self._root
        for name in path.split("/"):
            if name not in here.dirs:
                self._implied += 1
            if self._implied > MAX_IMPLIED:
                raise FormatError(
                    f"the tar archive implies more than {MAX_IMPLIED} directories that are no members of it"
                )
            try:
                here = here.ensure_dir(name, meta)
            except StoreError as error:
                raise FormatError(f"the tar archive uses a file as a directory: {error.message}") from error
            if self._parents is Parents.OWNED_LIKE_MEMBER:
                here.meta = meta
        return here

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
        self._place(path, member, found, meta, self._store(meta, member, content))

    def _place(self, path: str, member: Member, found: FileMeta, kept: FileMeta, checksum: "Future[Checksum]") -> None:
        parent, _, name = path.rpartition("/")
        folder = self._parent(parent, member)
        if self._strict and name in folder.dirs:
            raise StoreError(f"Can't replace directory with file: {name}")
        folder.dirs.pop(name, None)
        folder.files[name] = Checksum("")
        self._pending[id(folder), name] = (folder, name, checksum)
        self._stored[path] = _Stored(found, kept, checksum)

    def _store(self, meta: FileMeta, member: Member, content: MemberContent) -> "Future[Checksum]":
        from concurrent.futures import Future

        if member.size > _IN_MEMORY:
            done: Future[Checksum] = Future()
            done.set_result(self._transaction.write_file(meta, cast(BinaryIO, content)))
            return done
        data = content.readall() or b""
        self._room.acquire()
        future = self._pool.submit(self._transaction.write_file, meta, data)
        future.add_done_callback(lambda _: self._room.release())
        return future

    def _add_hard_link(self, path: str, target: str, member: Member) -> None:
        from concurrent.futures import Future

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
        self._place(path, member, original.found, meta, checksum)


def _ancestors(path: str) -> list[str]:
    """The directories on the way to `path`, itself included."""
    parts = path.split("/")
    return ["/".join(parts[: count + 1]) for count in range(len(parts))]


def _clean_path(path: str) -> str:
    """The path without leading "/" and "./"; raises `FormatError` if it climbs, or lies too deep."""
    parts = [part for part in path.split("/") if part not in ("", ".")]
    if ".." in parts or len(parts) > MAX_TREE_DEPTH:
        raise FormatError(f"the path {path!r} in a tar archive leaves its root or lies too deep")
    return "/".join(parts)
