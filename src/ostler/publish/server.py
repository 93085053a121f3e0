"""A small web server for one folder: enough to update machines at home and to try things, and to test against.

Any static web server can serve a published folder; this one needs no configuration. It serves regular files below its
root and nothing else: no listings, no dot files, nothing through a symlink that leads out.
"""

import errno
import http.server
import os
import socket
import stat
import threading
from collections.abc import Callable
from dataclasses import dataclass
from email.utils import formatdate
from http import HTTPStatus
from pathlib import Path
from typing import BinaryIO
from urllib.parse import unquote, urlsplit

from ostler.errors import BusyError, NotFoundError, OstlerError

SMALL = 64 * 1024  # bodies up to this size go out in one write with their head
IDLE_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Request:
    """One answered request, for logs and tests; `size` counts the bytes of the body sent."""

    client: str
    method: str
    path: str
    status: int
    size: int


RequestLog = Callable[[Request], None]


def ignore(request: Request) -> None:
    """The log of callers that want none."""


class FolderServer:
    """Serves the files below `directory`; port 0 takes a free one.

    As a context manager it serves from a thread until the block ends: `with FolderServer(folder) as server:
    server.url`. Raises `NotFoundError` if there is no such directory and `BusyError` if the port is taken.
    """

    def __init__(
        self, directory: Path, host: str = "127.0.0.1", port: int = 0, *, on_request: RequestLog = ignore
    ) -> None:
        if not directory.is_dir():
            raise NotFoundError(f"{directory} is not a directory", hint="`ostler publish` makes one to serve")
        self._server = _listen(directory.resolve(), host, port, on_request)
        self._thread: threading.Thread | None = None

    @property
    def url(self) -> str:
        """The address of the root, without a slash at its end."""
        host, port = self._server.server_address[:2]
        name = f"[{host!s}]" if self._server.address_family == socket.AF_INET6 else str(host)
        return f"http://{name}:{port}"

    def __enter__(self) -> "FolderServer":
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self.close()
        if self._thread is not None:
            self._thread.join()

    def serve_forever(self) -> None:
        """Serve from this thread until interrupted."""
        self._server.serve_forever()

    def close(self) -> None:
        """Stop listening, end open connections and wait for their threads."""
        self._server.end_connections()
        self._server.server_close()


def serve(
    directory: Path,
    host: str = "127.0.0.1",
    port: int = 8080,
    *,
    on_request: RequestLog = ignore,
    ready: Callable[[str], None] = lambda url: None,
) -> None:
    """Serve `directory` until interrupted; `ready` is called with the URL once it can be reached.

    Only this machine can reach it unless `host` is another of its addresses (`0.0.0.0`: all of them).
    """
    server = FolderServer(directory, host, port, on_request=on_request)
    try:
        ready(server.url)
        server.serve_forever()
    finally:
        server.close()


def _listen(root: Path, host: str, port: int, on_request: RequestLog) -> "_Server":
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        return _Server(root, family, (str(address[0]), int(address[1])), on_request)
    except socket.gaierror as error:
        raise OstlerError(f"{host} is not an address of this machine: {error.strerror}") from error
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise BusyError(
                f"port {port} of {host} is taken by another program",
                hint=f"choose another port; `ss -ltnp 'sport = :{port}'` shows who has it",
            ) from error
        raise OstlerError(f"cannot listen on {host} port {port}: {error.strerror}") from error


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = False  # joined on close, after their connections were ended
    request_queue_size = 128

    def __init__(self, root: Path, family: int, address: tuple[str, int], on_request: RequestLog) -> None:
        self.root = root
        self.on_request = on_request
        self.address_family = socket.AddressFamily(family)
        self._connections: set[socket.socket] = set()
        self._lock = threading.Lock()
        super().__init__(address, _Handler)

    def server_bind(self) -> None:
        # HTTPServer's own looks up the host's full name, which can take seconds and is needed for nothing here.
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()

    def process_request(self, request: object, client_address: object) -> None:
        assert isinstance(request, socket.socket)
        with self._lock:
            self._connections.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: object) -> None:
        assert isinstance(request, socket.socket)
        with self._lock:
            self._connections.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that went away is no event."""

    def end_connections(self) -> None:
        with self._lock:
            for connection in self._connections:
                try:
                    connection.shutdown(socket.SHUT_RDWR)
                except OSError:
                    continue


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version = "ostler"
    sys_version = ""
    disable_nagle_algorithm = True
    wbufsize = SMALL + 4096
    timeout = IDLE_SECONDS
    server: _Server

    def do_GET(self) -> None:
        self._answer(with_body=True)

    def do_HEAD(self) -> None:
        self._answer(with_body=False)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing is printed; the server's `on_request` hears of each answer."""

    def _answer(self, *, with_body: bool) -> None:
        try:
            file = _open_below(self.server.root, urlsplit(self.path).path)
        except OSError as error:
            self._refuse(HTTPStatus.FORBIDDEN if error.errno == errno.EACCES else HTTPStatus.NOT_FOUND)
            return
        with file:
            info = os.fstat(file.fileno())
            tag = f'"{info.st_mtime_ns:x}-{info.st_size:x}-{info.st_ino:x}"'
            if tag in self.headers.get("If-None-Match", ""):
                self._head(HTTPStatus.NOT_MODIFIED, {"ETag": tag})
                self._log(HTTPStatus.NOT_MODIFIED, 0)
                return
            start, end, status = _requested_range(self.headers.get("Range"), info.st_size)
            if self.headers.get("If-Range", tag) != tag:
                start, end, status = 0, info.st_size, HTTPStatus.OK
            if status is HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
                self._refuse(status, {"Content-Range": f"bytes */{info.st_size}"})
                return
            headers = {
                "Content-Type": "application/octet-stream",
                "Content-Length": str(end - start),
                "Last-Modified": formatdate(info.st_mtime, usegmt=True),
                "ETag": tag,
                "Accept-Ranges": "bytes",
            }
            if status is HTTPStatus.PARTIAL_CONTENT:
                headers["Content-Range"] = f"bytes {start}-{end - 1}/{info.st_size}"
            self._head(status, headers)
            sent = self._send(file, start, end) if with_body else 0
            self._log(status, sent)

    def _head(self, status: HTTPStatus, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()

    def _send(self, file: BinaryIO, start: int, end: int) -> int:
        if end - start <= SMALL:
            data = os.pread(file.fileno(), end - start, start)
            self.wfile.write(data)
            sent = len(data)
        else:
            self.wfile.flush()
            sent = self.connection.sendfile(file, start, end - start)
        if sent != end - start:  # the file shrank: only a broken connection can say so now
            self.close_connection = True
        return sent

    def _refuse(self, status: HTTPStatus, headers: dict[str, str] | None = None) -> None:
        body = f"{status.value} {status.phrase}\n".encode()
        self._head(
            status, {"Content-Type": "text/plain; charset=utf-8", "Content-Length": str(len(body)), **(headers or {})}
        )
        if self.command != "HEAD":
            self.wfile.write(body)
        self._log(status, len(body))

    def _log(self, status: HTTPStatus, size: int) -> None:
        self.server.on_request(Request(self.client_address[0], self.command, self.path, status.value, size))


def _open_below(root: Path, path: str) -> BinaryIO:
    """Open the regular file that the URL path names below `root`, which is resolved. Raises `OSError`."""
    names = [name for name in unquote(path, errors="surrogateescape").split("/") if name]
    if any(name.startswith(".") or "\0" in name for name in names) or not names:
        raise FileNotFoundError(errno.ENOENT, "not served")
    target = Path(os.path.realpath(root.joinpath(*names)))
    if not target.is_relative_to(root):
        raise FileNotFoundError(errno.ENOENT, "leads out of the folder")
    file = open(os.open(target, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOFOLLOW), "rb", buffering=0)
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise FileNotFoundError(errno.ENOENT, "not a regular file")
    return file


def _requested_range(header: str | None, size: int) -> tuple[int, int, HTTPStatus]:
    """The half-open range of bytes to send, and the status that goes with it (RFC 9110, section 14).

    Several ranges at once, other units and malformed headers get the whole file, as the standard allows.
    """
    whole = (0, size, HTTPStatus.OK)
    if header is None or not header.startswith("bytes=") or "," in header:
        return whole
    first, dash, last = header.removeprefix("bytes=").strip().partition("-")
    if not dash or not all(part == "" or (part.isascii() and part.isdigit()) for part in (first, last)):
        return whole
    if first == "":
        if last == "":
            return whole
        start, end = max(size - int(last), 0), size
    else:
        start, end = int(first), min(int(last) + 1, size) if last else size
        if last and int(last) < start:
            return whole
    if start >= size or start >= end:
        return 0, 0, HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE
    return start, end, HTTPStatus.PARTIAL_CONTENT
