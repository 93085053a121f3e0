"""A tree as a tar archive, as `ostree export` writes it.

Format: GNU tar (the headers of libarchive's "gnutar"): long names and targets as `././@LongLink` members, numbers that
do not fit in base 256, padded with zeros to a multiple of 10240 bytes. Extended attributes, which that format does not
have, stand in PAX headers (`SCHILY.xattr.NAME`), where GNU tar and others look for them. All members carry one time.
"""

import stat
from collections.abc import Iterator
from typing import BinaryIO

from ostler.errors import CorruptError
from ostler.formats.objects import Checksum, Xattrs
from ostler.store.checkout import Node, open_node
from ostler.store.errors import StoreError
from ostler.store.inspect import find_stored
from ostler.store.repo import Repo
from ostler.store.tree import MAX_TREE_DEPTH, Directory

BLOCK = 512
RECORD = 20 * BLOCK
_CHUNK = 1 << 20
_NAME_FIELD = 100
_MAGIC = b"ustar  \0"
_NO_DEVICE = bytes(16 + 167)


def export_tar(
    repo: Repo, directory: Node, out: BinaryIO, *, mtime: int, prefix: str = "", subpath: str = "", xattrs: bool = True
) -> int:
    """Write the tree, or the directory at `subpath` in it, to `out`; returns the number of bytes.

    `mtime` in seconds is that of every member (`ostree export` takes the commit's). `prefix` is put in front of all
    paths as it is ("usr/", with the slash). Equal trees give equal bytes. Raises `NotFoundError`, `StoreError`,
    `CorruptError`.
    """
    written = 0
    for piece in iterate_export(repo, directory, mtime=mtime, prefix=prefix, subpath=subpath, xattrs=xattrs):
        out.write(piece)
        written += len(piece)
    return written


def iterate_export(
    repo: Repo, directory: Node, *, mtime: int, prefix: str = "", subpath: str = "", xattrs: bool = True
) -> Iterator[bytes]:
    """The bytes of the archive in pieces."""
    top: Node | Checksum | None = directory
    if subpath.strip("/"):
        top = directory.lookup(subpath) if isinstance(directory, Directory) else find_stored(repo, directory, subpath)
    if top is None or isinstance(top, str):
        raise StoreError(f"{subpath} is no directory of the tree", hint="name a directory to export")
    size = 0
    for piece in _Writer(repo, mtime, xattrs).directory(top, prefix, "", 0):
        size += len(piece)
        yield piece
    yield bytes(2 * BLOCK + -(size + 2 * BLOCK) % RECORD)


class _Writer:
    def __init__(self, repo: Repo, mtime: int, xattrs: bool) -> None:
        self._repo = repo
        self._mtime = mtime
        self._xattrs = xattrs

    def directory(self, node: Node, prefix: str, path: str, depth: int) -> Iterator[bytes]:
        if depth > MAX_TREE_DEPTH:
            raise StoreError(f"{path} lies more than {MAX_TREE_DEPTH} directories deep")
        meta, files, dirs = open_node(self._repo, node)
        name = (prefix + path or ".").encode()
        if not name.endswith(b"/"):
            name += b"/"
        yield self._head(name, b"5", meta.mode, meta.uid, meta.gid, 0, b"", meta.xattrs)
        start = path + "/" if path else ""
        for file in sorted(files):
            yield from self._file(files[file], (prefix + start + file).encode())
        for below in sorted(dirs):
            yield from self.directory(dirs[below], prefix, start + below, depth + 1)

    def _file(self, checksum: Checksum, name: bytes) -> Iterator[bytes]:
        meta, size, content = self._repo.open_file_object(checksum, verify=True)
        with content:
            kind = b"2" if stat.S_ISLNK(meta.mode) else b"0"
            yield self._head(name, kind, meta.mode, meta.uid, meta.gid, size, meta.target.encode(), meta.xattrs)
            left = size
            while data := content.read(min(max(left, 1), _CHUNK)):  # at the end, and only there, the object is checked
                left -= len(data)
                if left < 0:
                    break
                yield data
            if left:
                raise CorruptError(
                    f"the object {checksum} ({name.decode()}) of {self._repo.path} has not the size it should have",
                    hint="run `ostler repo fsck` on that repository",
                )
        yield bytes(-size % BLOCK)

    def _head(
        self, name: bytes, kind: bytes, mode: int, uid: int, gid: int, size: int, target: bytes, xattrs: Xattrs
    ) -> bytes:
        parts = []
        if xattrs and self._xattrs:
            records = b"".join(_pax_record(b"SCHILY.xattr." + key, value) for key, value in xattrs)
            parts += [_header(b"././@PaxHeader", b"x", 0, 0, 0, len(records), 0, b""), _padded(records)]
        for long, code in ((target, b"K"), (name, b"L")):
            if len(long) > _NAME_FIELD:
                owner = b"root".ljust(32, b"\0") + b"wheel".ljust(32, b"\0")
                parts.append(_header(b"././@LongLink", code, 0, 0, 0, len(long) + 1, 0, target, owner))
                parts.append(_padded(long + b"\0"))
        parts.append(_header(name, kind, mode & 0o7777, uid, gid, size, self._mtime, target))
        return b"".join(parts)


def _header(
    name: bytes, kind: bytes, mode: int, uid: int, gid: int, size: int, mtime: int, target: bytes,
    owner_names: bytes = bytes(64),
) -> bytes:  # fmt: skip
    numbers = _number(mode, 8) + _number(uid, 8) + _number(gid, 8) + _number(size, 12) + _number(mtime, 12)
    head = name[:_NAME_FIELD].ljust(_NAME_FIELD, b"\0") + numbers
    rest = kind + target[:_NAME_FIELD].ljust(_NAME_FIELD, b"\0") + _MAGIC + owner_names + _NO_DEVICE
    return b"%b%06o\0 %b" % (head, sum(head) + sum(rest) + 8 * 0x20, rest)


def _number(value: int, width: int) -> bytes:
    """Octal digits and a NUL, or base 256 with the highest bit set where those do not suffice."""
    if 0 <= value < 8 ** (width - 1):
        return b"%0*o\0" % (width - 1, value)
    return (value | 1 << (8 * width - 1)).to_bytes(width, "big")


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % BLOCK)


def _pax_record(key: bytes, value: bytes) -> bytes:
    """One `LENGTH KEY=VALUE` line, whose length counts its own digits."""
    bare = len(key) + len(value) + 3
    length = bare
    while length != bare + len(str(length)):
        length = bare + len(str(length))
    return b"%d %b=%b\n" % (length, key, value)
