"""Adding objects and refs to a repository, all or nothing.

Objects are written to a staging folder in `tmp` (named and locked as libostree's are) and renamed into `objects/` when
the transaction ends, commits last; then come the refs. What a killed process of this boot has staged is taken over:
its objects are whole, since each got its name by a rename after it was written; but not its commits (see `staging`).
"""

# Plain strings and `os` below: this runs once for every file of a tree.
# ruff: noqa: PTH104, PTH108

import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from threading import Lock
from typing import BinaryIO, cast

from ostler.formats import filez
from ostler.formats.gvariant import FormatError, Variant
from ostler.formats.objects import (
    Checksum,
    FileMeta,
    MetadataObject,
    ObjectType,
    checksum_of,
    decode_metadata,
    encode_detached,
    type_of,
)
from ostler.io.files import fsync_directory, space_errors
from ostler.store import refstore
from ostler.store.content import RepoMode
from ostler.store.deflate import CHUNK, InflateReader
from ostler.store.repo import Repo, update_summary
from ostler.store.sizes import SizeLog
from ostler.store.space import SpaceBudget
from ostler.store.staging import Stage, acquire_stage, sync_file_system
from ostler.store.stored import Named, StoredFile, TransactionStats
from ostler.store.writer import CountingReader, ObjectForm, chunks_of

__all__ = ["StoredFile", "Transaction", "TransactionStats", "open_transaction"]

_DEFAULT_LEVEL = 6


class Transaction:
    """Writes objects; every `write_…` is thread-safe and returns at once if the object exists already.

    Forked worker processes can write file objects too, by `store_file` and `adopt_file`, whose results the parent
    process must give to `count_file`. Duplicates are settled by the file system. `sizes` collects the sizes of objects
    once it is set.
    """

    def __init__(self, repo: Repo, stage: str, *, fsync: bool | None = None, fsync_each: bool | None = None) -> None:
        each = repo.config.get_bool("core", "per-object-fsync", False) if fsync_each is None else fsync_each
        level = repo.config.get_int("archive", "zlib-level", _DEFAULT_LEVEL)
        self.repo = repo
        self.fsync = repo.fsync if fsync is None else fsync
        self.stats = TransactionStats()
        self._stage = Stage(stage, f"{repo.path}/objects")
        self._form = ObjectForm(repo.mode, min(max(level, 1), 9), each and self.fsync)
        self.sizes: SizeLog | None = None
        self._budget = SpaceBudget(repo.path, repo.config)
        self._lock = Lock()
        self._may_clone = True
        self._refs: dict[tuple[str | None, str | None, str], Checksum | None] = {}
        self._completed: list[Checksum] = []
        self._dropped_detached: set[Checksum] = set()

    def has(self, checksum: Checksum, kind: ObjectType) -> bool:
        """Whether the object is in the repository (or a parent of that) or written by this transaction."""
        return self._holds(checksum, kind) or (self.repo.parent is not None and self.repo.parent.has(checksum, kind))

    def _holds(self, checksum: Checksum, kind: ObjectType) -> bool:
        return self._stage.holds(self._name(checksum, kind))

    # --- file objects

    def write_file(
        self,
        meta: FileMeta,
        content: bytes | BinaryIO | Path | str,
        *,
        expected: Checksum | None = None,
        verify: bool = True,
    ) -> Checksum:
        """Add a file object and return its checksum.

        `content` is ignored for symlinks; a path is read, or its blocks shared, and must not be a symlink; a stream is
        read to its end. With `expected`, raises `ChecksumMismatchError` and adds nothing if the checksum is another.
        Without `verify` the object gets the name `expected` whatever it is: for sources that are trusted as they are.
        """
        return self.count_file(self.store_file(meta, content, expected=expected, verify=verify))

    def store_file(
        self,
        meta: FileMeta,
        content: bytes | BinaryIO | Path | str,
        *,
        expected: Checksum | None = None,
        verify: bool = True,
    ) -> StoredFile:
        """`write_file` without counting what was written: for worker processes."""
        named = Named(expected, verify)
        if meta.is_symlink:
            return self._store_whole(meta, b"", named)
        if isinstance(content, bytes):
            return self._store_whole(meta, content, named)
        if not isinstance(content, (str, Path)):
            return self._store_stream(meta, content, named)
        fd = os.open(content, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            size = os.fstat(fd).st_size
            if size <= self._form.whole_limit:
                return self._store_whole(meta, _read_small(fd, size), named)
            with open(fd, "rb", buffering=0, closefd=False) as file:
                return self._clone(meta, fd, named) or self._store_stream(meta, file, named)
        finally:
            os.close(fd)

    def adopt_file(self, meta: FileMeta, path: str) -> StoredFile:
        """Make the file at `path` itself the object, by a rename; `meta` must be what its inode says.

        For repositories of the modes `bare` and `bare-user-only`. If the object exists the file is removed. Raises
        `OSError` (`EXDEV`) if it is on another file system.
        """
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            digest, size = sha256(meta.header()), 0
            with open(fd, "rb", buffering=0, closefd=False) as file:
                for chunk in chunks_of(file):
                    digest.update(chunk)
                    size += len(chunk)
            checksum = Checksum(digest.hexdigest())
            if self._holds(checksum, ObjectType.FILE):
                os.unlink(path)
                return StoredFile(checksum, False, size, 0)
            self._form.finish(fd, meta)
        finally:
            os.close(fd)
        os.rename(path, self._stage.place_of(self._name(checksum, ObjectType.FILE)))
        return StoredFile(checksum, True, size, size)

    def count_file(self, file: StoredFile, *, times: int = 1) -> Checksum:
        """Take note of a file object that `store_file` or `adopt_file` stored, here or in a worker process.

        `times` is how often it was come across.
        """
        name = self._name(file.checksum, ObjectType.FILE)
        with self._lock:
            self.stats.content_total += times
            if file.new and name not in self._stage.names:
                self._stage.names.add(name)
                self.stats.file_objects += 1
                self.stats.stored_bytes += file.stored
                self.stats.content_bytes += file.size
        if self.sizes is not None:
            stored = file.stored or self._stored_size(file.checksum)
            self.sizes.add(ObjectType.FILE, file.checksum, unpacked=file.size, stored=stored)
        return file.checksum

    def record_sizes(self) -> None:
        """Collect the sizes of the objects that come from now on, for `commit_tree(generate_sizes=True)`.

        Does nothing in repositories that are no archives.
        """
        if self.repo.mode is RepoMode.ARCHIVE:
            self.sizes = SizeLog()

    def _stored_size(self, checksum: Checksum) -> int:
        return os.lstat(self.repo.find_object(checksum, ObjectType.FILE)).st_size

    def _store_whole(self, meta: FileMeta, content: bytes, named: "Named") -> StoredFile:
        checksum = named.agree(meta.checksum_with(content))
        size = len(meta.target.encode()) if meta.is_symlink else len(content)
        if self._holds(checksum, ObjectType.FILE):
            return StoredFile(checksum, False, size, 0)
        with self._stage.temporary(checksum[:2]) as path:
            stored = self._form.write_whole(path, meta, content, self._budget.reserve)
            os.rename(path, self._stage.place_of(self._name(checksum, ObjectType.FILE)))
        return StoredFile(checksum, True, size, stored)

    def _store_stream(self, meta: FileMeta, content: BinaryIO, named: "Named") -> StoredFile:
        with self._stage.temporary() as path:
            checksum, size, stored = self._form.write_stream(path, meta, chunks_of(content), self._budget.reserve)
            return self._place(path, named.agree(checksum), size, stored)

    def _clone(self, meta: FileMeta, source: int, named: "Named") -> StoredFile | None:
        if not self._may_clone:
            return None
        with self._stage.temporary() as path:
            cloned = self._form.clone(path, meta, source)
            if cloned is None:
                self._may_clone = False
                return None
            checksum, size = cloned
            return self._place(path, named.agree(checksum), size, size)

    def _place(self, path: str, checksum: Checksum, size: int, stored: int) -> StoredFile:
        """For files whose checksum shows only after they are written."""
        if self._holds(checksum, ObjectType.FILE):
            os.unlink(path)
            return StoredFile(checksum, False, size, 0)
        os.rename(path, self._stage.place_of(self._name(checksum, ObjectType.FILE)))
        return StoredFile(checksum, True, size, stored)

    def write_filez(self, source: BinaryIO, expected: Checksum, *, verify: bool = True) -> int:
        """Add the file object `expected` from its archive form (`.filez`); returns the bytes read from `source`.

        It is inflated and verified as it comes. An archive repository keeps the compressed bytes as they are; without
        `verify` it does not even look at them. Raises `FormatError` (also for a wrong size or bytes behind the end) and
        `ChecksumMismatchError`.
        """
        counted = CountingReader(source)
        if not verify and self.repo.mode is RepoMode.ARCHIVE:
            with self._stage.temporary() as path:
                self._form.write_prepared(path, map(self._reserved, iter(lambda: counted.read(CHUNK), b"")))
                self.count_file(self._place(path, expected, counted.count, counted.count))
            return counted.count
        meta, size = filez.read_header(counted.read_exactly)
        if self.repo.mode is not RepoMode.ARCHIVE or meta.is_symlink:
            if meta.is_symlink and counted.read(1):
                raise FormatError(f"the symlink object {expected} has bytes behind its header")
            content: bytes | BinaryIO = b""
            if not meta.is_symlink:
                inflated = InflateReader(cast(BinaryIO, counted), size)
                content = inflated.readall() if size <= CHUNK else cast(BinaryIO, inflated)
            self.write_file(meta, content, expected=expected, verify=verify)
            return counted.count
        pieces: list[bytes] = []
        inflated = InflateReader(cast(BinaryIO, counted), size, on_input=pieces.append)
        digest = sha256(meta.header())

        def stored() -> Iterator[bytes]:
            yield filez.encode_header(meta, size)
            while data := inflated.read(CHUNK):
                digest.update(data)
                for piece in pieces:
                    self._budget.reserve(len(piece))
                    yield piece
                pieces.clear()
            yield b"".join(pieces)

        with self._stage.temporary() as path:
            self._form.write_prepared(path, stored())
            Named(expected, verify).agree(Checksum(digest.hexdigest()))
            self.count_file(self._place(path, expected, size, counted.count))
        return counted.count

    def store_believed(self, checksum: Checksum, meta: FileMeta, content: bytes | BinaryIO) -> StoredFile:
        """Add a file object under a checksum that the caller vouches for; it is not counted, as by `store_file`."""
        with self._stage.temporary(checksum[:2]) as path:
            if isinstance(content, bytes):
                size, stored = len(content), self._form.write_whole(path, meta, content, self._budget.reserve)
            else:
                _, size, stored = self._form.write_stream(path, meta, chunks_of(content), self._budget.reserve)
            return self._place(path, checksum, size, stored)

    def store_prepared(self, checksum: Checksum, chunks: Iterator[bytes], size: int) -> StoredFile:
        """Add a file object of `size` bytes to an archive from its stored form, which the caller has verified."""
        stored = 0

        def reserved() -> Iterator[bytes]:
            nonlocal stored
            for chunk in chunks:
                self._budget.reserve(len(chunk))
                stored += len(chunk)
                yield chunk

        with self._stage.temporary(checksum[:2]) as path:
            self._form.write_prepared(path, reserved())
            return self._place(path, checksum, size, stored)

    # --- metadata objects

    def write_metadata(self, value: MetadataObject) -> Checksum:
        """Add a dirtree, dirmeta or commit and return its checksum."""
        return self._write_metadata(type_of(value), value.encode())

    def write_metadata_bytes(
        self, kind: ObjectType, data: bytes, *, expected: Checksum, verify: bool = True
    ) -> MetadataObject:
        """Add a metadata object that came from elsewhere, after verifying checksum and form; returns it parsed.

        Without `verify` the checksum is taken for granted.
        """
        checksum = Named(expected, verify).agree(checksum_of(data), f"{kind.extension} object") if verify else expected
        value = decode_metadata(kind, data)
        self._write_metadata(kind, data, checksum)
        return value

    def _write_metadata(self, kind: ObjectType, data: bytes, name: Checksum | None = None) -> Checksum:
        checksum = checksum_of(data) if name is None else name
        with self._lock:
            self.stats.metadata_total += 1
        if self.sizes is not None:
            self.sizes.add(kind, checksum, unpacked=len(data), stored=len(data))
        if not self._holds(checksum, kind):
            self._stage_bytes(checksum, kind, data)
        return checksum

    def write_detached(self, commit: Checksum, metadata: Mapping[str, Variant]) -> None:
        """Replace the detached metadata of a commit; an empty mapping removes it."""
        with self._lock:
            self._dropped_detached.discard(commit)
            if not metadata:
                self._dropped_detached.add(commit)
        if metadata:
            self._stage_bytes(commit, ObjectType.DETACHED, encode_detached(metadata))

    def link_object(self, checksum: Checksum, kind: ObjectType, source: Path | str) -> bool:
        """Add an object by a hard link to the same object's file in another repository of the same mode.

        The caller vouches for its content. False if the file systems differ or the link is refused.
        """
        if self._holds(checksum, kind):
            return True
        try:
            os.link(source, self._stage.place_of(self._name(checksum, kind)), follow_symlinks=False)
        except FileExistsError:
            return True
        except FileNotFoundError:
            raise
        except OSError:
            return False
        self._stage.names.add(self._name(checksum, kind))
        self._count(kind, 0)
        return True

    def set_ref(
        self, ref: str, checksum: Checksum | None, remote: str | None = None, *, collection: str | None = None
    ) -> None:
        """Point a ref at a commit (or remove it) when the transaction ends, as `Repo.set_ref`; raises `BadRefError`."""
        mirrored = None if collection == self.repo.collection_id else collection
        refstore.ref_path(self.repo.path, ref, remote, mirrored)
        self._refs[remote, mirrored, ref] = checksum

    def set_complete(self, commit: Checksum) -> None:
        """Have the mark of a partial commit removed when the transaction ends: after its objects, before any ref."""
        self._completed.append(commit)

    # --- staging

    def _name(self, checksum: Checksum, kind: ObjectType) -> str:
        return f"{checksum}.{self.repo.mode.extension(kind)}"

    def _stage_bytes(self, checksum: Checksum, kind: ObjectType, data: bytes) -> None:
        self._budget.reserve(len(data))
        name = self._name(checksum, kind)
        with self._stage.temporary(name[:2]) as path:
            self._form.write_prepared(path, iter([data]))
            os.rename(path, self._stage.place_of(name))
        self._stage.names.add(name)
        self._count(kind, len(data))

    def _count(self, kind: ObjectType, stored: int) -> None:
        with self._lock:
            if kind is ObjectType.FILE:
                self.stats.file_objects += 1
            else:
                self.stats.metadata_objects += 1
            self.stats.stored_bytes += stored

    def _reserved(self, data: bytes) -> bytes:
        self._budget.reserve(len(data))
        return data

    def publish(self) -> None:
        """Make everything staged part of the repository. Called by `Repo.transaction` when its block ends.

        Raises `StoreError` before anything is moved if one of the refs cannot be.
        """
        self._check_refs()
        if self.fsync:
            sync_file_system(self._stage.path)
        touched = self._stage.publish()
        for commit in self._dropped_detached:
            self.repo.object_path(commit, ObjectType.DETACHED).unlink(missing_ok=True)
        if self.fsync:
            for path in (*touched, f"{self.repo.path}/objects"):
                fsync_directory(Path(path))
        for commit in self._completed:
            self.repo.mark_partial(commit, False)
        for (remote, collection, ref), checksum in self._refs.items():
            refstore.write_ref(self.repo.path, ref, checksum, remote, collection=collection, durable=self.fsync)
        if self._refs:
            update_summary(self.repo)

    def _check_refs(self) -> None:
        for (remote, collection, ref), checksum in self._refs.items():
            if checksum is not None:
                refstore.check_room(refstore.ref_path(self.repo.path, ref, remote, collection), ref)


@contextmanager
def open_transaction(
    repo: Repo, *, resumable: bool, fsync: bool | None = None, fsync_each: bool | None = None
) -> Iterator[Transaction]:
    """Stage, and publish at the end of the block; the repository's lock must be held. See `Repo.transaction`."""
    stage, lock = acquire_stage(repo.path / "tmp", repo.config.get_int("core", "tmp-expiry-secs", 86400))
    keep = False
    try:
        transaction = Transaction(repo, stage, fsync=fsync, fsync_each=fsync_each)
        repo._stages.append(stage)
        try:
            yield transaction
            with space_errors("adding objects", repo.path):
                transaction.publish()
        except BaseException:
            keep = resumable
            raise
        finally:
            repo._stages.remove(stage)
    finally:
        if not keep:
            shutil.rmtree(stage, ignore_errors=True)
            Path(f"{stage}-lock").unlink(missing_ok=True)
        os.close(lock)


def _read_small(fd: int, size: int) -> bytes:
    data = os.read(fd, size + 1)
    if len(data) == size:
        return data
    parts = [data]
    while part := os.read(fd, CHUNK):
        parts.append(part)
    return b"".join(parts)
