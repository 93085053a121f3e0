"""The objects of an OSTree repository as immutable values: commits, directory trees, directory and file metadata.

Format: libostree's `ostree-core.h`. Integers are big-endian inside little-endian GVariants, which is why the types
below read them as raw four-byte numbers and swap. `encode()` gives the bytes that are stored and hashed; `decode()`
rejects what libostree would never write (bad names, wrong order, wrong file types) with a `FormatError`.
"""

import re
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from functools import lru_cache
from hashlib import sha256
from typing import Any, NewType, TypeAlias, cast

from ostler.formats import gvariant
from ostler.formats.dirtree import read_entries
from ostler.formats.gvariant import FormatError, Variant

Checksum = NewType("Checksum", str)
"""SHA-256 of an object as 64 lower-case hexadecimal digits."""

Xattrs: TypeAlias = tuple[tuple[bytes, bytes], ...]
"""Extended attributes: (name without NUL, value), ascending by name."""

MAX_METADATA_SIZE = 128 * 1024 * 1024
"""The largest metadata object in bytes, as in libostree."""

MAX_TARGET = 4095
"""The longest target of a symlink in bytes, as in Linux."""

EMPTY_TREE = Checksum("6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d")
"""The dirtree of an empty directory."""

DIRTREE_TYPE = "(a(say)a(sayay))"
DIRMETA_TYPE = "(uuua(ayay))"
FILE_HEADER_TYPE = "(uuuusa(ayay))"
COMMIT_TYPE = "(a{sv}aya(say)sstayay)"
METADATA_TYPE = "a{sv}"

_CHECKSUM = re.compile(r"[0-9a-f]{64}")


class ObjectType(IntEnum):
    """The numbers of the object types in deltas and `ostree.sizes`; `extension` is the suffix of the file name."""

    FILE = 1
    DIRTREE = 2
    DIRMETA = 3
    COMMIT = 4
    TOMBSTONE = 5
    DETACHED = 6

    @property
    def extension(self) -> str:
        """The suffix in bare repositories (archives name file objects `filez`)."""
        return _EXTENSIONS[self]


_EXTENSIONS = {
    ObjectType.FILE: "file",
    ObjectType.DIRTREE: "dirtree",
    ObjectType.DIRMETA: "dirmeta",
    ObjectType.COMMIT: "commit",
    ObjectType.TOMBSTONE: "tombstone-commit",
    ObjectType.DETACHED: "commitmeta",
}


def parse_checksum(text: str) -> Checksum:
    """`text` as a checksum; raises `FormatError` unless it is 64 lower-case hexadecimal digits."""
    if not _CHECKSUM.fullmatch(text):
        raise FormatError(f"{text[:80]!r} is no checksum: it must be 64 lower-case hexadecimal digits")
    return Checksum(text)


def checksum_of(data: bytes) -> Checksum:
    """The SHA-256 of `data`."""
    return Checksum(sha256(data).hexdigest())


def _checksum_from(raw: bytes) -> Checksum:
    if len(raw) != 32:
        raise FormatError(f"a checksum has {len(raw)} bytes instead of 32")
    return Checksum(raw.hex())


def swap32(number: int) -> int:
    """A four-byte number with its bytes in the other order."""
    return int.from_bytes(number.to_bytes(4, "big"), "little")


def encode_xattrs(xattrs: Xattrs) -> list[tuple[bytes, bytes]]:
    """The value of type `a(ayay)`; raises `FormatError`."""
    names = [name for name, _ in xattrs]
    if names != sorted(set(names)) or not all(names) or any(b"\0" in name for name in names):
        raise FormatError(f"extended attributes are not sorted, unique and named: {names!r}")
    return [(name + b"\0", value) for name, value in xattrs]


def decode_xattrs(pairs: list[tuple[bytes, bytes]]) -> Xattrs:
    """The attributes in a value of type `a(ayay)`; raises `FormatError`."""
    previous = b""
    for name, _ in pairs:
        if not name.endswith(b"\0") or b"\0" in name[:-1] or name[:-1] <= previous:
            raise FormatError(f"extended attribute {name!r} is misnamed or out of order")
        previous = name[:-1]
    return tuple((name[:-1], value) for name, value in pairs)


@dataclass(frozen=True, slots=True)
class DirMeta:
    """Owner, mode (`st_mode` with the type, 0o40000) and extended attributes of a directory."""

    uid: int
    gid: int
    mode: int
    xattrs: Xattrs = ()

    def encode(self) -> bytes:
        """The stored bytes; raises `FormatError` if the mode is not a directory's."""
        _check_mode(self.mode, directory=True)
        numbers = (swap32(self.uid), swap32(self.gid), swap32(self.mode))
        return gvariant.encode(DIRMETA_TYPE, (*numbers, encode_xattrs(self.xattrs)))

    @staticmethod
    def decode(data: bytes) -> "DirMeta":
        """Parse a dirmeta object; raises `FormatError`."""
        uid, gid, mode, xattrs = gvariant.decode(DIRMETA_TYPE, data)
        _check_mode(swap32(mode), directory=True)
        return DirMeta(swap32(uid), swap32(gid), swap32(mode), decode_xattrs(xattrs))

    @property
    def checksum(self) -> Checksum:
        """The object's name."""
        return checksum_of(self.encode())


@dataclass(frozen=True, slots=True)
class FileMeta:
    """Owner, mode (`st_mode` with the type) and extended attributes of a regular file or a symlink to `target`."""

    uid: int
    gid: int
    mode: int
    xattrs: Xattrs = ()
    target: str = ""

    @property
    def is_symlink(self) -> bool:
        """Whether this is a symlink's metadata."""
        return stat.S_ISLNK(self.mode)

    def header(self) -> bytes:
        """What is hashed before the content: the length of the serialised metadata, 4 zero bytes, the metadata."""
        return _framed_header(self)

    def checksum_with(self, content: bytes) -> Checksum:
        """The name of the file object with this metadata and content (empty for a symlink)."""
        digest = sha256(self.header())
        digest.update(content)
        return Checksum(digest.hexdigest())

    @staticmethod
    def decode(data: bytes) -> "FileMeta":
        """Parse a serialised file header (without its length); raises `FormatError`."""
        return file_meta_from(gvariant.decode(FILE_HEADER_TYPE, data))

    def fields(self) -> tuple[int, int, int, int, str, list[tuple[bytes, bytes]]]:
        """The members of the header in GVariant form, for `filez`; raises `FormatError` for other file types."""
        _check_mode(self.mode, directory=False)
        if bool(self.target) != self.is_symlink:
            raise FormatError("a symlink needs a target and a regular file must have none")
        _check_target(self.target)
        numbers = (swap32(self.uid), swap32(self.gid), swap32(self.mode))
        return (*numbers, 0, self.target, encode_xattrs(self.xattrs))


def file_meta_from(fields: tuple[Any, ...]) -> FileMeta:
    """The `FileMeta` of decoded header fields (uid, gid, mode, rdev, target, xattrs)."""
    uid, gid, mode, rdev, target, xattrs = fields
    meta = FileMeta(swap32(uid), swap32(gid), swap32(mode), decode_xattrs(xattrs), target)
    _check_mode(meta.mode, directory=False)
    if rdev or bool(target) != meta.is_symlink:
        raise FormatError("a file header names a device, a symlink without target or a target without symlink")
    _check_target(target)
    return meta


@lru_cache(maxsize=4096)
def _framed_header(meta: FileMeta) -> bytes:
    header = gvariant.encode(FILE_HEADER_TYPE, meta.fields())
    return len(header).to_bytes(4, "big") + bytes(4) + header


def _check_mode(mode: int, *, directory: bool) -> None:
    kind = stat.S_IFMT(mode)
    good = kind == stat.S_IFDIR if directory else kind in (stat.S_IFREG, stat.S_IFLNK)
    if not good or mode & ~0o177777:
        raise FormatError(f"mode {mode:o} is not that of a {'directory' if directory else 'regular file or symlink'}")


def _check_target(target: str) -> None:
    if len(target.encode(errors="surrogatepass")) > MAX_TARGET:
        raise FormatError(f"the symlink target {target[:80]!r}… is longer than {MAX_TARGET} bytes")


def check_name(name: str) -> str:
    """`name` if it can name a directory entry; raises `FormatError`."""
    if name in ("", ".", "..") or "/" in name or "\0" in name:
        raise _bad_name(name)
    return name


def _bad_name(name: str) -> FormatError:
    return FormatError(f"Invalid / in filename {name}" if "/" in name else f"{name!r} cannot be a file name")


def _check_names(names: list[str]) -> None:
    """Each a good name, strictly ascending by the bytes of UTF-8 (which is the order of code points)."""
    previous = ""
    for name in names:
        if name <= previous:
            raise FormatError(f"the entry {name!r} of a directory is empty, repeated or out of order")
        if name in (".", "..") or "/" in name or "\0" in name:
            raise _bad_name(name)
        previous = name


@dataclass(frozen=True, slots=True)
class DirTree:
    """The entries of a directory: files (name, file), directories (name, dirtree, dirmeta), each ascending by name."""

    files: tuple[tuple[str, Checksum], ...] = ()
    dirs: tuple[tuple[str, Checksum, Checksum], ...] = ()

    def encode(self) -> bytes:
        """The stored bytes; raises `FormatError` for bad, repeated or unsorted names."""
        self._check()
        files = [(name, bytes.fromhex(c)) for name, c in self.files]
        dirs = [(name, bytes.fromhex(t), bytes.fromhex(m)) for name, t, m in self.dirs]
        return gvariant.encode(DIRTREE_TYPE, (files, dirs))

    @staticmethod
    def decode(data: bytes) -> "DirTree":
        """Parse a dirtree object; raises `FormatError`."""
        entries = read_entries(data)
        if entries is not None:
            tree = DirTree(
                cast(tuple[tuple[str, Checksum], ...], tuple(entries[0])),
                tuple((name, Checksum(both[:64]), Checksum(both[64:])) for name, both in entries[1]),
            )
        else:
            files, dirs = gvariant.decode(DIRTREE_TYPE, data)
            tree = DirTree(
                tuple((name, _checksum_from(c)) for name, c in files),
                tuple((name, _checksum_from(t), _checksum_from(m)) for name, t, m in dirs),
            )
        tree._check()
        return tree

    def _check(self) -> None:
        names = [entry[0] for entry in self.files]
        directories = [entry[0] for entry in self.dirs]
        _check_names(names)
        _check_names(directories)
        both = set(names).intersection(directories)
        if both:
            raise FormatError(f"{min(both)!r} is both a file and a directory")

    @property
    def checksum(self) -> Checksum:
        """The object's name."""
        return checksum_of(self.encode())


@dataclass(frozen=True, slots=True)
class Commit:
    """A commit. `timestamp` is in seconds since 1970 (UTC); `metadata` keeps its order, which is part of the hash."""

    root_tree: Checksum
    root_meta: Checksum
    timestamp: int
    subject: str = ""
    body: str = ""
    parent: Checksum | None = None
    metadata: Mapping[str, Variant] = field(default_factory=dict)
    related: tuple[tuple[str, Checksum], ...] = ()

    def encode(self) -> bytes:
        """The stored bytes, which signatures cover; raises `FormatError`."""
        return gvariant.encode(
            COMMIT_TYPE,
            (
                self.metadata,
                bytes.fromhex(self.parent or ""),
                [(name, bytes.fromhex(c)) for name, c in self.related],
                self.subject,
                self.body,
                int.from_bytes(self.timestamp.to_bytes(8, "big"), "little"),
                bytes.fromhex(self.root_tree),
                bytes.fromhex(self.root_meta),
            ),
        )

    @staticmethod
    def decode(data: bytes) -> "Commit":
        """Parse a commit object; raises `FormatError`."""
        metadata, parent, related, subject, body, timestamp, tree, meta = gvariant.decode(COMMIT_TYPE, data)
        return Commit(
            root_tree=_checksum_from(tree),
            root_meta=_checksum_from(meta),
            timestamp=int.from_bytes(timestamp.to_bytes(8, "little"), "big"),
            subject=subject,
            body=body,
            parent=_checksum_from(parent) if parent else None,
            metadata=metadata,
            related=tuple((name, _checksum_from(c)) for name, c in related),
        )

    @property
    def checksum(self) -> Checksum:
        """The commit's id."""
        return checksum_of(self.encode())

    @property
    def content_checksum(self) -> Checksum:
        """SHA-256 of the tree alone: equal for commits that differ in metadata, time or parent only."""
        return checksum_of(bytes.fromhex(self.root_tree) + bytes.fromhex(self.root_meta))


MetadataObject: TypeAlias = DirTree | DirMeta | Commit


def type_of(value: MetadataObject) -> ObjectType:
    """The object type of a metadata object."""
    if isinstance(value, DirTree):
        return ObjectType.DIRTREE
    return ObjectType.DIRMETA if isinstance(value, DirMeta) else ObjectType.COMMIT


def decode_metadata(kind: ObjectType, data: bytes) -> MetadataObject:
    """Parse a metadata object of the given type; raises `FormatError`."""
    if kind is ObjectType.DIRTREE:
        return DirTree.decode(data)
    if kind is ObjectType.DIRMETA:
        return DirMeta.decode(data)
    if kind is ObjectType.COMMIT:
        return Commit.decode(data)
    raise FormatError(f"{kind.name.lower()} is no metadata object")


def encode_detached(metadata: Mapping[str, Variant]) -> bytes:
    """The bytes of detached commit metadata (`.commitmeta`) and of `summary.sig`."""
    return gvariant.encode(METADATA_TYPE, metadata)


def decode_detached(data: bytes) -> dict[str, Variant]:
    """Parse detached commit metadata or `summary.sig`; raises `FormatError`."""
    result: dict[str, Variant] = gvariant.decode(METADATA_TYPE, data)
    return result


def encode_tombstone(commit: Checksum) -> bytes:
    """The object that says that a commit was deleted on purpose."""
    return gvariant.encode(METADATA_TYPE, {"commit": Variant("ay", parse_checksum(commit).encode() + b"\0")})
