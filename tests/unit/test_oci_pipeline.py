import gzip
import io
import threading
from collections.abc import Iterator

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from ostler.errors import CorruptError
from ostler.oci.compression import decompressed, zstd_encoder
from ostler.oci.descriptor import LAYER, LAYER_GZIP, LAYER_ZSTD, Descriptor, OciFormatError, descriptor_of, digest_of
from ostler.oci.pipeline import ReadAhead, fan_out
from ostler.oci.reading import open_layer

SKIPPABLE = b"\x50\x2a\x4d\x18" + (5).to_bytes(4, "little") + b"hello"


def test_every_consumer_gets_every_chunk_in_order() -> None:
    first: list[bytes] = []
    second: list[bytes] = []
    chunks = [bytes([number]) for number in range(100)]
    fan_out(iter(chunks), [first.append, second.append])
    assert first == second == chunks


def test_an_error_of_a_consumer_ends_the_work() -> None:
    def refuse(chunk: bytes) -> None:
        raise OSError("full")

    with pytest.raises(OSError, match="full"):
        fan_out((b"x" for _ in range(1000)), [refuse, lambda chunk: None])


def test_an_error_of_the_producer_ends_the_work() -> None:
    def chunks() -> Iterator[bytes]:
        yield b"x"
        raise RuntimeError("gone")

    with pytest.raises(RuntimeError, match="gone"):
        fan_out(chunks(), [lambda chunk: None])


@given(st.lists(st.binary(max_size=50), max_size=30), st.integers(1, 40))
@settings(max_examples=50, deadline=None)
def test_reading_ahead_changes_nothing(chunks: list[bytes], step: int) -> None:
    with ReadAhead(iter(chunks)) as raw:
        pieces = []
        while piece := raw.read(step):
            pieces.append(piece)
    assert b"".join(pieces) == b"".join(chunks)


def test_closing_early_ends_the_thread() -> None:
    before = threading.active_count()
    reader = ReadAhead(b"x" * 1000 for _ in range(10**9))
    reader.read(10)
    reader.close()
    assert threading.active_count() == before


@pytest.mark.parametrize(
    ("media_type", "blob"),
    [
        (LAYER, b"a" * 5000),
        (LAYER_GZIP, gzip.compress(b"a" * 5000)),
        (LAYER_GZIP, gzip.compress(b"a" * 2000) + gzip.compress(b"a" * 3000) + bytes(512)),
        (LAYER_ZSTD, zstandard.compress(b"a" * 5000)),
        (LAYER_ZSTD, zstandard.compress(b"a" * 2000) + SKIPPABLE + zstandard.compress(b"a" * 3000) + SKIPPABLE),
    ],
)
def test_layers_of_every_kind_are_unpacked(media_type: str, blob: bytes) -> None:
    stream = decompressed(media_type, io.BytesIO(blob))
    parts = []
    while part := stream.read(777):
        parts.append(part)
        assert len(part) <= 777
    assert b"".join(parts) == b"a" * 5000


@pytest.mark.parametrize("media_type", [LAYER_GZIP, LAYER_ZSTD])
@given(data=st.binary(max_size=100))
@settings(max_examples=50, deadline=None)
def test_any_bytes_unpack_or_give_the_one_error(media_type: str, data: bytes) -> None:
    stream = decompressed(media_type, io.BytesIO(data))
    try:
        while stream.read(100):
            pass
    except OciFormatError:
        pass


def test_media_types_that_are_no_layer_are_refused() -> None:
    with pytest.raises(OciFormatError):
        decompressed("application/vnd.oci.image.layer.nondistributable.v1.tar+br", io.BytesIO())


def test_compressed_bytes_do_not_depend_on_cores_or_chunks() -> None:
    data = b"".join(number.to_bytes(4, "big") * 3 for number in range(3_000_000))
    digests = set()
    for threads, step in ((1, 1 << 20), (2, 1 << 20), (3, 777_777), (5, 5 << 20)):
        encoder = zstd_encoder(threads)
        parts = [encoder.compress(data[start : start + step]) for start in range(0, len(data), step)]
        digests.add(digest_of(b"".join(parts) + encoder.flush()))
    assert len(digests) == 1


class Blobs:
    def __init__(self, data: bytes) -> None:
        self.data = data

    def open_blob(self, descriptor: Descriptor) -> io.BytesIO:
        return io.BytesIO(self.data)


CONTENT = b"content" * 100_000
BLOB = gzip.compress(CONTENT)
GOOD = descriptor_of(LAYER_GZIP, BLOB)


def test_a_layer_is_read_with_both_digests_checked() -> None:
    with open_layer(Blobs(BLOB), GOOD, digest_of(CONTENT)) as stream:
        assert stream.read(7) == b"content"


@pytest.mark.parametrize("blob", [BLOB[:-1], BLOB + b"\0", BLOB[:-9] + b"x" + BLOB[-8:], b""])
def test_a_blob_with_other_bytes_is_refused(blob: bytes) -> None:
    with pytest.raises(CorruptError), open_layer(Blobs(blob), GOOD, digest_of(CONTENT)) as stream:
        stream.read()


def test_a_stream_that_is_not_the_one_in_the_config_is_refused() -> None:
    with pytest.raises(CorruptError, match="config"), open_layer(Blobs(BLOB), GOOD, digest_of(b"else")):
        pass


def test_a_blob_is_named_as_the_culprit_when_its_content_makes_no_sense() -> None:
    with pytest.raises(CorruptError, match="has the digest"), open_layer(Blobs(BLOB[:-1] + b"x"), GOOD, None):
        raise CorruptError("no tar archive")


def test_a_layer_that_unpacks_to_more_than_allowed_is_refused() -> None:
    bomb = gzip.compress(bytes(50_000_000))
    with (
        pytest.raises(OciFormatError, match="more than"),
        open_layer(Blobs(bomb), descriptor_of(LAYER_GZIP, bomb), None, limit=1 << 20) as stream,
    ):
        while stream.read(1 << 16):
            pass
