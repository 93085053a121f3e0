"""The header of file objects in archive repositories (`.filez`).

    offset  size  is
    0       4     length of Z, big-endian
    4       4     zero
    8       len   Z = (tuuuusa(ayay)): uncompressed size (big-endian), then the fields of the file header
    8+len   …     the content as raw DEFLATE stream; nothing for a symlink

The name of the object hashes the uncompressed form only: readers must check the size and the end of the stream.
"""

from collections.abc import Callable
from functools import lru_cache

from ostler.formats import gvariant
from ostler.formats.gvariant import FormatError
from ostler.formats.objects import FileMeta, file_meta_from

FILEZ_TYPE = "(tuuuusa(ayay))"
SIZE_OFFSET = 8
"""Where in the file the uncompressed size lies: 8 bytes, big-endian."""
MAX_HEADER_SIZE = 16 * 1024 * 1024
_CACHED = 1024


def encode_header(meta: FileMeta, size: int) -> bytes:
    """Everything before the compressed content of a file of `size` bytes (0 for a symlink)."""
    template = _template(meta)
    return template[:SIZE_OFFSET] + size.to_bytes(8, "big") + template[SIZE_OFFSET + 8 :]


@lru_cache(maxsize=4096)
def _template(meta: FileMeta) -> bytes:
    header = gvariant.encode(FILEZ_TYPE, (0, *meta.fields()))
    return len(header).to_bytes(4, "big") + bytes(4) + header


def read_header(read: Callable[[int], bytes]) -> tuple[FileMeta, int]:
    """The metadata and the uncompressed size in bytes, from a function that reads exactly n bytes unless at the end.

    Raises `FormatError` if the header is malformed or longer than `MAX_HEADER_SIZE`.
    """
    start = read(8)
    length = int.from_bytes(start[:4], "big")
    if len(start) != 8 or any(start[4:]) or length > MAX_HEADER_SIZE:
        raise FormatError("a compressed file object does not start with a header")
    data = read(length)
    if len(data) != length:
        raise FormatError("a compressed file object ends within its header")
    return _parse(data)


def split(data: bytes) -> tuple[FileMeta, int, int]:
    """(metadata, uncompressed size, where the compressed content starts) of an object held in memory.

    Raises `FormatError` as `read_header` does.
    """
    length = int.from_bytes(data[:4], "big")
    if len(data) < 8 or any(data[4:8]) or length > MAX_HEADER_SIZE:
        raise FormatError("a compressed file object does not start with a header")
    if len(data) < 8 + length:
        raise FormatError("a compressed file object ends within its header")
    return *_parse(data[8 : 8 + length]), 8 + length


def _parse(header: bytes) -> tuple[FileMeta, int]:
    decode = _meta_of if len(header) <= _CACHED else _meta_of.__wrapped__
    meta, size = decode(header[8:]), int.from_bytes(header[:8], "big")
    if meta.is_symlink and size:
        raise FormatError("a symlink object claims to have content")
    return meta, size


@lru_cache(maxsize=4096)
def _meta_of(behind_size: bytes) -> FileMeta:
    """Most files have the same metadata: they are decoded once."""
    _, *fields = gvariant.decode(FILEZ_TYPE, bytes(8) + behind_size)
    return file_meta_from(tuple(fields))
