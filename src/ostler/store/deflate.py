"""Raw DEFLATE for archive repositories, with the fastest library that is installed.

Content that is in memory: libdeflate (4 times as fast as the standard library's zlib for the same size); streams:
zlib-ng (2–4 times as fast); else the standard library. Compression is not part of any checksum, so they all give
interchangeable repositories.
"""

import io
import zlib
from collections.abc import Callable
from functools import cache
from typing import Any, BinaryIO, TypeAlias

from ostler.formats.gvariant import FormatError

RAW = -15
CHUNK = 1 << 20
WHOLE = 16 << 20
"""Content up to this size is worth being read into memory to be compressed as a whole."""

Buffer: TypeAlias = bytes | memoryview
_WINDOW = 32 * 1024
_SAMPLE = 2048
_SAMPLED_FROM = 2 * _SAMPLE
_READ_SMALL = 64 * 1024
_INPUT_SLACK = 64 * 1024
_TINY = 40
"""Below this size libdeflate only stores; zlib is smaller and no slower."""


@cache
def _library() -> Any:
    try:
        from zlib_ng import zlib_ng
    except ImportError:
        return zlib
    return zlib_ng


@cache
def _compress_whole() -> Callable[[Buffer, int], bytes | bytearray] | None:
    """libdeflate's compressor, if it is there."""
    try:
        from deflate import deflate_compress
    except ImportError:
        return None
    compress: Callable[[Buffer, int], bytes | bytearray] = deflate_compress
    return compress


class Deflater:
    """Makes one raw DEFLATE stream of pieces (of about 1 MiB each), at `level` 1 (fast) to 9 (small).

    A piece whose samples do not compress is stored as it is: kernel modules and initramfs files are compressed already.
    Every piece is a block sequence of its own that may refer to the end of the piece before it.
    """

    def __init__(self, level: int) -> None:
        self._level = _tuned(level)
        self._window = b""

    def compress(self, piece: Buffer) -> bytes:
        """The next bytes of the stream."""
        coder = self._coder(piece)
        packed: bytes = coder.compress(piece) + coder.flush(zlib.Z_SYNC_FLUSH)
        self._window = bytes(piece[-_WINDOW:])
        return packed

    def finish(self, piece: Buffer = b"") -> bytes:
        """The last bytes of the stream, with a last piece."""
        coder = self._coder(piece)
        packed: bytes = coder.compress(piece) + coder.flush()
        return packed

    def _coder(self, piece: Buffer) -> Any:
        level = self._level if _compressible(piece) else 0
        if self._window:
            return _library().compressobj(level, zlib.DEFLATED, RAW, zdict=self._window)
        return _library().compressobj(level, zlib.DEFLATED, RAW)


def deflate(data: bytes, level: int) -> bytes:
    """All of `data` as raw DEFLATE stream."""
    if len(data) < _TINY:
        return zlib.compress(data, level, RAW)
    compress = _compress_whole()
    if compress is not None and _compressible(data):
        return bytes(compress(data, _WHOLE_LEVELS.get(level, level)))
    packed: bytes = _library().compress(data, _tuned(level) if _compressible(data) else 0, RAW)
    return packed


_WHOLE_LEVELS = {5: 3, 6: 3, 7: 6}
"""On a Debian tree libdeflate's level 3 gives the size of zlib's level 6 within 1 %, its level 6 that of zlib's 8."""


def _tuned(level: int) -> int:
    """zlib-ng's level 5 gives the size of its level 6 within 0.2 %, in a tenth less time."""
    return 5 if level == 6 and _library() is not zlib else level


def _compressible(data: Buffer) -> bool:
    """Whether two samples of the data shrink by at least 3 %; short data always count as compressible."""
    if len(data) < _SAMPLED_FROM:
        return True
    middle = len(data) // 2
    sample = bytes(data[:_SAMPLE]) + bytes(data[middle : middle + _SAMPLE])
    compress = _compress_whole()
    packed = _library().compress(sample, 1, RAW) if compress is None else compress(sample, 1)
    return len(packed) < 0.97 * len(sample)


def inflate(data: Buffer, size: int) -> bytes:
    """The content of a raw DEFLATE stream of exactly `size` bytes that ends where `data` does; raises `FormatError`."""
    library = _library()
    inflater: Any = library.decompressobj(RAW)
    try:
        content: bytes = inflater.decompress(data, size + 1)
        if not inflater.eof and len(content) <= size:  # what the library held back for want of room
            content += inflater.decompress(inflater.unconsumed_tail, size + 1 - len(content) or 1)
    except (zlib.error, library.error) as error:
        raise FormatError(f"a compressed file object cannot be decompressed: {error}") from error
    if len(content) > size:
        raise FormatError("a compressed file object is larger than its header says")
    if not inflater.eof:
        raise FormatError("a compressed file object ends too early")
    if len(content) < size:
        raise FormatError("a compressed file object is smaller than its header says")
    if inflater.unused_data:
        raise FormatError("a compressed file object has bytes behind its content")
    return content


class InflateReader(io.RawIOBase):
    """Reads the content of a raw DEFLATE stream that must inflate to exactly `size` bytes and end with its file.

    Never inflates more than is asked for, nor takes much more input than the longest that a writer makes of so much
    content (9 bits a byte, and block headers). Raises `FormatError` as soon as the stream turns out to be anything
    else; a reader that stops before the end of file has not had the end checked.
    """

    def __init__(self, source: BinaryIO, size: int, *, on_input: Callable[[bytes], object] | None = None) -> None:
        super().__init__()
        self._source = source
        self._left = size
        self._input_left = size + size // 8 + _INPUT_SLACK + (CHUNK if size >= CHUNK else _READ_SMALL)
        self._inflater: Any = _library().decompressobj(RAW)
        self._pending = b""
        self._on_input = on_input

    def readable(self) -> bool:
        """True."""
        return True

    def readinto(self, buffer: Any, /) -> int:
        """Fill the buffer; 0 at the (checked) end."""
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def read(self, size: int | None = -1, /) -> bytes:
        """At most `size` bytes, b"" at the (checked) end; everything if negative or None."""
        if size is None or size < 0:
            return self.readall()
        if size == 0:
            return b""
        output = self._inflate(size)
        self._left -= len(output)
        if self._left < 0:
            raise FormatError("a compressed file object is larger than its header says")
        if not output:
            self._check_end()
        return output

    def _inflate(self, size: int) -> bytes:
        """The next 1 to `size` bytes; b"" at the end of the stream. The inflater may hold back output of old input."""
        while not self._inflater.eof:
            try:
                output: bytes = self._inflater.decompress(self._pending, size)
            except (zlib.error, self._library_error()) as error:
                raise FormatError(f"a compressed file object cannot be decompressed: {error}") from error
            self._pending = self._inflater.unconsumed_tail
            if output:
                return output
            if not self._pending and not self._inflater.eof:
                self._pending = self._more()
                if not self._pending:
                    raise FormatError("a compressed file object ends too early")
        return b""

    def readall(self) -> bytes:
        """Everything that is left."""
        parts = []
        while part := self.read(CHUNK):
            parts.append(part)
        return b"".join(parts)

    def close(self) -> None:
        """Close the source too."""
        if not self.closed:
            self._source.close()
        super().close()

    def _more(self) -> bytes:
        data = self._source.read(CHUNK if self._left >= CHUNK else _READ_SMALL)
        self._input_left -= len(data)
        if self._input_left < 0:
            raise FormatError("a compressed file object is far longer than its content")
        if data and self._on_input:
            self._on_input(data)
        return data

    def _check_end(self) -> None:
        if self._left:
            raise FormatError("a compressed file object is smaller than its header says")
        if self._inflater.unused_data or self._more():
            raise FormatError("a compressed file object has bytes behind its content")

    @staticmethod
    def _library_error() -> type[Exception]:
        error: type[Exception] = _library().error
        return error
