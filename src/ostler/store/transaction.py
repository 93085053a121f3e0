"""Adding objects and refs to a repository, all or nothing.

Objects are written to a staging folder in `tmp` (named and locked as libostree's are) and renamed into `objects/` when
the transaction ends, commits last; then come the refs. What a killed process of this boot has staged is taken over:
its objects are whole, since each got its name by a rename after it was written; but not its commits (see `staging`).
"""

# Plain strings and `os` below: this runs once for every file of a tree.
# ruff: noqa: PTH103, PTH104, PTH108, PTH208

import itertools
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
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
from ostler.formats.refs import validate_ref, validate_remote
from ostler.io.files import fsync_directory, space_errors
from ostler.store import refstore
from ostler.store.content import RepoMode
from ostler.store.deflate import CHUNK, InflateReader
from ostler.store.errors import ChecksumMismatchError
from ostler.store.repo import Repo
from ostler.store.space import SpaceBudget
from ostler.store.staging import acquire_stage, sync_file_system
from ostler.store.writer import ObjectForm, chunks_of

_DEFAULT_LEVEL = 6


class _CountingReader:
    """Counts the bytes that are read from a stream."""

    def __init__(self, source: BinaryIO) -> None:
        self._source = source
        self.count = 0

    def read(self, size: int) -> bytes:
        data = self._source.read(size)
        self.count += len(data)
        return data

    def read_exactly(self, size: int) -> bytes:
        """`size` bytes, fewer at the end of the stream only."""
        parts = []
        while size > 0 and (data := self.read(size)):
            parts.append(data)
            size -= len(data)
        return b"".join(parts)

    def close(self) -> None:
        """The stream belongs to the caller."""


@dataclass(slots=True)
class TransactionStats:
    """What a transaction wrote: new objects only, and the bytes they take on disk."""

    metadata_objects: int = 0
    file_objects: int = 0
    stored_bytes: int = 0


class Transaction:
    """Writes objects; every `write_…` is thread-safe and returns at once if the object exists already."""

    def __init__(self, repo: Repo, stage: str) -> None:
        level = repo.config.get_int("archive", "zlib-level", _DEFAULT_LEVEL)
        self.repo = repo
        self.fsync = repo.fsync
        self.stats = TransactionStats()
        self._stage = stage
        self._objects = f"{repo.path}/objects"
        self._form = ObjectForm(
            repo.mode, min(max(level, 1), 9), repo.config.get_bool("core", "per-object-fsync", False)
        )
        self._budget = SpaceBudget(repo.path, repo.config)
        self._numbers = itertools.count()
        self._lock = Lock()
        self._fanout = {entry.name for entry in os.scandir(stage) if len(entry.name) == 2}
        self._staged = {fold + name for fold in self._fanout for name in os.listdir(f"{stage}/{fold}")}
        self._refs: dict[tuple[str | None, str], Checksum | None] = {}
        self._dropped_detached: set[Checksum] = set()

    def has(self, checksum: Checksum, kind: ObjectType) -> bool:
        """Whether the object is in the repository or written by this transaction."""
        name = f"{checksum}.{self.repo.mode.extension(kind)}"
        return name in self._staged or os.path.lexists(f"{self._objects}/{name[:2]}/{name[2:]}")

    # --- file objects

    def write_file(
        self, meta: FileMeta, content: bytes | BinaryIO | Path | str, *, expected: Checksum | None = None
    ) -> Checksum:
        """Add a file object and return its checksum.

        `content` is ignored for symlinks; a path is read, or its blocks shared, and must not be a symlink; a stream is
        read to its end. With `expected`, raises `ChecksumMismatchError` and adds nothing if the checksum is another.
        """
        if meta.is_symlink:
            return self._write_whole(meta, b"", expected)
        if isinstance(content, bytes):
            return self._write_whole(meta, content, expected)
        if not isinstance(content, (str, Path)):
            return self._write_stream(meta, content, expected)
        fd = os.open(content, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            size = os.fstat(fd).st_size
            if size <= CHUNK:
                return self._write_whole(meta, _read_small(fd, size), expected)
            with open(fd, "rb", buffering=0, closefd=False) as file:
                return self._clone(meta, fd, expected) or self._write_stream(meta, file, expected)
        finally:
            os.close(fd)

    def _write_whole(self, meta: FileMeta, content: bytes, expected: Checksum | None) -> Checksum:
        checksum = meta.checksum_with(content)
        _check_expected(expected, checksum)
        if self.has(checksum, ObjectType.FILE):
            return checksum
        self._budget.reserve(len(content))
        with self._temporary(checksum[:2]) as path:
            stored = self._form.write_whole(path, meta, content)
            self._stage_object(path, checksum, ObjectType.FILE, stored)
        return checksum

    def _write_stream(self, meta: FileMeta, content: BinaryIO, expected: Checksum | None) -> Checksum:
        with self._temporary() as path:
            checksum, _, stored = self._form.write_stream(path, meta, chunks_of(content), self._budget.reserve)
            _check_expected(expected, checksum)
            self._stage_unless_known(path, checksum, stored)
        return checksum

    def _clone(self, meta: FileMeta, source: int, expected: Checksum | None) -> Checksum | None:
        with self._temporary() as path:
            cloned = self._form.clone(path, meta, source)
            if cloned is None:
                return None
            checksum, size = cloned
            _check_expected(expected, checksum)
            self._stage_unless_known(path, checksum, size)
        return checksum

    def write_filez(self, source: BinaryIO, expected: Checksum) -> int:
        """Add the file object `expected` from its archive form (`.filez`); returns the bytes read from `source`.

        It is inflated and verified as it comes. An archive repository keeps the compressed bytes as they are. Raises
        `FormatError` (also for a wrong size or bytes behind the end) and `ChecksumMismatchError`.
        """
        counted = _CountingReader(source)
        meta, size = filez.read_header(counted.read_exactly)
        if self.repo.mode is not RepoMode.ARCHIVE or meta.is_symlink:
            if meta.is_symlink and counted.read(1):
                raise FormatError(f"the symlink object {expected} has bytes behind its header")
            content: bytes | BinaryIO = b""
            if not meta.is_symlink:
                inflated = InflateReader(cast(BinaryIO, counted), size)
                content = inflated.readall() if size <= CHUNK else cast(BinaryIO, inflated)
            self.write_file(meta, content, expected=expected)
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

        with self._temporary() as path:
            self._form.write_prepared(path, stored())
            _check_expected(expected, Checksum(digest.hexdigest()))
            self._stage_unless_known(path, expected, counted.count)
        return counted.count

    # --- metadata objects

    def write_metadata(self, value: MetadataObject) -> Checksum:
        """Add a dirtree, dirmeta or commit and return its checksum."""
        return self._write_metadata(type_of(value), value.encode())

    def write_metadata_bytes(self, kind: ObjectType, data: bytes, *, expected: Checksum) -> MetadataObject:
        """Add a metadata object that came from elsewhere, after verifying checksum and form; returns it parsed."""
        _check_expected(expected, checksum_of(data))
        value = decode_metadata(kind, data)
        self._write_metadata(kind, data)
        return value

    def _write_metadata(self, kind: ObjectType, data: bytes) -> Checksum:
        checksum = checksum_of(data)
        if not self.has(checksum, kind):
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
        if self.has(checksum, kind):
            return True
        try:
            os.link(source, self._staged_path(checksum, kind), follow_symlinks=False)
        except FileExistsError:
            return True
        except FileNotFoundError:
            raise
        except OSError:
            return False
        self._staged.add(f"{checksum}.{self.repo.mode.extension(kind)}")
        self._count(kind, 0)
        return True

    def set_ref(self, ref: str, checksum: Checksum | None, remote: str | None = None) -> None:
        """Point a ref at a commit (or remove it) when the transaction ends; raises `BadRefError`."""
        validate_ref(ref)
        if remote is not None:
            validate_remote(remote)
        self._refs[remote, ref] = checksum

    # --- staging

    @contextmanager
    def _temporary(self, fanout: str = "") -> Iterator[str]:
        """A path for a new file, in the folder of its later place if that is known: such renames hinder no others."""
        path = f"{self._fanout_folder(fanout) if fanout else self._stage}/tmp-{next(self._numbers)}"
        try:
            yield path
        except BaseException as error:
            Path(path).unlink(missing_ok=True)
            if isinstance(error, OSError):
                with space_errors("adding objects", self.repo.path):
                    raise
            raise

    def _staged_path(self, checksum: Checksum, kind: ObjectType) -> str:
        return f"{self._fanout_folder(checksum[:2])}/{checksum[2:]}.{self.repo.mode.extension(kind)}"

    def _fanout_folder(self, fanout: str) -> str:
        folder = f"{self._stage}/{fanout}"
        if fanout not in self._fanout:
            os.makedirs(folder, exist_ok=True)
            self._fanout.add(fanout)
        return folder

    def _stage_object(self, path: str, checksum: Checksum, kind: ObjectType, stored: int) -> None:
        os.rename(path, self._staged_path(checksum, kind))
        self._staged.add(f"{checksum}.{self.repo.mode.extension(kind)}")
        self._count(kind, stored)

    def _stage_unless_known(self, path: str, checksum: Checksum, stored: int) -> None:
        """For files whose checksum shows only after they are written."""
        if self.has(checksum, ObjectType.FILE):
            os.unlink(path)
        else:
            self._stage_object(path, checksum, ObjectType.FILE, stored)

    def _stage_bytes(self, checksum: Checksum, kind: ObjectType, data: bytes) -> None:
        self._budget.reserve(len(data))
        with self._temporary(checksum[:2]) as path:
            self._form.write_prepared(path, iter([data]))
            self._stage_object(path, checksum, kind, len(data))

    def _count(self, kind: ObjectType, stored: int) -> None:
        with self._lock:
            if kind is ObjectType.FILE:
                self.stats.file_objects += 1
            else:
                self.stats.metadata_objects += 1
            self.stats.stored_bytes += stored

    def publish(self) -> None:
        """Make everything staged part of the repository. Called by `Repo.transaction` when its block ends."""
        if self.fsync:
            sync_file_system(self._stage)
        touched = set()
        commits: list[tuple[str, str]] = []
        for folder in os.scandir(self._stage):
            if len(folder.name) != 2:
                continue
            target = f"{self._objects}/{folder.name}"
            os.makedirs(target, exist_ok=True)
            touched.add(target)
            for name in os.listdir(folder.path):
                move = (f"{folder.path}/{name}", f"{target}/{name}")
                if name.endswith((".commit", ".commitmeta")):
                    commits.append(move)
                else:
                    os.rename(*move)
        for source, target in sorted(commits, key=lambda move: move[1].endswith(".commit")):
            os.rename(source, target)
        for commit in self._dropped_detached:
            self.repo.object_path(commit, ObjectType.DETACHED).unlink(missing_ok=True)
        if self.fsync:
            for path in (*touched, self._objects):
                fsync_directory(Path(path))
        for (remote, ref), checksum in self._refs.items():
            refstore.write_ref(self.repo.path, ref, checksum, remote, durable=self.fsync)


@contextmanager
def open_transaction(repo: Repo, *, resumable: bool) -> Iterator[Transaction]:
    """Stage, and publish at the end of the block; the repository's lock must be held. See `Repo.transaction`."""
    stage, lock = acquire_stage(repo.path / "tmp", repo.config.get_int("core", "tmp-expiry-secs", 86400))
    keep = False
    try:
        transaction = Transaction(repo, stage)
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


def _check_expected(expected: Checksum | None, actual: Checksum) -> None:
    if expected is not None and expected != actual:
        raise ChecksumMismatchError(expected, actual)
