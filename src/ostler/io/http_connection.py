"""One HTTP/1.1 connection: requests go out, answers come back one after another, every part of them bounded.

Small on purpose: a repository is fetched in thousands of tiny answers, each of which should cost two system calls.
Standard: RFC 9112. Trailers are dropped, `100 Continue` and its like are passed over.
"""

import socket
import struct
import time
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

CHUNK = 256 * 1024
FIRST = 64 * 1024
MAX_HEAD = 64 * 1024
MAX_INTERIM = 10
_MAX_CHUNK_LINE = 4096
_NO_BODY = frozenset({204, 304})


class ProtocolError(Exception):
    """What came is no HTTP, or ended too early; `short_by` bytes of a body whose length was announced are missing."""

    def __init__(self, message: str, *, short_by: int = 0) -> None:
        super().__init__(message)
        self.short_by = short_by


class Answer:
    """The head of an answer, and its body as it is read. Names of `headers` are lower-case."""

    __slots__ = ("_chunk", "_connection", "_framing", "ended", "headers", "left", "reason", "status", "will_close")

    def __init__(self, connection: "HttpConnection", status: int, reason: str, headers: dict[str, str], *, http1: bool):
        self._connection = connection
        self.status = status
        self.reason = reason
        self.headers = headers
        tokens = headers.get("connection", "").lower()
        self.will_close = "close" in tokens or (http1 and "keep-alive" not in tokens)
        self._chunk = 0
        self._framing = "length"
        self.left: int | None = 0
        if status in _NO_BODY:
            pass
        elif "transfer-encoding" in headers:
            if headers["transfer-encoding"].strip().lower() != "chunked":
                raise ProtocolError(f"the transfer encoding {headers['transfer-encoding'][:80]!r} is unknown")
            if "content-length" in headers:  # which of them holds is what attacks are made of
                raise ProtocolError("the answer has a length and comes in chunks besides")
            self._framing = "chunked"
            self.left = None
        elif "content-length" in headers:
            text = headers["content-length"]
            if not (text.isascii() and text.isdigit() and len(text) < 19):
                raise ProtocolError(f"the content length {text[:80]!r} is no number")
            self.left = int(text)
        else:
            self._framing = "close"
            self.left = None
            self.will_close = True
        self.ended = self.left == 0

    def read(self, size: int) -> bytes:
        """The next 1 to `size` bytes of the body; b"" at its end. Raises `ProtocolError` and `OSError`."""
        if self.ended:
            return b""
        if self._framing == "chunked":
            return self._read_chunked(size)
        left = self.left
        data = self._connection.read_some(size if left is None else min(size, left))
        if left is not None:
            if not data:
                raise ProtocolError(f"the connection ended {left} bytes early", short_by=left)
            self.left = left - len(data)
            self.ended = not self.left
        elif not data:
            self.ended = True
        return data

    def read_all(self, seconds: float) -> bytes | None:
        """The body of an answer whose length is known, at once. Raises as `read` does.

        None if it takes longer than about `seconds`; what came until then is still to be read.
        """
        assert self.left is not None
        data = self._connection.read_some(self.left) if self.left else b""
        if len(data) < self.left:
            parts = [data]
            left = self.left - len(data)
            deadline = time.monotonic() + seconds
            while left:
                if time.monotonic() > deadline:
                    self._connection.put_back(b"".join(parts))
                    return None
                data = self._connection.read_some(left)
                if not data:
                    raise ProtocolError(f"the connection ended {left} bytes early", short_by=left)
                parts.append(data)
                left -= len(data)
            data = b"".join(parts)
        self.left = 0
        self.ended = True
        return data

    def _read_chunked(self, size: int) -> bytes:
        if not self._chunk:
            line = self._connection.read_line(_MAX_CHUNK_LINE).partition(b";")[0].strip()
            if not line or len(line) > 15 or line.strip(b"0123456789abcdefABCDEF"):
                raise ProtocolError(f"{line[:80]!r} is no size of a chunk")
            self._chunk = int(line, 16)
            if not self._chunk:
                trailers = 0
                while trailer := self._connection.read_line(_MAX_CHUNK_LINE):
                    trailers += len(trailer)
                    if trailers > MAX_HEAD:
                        raise ProtocolError("the trailer of the answer is too long")
                self.ended = True
                return b""
        data = self._connection.read_some(min(size, self._chunk))
        if not data:
            raise ProtocolError("the connection ended within the body")
        self._chunk -= len(data)
        if not self._chunk and self._connection.read_line(2):
            raise ProtocolError("a chunk is longer than it says")
        return data


class HttpConnection:
    """A connection whose `sock` is connected (and, for https, has shaken hands). Not for several threads at once."""

    __slots__ = ("_buffer", "_timeout", "sock", "target_host")

    def __init__(self, sock: socket.socket, target_host: str, timeout_seconds: float) -> None:
        self.sock = sock
        self.target_host = target_host
        self._timeout = timeout_seconds
        self._buffer = b""
        self.set_timeout(timeout_seconds)

    def set_timeout(self, seconds: float) -> None:
        """How long to wait for the other side to send or take anything."""
        if type(self.sock) is socket.socket:
            # The kernel's own timers: with `settimeout` every read would cost a poll besides.
            value = struct.pack("@ll", int(seconds), int(seconds % 1 * 1_000_000) or (0 if seconds >= 1 else 1))
            self.sock.settimeout(None)
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, value)
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, value)
        else:
            self.sock.settimeout(seconds)

    def send(self, target: str, headers: Mapping[str, str], *, method: str = "GET", body: bytes = b"") -> None:
        """Send a request for `target` (a path with query, or a whole URL for a proxy). Raises `OSError`, `ValueError`.

        `Host` is added; whoever sends a body adds its `Content-Length`.
        """
        self.send_bytes(request_line(method, target) + request_headers(self.target_host, headers) + body)

    def send_bytes(self, request: bytes) -> None:
        """Send a request that is put together already. Raises `OSError`."""
        try:
            self.sock.sendall(request)
        except BlockingIOError as error:
            raise TimeoutError("timed out") from error

    def receive(self) -> Answer:
        """The head of the next answer. Raises `ProtocolError`, `OSError` (`ConnectionError` if nothing came)."""
        deadline = time.monotonic() + 2 * self._timeout
        for _ in range(MAX_INTERIM):
            status, reason, headers, http1 = _parse_head(self._read_head(deadline))
            if status >= 200:
                return Answer(self, status, reason, headers, http1=http1)
            if status == 101:
                break
        raise ProtocolError("the server does not come to its answer")

    def _read_head(self, deadline: float) -> bytes:
        buffer = self._buffer
        while True:
            end = buffer.find(b"\r\n\r\n")
            if end >= 0:
                self._buffer = buffer[end + 4 :]
                return buffer[:end]
            end = buffer.find(b"\n\n")  # of servers that know no better
            if end >= 0:
                self._buffer = buffer[end + 2 :]
                return buffer[:end]
            if len(buffer) > MAX_HEAD:
                raise ProtocolError("the head of the answer is too long")
            data = self._recv(FIRST)
            if not data:
                if buffer:
                    raise ProtocolError("the connection ended within the head of the answer")
                raise ConnectionResetError("closed without an answer")
            buffer += data
            if time.monotonic() > deadline:
                raise TimeoutError("timed out")

    def read_some(self, size: int) -> bytes:
        """The next 1 to `size` bytes; b"" at the end of the connection."""
        buffer = self._buffer
        if not buffer:
            return self._recv(min(size, CHUNK))
        if len(buffer) <= size:
            self._buffer = b""
            return buffer
        self._buffer = buffer[size:]
        return buffer[:size]

    def put_back(self, data: bytes) -> None:
        """What was read last is to be read again."""
        self._buffer = data + self._buffer

    def read_line(self, limit: int) -> bytes:
        """The next line without its end, at most `limit` bytes with it."""
        deadline = 0.0
        while (end := self._buffer.find(b"\n")) < 0:
            if len(self._buffer) > limit:
                raise ProtocolError("a line of the answer is too long")
            data = self._recv(CHUNK)
            if not data:
                raise ProtocolError("the connection ended within the body")
            self._buffer += data
            now = time.monotonic()
            deadline = deadline or now + 2 * self._timeout
            if now > deadline:
                raise TimeoutError("timed out")
        line, self._buffer = self._buffer[:end], self._buffer[end + 1 :]
        if len(line) >= limit:
            raise ProtocolError("a line of the answer is too long")
        return line.removesuffix(b"\r")

    def _recv(self, size: int) -> bytes:
        try:
            return self.sock.recv(size)
        except BlockingIOError as error:
            raise TimeoutError("timed out") from error

    @property
    def idle(self) -> bool:
        """Whether everything that came has been read."""
        return not self._buffer

    def close(self) -> None:
        """End the connection."""
        try:
            self.sock.close()
        except OSError:
            return


def request_line(method: str, target: str) -> bytes:
    """The first line of a request; raises `ValueError`."""
    if not target.isascii() or not target.isprintable() or " " in target:
        raise ValueError("the path holds what must be quoted")
    return f"{method} {target} HTTP/1.1\r\n".encode()


def request_headers(host: str, headers: Mapping[str, str]) -> bytes:
    """The headers of a request and the empty line behind them; raises `ValueError`."""
    lines = [f"Host: {host}\r\n", *[f"{name}: {value}\r\n" for name, value in headers.items()], "\r\n"]
    head = "".join(lines)
    if head.count("\n") != len(lines) or head.count("\r") != len(lines) or "\0" in head:
        raise ValueError("a header holds a line break")
    return head.encode("latin-1")


@lru_cache(maxsize=1024)
def _parse_line(line: str) -> tuple[str, str]:
    """(name, value) of a header; most lines are the same in one answer as in the next."""
    name, colon, value = line.partition(":")
    if not colon or not name or name[0] in " \t":
        raise ProtocolError(f"the answer has the line {line[:80]!r}, which is no header")
    return name.strip().lower(), value.strip()


def _parse_head(head: bytes) -> tuple[int, str, dict[str, str], bool]:
    """(status, reason, headers, whether this is HTTP/1.0)."""
    first, *lines = head.decode("latin-1").split("\n")
    version, _, rest = first.partition(" ")
    code, _, reason = rest.strip().partition(" ")
    if not version.startswith("HTTP/1.") or len(code) != 3 or not (code.isascii() and code.isdigit()):
        raise ProtocolError(f"the answer starts with {first[:80]!r}, which is no HTTP")
    headers: dict[str, str] = {}
    for line in lines:
        name, value = _parse_line(line) if len(line) < 64 else _parse_line.__wrapped__(line)
        if name in headers:
            if name == "content-length" and headers[name] != value:
                raise ProtocolError("the answer has two lengths")
            value = value if name == "content-length" else f"{headers[name]}, {value}"
        headers[name] = value
    return int(code), reason, headers, version == "HTTP/1.0"


def open_tunnel(connection: HttpConnection, target: str, headers: Mapping[str, str]) -> Answer:
    """Ask a proxy for a tunnel to `target` ("host:port"); the connection then speaks to that. Raises as `send` does."""
    connection.send(target, headers, method="CONNECT")
    answer = connection.receive()
    if answer.status == 200 and not connection.idle:
        raise ProtocolError("the proxy sends bytes before they were asked for")
    return answer


def wrap_tls(context: Any, sock: socket.socket, host: str) -> socket.socket:
    """The socket with TLS on top (`context` is an `ssl.SSLContext`), after shaking hands."""
    wrapped: socket.socket = context.wrap_socket(sock, server_hostname=host)
    return wrapped
