"""A strict reader of cpio archives of the "new ASCII" form (`cpio -H newc`, also with checksums, `-H crc`).

Format: the Linux kernel's buffer-format.rst. The members are those of `ostler.formats.tar`. Hard links have their
content with the last of them; they come out behind that one.
"""

import stat
from collections.abc import Iterator
from typing import BinaryIO

from ostler.formats.gvariant import FormatError
from ostler.formats.tar import MAX_PATH, Kind, Member, MemberContent

MAGICS = (b"070701", b"070702")
_HEADER = 110
_DIGITS = b"0123456789abcdefABCDEF"
_TRAILER = "TRAILER!!!"
_MAX_HELD = 100_000
_KINDS = {stat.S_IFREG: Kind.FILE, stat.S_IFDIR: Kind.DIRECTORY, stat.S_IFLNK: Kind.SYMLINK}
_CHUNK = 1 << 20


def read_members(source: BinaryIO) -> Iterator[tuple[Member, MemberContent]]:
    """The members of a cpio stream in order; content that is not read is skipped. The stream is read to its end."""
    links: dict[tuple[int, ...], list[Member]] = {}
    held = 0
    while (found := _next_member(source)) is not None:
        member, inode, padding = found
        content = MemberContent(source, member.size)
        if inode is not None and member.size == 0:
            links.setdefault(inode, []).append(member)
            held += 1
            if held > _MAX_HELD:
                raise FormatError(f"the cpio archive has more than {_MAX_HELD} hard links without content")
            continue
        yield member, content
        _skip(source, content.left + padding)
        if inode is not None:
            yield from _linked(links.pop(inode, []), member)
    for empty in links.values():
        yield empty[0], MemberContent(source, 0)
        yield from _linked(empty[1:], empty[0])
    while source.read(_CHUNK):
        pass


def _linked(members: list[Member], target: Member) -> Iterator[tuple[Member, MemberContent]]:
    for member in members:
        link = Member(member.path, Kind.HARDLINK, member.mode, member.uid, member.gid, 0, target.path)
        yield link, MemberContent(_NOTHING, 0)


class _Nothing:
    def read(self, size: int) -> bytes:
        return b""


_NOTHING: BinaryIO = _Nothing()  # type: ignore[assignment]


def _next_member(source: BinaryIO) -> tuple[Member, tuple[int, ...] | None, int] | None:
    """(member, inode of a file with several links, bytes of padding behind its content); None at the trailer."""
    header = _exactly(source, _HEADER)
    if header[:6] not in MAGICS:
        raise FormatError("a member of a cpio archive does not start with 070701 or 070702")
    if header[6:].strip(_DIGITS):
        raise FormatError("the header of a member of a cpio archive holds something else than numbers")
    numbers = [int(header[at : at + 8], 16) for at in range(6, _HEADER, 8)]
    inode, mode, uid, gid, links, _, size, major, minor, _, _, length, _ = numbers
    if not 0 < length <= MAX_PATH:
        raise FormatError(f"a name in a cpio archive is {length} bytes long")
    path = _text(_exactly(source, length).rstrip(b"\0"))
    _skip(source, -(_HEADER + length) % 4)
    if path == _TRAILER:
        return None
    padding = -size % 4
    kind = _KINDS.get(stat.S_IFMT(mode), Kind.OTHER)
    target = ""
    if kind is Kind.SYMLINK:
        if not 0 < size <= MAX_PATH:
            raise FormatError(f"the target of the symlink {path} in a cpio archive is {size} bytes long")
        target = _text(_exactly(source, size))
        _skip(source, padding)
        size = padding = 0
    several = (inode, major, minor) if kind is Kind.FILE and links > 1 else None
    return Member(path, kind, mode & 0o7777, uid, gid, size, target), several, padding


def _text(raw: bytes) -> str:
    try:
        return raw.decode()
    except UnicodeDecodeError as error:
        raise FormatError(f"the name {raw!r} in a cpio archive is not UTF-8") from error


def _exactly(source: BinaryIO, size: int) -> bytes:
    parts = []
    while size > 0 and (data := source.read(size)):
        parts.append(data)
        size -= len(data)
    if size:
        raise FormatError("the cpio archive ends within a member")
    return b"".join(parts)


def _skip(source: BinaryIO, size: int) -> None:
    while size > 0:
        data = source.read(min(size, _CHUNK))
        if not data:
            raise FormatError("the cpio archive ends within a member")
        size -= len(data)
