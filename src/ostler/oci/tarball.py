"""Writing a layer tree out of the store as a tar stream, always the same bytes for the same tree.

Format: POSIX ustar with PAX extended headers (pax(1)) where a value does not fit: names over 100 bytes, sizes of 8 GiB
and up, ids over 2097151, and extended attributes as `SCHILY.xattr.NAME`, as GNU tar and containers write them. Entries
are sorted, times are 0, and user and group names are left out. Whiteouts are ordinary empty files `.wh.NAME`.
"""

from collections.abc import Iterator
from stat import S_ISLNK
from typing import BinaryIO

from ostler.errors import CorruptError
from ostler.formats.objects import Checksum, DirMeta, FileMeta
from ostler.store.repo import Repo
from ostler.store.tree import Directory

FORMAT = "pax-1"
"""Names the form described above; changes when the same tree would give other bytes."""

BLOCK = 512
CHUNK = 1 << 20
"""Bytes that the stream is cut into, about: large enough that hashing and compressing run without the interpreter."""

_NAME_FIELD = 100
_MAX_OCTAL_7 = 0o7777777
_MAX_OCTAL_11 = 0o77777777777
_ZEROS = bytes(BLOCK)
_MAGIC = b"ustar\x0000"
_TAIL = bytes(32 + 32) + b"0000000\x000000000\x00" + bytes(155 + 12)  # no user and group names, no device, no prefix


def write_tar(repo: Repo, tree: Directory, out: BinaryIO) -> int:
    """Write the whole tree to `out`; returns the number of bytes. Raises `CorruptError` for a damaged object."""
    written = 0
    for chunk in iterate_tar(repo, tree):
        out.write(chunk)
        written += len(chunk)
    return written


def iterate_tar(repo: Repo, tree: Directory) -> Iterator[bytes]:
    """The tar stream of the tree in chunks of about a mebibyte."""
    pending: list[bytes] = []
    size = 0
    for piece in _pieces(repo, tree):
        pending.append(piece)
        size += len(piece)
        if size >= CHUNK:
            yield b"".join(pending)
            pending, size = [], 0
    pending.append(_ZEROS * 2)
    yield b"".join(pending)


def _pieces(repo: Repo, tree: Directory) -> Iterator[bytes]:
    yield directory_header(b"./", tree.meta)
    stack = [_entries(tree, b"")]
    while stack:
        entry = next(stack[-1], None)
        if entry is None:
            stack.pop()
            continue
        path, node = entry
        if isinstance(node, Directory):
            yield directory_header(path + b"/", node.meta)
            stack.append(_entries(node, path + b"/"))
        else:
            yield from _file(repo, path, node)


def _entries(tree: Directory, prefix: bytes) -> Iterator[tuple[bytes, Directory | Checksum]]:
    """What the directory holds as (path, node), sorted by the bytes of the names."""
    nodes: list[tuple[bytes, Directory | Checksum]] = [
        *((prefix + name.encode(), checksum) for name, checksum in tree.files.items()),
        *((prefix + name.encode(), directory) for name, directory in tree.dirs.items()),
    ]
    nodes.sort(key=lambda node: node[0])
    return iter(nodes)


def _file(repo: Repo, path: bytes, checksum: Checksum) -> Iterator[bytes]:
    meta, size, content = repo.open_file_object(checksum, verify=True)
    with content:
        yield file_header(path, meta, size)
        left = size
        while left > 0:
            data = content.read(min(left, CHUNK))
            if not data:
                raise CorruptError(
                    f"the object {checksum} ({path.decode()}) of {repo.path} is shorter than it should be",
                    hint="run `ostler repo fsck` on that repository",
                )
            left -= len(data)
            yield data
        if content.read(1):  # at the end, and only there, the object is checked
            raise CorruptError(
                f"the object {checksum} ({path.decode()}) of {repo.path} is longer than it should be",
                hint="run `ostler repo fsck` on that repository",
            )
    if size % BLOCK:
        yield _ZEROS[size % BLOCK :]


def directory_header(path: bytes, meta: DirMeta) -> bytes:
    """The header of a directory; `path` ends in `/`."""
    return _header(path, b"5", meta.mode, meta.uid, meta.gid, 0, b"", meta.xattrs)


def file_header(path: bytes, meta: FileMeta, size: int) -> bytes:
    """The header of a regular file with `size` bytes, or of a symlink."""
    if S_ISLNK(meta.mode):
        return _header(path, b"2", meta.mode, meta.uid, meta.gid, 0, meta.target.encode(), meta.xattrs)
    return _header(path, b"0", meta.mode, meta.uid, meta.gid, size, b"", meta.xattrs)


def _header(
    path: bytes,
    kind: bytes,
    mode: int,
    uid: int,
    gid: int,
    size: int,
    target: bytes,
    xattrs: tuple[tuple[bytes, bytes], ...],
) -> bytes:
    records = b"".join(pax_record(b"SCHILY.xattr." + name, value) for name, value in sorted(xattrs))
    if len(path) > _NAME_FIELD or not path.isascii():
        records += pax_record(b"path", path)
    if len(target) > _NAME_FIELD or not target.isascii():
        records += pax_record(b"linkpath", target)
    if uid > _MAX_OCTAL_7:
        records += pax_record(b"uid", b"%d" % uid)
        uid = 0
    if gid > _MAX_OCTAL_7:
        records += pax_record(b"gid", b"%d" % gid)
        gid = 0
    if size > _MAX_OCTAL_11:
        records += pax_record(b"size", b"%d" % size)
        size = 0
    plain = _ustar(path, kind, mode & 0o7777, uid, gid, size, target)
    if not records:
        return plain
    extended = _ustar(_extended_name(path), b"x", 0o644, 0, 0, len(records), b"")
    return extended + records + _ZEROS[: -len(records) % BLOCK] + plain


def _extended_name(path: bytes) -> bytes:
    """A name for the extended header itself, as other writers give it; readers do not look at it."""
    return b"PaxHeaders.0/" + path.rstrip(b"/").rpartition(b"/")[2][:80]


def _ustar(path: bytes, kind: bytes, mode: int, uid: int, gid: int, size: int, target: bytes) -> bytes:
    head = b"%b%07o\x00%07o\x00%07o\x00%011o\x0000000000000\x00" % (
        path[:_NAME_FIELD].ljust(_NAME_FIELD, b"\x00"),
        mode,
        uid,
        gid,
        size,
    )
    rest = kind + target[:_NAME_FIELD].ljust(_NAME_FIELD, b"\x00") + _MAGIC + _TAIL
    checksum = sum(head) + sum(rest) + 8 * 0x20
    return b"%b%06o\x00 %b" % (head, checksum, rest)


def pax_record(key: bytes, value: bytes) -> bytes:
    """One `LENGTH KEY=VALUE` line of an extended header, whose length counts its own digits."""
    bare = len(key) + len(value) + 3
    length = bare
    while length != bare + len(str(length)):
        length = bare + len(str(length))
    return b"%d %b=%b\n" % (length, key, value)
