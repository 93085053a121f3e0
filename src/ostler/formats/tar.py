"""A strict reader of tar streams: ustar, GNU long names and PAX headers, as container layers use them.

Format: POSIX.1-2001 pax and the GNU tar manual. Sparse files are refused. Everything is bounded, malformed archives
raise `FormatError`, and content is passed on as it comes.
"""

import io
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Any, BinaryIO

from ostler.formats.gvariant import FormatError
from ostler.formats.objects import Xattrs

BLOCK = 512
MAX_EXTENSION = 1 << 20
"""The largest PAX header or GNU long name in bytes."""
MAX_PATH = 4096
_XATTR = b"SCHILY.xattr."
_CHUNK = 1 << 20


class Kind(Enum):
    """What a member is; `OTHER` are devices and fifos."""

    FILE = "file"
    DIRECTORY = "directory"
    SYMLINK = "symlink"
    HARDLINK = "hard link"
    OTHER = "other"


_KINDS = {
    b"0": Kind.FILE,
    b"\0": Kind.FILE,
    b"7": Kind.FILE,
    b"1": Kind.HARDLINK,
    b"2": Kind.SYMLINK,
    b"3": Kind.OTHER,
    b"4": Kind.OTHER,
    b"5": Kind.DIRECTORY,
    b"6": Kind.OTHER,
}


@dataclass(frozen=True, slots=True)
class Member:
    """One entry. `mode` has permission bits only; `path` and `target` are as the archive has them; `size` in bytes."""

    path: str
    kind: Kind
    mode: int
    uid: int
    gid: int
    size: int
    target: str
    xattrs: Xattrs = ()


class MemberContent(io.RawIOBase):
    """The bytes of one member; valid until the next member is asked for."""

    def __init__(self, source: BinaryIO, size: int) -> None:
        super().__init__()
        self._source = source
        self.left = size

    def readable(self) -> bool:
        """True."""
        return True

    def readinto(self, buffer: Any, /) -> int:
        """Fill the buffer; 0 at the end. Raises `FormatError` if the archive ends first."""
        wanted = min(len(buffer), self.left)
        data = self._source.read(wanted) if wanted else b""
        if wanted and not data:
            raise FormatError("the tar archive ends within a file")
        buffer[: len(data)] = data
        self.left -= len(data)
        return len(data)

    def readall(self) -> bytes:
        """Everything that is left."""
        data = _read_exactly(self._source, self.left)
        if len(data) != self.left:
            raise FormatError("the tar archive ends within a file")
        self.left = 0
        return data


def read_members(source: BinaryIO) -> Iterator[tuple[Member, MemberContent]]:
    """The members of a tar stream in order; content that is not read is skipped. The stream is read to its end."""
    shared: dict[bytes, bytes] = {}
    while (first := _next_header(source)) is not None:
        header, extensions = _with_extensions(source, first, shared)
        member = _member(header, {**shared, **extensions})
        content = MemberContent(source, member.size)
        yield member, content
        _skip(source, content.left)
        _skip(source, -member.size % BLOCK)
    while source.read(_CHUNK):
        pass


def _read_exactly(source: BinaryIO, size: int) -> bytes:
    parts = []
    while size > 0 and (data := source.read(size)):
        parts.append(data)
        size -= len(data)
    return b"".join(parts)


def _skip(source: BinaryIO, size: int) -> None:
    while size > 0:
        data = source.read(min(size, _CHUNK))
        if not data:
            raise FormatError("the tar archive ends within a file")
        size -= len(data)


def _next_header(source: BinaryIO) -> bytes | None:
    """The next header block, checked; None at the end-of-archive mark or at a clean end of the stream."""
    header = _read_exactly(source, BLOCK)
    if not header.strip(b"\0"):
        return None
    if len(header) != BLOCK:
        raise FormatError("the tar archive ends within a header")
    total = sum(header) - sum(header[148:156]) + 8 * 0x20
    if total != _number(header[148:156], "checksum"):
        raise FormatError("the checksum of a tar header is wrong")
    return header


def _with_extensions(source: BinaryIO, header: bytes, shared: dict[bytes, bytes]) -> tuple[bytes, dict[bytes, bytes]]:
    """The next real header, and the PAX records and GNU long names before it (global ones go to `shared`)."""
    extensions: dict[bytes, bytes] = {}
    total = 0
    while (kind := header[156:157]) in (b"x", b"g", b"L", b"K"):
        size = _number(header[124:136], "size")
        total += size
        if total > MAX_EXTENSION:
            raise FormatError(f"the extended header of a tar member is larger than {MAX_EXTENSION} bytes")
        data = _read_exactly(source, size)
        if len(data) != size:
            raise FormatError("the tar archive ends within an extended header")
        _skip(source, -size % BLOCK)
        if kind in (b"L", b"K"):
            extensions[b"path" if kind == b"L" else b"linkpath"] = data.split(b"\0", 1)[0]
        else:
            (shared if kind == b"g" else extensions).update(_pax_records(data))
            _bound(shared)
        following = _next_header(source)
        if following is None:
            raise FormatError("the tar archive ends behind an extended header")
        header = following
    return header, extensions


def _bound(records: dict[bytes, bytes]) -> None:
    if sum(map(len, records.values())) > MAX_EXTENSION:
        raise FormatError(f"the global headers of a tar archive are larger than {MAX_EXTENSION} bytes")


def _pax_records(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    position = 0
    while position < len(data):
        space = data.find(b" ", position, position + 20)
        digits = data[position:space] if space > 0 else b""
        end = position + int(digits) if digits.isdigit() else 0
        key, equals, value = data[space + 1 : end].partition(b"=")
        if end <= space + 1 or end > len(data) or not equals or not key or not value.endswith(b"\n"):
            raise FormatError("a PAX header of a tar archive is malformed")
        yield key, value[:-1]
        position = end


def _number(raw: bytes, what: str) -> int:
    if raw[0] & 0x80:
        if raw[0] & 0x40:
            raise FormatError(f"the {what} in a tar header is negative")
        return int.from_bytes(bytes([raw[0] & 0x7F]) + raw[1:], "big")
    text = raw.split(b"\0", 1)[0].strip(b" ")
    if text.strip(b"01234567"):
        raise FormatError(f"the {what} in a tar header is no octal number: {raw!r}")
    return int(text or b"0", 8)


def _decimal(raw: bytes, what: str) -> int:
    if not raw.isdigit() or len(raw) > 20:
        raise FormatError(f"the {what} in a PAX header is no number: {raw[:40]!r}")
    return int(raw)


def _text(raw: bytes, what: str) -> str:
    try:
        text = raw.decode()
    except UnicodeDecodeError as error:
        raise FormatError(f"the {what} {raw[:200]!r} in a tar archive is not UTF-8") from error
    if len(raw) > MAX_PATH or "\0" in text:
        raise FormatError(f"the {what} {text[:200]!r} in a tar archive is too long or holds a NUL")
    return text


def _cut(raw: bytes) -> bytes:
    return raw.split(b"\0", 1)[0]


def _member(header: bytes, records: dict[bytes, bytes]) -> Member:
    code = header[156:157]
    kind = _KINDS.get(code)
    if kind is None or any(key.startswith(b"GNU.sparse.") for key in records):
        raise FormatError(f"tar members of type {code!r} and sparse files are not supported")
    name = _cut(header[:100])
    if header[257:263] == b"ustar\0" and (prefix := _cut(header[345:500])):
        name = prefix + b"/" + name
    name = records.get(b"path", name)
    if kind is Kind.FILE and code != b"7" and name.endswith(b"/"):
        kind = Kind.DIRECTORY
    size = _field(records, b"size", header[124:136])
    xattrs = sorted((key[len(_XATTR) :], value) for key, value in records.items() if key.startswith(_XATTR))
    if any(not key or b"\0" in key for key, _ in xattrs):
        raise FormatError("an extended attribute in a tar archive has no name")
    return Member(
        path=_text(name, "path"),
        kind=kind,
        mode=_number(header[100:108], "mode") & 0o7777,
        uid=_id(_field(records, b"uid", header[108:116])),
        gid=_id(_field(records, b"gid", header[116:124])),
        size=size if kind is Kind.FILE else 0,
        target=_text(records.get(b"linkpath", _cut(header[157:257])), "link target"),
        xattrs=tuple(xattrs),
    )


def _field(records: dict[bytes, bytes], key: bytes, raw: bytes) -> int:
    value = records.get(key)
    return _number(raw, key.decode()) if value is None else _decimal(value, key.decode())


def _id(number: int) -> int:
    if number > 0xFFFF_FFFF:
        raise FormatError(f"the user or group id {number} in a tar archive is too large")
    return number
