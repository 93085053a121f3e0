"""The fs-verity digest of a file: SHA-256, blocks of 4096 bytes, no salt.

Format: the kernel's `Documentation/filesystems/fsverity.rst`. The hashes of the blocks fill blocks that are hashed in
turn, up to a single one; the digest is the hash of a descriptor that holds that and the size of the file.
"""

import struct
from hashlib import sha256

BLOCK = 4096
_DESCRIPTOR = struct.Struct("<BBBBIQ32s32x32x144x")
_VERSION, _SHA256, _LOG_BLOCK = 1, 1, 12


class FsVerity:
    """Computes the digest of a stream, which it takes in pieces of any size; 32 bytes are held for every block."""

    def __init__(self) -> None:
        self._size = 0
        self._rest = b""
        self._hashes: list[bytes] = []

    def update(self, data: bytes | memoryview) -> None:
        """Take the next piece."""
        self._size += len(data)
        view = memoryview(self._rest + data if self._rest else data)
        whole = len(view) - len(view) % BLOCK
        self._hashes += [sha256(view[start : start + BLOCK]).digest() for start in range(0, whole, BLOCK)]
        self._rest = bytes(view[whole:])

    def digest(self) -> bytes:
        """The 32 bytes of the digest."""
        hashes = self._hashes + ([sha256(self._rest.ljust(BLOCK, b"\0")).digest()] if self._rest else [])
        while len(hashes) > 1:
            joined = b"".join(hashes)
            blocks = [joined[start : start + BLOCK] for start in range(0, len(joined), BLOCK)]
            hashes = [sha256(block.ljust(BLOCK, b"\0")).digest() for block in blocks]
        root = hashes[0] if hashes else bytes(32)
        return sha256(_DESCRIPTOR.pack(_VERSION, _SHA256, _LOG_BLOCK, 0, 0, self._size, root)).digest()


def fsverity_digest(data: bytes) -> bytes:
    """The digest of a file that holds `data`."""
    verity = FsVerity()
    verity.update(data)
    return verity.digest()
