"""As much of OpenPGP (RFC 4880, RFC 9580) as is needed to put keyrings together: armor and packet framing.

Nothing here looks into keys or signatures: programs of GnuPG do that.
"""

import re
from base64 import b64decode
from binascii import Error as Base64Error
from collections.abc import Iterator

from ostler.formats.gvariant import FormatError

_ARMOR = re.compile(rb"-----BEGIN PGP ([A-Z ,0-9/]{1,40})-----[ \t]*\r?\n(.*?)-----END PGP \1-----", re.DOTALL)

PUBLIC_KEY, PUBLIC_SUBKEY, USER_ID, USER_ATTRIBUTE, SIGNATURE, TRUST = 6, 14, 13, 17, 2, 12
_OF_PUBLIC_KEYS = frozenset((PUBLIC_SUBKEY, USER_ID, USER_ATTRIBUTE, SIGNATURE))


def unarmored(data: bytes) -> bytes:
    """The binary form of `data`: all its armored blocks in a row, or `data` itself if it has none.

    Raises `FormatError` for a block that is no base64.
    """
    blocks = [_decode_block(match.group(2)) for match in _ARMOR.finditer(data)]
    return b"".join(blocks) if blocks else data


def _decode_block(body: bytes) -> bytes:
    head, blank, text = body.replace(b"\r\n", b"\n").partition(b"\n\n")
    if not blank or head.startswith(b"\n"):
        text = body if not blank else blank + text
    lines = [line.strip() for line in text.splitlines()]
    try:
        return b64decode(b"".join(line for line in lines if not line.startswith(b"=")), validate=True)
    except (Base64Error, ValueError) as error:
        raise FormatError(f"an armored block of OpenPGP is damaged: {error}") from error


def packets(data: bytes) -> Iterator[tuple[int, bytes]]:
    """(tag, the whole packet with its header) of each packet in a row; raises `FormatError` where that ends."""
    position = 0
    while position < len(data):
        tag, start, size = _header(data, position)
        end = start + size
        if end > len(data):
            raise FormatError("an OpenPGP packet is cut off")
        yield tag, data[position:end]
        position = end


def public_keys(data: bytes) -> bytes:
    """The public keys among the packets, in a form that can be put behind others; all else is left out.

    Raises `FormatError`.
    """
    kept: list[bytes] = []
    within = False
    for tag, packet in packets(data):
        within = tag == PUBLIC_KEY or (within and tag in (*_OF_PUBLIC_KEYS, TRUST))
        if within and tag != TRUST:  # private notes of one keyring
            kept.append(packet)
    return b"".join(kept)


def is_detached_signature(data: bytes) -> bool:
    """Whether `data` is one or more signature packets and nothing else."""
    try:
        tags = {tag for tag, _ in packets(data)}
    except FormatError:
        return False
    return tags == {SIGNATURE}


def _header(data: bytes, at: int) -> tuple[int, int, int]:
    """(tag, where the body starts, how long it is) of the packet at `at`."""
    first = data[at]
    if not first & 0x80:
        raise FormatError("bytes are no OpenPGP packet")
    if first & 0x40:  # the form of RFC 4880
        octet = _number(data, at + 1, 1)
        if octet < 192:
            return first & 0x3F, at + 2, octet
        if octet < 224:
            return first & 0x3F, at + 3, ((octet - 192) << 8) + _number(data, at + 2, 1) + 192
        if octet == 255:
            return first & 0x3F, at + 6, _number(data, at + 2, 4)
        raise FormatError("an OpenPGP packet has no length of its own")
    width = 1 << (first & 3)
    if width == 8:
        raise FormatError("an OpenPGP packet has no length of its own")
    return (first >> 2) & 0xF, at + 1 + width, _number(data, at + 1, width)


def _number(data: bytes, at: int, width: int) -> int:
    if at + width > len(data):
        raise FormatError("an OpenPGP packet is cut off")
    return int.from_bytes(data[at : at + width], "big")
