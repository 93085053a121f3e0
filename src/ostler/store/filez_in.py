"""Storing file objects that come in their archive form (`.filez`): small ones in one go, large ones as a stream."""

import io
from typing import BinaryIO, cast

from ostler.formats import filez
from ostler.formats.gvariant import FormatError
from ostler.formats.objects import Checksum
from ostler.io.http import Body
from ostler.store.content import RepoMode
from ostler.store.deflate import CHUNK, inflate
from ostler.store.errors import ChecksumMismatchError
from ostler.store.import_rules import CheckedFilez, check_user_only
from ostler.store.transaction import Transaction

WHOLE = 4 * 1024 * 1024
_DIGITS = 19


def store_filez(
    transaction: Transaction, body: Body, checksum: Checksum, *, user_only: bool = False, verify: bool = True
) -> int:
    """Add the file object `checksum` from the body of an answer; returns the bytes that came.

    `user_only` refuses what `bare-user-only` cannot hold; `verify` False (archives only) keeps what comes as it is.
    Raises `FormatError`, `ChecksumMismatchError`, `UnsafeModeError`, `NetworkError`.
    """
    length = body.header("Content-Length") or ""
    if not (length.isdecimal() and len(length) < _DIGITS) or int(length) > WHOLE or not verify:
        stream = cast(BinaryIO, body)
        if user_only:
            stream = cast(BinaryIO, CheckedFilez(stream, checksum))
        if verify:
            return transaction.write_filez(stream, checksum)
        chunks = iter(lambda: stream.read(CHUNK), b"")
        transaction.count_file(transaction.store_prepared(checksum, chunks, 0))
        return body.received
    data = _read_whole(body, int(length))
    meta, size, start = filez.split(data)
    if user_only:
        check_user_only(checksum, meta)
    if size > WHOLE:
        return transaction.write_filez(io.BytesIO(data), checksum)
    if meta.is_symlink:
        if len(data) != start:
            raise FormatError("a symlink object has bytes behind its header")
        content = b""
    else:
        content = inflate(memoryview(data)[start:], size)
    if transaction.repo.mode is RepoMode.ARCHIVE:
        actual = meta.checksum_with(content)
        if actual != checksum:
            raise ChecksumMismatchError(checksum, actual)
        transaction.count_file(transaction.store_prepared(checksum, iter((data,)), len(content)))
    else:
        transaction.write_file(meta, content, expected=checksum)
    return len(data)


def _read_whole(body: Body, stated: int) -> bytes:
    """All of a body, which must not have more than the `stated` bytes; raises `FormatError`."""
    parts = []
    left = stated + 1
    while left and (part := body.read(left)):
        parts.append(part)
        left -= len(part)
    if not left:
        raise FormatError(f"more than the {stated} bytes come that were announced")
    return parts[0] if len(parts) == 1 else b"".join(parts)
