"""An OSTree repository on disk: its configuration, reading its objects, its refs, its lock.

Objects are added through `Repo.transaction()` only. Layout and configuration are libostree's.
"""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, cast

from ostler.errors import NotFoundError
from ostler.formats.gvariant import FormatError, Variant
from ostler.formats.keyfile import Keyfile
from ostler.formats.objects import (
    MAX_METADATA_SIZE,
    Checksum,
    Commit,
    DirMeta,
    DirTree,
    FileMeta,
    ObjectType,
    checksum_of,
    decode_detached,
    encode_tombstone,
    parse_checksum,
)
from ostler.formats.refs import join_refspec
from ostler.io.files import atomic_write
from ostler.store import refstore, revisions
from ostler.store.content import RepoMode, VerifyingReader, open_object
from ostler.store.errors import ChecksumMismatchError, StoreError
from ostler.store.lock import locked
from ostler.store.remotes import Remote, add_remote, list_remotes, system_folder

if TYPE_CHECKING:
    from ostler.store.transaction import Transaction

_FOLDERS = ("objects", "refs/heads", "refs/remotes", "refs/mirrors", "state", "tmp/cache", "extensions")
_MAX_CONFIG = 1 << 20
_NOT_HASHED = (ObjectType.DETACHED, ObjectType.TOMBSTONE)


__all__ = ["CommitState", "Remote", "Repo", "RepoMode"]

_MAX_PARENTS = 16
_BROKEN = b"f"


class CommitState(Enum):
    """Whether all objects of a commit are there: yes, never fetched yet, or lost to damage that fsck found."""

    NORMAL = "normal"
    PARTIAL = "partial"
    BROKEN = "broken"


class Repo:
    """An open repository. Reading is thread-safe; objects staged by this repo's open transactions can be read too."""

    def __init__(self, path: Path, mode: RepoMode, config: Keyfile, parent: "Repo | None" = None) -> None:
        self.path = path
        self.mode = mode
        self.config = config
        self.parent = parent
        self.remotes_folder = system_folder(path)
        self._root = os.fspath(path)
        self._stages: list[str] = []
        self._fsync: bool | None = None

    @staticmethod
    def create(
        path: Path, mode: RepoMode, *, exist_ok: bool = False, settings: Mapping[str, str] | None = None
    ) -> "Repo":
        """Make an empty repository in the folder `path` (made if missing) and open it.

        `settings` are keys of `[core]` ({"fsync": "false", "min-free-space-percent": "0"}). With `exist_ok` an existing
        repository is opened if it has the same mode. Raises `StoreError`; also for `bare-user` on a file system
        without extended attributes of users.
        """
        if (path / "objects").is_dir():
            repo = Repo.open(path)
            if not exist_ok or repo.mode is not mode:
                raise StoreError(f"{path} already is a repository of mode {repo.mode}")
            return repo
        core = {"repo_version": "1", "mode": mode.value, **(settings or {})}
        path.mkdir(parents=True, exist_ok=True)
        atomic_write(path / "config", Keyfile({"core": core}).dump().encode())
        if mode is RepoMode.BARE_USER:
            _check_user_attributes(path)
        for name in reversed(_FOLDERS):
            (path / name).mkdir(parents=True, exist_ok=True)
        return Repo.open(path)

    @staticmethod
    def open(path: Path) -> "Repo":
        """Open the repository in the folder `path`, and its parent if its configuration names one.

        Raises `NotFoundError`, `FormatError` or `StoreError`.
        """
        return Repo._open(path, 0)

    @staticmethod
    def _open(path: Path, depth: int) -> "Repo":
        if not (path / "objects").is_dir():
            raise NotFoundError(f"{path} is no OSTree repository", hint="it has no folder `objects`")
        config = _read_config(path / "config")
        version = config.get("core", "repo_version")
        if version != "1":
            raise StoreError(f"the repository {path} has version {version}; only version 1 is known")
        mode = RepoMode.parse(config.get("core", "mode", "bare") or "bare")
        parent = None
        if name := config.get("core", "parent"):
            if depth == _MAX_PARENTS:
                raise StoreError(f"the repository {path} has more than {_MAX_PARENTS} parents above each other")
            try:
                parent = Repo._open(Path(name), depth + 1)
            except NotFoundError as error:
                raise NotFoundError(
                    f"While checking parent repository '{name}': {error.message}", hint=error.hint
                ) from error
        return Repo(path, mode, config, parent)

    # --- configuration

    def remotes(self) -> dict[str, Remote]:
        """The remotes by name, those of the parent repository and of `remotes.d` included."""
        return list_remotes(self)

    def add_remote(self, name: str, url: str, options: Mapping[str, str] | None = None) -> Remote:
        """Add or replace a remote; `options` are keys as in libostree ({"gpg-verify": "false"})."""
        return add_remote(self, name, url, options, force=True)

    def write_config(self, config: Keyfile) -> None:
        """Replace the configuration."""
        atomic_write(self.path / "config", config.dump().encode())
        self.config = config

    def reload_config(self) -> None:
        """Read the configuration again, after another process changed it; the mode and parent stay."""
        self.config = _read_config(self.path / "config")

    @property
    def fsync(self) -> bool:
        """Whether transactions make what they write durable (`core.fsync`); can be set for this object only."""
        return self.config.get_bool("core", "fsync", True) if self._fsync is None else self._fsync

    @fsync.setter
    def fsync(self, durable: bool) -> None:
        self._fsync = durable

    @property
    def collection_id(self) -> str | None:
        """The collection that the refs of this repository belong to (`core.collection-id`)."""
        return self.config.get("core", "collection-id") or None

    @property
    def disable_xattrs(self) -> bool:
        """Whether extended attributes of files are neither read nor set (`core.disable-xattrs`)."""
        return self.config.get_bool("core", "disable-xattrs", False)

    # --- objects

    def object_path(self, checksum: Checksum, kind: ObjectType) -> Path:
        """Where the object is or would be."""
        return Path(self._object_path(checksum, kind))

    def _object_path(self, checksum: str, kind: ObjectType) -> str:
        return f"{self._root}/objects/{checksum[:2]}/{checksum[2:]}.{self.mode.extension(kind)}"

    def _paths(self, checksum: str, kind: ObjectType) -> Iterator[str]:
        parse_checksum(checksum)
        yield self._object_path(checksum, kind)
        for stage in tuple(self._stages):
            yield f"{stage}/{checksum[:2]}/{checksum[2:]}.{self.mode.extension(kind)}"

    def find_object(self, checksum: Checksum, kind: ObjectType) -> str:
        """The path of the object's file in this repository, also while it is staged; raises `NotFoundError`."""
        for path in self._paths(checksum, kind):
            if os.path.lexists(path):
                return path
        what = (
            f"Couldn't find file object '{checksum}'"
            if kind is ObjectType.FILE
            else (f"No such metadata object {checksum}.{kind.extension}")
        )
        raise NotFoundError(f"{what} in the repository {self.path}")

    def _find(self, checksum: Checksum, kind: ObjectType) -> "tuple[Repo, str]":
        holder = self if self.parent is None else self.holder(checksum, kind)
        return holder, holder.find_object(checksum, kind)

    def holder(self, checksum: Checksum, kind: ObjectType) -> "Repo":
        """This repository, or the nearest above it (`core.parent`) that has the object; this one if none has it."""
        here: Repo | None = self
        while here is not None:
            if here.has_own(checksum, kind):
                return here
            here = here.parent
        return self

    def has(self, checksum: Checksum, kind: ObjectType) -> bool:
        """Whether the object exists (not whether it is whole), here or in a parent repository."""
        return self.has_own(checksum, kind) or (self.parent is not None and self.parent.has(checksum, kind))

    def has_own(self, checksum: Checksum, kind: ObjectType) -> bool:
        """Whether the object exists in this repository itself."""
        return any(os.path.lexists(path) for path in self._paths(checksum, kind))

    def objects(self) -> Iterator[tuple[Checksum, ObjectType]]:
        """Every object file in the repository itself, in no order; stray files are passed over."""
        kinds = {self.mode.extension(kind): kind for kind in ObjectType}
        for folder in os.scandir(f"{self._root}/objects"):
            if len(folder.name) != 2 or not folder.is_dir():
                continue
            for entry in os.scandir(folder.path):
                stem, _, extension = entry.name.partition(".")
                kind = kinds.get(extension)
                if kind is not None and len(stem) == 62:
                    yield Checksum(folder.name + stem), kind

    def load_bytes(self, checksum: Checksum, kind: ObjectType) -> bytes:
        """The verified bytes of a metadata object; raises `NotFoundError` or `ChecksumMismatchError`."""
        path = self._find(checksum, kind)[1]
        with open(path, "rb", buffering=0) as file:
            size = os.fstat(file.fileno()).st_size
            data = file.read(min(size, MAX_METADATA_SIZE) + 1) or b""
        if kind not in _NOT_HASHED and checksum_of(data) != checksum:
            raise ChecksumMismatchError(checksum, checksum_of(data), f"{kind.extension} object")
        return data

    def load_commit(self, checksum: Checksum) -> Commit:
        """A commit; raises `NotFoundError` or `CorruptError`, as the other loaders do."""
        return Commit.decode(self.load_bytes(checksum, ObjectType.COMMIT))

    def load_dirtree(self, checksum: Checksum) -> DirTree:
        """A directory's entries."""
        return DirTree.decode(self.load_bytes(checksum, ObjectType.DIRTREE))

    def load_dirmeta(self, checksum: Checksum) -> DirMeta:
        """A directory's metadata."""
        return DirMeta.decode(self.load_bytes(checksum, ObjectType.DIRMETA))

    def load_detached(self, checksum: Checksum) -> dict[str, Variant]:
        """The detached metadata of a commit; empty if it has none."""
        if not self.has(checksum, ObjectType.DETACHED):
            return {}
        return decode_detached(self.load_bytes(checksum, ObjectType.DETACHED))

    def open_file_object(self, checksum: Checksum, *, verify: bool = False) -> tuple[FileMeta, int, BinaryIO]:
        """(metadata, size in bytes, content as a stream that the caller closes) of a file object.

        With `verify` the stream raises `ChecksumMismatchError` at its end if metadata or content are not what they
        should be. Raises `NotFoundError` and `FormatError`.
        """
        holder, path = self._find(checksum, ObjectType.FILE)
        try:
            meta, size, content = open_object(path, holder.mode)
        except FormatError as error:
            raise FormatError(f"file object {checksum}: {error.message}", hint=error.hint) from error
        if verify:
            content = cast(BinaryIO, VerifyingReader(content, meta, checksum))
        return meta, size, content

    def file_meta(self, checksum: Checksum) -> FileMeta:
        """The metadata of a file object."""
        meta, _, content = self.open_file_object(checksum)
        content.close()
        return meta

    def file_size(self, checksum: Checksum) -> int:
        """The size of a file object's content in bytes (0 for symlinks)."""
        _, size, content = self.open_file_object(checksum)
        content.close()
        return size

    def open_file(self, checksum: Checksum, *, verify: bool = False) -> BinaryIO:
        """The content of a file object, whatever the mode of the repository."""
        return self.open_file_object(checksum, verify=verify)[2]

    # --- refs and revisions

    def refs(self, prefix: str | None = None) -> dict[str, Checksum]:
        """Local refs and remote ones (as `REMOTE:REF`), those below `prefix` (whole parts) only if it is given."""
        found = dict(refstore.list_refs(self.path / "refs" / "heads"))
        for name, checksum in refstore.list_refs(self.path / "refs" / "remotes"):
            remote, _, ref = name.partition("/")
            if ref:
                found[join_refspec(remote, ref)] = checksum
        if prefix is None:
            return found
        below = prefix.rstrip("/")
        return {name: c for name, c in found.items() if name == below or name.startswith(below + "/")}

    def collection_refs(self, *, heads: bool = False, remotes: bool = False) -> dict[tuple[str, str], Checksum]:
        """Mirrored refs of collections: (collection id, ref) → commit.

        With `heads` also the repository's own, if it belongs to a collection, and with `remotes` those of remotes that
        name theirs.
        """
        found: dict[tuple[str, str], Checksum] = {}
        if remotes:
            for name, remote in self.remotes().items():
                if owner := remote.options.get("collection-id"):
                    pulled = refstore.list_refs(self.path / "refs" / "remotes" / name)
                    found |= {(owner, ref): checksum for ref, checksum in pulled}
        for name, checksum in refstore.list_refs(self.path / "refs" / "mirrors"):
            collection, _, ref = name.partition("/")
            if ref:
                found[collection, ref] = checksum
        if heads and self.collection_id is not None:
            own = refstore.list_refs(self.path / "refs" / "heads")
            found |= {(self.collection_id, ref): checksum for ref, checksum in own}
        return found

    def aliases(self) -> dict[str, str]:
        """The refs that are but other names: alias → the local ref that it stands for."""
        return dict(refstore.list_aliases(self.path))

    def set_alias(self, alias: str, target: str) -> None:
        """Make `alias` another name of the local ref `target`; raises `NotFoundError` if that does not exist."""
        refstore.write_alias(self.path, alias, target)
        update_summary(self)

    def set_ref(
        self, ref: str, checksum: Checksum | None, *, remote: str | None = None, collection: str | None = None
    ) -> None:
        """Point a ref at a commit at once, or remove it (None).

        A ref of a `collection` is the repository's own if that is its collection, else a mirrored one. Raises
        `NotFoundError` if there is no such commit, or no ref to remove, and `BusyError` while objects are removed.
        """
        mirrored = None if collection == self.collection_id else collection
        with self.lock():
            if checksum is not None and not self.has(checksum, ObjectType.COMMIT):
                raise NotFoundError(
                    f"the ref {ref} cannot be set: No such metadata object {checksum}.commit in {self.path}",
                    hint="pull the commit first",
                )
            refstore.write_ref(self.path, ref, checksum, remote, collection=mirrored, durable=self.fsync)
        update_summary(self)

    def resolve(self, rev: str) -> Checksum:
        """The commit that `rev` names: a ref, REMOTE:REF, a checksum or its beginning; `^` behind it means its parent.

        A ref that only a remote or the parent repository has will do. Raises `NotFoundError`.
        """
        return revisions.resolve(self, rev)

    def resolve_collection_ref(self, collection: str, ref: str) -> Checksum:
        """The commit that a collection's ref points at here, mirrored, or of a remote; raises `NotFoundError`."""
        found = revisions.resolve_collection_ref(self, collection, ref)
        if found is None:
            raise NotFoundError(f"Collection–ref ({collection}, {ref}) not found in the repository {self.path}")
        return found

    # --- state

    def is_partial(self, checksum: Checksum) -> bool:
        """Whether objects of the commit are known to be missing (a pull is under way or was cut off)."""
        return self._partial_marker(checksum).exists()

    def commit_state(self, checksum: Checksum) -> CommitState:
        """What is known about the completeness of a commit; nothing is looked for."""
        try:
            marked = self._partial_marker(checksum).read_bytes()
        except FileNotFoundError:
            return CommitState.NORMAL
        return CommitState.BROKEN if marked == _BROKEN else CommitState.PARTIAL

    def mark_partial(self, checksum: Checksum, partial: bool, *, broken: bool = False) -> None:
        """Record that objects of the commit may be missing (`broken`: because of damage), or that it is complete."""
        marker = self._partial_marker(checksum)
        if partial:
            marker.parent.mkdir(exist_ok=True)
            marker.write_bytes(_BROKEN if broken else b"")
        else:
            marker.unlink(missing_ok=True)

    def _partial_marker(self, checksum: Checksum) -> Path:
        return self.path / "state" / f"{parse_checksum(checksum)}.commitpartial"

    def write_tombstone(self, commit: Checksum) -> None:
        """Record that the commit was deleted on purpose; it is forgotten when the commit comes again."""
        path = self.object_path(parse_checksum(commit), ObjectType.TOMBSTONE)
        path.parent.mkdir(exist_ok=True)
        atomic_write(path, encode_tombstone(commit), durable=self.fsync)

    @contextmanager
    def lock(self, exclusive: bool = False) -> Iterator[None]:
        """Hold the repository's lock; exclusive for whoever removes objects. Raises `BusyError` after the timeout."""
        if not self.config.get_bool("core", "locking", True):
            yield
            return
        timeout = self.config.get_int("core", "lock-timeout-secs", 300)
        with locked(self.path / ".lock", exclusive=exclusive, timeout_seconds=timeout):
            yield

    @contextmanager
    def transaction(
        self, *, resumable: bool = False, fsync: bool | None = None, fsync_each: bool | None = None
    ) -> Iterator["Transaction"]:
        """Add objects and refs: all of them when the block ends, none if it raises.

        `fsync` (once, at the end) and `fsync_each` (every object's file) are as the configuration says unless given.

        With `resumable` what was staged before an error stays in `tmp` and is found by the next transaction, so that an
        interrupted pull goes on where it was. Raises `BusyError`, `NoSpaceError`.
        """
        from ostler.store.transaction import open_transaction

        opened = open_transaction(self, resumable=resumable, fsync=fsync, fsync_each=fsync_each)
        with self.lock(), opened as transaction:
            yield transaction


def update_summary(repo: Repo) -> None:
    """Write the summary anew after refs changed, if the configuration asks for that."""
    if any(repo.config.get("core", key) for key in ("auto-update-summary", "commit-update-summary")):
        from ostler.store.summary import update_automatically

        update_automatically(repo)


def _check_user_attributes(path: Path) -> None:
    try:
        os.setxattr(path, "user.ostler", b"")
        os.removexattr(path, "user.ostler")
    except OSError as error:
        raise StoreError(
            f"a bare-user repository cannot lie in {path}: extended attributes of users fail there ({error.strerror})",
            hint="use another file system, or the mode bare-user-only",
        ) from error


def _read_config(path: Path) -> Keyfile:
    try:
        with open(path, "rb") as file:
            data = file.read(_MAX_CONFIG)
    except FileNotFoundError as error:
        raise NotFoundError(f"the repository {path.parent} has no file `config`") from error
    try:
        return Keyfile.parse(data.decode())
    except (UnicodeDecodeError, FormatError) as error:
        raise FormatError(f"the configuration {path} is malformed: {error}") from error
