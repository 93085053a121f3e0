"""Images of composefs: a tree's metadata as an EROFS file system whose files point to where their content lies.

Format: the kernel's `erofs_fs.h`, with the choices of libcomposefs, so that equal trees give equal images:

    offset  is
    0       composefs header: magic, version, flags (1: there are ACLs), version of the conventions
    1024    superblock of EROFS, blocks of 4096 bytes
    1152    inodes, breadth-first, on 32-byte slots; the end of a directory and the target of a symlink lie inline
    …       extended attributes that several inodes have
    …       blocks: what directories have more than fits inline, long symlink targets

A regular file's content lies elsewhere: `trusted.overlay.redirect` is its path, `trusted.overlay.metacopy` its
fs-verity digest. Attributes of the tree in that namespace are escaped, and so are overlayfs whiteouts. In the root all
names of two hexadecimal digits that the tree does not use are whiteouts, to hide the folders of the object store.
"""

import stat
import struct
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from ostler.formats.erofs_xattrs import Pair, encode_xattr, entry_size, name_filter
from ostler.formats.gvariant import FormatError
from ostler.formats.objects import MAX_TARGET, Xattrs

BLOCK = 4096
MAX_INLINE_CONTENT = 5000
MAX_NAME = 255
_SLOT = 32
_SUPERBLOCK_AT = 1024
_INODES_AT = _SUPERBLOCK_AT + 128
_NO_BLOCK = b"\xff\xff\xff\xff"
_MAX_CHUNKS = 1024
_MAX_SHARED = 128

_HEADER = struct.Struct("<IIII16x")
_HEADER_MAGIC, _HEADER_VERSION = 0xD078629A, 1
_SUPERBLOCK = struct.Struct("<I4xIBxHQQIIII16x16xI44x")
_MAGIC, _FEATURES = 0xE0F5E1E2, 2 | 4  # times per inode, filters of attribute names
_COMPACT = struct.Struct("<HHHHI4xIIHH4x")
_EXTENDED = struct.Struct("<HHH2xQIIIIQII16x")
_DIRENT = struct.Struct("<QHBx")
_XATTR_HEADER = struct.Struct("<IB7x")

_PLAIN, _INLINE, _CHUNKED = 0, 2, 4
_FILE_TYPES = {
    stat.S_IFREG: 1, stat.S_IFDIR: 2, stat.S_IFCHR: 3, stat.S_IFBLK: 4, stat.S_IFIFO: 5, stat.S_IFSOCK: 6,
    stat.S_IFLNK: 7,
}  # fmt: skip
_ACLS = (b"system.posix_acl_access", b"system.posix_acl_default")
_OVERLAY = b"trusted.overlay."
_ESCAPED = b"trusted.overlay.overlay."
_USER_OVERLAY = b"user.overlay."
_SELINUX = b"security.selinux"


@dataclass(slots=True, eq=False)
class Node:
    """A file of any kind. `mode` is the whole `st_mode`, `mtime` (seconds, nanoseconds).

    `target` is that of a symlink; of a regular file the path of its content in the object store, or `content` holds
    the content itself. `digest` is the file's fs-verity digest. A directory's `children` are by name.
    """

    mode: int
    uid: int = 0
    gid: int = 0
    size: int = 0
    xattrs: Xattrs = ()
    target: bytes = b""
    digest: bytes | None = None
    content: bytes | None = None
    rdev: int = 0
    mtime: tuple[int, int] = (0, 0)
    children: dict[bytes, "Node"] = field(default_factory=dict)


@dataclass(slots=True, eq=False)
class _Inode:
    """A node with its place in the image. `tail` counts the bytes that lie behind the inode, `blocks` the others."""

    node: Node
    parent: "_Inode | None"
    mode: int
    xattrs: list[Pair]
    names: list[tuple[bytes, "_Inode"]] = field(default_factory=list)
    links: int = 1
    compact: bool = True
    padding: int = 0
    xattr_size: int = 0
    tail: int = 0
    blocks: int = 0
    nid: int = 0

    @property
    def kind(self) -> int:
        return stat.S_IFMT(self.mode)


def encode_image(root: Node) -> Iterator[bytes]:
    """The image of the tree in pieces. Raises `FormatError` for what the format cannot hold."""
    if not stat.S_ISDIR(root.mode):
        raise FormatError("the root of an image must be a directory")
    version = int(_has_whiteout(root))
    inodes = _breadth_first(root, version)
    oldest = min(inode.node.mtime for inode in inodes)
    shared = _shared_xattrs(inodes)
    inodes_end = _lay_out(inodes, shared, oldest)
    xattrs_end = inodes_end + sum(entry_size(pair) for pair in shared)
    blocks_at = _round_up(xattrs_end, BLOCK)
    has_acl = any(name in _ACLS for inode in inodes for name, _ in inode.xattrs)
    yield _HEADER.pack(_HEADER_MAGIC, _HEADER_VERSION, int(has_acl), version).ljust(_SUPERBLOCK_AT, b"\0")
    yield _SUPERBLOCK.pack(
        _MAGIC,
        _FEATURES,
        BLOCK.bit_length() - 1,
        inodes[0].nid,
        len(inodes),
        oldest[0] & 0xFFFF_FFFF_FFFF_FFFF,
        oldest[1],
        blocks_at // BLOCK + sum(inode.blocks for inode in inodes),
        _INODES_AT // BLOCK,
        inodes_end // BLOCK,
        0,
    )
    yield from _encode_inodes(inodes, shared, inodes_end, blocks_at // BLOCK)
    yield b"".join(map(encode_xattr, shared)).ljust(blocks_at - inodes_end, b"\0")
    for inode in inodes:
        yield from _encode_blocks(inode)


# --- the tree as it is written


def _has_whiteout(node: Node) -> bool:
    pending = [node]
    while pending:
        here = pending.pop()
        if stat.S_ISCHR(here.mode) and here.rdev == 0:
            return True
        pending.extend(here.children.values())
    return False


def _breadth_first(root: Node, version: int) -> list[_Inode]:
    inodes = [_Inode(root, None, root.mode, _escaped(root.xattrs))]
    for inode in inodes:  # which grows while it is gone through
        _check(inode.node)
        names = [(b".", inode), (b"..", inode.parent or inode)]
        names += [(name, _child(inode, name, child, version)) for name, child in inode.node.children.items()]
        if inode.kind != stat.S_IFDIR:
            continue
        if inode.parent is None:
            _set(inode.xattrs, b"trusted.overlay.opaque", b"y")
            names += _root_whiteouts(inode)
        inode.names = sorted(names, key=lambda entry: entry[0])
        below = [child for name, child in inode.names if name not in (b".", b"..")]
        inode.links = 2 + sum(child.kind == stat.S_IFDIR for child in below)
        inodes += below
    for inode in inodes:
        inode.xattrs.sort(key=lambda pair: pair[0])
    return inodes


def _child(parent: _Inode, name: bytes, node: Node, version: int) -> _Inode:
    if name in (b"", b".", b"..") or b"/" in name or b"\0" in name or len(name) > MAX_NAME:
        raise FormatError(f"{name[:80]!r} cannot be a file name")
    inode = _Inode(node, parent, node.mode, _escaped(node.xattrs))
    if inode.kind == stat.S_IFREG and node.size > 0 and node.content is None:
        metacopy = b"" if node.digest is None else b"\0\x24\0\x01" + node.digest
        _set(inode.xattrs, b"trusted.overlay.metacopy", metacopy)
        if node.target:
            _set(inode.xattrs, b"trusted.overlay.redirect", b"/" + node.target)
    elif inode.kind == stat.S_IFCHR and node.rdev == 0:
        inode.mode = stat.S_IFREG | stat.S_IMODE(node.mode)
        for prefix in (_ESCAPED, _USER_OVERLAY):
            _set(inode.xattrs, prefix + b"whiteout", b"")
            _set(parent.xattrs, prefix + b"whiteouts", b"")
            if version >= 1:
                _set(parent.xattrs, prefix + b"opaque", b"x")
    return inode


def _escaped(xattrs: Xattrs) -> list[Pair]:
    return [
        (_ESCAPED + name.removeprefix(_OVERLAY) if name.startswith(_OVERLAY) else name, value) for name, value in xattrs
    ]


def _set(xattrs: list[Pair], name: bytes, value: bytes) -> None:
    xattrs[:] = [pair for pair in xattrs if pair[0] != name]
    xattrs.append((name, value))


def _root_whiteouts(root: _Inode) -> list[tuple[bytes, _Inode]]:
    label = [pair for pair in root.xattrs if pair[0] == _SELINUX]
    found = []
    for number in range(256):
        name = b"%02x" % number
        if name not in root.node.children:
            node = Node(stat.S_IFCHR | 0o644, root.node.uid, root.node.gid, mtime=root.node.mtime)
            found.append((name, _Inode(node, root, node.mode, list(label))))
    return found


def _check(node: Node) -> None:
    if stat.S_IFMT(node.mode) not in _FILE_TYPES or node.mode >> 16:
        raise FormatError(f"{node.mode:o} is no mode of a file")
    if node.children and not stat.S_ISDIR(node.mode):
        raise FormatError("only directories hold files")
    if stat.S_ISLNK(node.mode) and not 0 < len(node.target) <= MAX_TARGET:
        raise FormatError("the target of a symlink is empty or too long for an image")
    if node.content is not None and (len(node.content) != node.size or node.size > MAX_INLINE_CONTENT):
        raise FormatError("the content of a file has not the size it should have, or is too long for an image")
    if stat.S_ISREG(node.mode) and node.size > 0 and node.content is None and _chunks(node.size)[1] > _MAX_CHUNKS:
        raise FormatError(f"a file of {node.size} bytes is too large for an image")
    if any(not name or b"\0" in name or len(name) > 255 or len(value) > 0xFFFF for name, value in node.xattrs):
        raise FormatError(
            "an extended attribute has no name, or one that is too long for an image, or so has its value"
        )


# --- extended attributes


def _shared_xattrs(inodes: list[_Inode]) -> dict[Pair, int]:
    """Those that more than one inode has → where they lie, in bytes from the first; in the order of the image."""
    counts = Counter(pair for inode in inodes for pair in inode.xattrs)
    several = sorted((pair for pair, count in counts.items() if count > 1), key=_rank, reverse=True)
    offsets, position = {}, 0
    for pair in several:
        offsets[pair] = position
        position += entry_size(pair)
    return offsets


def _rank(pair: Pair) -> tuple[bytes, int, bytes]:
    return pair[0], len(pair[1]), pair[1]


def _split(inode: _Inode, shared: dict[Pair, int]) -> tuple[list[Pair], list[Pair]]:
    """An inode's attributes that are shared, and its own; it can share only so many."""
    found = [pair for pair in inode.xattrs if pair in shared][:_MAX_SHARED]
    return found, [pair for pair in inode.xattrs if pair not in found] if len(found) < len(inode.xattrs) else []


# --- the places


def _lay_out(inodes: list[_Inode], shared: dict[Pair, int], oldest: tuple[int, int]) -> int:
    """Give every inode its place; returns the end of the last one in bytes."""
    position = _INODES_AT
    for inode in inodes:
        _size_data(inode)
        inode.compact = _is_compact(inode, oldest)
        inode.xattr_size = _xattr_size(inode, shared)
        fixed = (_COMPACT.size if inode.compact else _EXTENDED.size) + inode.xattr_size
        start = _round_up(position, _SLOT)
        inode.padding = start - position
        extra = _padding_for_tail(inode, start, fixed)
        inode.padding += extra
        start += extra
        inode.nid = start // _SLOT
        position = start + fixed + inode.tail
    if inodes[0].nid >= 0xFFFF:
        raise FormatError("the attributes of the root directory are too large for an image")
    return _round_up(position, _SLOT)


def _size_data(inode: _Inode) -> None:
    node = inode.node
    if inode.kind == stat.S_IFDIR:
        inode.blocks, inode.tail = _directory_size(inode)
    elif inode.kind == stat.S_IFLNK:
        inode.tail = len(node.target)
    elif inode.kind == stat.S_IFREG and not stat.S_ISCHR(node.mode) and node.size > 0:
        if node.content is None:
            inode.tail = 4 * _chunks(node.size)[1]
        else:
            inode.blocks, inode.tail = divmod(node.size, BLOCK)
            if inode.tail > BLOCK // 2:
                inode.blocks, inode.tail = inode.blocks + 1, 0


def _directory_size(inode: _Inode) -> tuple[int, int]:
    *full, last = _directory_parts(inode)
    size = sum(_DIRENT.size + len(name) for name, _ in last)
    return (len(full) + 1, 0) if size > BLOCK // 2 else (len(full), size)


def _directory_parts(inode: _Inode) -> list[list[tuple[bytes, _Inode]]]:
    """The entries, cut where a block is full."""
    parts: list[list[tuple[bytes, _Inode]]] = [[]]
    size = 0
    for entry in inode.names:
        length = _DIRENT.size + len(entry[0])
        if size + length > BLOCK:
            parts.append([])
            size = 0
        parts[-1].append(entry)
        size += length
    return parts


def _chunks(size: int) -> tuple[int, int]:
    """(bits of the chunk size, chunks) of a file whose content lies elsewhere: as few as possible."""
    bits = min(max((size - 1).bit_length(), 12), 12 + 31)
    return bits, (size + (1 << bits) - 1) >> bits


def _is_compact(inode: _Inode, oldest: tuple[int, int]) -> bool:
    node = inode.node
    fits = max(inode.links, node.uid, node.gid) <= 0xFFFF and _size(inode) <= 0xFFFF_FFFF
    return node.mtime == oldest and fits


def _size(inode: _Inode) -> int:
    if inode.kind == stat.S_IFDIR:
        return inode.blocks * BLOCK + inode.tail
    if inode.kind == stat.S_IFLNK:
        return len(inode.node.target)
    return inode.node.size if stat.S_ISREG(inode.node.mode) else 0


def _xattr_size(inode: _Inode, shared: dict[Pair, int]) -> int:
    if not inode.xattrs:
        return 0
    found, own = _split(inode, shared)
    size = _XATTR_HEADER.size + 4 * len(found) + sum(map(entry_size, own))
    if (size - _XATTR_HEADER.size) // 4 + 1 > 0xFFFF:
        raise FormatError("the extended attributes of a file are too large for an image")
    return size


def _padding_for_tail(inode: _Inode, start: int, fixed: int) -> int:
    """Bytes to leave free, so that what lies inline crosses no end of a block; may move it to a block of its own."""
    if inode.kind == stat.S_IFLNK:
        total = fixed + inode.tail
        last_block = (start + total - 1) // BLOCK
        if total >= BLOCK:
            inode.blocks, inode.tail = inode.blocks + 1, 0
        return _round_up(start, BLOCK) - start if start // BLOCK != last_block else 0
    left = BLOCK - (start + fixed) % BLOCK
    if left >= inode.tail:
        return 0
    extra = _round_up(left, _SLOT)
    if inode.tail <= BLOCK - (start + fixed + extra) % BLOCK:
        return extra
    inode.blocks, inode.tail = inode.blocks + 1, 0
    return _round_up(start, BLOCK) - start


# --- the bytes


def _encode_inodes(inodes: list[_Inode], shared: dict[Pair, int], inodes_end: int, next_block: int) -> Iterator[bytes]:
    pending: list[bytes] = []
    size = 0
    position = _INODES_AT
    for number, inode in enumerate(inodes):
        data = bytes(inode.padding) + _encode_inode(inode, number, next_block if inode.blocks else 0)
        if inode.xattrs:
            data += _encode_inode_xattrs(inode, shared, inodes_end % BLOCK)
        data += _encode_tail(inode)
        next_block += inode.blocks
        position += len(data)
        pending.append(data)
        size += len(data)
        if size > 1 << 16:
            yield b"".join(pending)
            pending, size = [], 0
    pending.append(bytes(inodes_end - position))
    yield b"".join(pending)


def _encode_inode(inode: _Inode, number: int, first_block: int) -> bytes:
    node = inode.node
    place = first_block
    layout = _INLINE if inode.tail else _PLAIN
    if inode.kind == stat.S_IFREG and stat.S_ISREG(node.mode) and node.size > 0 and node.content is None:
        layout, place = _CHUNKED, first_block & 0xFFFF_0000 | (_chunks(node.size)[0] - 12)
    elif inode.kind in (stat.S_IFCHR, stat.S_IFBLK):
        place = node.rdev
    form = layout << 1 | (not inode.compact)
    count = (inode.xattr_size - _XATTR_HEADER.size) // 4 + 1 if inode.xattr_size else 0
    if inode.compact:
        return _COMPACT.pack(form, count, inode.mode, inode.links, _size(inode), place, number, node.uid, node.gid)
    seconds = node.mtime[0] & 0xFFFF_FFFF_FFFF_FFFF
    return _EXTENDED.pack(
        form, count, inode.mode, _size(inode), place, number, node.uid, node.gid, seconds, node.mtime[1], inode.links
    )


def _encode_inode_xattrs(inode: _Inode, shared: dict[Pair, int], start: int) -> bytes:
    found, own = _split(inode, shared)
    parts = [_XATTR_HEADER.pack(name_filter(inode.xattrs), len(found))]
    parts += [((start + shared[pair]) // 4).to_bytes(4, "little") for pair in found]
    parts += map(encode_xattr, own)
    return b"".join(parts)


def _encode_tail(inode: _Inode) -> bytes:
    node = inode.node
    if not inode.tail:
        return b""
    if inode.kind == stat.S_IFDIR:
        return _encode_entries(_directory_parts(inode)[-1])
    if inode.kind == stat.S_IFLNK:
        return node.target
    if node.content is not None:
        return node.content[-inode.tail :]
    return _NO_BLOCK * (inode.tail // 4)


def _encode_entries(entries: list[tuple[bytes, _Inode]]) -> bytes:
    offset = len(entries) * _DIRENT.size
    heads = []
    for name, inode in entries:
        heads.append(_DIRENT.pack(inode.nid, offset, _FILE_TYPES[inode.kind]))
        offset += len(name)
    return b"".join([*heads, *(name for name, _ in entries)])


def _encode_blocks(inode: _Inode) -> Iterator[bytes]:
    if not inode.blocks:
        return
    node = inode.node
    if inode.kind == stat.S_IFDIR:
        for part in _directory_parts(inode)[: inode.blocks]:
            yield _encode_entries(part).ljust(BLOCK, b"\0")
    elif inode.kind == stat.S_IFLNK:
        yield node.target.ljust(BLOCK, b"\0")
    elif node.content is not None:
        yield node.content[: inode.blocks * BLOCK].ljust(inode.blocks * BLOCK, b"\0")
    else:
        yield _NO_BLOCK * (BLOCK // 4)


def _round_up(number: int, unit: int) -> int:
    return -(-number // unit) * unit
