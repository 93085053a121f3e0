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
    size, *fields = gvariant.decode(FILEZ_TYPE, data)
    meta = file_meta_from(tuple(fields))
    size = int.from_bytes(size.to_bytes(8, "little"), "big")
    if meta.is_symlink and size:
        raise FormatError("a symlink object claims to have content")
    return meta, size
