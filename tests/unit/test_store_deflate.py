import io
import zlib
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from store_samples import BIG, NOISE

from ostler.errors import CorruptError
from ostler.store import deflate

PIECES = st.lists(st.sampled_from([b"", b"x", b"abc" * 9000, BIG[:100_000], NOISE[:70_000], NOISE[:5000]]), max_size=6)


@pytest.fixture(params=["zlib-ng", "zlib"], autouse=True)
def library(request: pytest.FixtureRequest) -> Iterator[None]:
    """Run everything with the accelerator and without."""
    if request.param == "zlib":
        patch = pytest.MonkeyPatch()
        patch.setattr(deflate, "_library", lambda: zlib)
        yield
        patch.undo()
    else:
        assert deflate._library() is not zlib
        yield


def inflate(data: bytes) -> bytes:
    decoder = zlib.decompressobj(-15)
    content = decoder.decompress(data)
    assert decoder.eof
    assert not decoder.unused_data
    return content


@given(PIECES, st.integers(1, 9))
@settings(max_examples=60, deadline=None)
def test_pieces_make_one_stream(pieces: list[bytes], level: int) -> None:
    deflater = deflate.Deflater(level)
    stream = b"".join(deflater.compress(piece) for piece in pieces) + deflater.finish()
    assert inflate(stream) == b"".join(pieces)


@given(PIECES.map(b"".join), st.integers(1, 9))
@settings(max_examples=60, deadline=None)
def test_whole_content_makes_one_stream(content: bytes, level: int) -> None:
    assert inflate(deflate.deflate(content, level)) == content


def test_content_that_does_not_shrink_is_stored() -> None:
    assert len(deflate.deflate(NOISE, 6)) < len(NOISE) + 1000
    assert len(deflate.deflate(BIG, 6)) < len(BIG) / 15


def test_pieces_refer_to_one_another() -> None:
    deflater = deflate.Deflater(6)
    first = deflater.compress(NOISE[:20_000] + b"x" * 50_000 + NOISE[:10_000])
    second = deflater.compress(NOISE[:10_000] + b"y" * 50_000)
    assert len(second) < 1000
    assert inflate(first + second + deflater.finish()).endswith(b"y" * 50_000)


@given(PIECES.map(b"".join), st.integers(1, 100_000))
@settings(max_examples=60, deadline=None)
def test_reading_gives_the_content_whatever_the_steps(content: bytes, step: int) -> None:
    reader = deflate.InflateReader(io.BytesIO(deflate.deflate(content, 6)), len(content))
    parts = []
    while part := reader.read(step):
        assert len(part) <= step
        parts.append(part)
    assert b"".join(parts) == content


@given(st.binary(max_size=300), st.integers(0, 400))
@settings(max_examples=200, deadline=None)
def test_any_bytes_inflate_to_the_size_or_raise_the_documented_error(data: bytes, size: int) -> None:
    try:
        content = deflate.InflateReader(io.BytesIO(data), size).readall()
    except CorruptError:
        return
    assert len(content) == size


def test_a_bomb_is_stopped_at_its_stated_size() -> None:
    bomb = zlib.compressobj(9, zlib.DEFLATED, -15)
    data = bomb.compress(bytes(200_000_000)) + bomb.flush()
    with pytest.raises(CorruptError, match="larger"):
        deflate.InflateReader(io.BytesIO(data), 1000).readall()


@pytest.mark.parametrize("size", [0, 1, 100_000, 3_000_000])
def test_input_without_end_is_stopped_soon_after_the_content(size: int) -> None:
    class Endless(io.RawIOBase):
        given = 0

        def read(self, size: int = -1) -> bytes:
            data = bytes.fromhex("000000ffff") * (size // 5)  # empty stored blocks
            self.given += len(data)
            return data

    source = Endless()
    with pytest.raises(CorruptError, match="longer"):
        deflate.InflateReader(source, size).readall()  # type: ignore[arg-type]
    assert source.given <= size * 9 // 8 + 64 * 1024 + 2 * deflate.CHUNK


@pytest.mark.parametrize("strategy", [zlib.Z_DEFAULT_STRATEGY, zlib.Z_HUFFMAN_ONLY, zlib.Z_FIXED])
@pytest.mark.parametrize("level", [0, 1, 9])
def test_the_longest_that_zlib_makes_is_read(strategy: int, level: int) -> None:
    content = bytes(range(144, 256)) * 30_000  # 9 bits each in the fixed code
    for flush_every in (len(content), 16 * 1024):
        packer = zlib.compressobj(level, zlib.DEFLATED, -15, 1, strategy)
        data = b"".join(
            packer.compress(content[at : at + flush_every]) + packer.flush(zlib.Z_SYNC_FLUSH)
            for at in range(0, len(content), flush_every)
        )
        assert deflate.InflateReader(io.BytesIO(data + packer.flush()), len(content)).readall() == content
