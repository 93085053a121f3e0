"""Compressing layers with zstd, and opening plain, gzip and zstd layers; the libraries are loaded when needed."""

import os
import zlib
from typing import IO, TYPE_CHECKING, Protocol, cast

from ostler.io.process import MissingToolError
from ostler.oci.descriptor import (
    DOCKER_LAYER,
    DOCKER_LAYER_GZIP,
    DOCKER_LAYER_ZSTD,
    LAYER,
    LAYER_GZIP,
    LAYER_ZSTD,
    OciFormatError,
)

if TYPE_CHECKING:
    from types import ModuleType

ENCODER = "zstd-7-long25-8M"
"""Names the parameters below. A change of them gives layers new digests, so it changes this name too.

Measured with a Debian tree of 336 MB on two cores: level 6 1.4 s and 141.2 MB, 7 1.6 s and 140.4 MB, 9 2.4 s and
139.3 MB; level 7 without long-distance matching 1.5 s and 144.9 MB. A window of 32 MiB is what a reader must have.
"""
_LEVEL = 7
_WINDOW_LOG = 25
_JOB_SIZE = 8 << 20
_OVERLAP_LOG = 6
_READ_WINDOW = 1 << 27
_STEP = 1 << 18
_GZIP = 31


class Encoder(Protocol):
    """A running compression."""

    def compress(self, data: bytes, /) -> bytes:
        """Take more input, return what output there is."""
        ...

    def flush(self) -> bytes:
        """End the stream and return the rest of the output."""
        ...


class Readable(Protocol):
    """A stream of bytes to read from."""

    def read(self, size: int, /) -> bytes:
        """Up to `size` bytes; none at the end."""
        ...


def zstd_encoder(threads: int | None = None) -> Encoder:
    """A zstd compression on `threads` cores (all by default); the output is the same for any number of them.

    Jobs have a fixed size, and one thread is used as several are: zstd's output depends on these, not on timing.
    Raises `MissingToolError` without the library.
    """
    zstandard = _zstandard()
    parameters = zstandard.ZstdCompressionParameters.from_level(
        _LEVEL,
        window_log=_WINDOW_LOG,
        enable_ldm=True,
        job_size=_JOB_SIZE,
        overlap_log=_OVERLAP_LOG,
        threads=max(1, threads or len(os.sched_getaffinity(0))),
        write_checksum=False,
        write_content_size=False,
    )
    encoder: Encoder = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
    return encoder


def decompressed(media_type: str, source: Readable) -> Readable:
    """The uncompressed bytes of a layer of this media type, read from `source` as they are asked for.

    A stream that ends too early just ends: callers compare the digest of what they got. Raises `OciFormatError` for
    a media type that is no layer, when reading also for damaged data; `MissingToolError` for zstd without the library.
    """
    if media_type in (LAYER, DOCKER_LAYER):
        return source
    if media_type in (LAYER_GZIP, DOCKER_LAYER_GZIP):
        return _Gzip(source)
    if media_type in (LAYER_ZSTD, DOCKER_LAYER_ZSTD):
        return _Zstd(source)
    raise OciFormatError(f"layers of the media type {media_type!r} are not supported")


class _Gzip:
    """One or more gzip members after each other (RFC 1952); zero bytes may follow."""

    def __init__(self, source: Readable) -> None:
        self._source = source
        self._inflater = zlib.decompressobj(wbits=_GZIP)
        self._input = b""

    def read(self, size: int, /) -> bytes:
        while True:
            if not self._input:
                self._input = self._source.read(_STEP)
                if not self._input:
                    return b""
            if self._inflater.eof:
                self._input = self._input.lstrip(b"\0")
                if not self._input:
                    continue
                self._inflater = zlib.decompressobj(wbits=_GZIP)
            try:
                output = self._inflater.decompress(self._input, size)
            except zlib.error as error:
                raise OciFormatError(f"the layer is no valid gzip stream: {error}") from error
            self._input = self._inflater.unused_data if self._inflater.eof else self._inflater.unconsumed_tail
            if output:
                return output


class _Zstd:
    """One or more zstd frames after each other; skippable frames (as of zstd:chunked) give nothing."""

    def __init__(self, source: Readable) -> None:
        library = _zstandard()
        self._error = library.ZstdError
        decompressor = library.ZstdDecompressor(max_window_size=_READ_WINDOW)
        self._reader = decompressor.stream_reader(cast("IO[bytes]", source), read_size=_STEP, read_across_frames=True)

    def read(self, size: int, /) -> bytes:
        try:
            data: bytes = self._reader.read(size)
            return data
        except self._error as error:
            raise OciFormatError(f"the layer is no valid zstd stream: {error}") from error


def _zstandard() -> "ModuleType":
    try:
        import zstandard
    except ImportError as error:
        raise MissingToolError(
            "the Python library `zstandard` is not installed, which zstd layers need",
            hint="install it with `apt-get install python3-zstandard` or `pip install zstandard`",
        ) from error
    return zstandard
