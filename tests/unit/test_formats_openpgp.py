"""OpenPGP framing: armor and packets."""

from base64 import b64encode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ostler.formats.gvariant import FormatError
from ostler.formats.openpgp import is_detached_signature, packets, public_keys, unarmored


def old(tag: int, body: bytes) -> bytes:
    return bytes([0x80 | tag << 2 | 1]) + len(body).to_bytes(2, "big") + body


def new(tag: int, body: bytes) -> bytes:
    assert len(body) < 192
    return bytes([0xC0 | tag, len(body)]) + body


KEY = old(6, b"key") + new(13, b"user") + old(2, b"signature") + new(14, b"subkey") + old(2, b"binding")
SECRET = old(5, b"secret") + new(13, b"user") + old(2, b"signature")


def armored(data: bytes, kind: str = "PUBLIC KEY BLOCK", newline: str = "\n") -> bytes:
    lines = [
        f"-----BEGIN PGP {kind}-----",
        "Comment: a test",
        "",
        b64encode(data).decode(),
        "=ABCD",
        f"-----END PGP {kind}-----",
    ]
    return newline.join([*lines, ""]).encode()


def test_packets_of_both_forms_are_told_apart() -> None:
    assert [tag for tag, _ in packets(KEY)] == [6, 13, 2, 14, 2]
    assert b"".join(packet for _, packet in packets(KEY)) == KEY
    long = bytes([0xC0 | 13, 192 + 1, 8]) + bytes(256 + 8 + 192)
    longer = bytes([0xC0 | 13, 255, 0, 0, 0, 3]) + b"abc"
    assert [len(packet) for _, packet in packets(long + longer)] == [len(long), len(longer)]


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_armored_blocks_become_what_they_stand_for(newline: str) -> None:
    assert (
        unarmored(b"text before\n" + armored(KEY, newline=newline) + armored(SECRET, newline=newline)) == KEY + SECRET
    )
    assert unarmored(KEY) == KEY


def test_a_keyring_is_made_of_public_keys_alone() -> None:
    assert public_keys(KEY + SECRET + KEY) == KEY + KEY
    assert public_keys(KEY + old(12, b"trust")) == KEY
    assert public_keys(b"") == b""


@pytest.mark.parametrize("data", [b"text", KEY[:-1], b"\xc0", b"\x83", bytes([0xC0 | 13, 230]), b"\x99\x01"])
def test_what_is_cut_off_or_something_else_is_refused(data: bytes) -> None:
    with pytest.raises(FormatError):
        public_keys(data)


def test_only_signature_packets_are_a_detached_signature() -> None:
    assert is_detached_signature(old(2, b"one") + new(2, b"two"))
    for data in (b"", b"text", old(2, b"one") + new(11, b"literal"), KEY, old(2, b"one")[:-1]):
        assert not is_detached_signature(data)


def test_a_damaged_block_is_refused() -> None:
    with pytest.raises(FormatError):
        unarmored(armored(KEY).replace(b"\n\n", b"\n\n*"))


@given(st.binary(max_size=200))
def test_random_bytes_are_read_or_refused(data: bytes) -> None:
    for read in (public_keys, unarmored, lambda text: unarmored(armored(text))):
        try:
            read(data)
        except FormatError:
            continue


@given(st.lists(st.tuples(st.sampled_from((2, 6, 13, 14)), st.binary(max_size=150)), max_size=6))
def test_packets_are_read_as_they_were_written(written: list[tuple[int, bytes]]) -> None:
    data = b"".join(new(tag, body) for tag, body in written)
    assert [(tag, packet[2:]) for tag, packet in packets(data)] == written
