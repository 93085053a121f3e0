"""Reading a layer blob as the tar stream in it, while checking the digests of both."""

import hashlib
import io
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import BinaryIO

from ostler.errors import CorruptError
from ostler.oci.blobs import CHUNK, BlobSource, verify
from ostler.oci.compression import decompressed
from ostler.oci.descriptor import Descriptor, Digest, OciFormatError, hex_of
from ostler.oci.pipeline import ReadAhead

LAYER_LIMIT = 64 << 30
"""Bytes that a layer may have uncompressed, unless the caller says otherwise."""


@contextmanager
def open_layer(
    source: BlobSource, layer: Descriptor, diff_id: Digest | None, *, limit: int = LAYER_LIMIT
) -> Iterator[BinaryIO]:
    """The uncompressed tar stream of a layer.

    When the block ends well the rest of the stream is read, and `CorruptError` raised unless the blob's size and digest
    are those of `layer` and the stream's digest is `diff_id` (if given): nothing may be committed before that.
    `OciFormatError` is raised for a stream of more than `limit` bytes.
    """
    with closing(_Stream(source, layer, limit)) as stream:
        file = io.BufferedReader(stream.reader, CHUNK)
        try:
            yield file
        except CorruptError as error:
            stream.blame_blob(error)
            raise
        while file.read(CHUNK):
            pass
        stream.check(diff_id)


class _Stream:
    def __init__(self, source: BlobSource, layer: Descriptor, limit: int) -> None:
        self._layer = layer
        self._limit = limit
        self._blob = source.open_blob(layer)
        self._blob_hash = hashlib.sha256()
        self._blob_size = 0
        self._hash = hashlib.sha256()
        self.reader = ReadAhead(self._chunks())

    def read(self, size: int, /) -> bytes:
        """The blob's own bytes, counted and hashed, one more than it should have at most."""
        data = self._blob.read(min(size, self._layer.size + 1 - self._blob_size))
        self._blob_size += len(data)
        self._blob_hash.update(data)
        return data

    def _chunks(self) -> Iterator[bytes]:
        stream = decompressed(self._layer.media_type, self)
        total = 0
        while data := stream.read(CHUNK):
            total += len(data)
            if total > self._limit:
                raise OciFormatError(f"the layer {self._layer.digest} has more than {self._limit} bytes uncompressed")
            self._hash.update(data)
            yield data
        while self.read(CHUNK):  # what lies behind the end of the compressed stream belongs to the blob too
            pass

    def check(self, diff_id: Digest | None) -> None:
        """Raise `CorruptError` unless everything that was read is what was announced."""
        verify(self._layer, self._blob_size, self._blob_hash.hexdigest(), "layer")
        if diff_id is not None and self._hash.hexdigest() != hex_of(diff_id):
            raise CorruptError(
                f"the layer {self._layer.digest} unpacks to sha256:{self._hash.hexdigest()}, not to {diff_id} as the "
                "image config says",
                hint="the image was put together wrongly, or its config was replaced",
            )

    def blame_blob(self, error: CorruptError) -> None:
        """Raise the error that tells more than `error` does if the blob is not even the one it should be."""
        self.reader.close()
        while self.read(CHUNK):
            pass
        try:
            self.check(None)
        except CorruptError as reason:
            raise reason from error

    def close(self) -> None:
        self.reader.close()
        self._blob.close()
