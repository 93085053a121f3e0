"""An OSTree repository on disk: its configuration, reading its objects, its refs, its lock.

Objects are added through `Repo.transaction()` only. Layout and configuration are libostree's.
"""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
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
    parse_checksum,
)
from ostler.formats.refs import join_refspec, split_refspec, validate_remote
from ostler.io.files import atomic_write
from ostler.store import refstore
from ostler.store.content import RepoMode, VerifyingReader, open_object
from ostler.store.errors import ChecksumMismatchError, StoreError
from ostler.store.lock import locked

if TYPE_CHECKING:
    from ostler.store.transaction import Transaction

_FOLDERS = ("objects", "refs/heads", "refs/remotes", "refs/mirrors", "state", "tmp/cache", "extensions")
_MAX_CONFIG = 1 << 20


@dataclass(frozen=True, slots=True)
class Remote:
    """A place to pull from, a `[remote "NAME"]` of the configuration; `options` are its other keys, as written."""

    name: str
    url: str
    options: Mapping[str, str] = field(default_factory=dict)


class Repo:
    """An open repository. Reading is thread-safe; objects staged by this repo's open transactions can be read too."""

    def __init__(self, path: Path, mode: RepoMode, config: Keyfile) -> None:
        self.path = path
        self.mode = mode
        self.config = config
        self._root = os.fspath(path)
        self._stages: list[str] = []

    @staticmethod
    def create(
        path: Path, mode: RepoMode, *, exist_ok: bool = False, settings: Mapping[str, str] | None = None
    ) -> "Repo":
        """Make an empty repository in the folder `path` (made if missing) and open it.

        `settings` are keys of `[core]` ({"fsync": "false", "min-free-space-percent": "0"}). With `exist_ok` an existing
        repository is opened if it has the same mode. Raises `StoreError`.
        """
        if (path / "objects").is_dir():
            repo = Repo.open(path)
            if not exist_ok or repo.mode is not mode:
                raise StoreError(f"{path} already is a repository of mode {repo.mode}")
            return repo
        core = {"repo_version": "1", "mode": mode.value, **(settings or {})}
        path.mkdir(parents=True, exist_ok=True)
        atomic_write(path / "config", Keyfile({"core": core}).dump().encode())
        for name in reversed(_FOLDERS):
            (path / name).mkdir(parents=True, exist_ok=True)
        return Repo.open(path)

    @staticmethod
    def open(path: Path) -> "Repo":
        """Open the repository in the folder `path`; raises `NotFoundError`, `FormatError` or `StoreError`."""
        if not (path / "objects").is_dir():
            raise NotFoundError(f"{path} is no OSTree repository", hint="it has no folder `objects`")
        config = _read_config(path / "config")
        version, mode = config.get("core", "repo_version"), config.get("core", "mode")
        if version != "1":
            raise StoreError(f"the repository {path} has version {version}; only version 1 is known")
        if mode == "archive":
            mode = RepoMode.ARCHIVE.value
        if mode not in list(RepoMode):
            raise StoreError(
                f"the repository {path} has mode {mode}, which Ostler cannot use",
                hint=f"use one of the modes {', '.join(RepoMode)}",
            )
        return Repo(path, RepoMode(mode), config)

    # --- configuration

    def remotes(self) -> dict[str, Remote]:
        """The remotes by name."""
        found = {}
        for group, keys in self.config.groups.items():
            if group.startswith('remote "') and group.endswith('"'):
                name = group[8:-1]
                options = {key: value for key, value in keys.items() if key != "url"}
                found[name] = Remote(name, keys.get("url", ""), options)
        return found

    def add_remote(self, name: str, url: str, options: Mapping[str, str] | None = None) -> Remote:
        """Add or replace a remote; `options` are keys as in libostree ({"gpg-verify": "false"})."""
        group = f'remote "{validate_remote(name)}"'
        config = self.config.without(group).with_value(group, "url", url)
        for key, value in (options or {}).items():
            config = config.with_value(group, key, value)
        self.write_config(config)
        return self.remotes()[name]

    def write_config(self, config: Keyfile) -> None:
        """Replace the configuration."""
        atomic_write(self.path / "config", config.dump().encode())
        self.config = config

    @property
    def fsync(self) -> bool:
        """Whether transactions make what they write durable (`core.fsync`)."""
        return self.config.get_bool("core", "fsync", True)

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
        """The path of the object's file, also while it is staged; raises `NotFoundError`."""
        for path in self._paths(checksum, kind):
            if os.path.lexists(path):
                return path
        raise NotFoundError(f"the repository {self.path} lacks the {kind.extension} object {checksum}")

    def has(self, checksum: Checksum, kind: ObjectType) -> bool:
        """Whether the object exists (not whether it is whole)."""
        return any(os.path.lexists(path) for path in self._paths(checksum, kind))

    def objects(self) -> Iterator[tuple[Checksum, ObjectType]]:
        """Every object file in the repository, in no order; stray files are passed over."""
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
        path = self.find_object(checksum, kind)
        with open(path, "rb", buffering=0) as file:
            size = os.fstat(file.fileno()).st_size
            data = file.read(min(size, MAX_METADATA_SIZE) + 1) or b""
        if kind is not ObjectType.DETACHED and checksum_of(data) != checksum:
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
        path = self.find_object(checksum, ObjectType.FILE)
        try:
            meta, size, content = open_object(path, self.mode)
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

    def collection_refs(self) -> dict[tuple[str, str], Checksum]:
        """Mirrored refs of collections: (collection id, ref) → commit."""
        found = refstore.list_refs(self.path / "refs" / "mirrors")
        parts = {name: name.partition("/") for name, _ in refstore.list_refs(self.path / "refs" / "mirrors")}
        return {(parts[name][0], parts[name][2]): checksum for name, checksum in found if parts[name][2]}

    def set_ref(self, ref: str, checksum: Checksum | None, *, remote: str | None = None) -> None:
        """Point a ref at a commit at once, or remove it (None); raises `NotFoundError` if there is none to remove."""
        refstore.write_ref(self.path, ref, checksum, remote, durable=self.fsync)

    def resolve(self, rev: str) -> Checksum:
        """The commit that `rev` names: a ref, REMOTE:REF, a checksum or its beginning; `^` behind it means its parent.

        Raises `NotFoundError`.
        """
        name = rev.rstrip("^")
        checksum = self._resolve_name(name)
        for _ in range(len(rev) - len(name)):
            parent = self.load_commit(checksum).parent
            if parent is None:
                raise NotFoundError(f"the commit {checksum} has no parent, so `{rev}` names nothing")
            checksum = parent
        return checksum

    def _resolve_name(self, name: str) -> Checksum:
        is_hex = 0 < len(name) <= 64 and not name.strip("0123456789abcdef")
        if is_hex and len(name) == 64:
            return Checksum(name)
        try:
            remote, ref = split_refspec(name)
        except FormatError as error:
            raise NotFoundError(f"`{name}` names no commit: {error.message}", hint=error.hint) from error
        found = refstore.read_ref(self.path, ref, remote)
        if found is None and remote is None and is_hex and len(name) >= 2:
            return self._resolve_prefix(name)
        if found is None:
            raise NotFoundError(
                f"the repository {self.path} has no ref {name}", hint="`ostler repo refs` lists those that it has"
            )
        return found

    def _resolve_prefix(self, prefix: str) -> Checksum:
        try:
            names = os.listdir(f"{self._root}/objects/{prefix[:2]}")  # noqa: PTH208
        except FileNotFoundError:
            names = []
        matches = [prefix[:2] + n[:62] for n in names if n.endswith(".commit") and n.startswith(prefix[2:])]
        if len(matches) != 1:
            count = "no commit" if not matches else f"{len(matches)} commits"
            raise NotFoundError(f"{count} of the repository {self.path} start with {prefix}")
        return parse_checksum(matches[0])

    # --- state

    def is_partial(self, checksum: Checksum) -> bool:
        """Whether objects of the commit are known to be missing (a pull is under way or was cut off)."""
        return (self.path / "state" / f"{parse_checksum(checksum)}.commitpartial").exists()

    def mark_partial(self, checksum: Checksum, partial: bool) -> None:
        """Record that objects of the commit may be missing, or that it is complete."""
        marker = self.path / "state" / f"{parse_checksum(checksum)}.commitpartial"
        if partial:
            marker.parent.mkdir(exist_ok=True)
            marker.touch()
        else:
            marker.unlink(missing_ok=True)

    @contextmanager
    def lock(self, exclusive: bool = False) -> Iterator[None]:
        """Hold the repository's lock; exclusive for whoever removes objects. Raises `BusyError` after the timeout."""
        if not self.config.get_bool("core", "locking", True):
            with nullcontext():
                yield
            return
        timeout = self.config.get_int("core", "lock-timeout-secs", 300)
        with locked(self.path / ".lock", exclusive=exclusive, timeout_seconds=timeout):
            yield

    @contextmanager
    def transaction(self, *, resumable: bool = False) -> Iterator["Transaction"]:
        """Add objects and refs: all of them when the block ends, none if it raises.

        With `resumable` what was staged before an error stays in `tmp` and is found by the next transaction, so that an
        interrupted pull goes on where it was. Raises `BusyError`, `NoSpaceError`.
        """
        from ostler.store.transaction import open_transaction

        with self.lock(), open_transaction(self, resumable=resumable) as transaction:
            yield transaction


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
