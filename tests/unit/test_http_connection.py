"""What servers may send, and what of it is accepted; resuming, slowness, cookies, and requests sent ahead."""

import contextlib
import http.server
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from scripted_server import Handler, scripted, send

from ostler.io.cookies import cookie_header, parse_cookies
from ostler.io.file_fetcher import FileFetcher
from ostler.io.http import HttpFetcher, HttpOptions, HttpStatusError, NetworkError, fetch_bytes, fetch_conditional
from ostler.io.http_connection import MAX_HEAD, HttpConnection, ProtocolError
from ostler.io.http_lanes import Lanes

QUICK = HttpOptions(attempts=3, backoff_seconds=0.01, timeout_seconds=2.0)


@pytest.fixture
def pair() -> Iterator[tuple[HttpConnection, socket.socket]]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield HttpConnection(ours, "example.org", 2.0), theirs


def body_of(connection: HttpConnection) -> bytes:
    answer = connection.receive()
    parts = []
    while part := answer.read(1000):
        parts.append(part)
    return b"".join(parts)


@pytest.mark.parametrize(
    ("wire", "body"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc", b"abc"),
        (b"HTTP/1.1 200 OK\nContent-Length: 3\n\nabc", b"abc"),
        (b"HTTP/1.1 200\r\ncontent-length:3\r\nCONTENT-LENGTH: 3\r\n\r\nabc", b"abc"),
        (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx", b"x"),
        (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3;a=b\r\nabc\r\nA\r\n0123456789\r\n0\r\nT: x\r\n\r\n",  # noqa: E501
            b"abc0123456789",
        ),
        (b"HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n", b""),
        (b"HTTP/1.0 200 OK\r\n\r\nuntil the end", b"until the end"),
    ],
)
def test_answers_are_read(pair: tuple[HttpConnection, socket.socket], wire: bytes, body: bytes) -> None:
    connection, server = pair
    server.sendall(wire)
    server.shutdown(socket.SHUT_WR)
    assert body_of(connection) == body


@pytest.mark.parametrize(
    "wire",
    [
        b"SSH-2.0-OpenSSH_9\r\n\r\n",
        b"HTTP/2 200 OK\r\n\r\n",
        b"HTTP/1.1 20 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n folded: line\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
        b"HTTP/1.1 200 OK\r\nContent-Length: -3\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabcdef\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"1" * 10_000,
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n" + b"T: x\r\n" * 20_000,
        b"HTTP/1.1 200 OK\r\nX: " + b"x" * (MAX_HEAD + 1),
        b"HTTP/1.1 100 Continue\r\n\r\n" * 11,
        b"HTTP/1.1 101 Switching Protocols\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nabc",
        b"HTTP/1.1 200 OK\r\nConte",
    ],
)
def test_what_is_no_answer_is_a_protocol_error(pair: tuple[HttpConnection, socket.socket], wire: bytes) -> None:
    connection, server = pair

    def feed() -> None:
        with contextlib.suppress(OSError):  # the reader may have had enough
            server.sendall(wire)
            server.shutdown(socket.SHUT_WR)

    threading.Thread(target=feed, daemon=True).start()
    with pytest.raises(ProtocolError):
        body_of(connection)


@pytest.mark.parametrize("name", ["X-A: b\r\nX-Evil", "X\n", "X\0"])
def test_a_header_cannot_smuggle_another(pair: tuple[HttpConnection, socket.socket], name: str) -> None:
    with pytest.raises(ValueError, match="line break"):
        pair[0].send("/", {name: "x"})


def test_a_large_body_goes_on_where_the_connection_broke() -> None:
    data = bytes(range(256)) * 4000
    ranges: list[str | None] = []

    def answer(handler: Handler, n: int) -> None:
        asked = handler.headers.get("Range")
        ranges.append(asked)
        start = int(asked.removeprefix("bytes=").rstrip("-")) if asked else 0
        handler.send_response(206 if asked else 200)
        handler.send_header("Content-Length", str(len(data) - start))
        handler.send_header("ETag", '"v1"')
        if asked:
            assert handler.headers["If-Range"] == '"v1"'
            handler.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        handler.end_headers()
        handler.wfile.write(data[start : start + 400_000])
        handler.close_connection = True

    with scripted(answer) as script, HttpFetcher(QUICK) as fetcher:
        assert fetch_bytes(fetcher, script.url + "/a", limit=len(data)) == data
    assert len(ranges) == 3
    assert ranges[0] is None


def test_a_changed_document_is_not_pieced_together() -> None:
    def answer(handler: Handler, n: int) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", "10")
        handler.send_header("ETag", f'"v{n}"')
        handler.end_headers()
        handler.wfile.write(b"old" if n == 1 else b"new and ok")
        handler.close_connection = True

    with scripted(answer) as script, HttpFetcher(QUICK) as fetcher:
        assert fetch_bytes(fetcher, script.url + "/a", limit=10) == b"new and ok"


@pytest.mark.parametrize("stated", ["3-9/10", "3-12/13", "3-9/*", "3-9/11", "2-9/10", "3-8/10", "", "3-/10"])
def test_only_the_rest_of_the_same_document_is_taken_for_it(stated: str) -> None:
    def answer(handler: Handler, n: int) -> None:
        ranged = "Range" in handler.headers
        handler.send_response(206 if ranged else 200)
        handler.send_header("Content-Length", "10" if not ranged else "10" if stated == "3-12/13" else "7")
        handler.send_header("ETag", '"v"')
        if ranged:
            handler.send_header("Content-Range", f"bytes {stated}")
        handler.end_headers()
        handler.wfile.write(
            b"3456789xyz"[: 10 if stated == "3-12/13" else 7] if ranged else b"012"[: 3 if n == 1 else 0]
        )
        handler.close_connection = True

    with scripted(answer) as script, HttpFetcher(replace(QUICK, attempts=2)) as fetcher:
        if stated in ("3-9/10", "3-9/*"):
            assert fetch_bytes(fetcher, script.url + "/a", limit=1000) == b"0123456789"
        else:
            with pytest.raises(NetworkError, match="broke"):
                fetch_bytes(fetcher, script.url + "/a", limit=1000)


def test_a_part_that_nobody_asked_for_is_refused() -> None:
    with (
        scripted(lambda handler, n: send(handler, b"part", 206, Content_Range="bytes 0-3/10")) as script,
        HttpFetcher(QUICK) as fetcher,
        pytest.raises(NetworkError, match="part"),
    ):
        fetch_bytes(fetcher, script.url + "/a", limit=10)


def test_a_server_that_drips_is_given_up() -> None:
    def answer(handler: Handler, n: int) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", "1000")
        handler.end_headers()
        for _ in range(50):
            handler.wfile.write(b"x")
            time.sleep(0.05)

    options = HttpOptions(attempts=1, timeout_seconds=5.0, low_speed_bytes=1000, low_speed_seconds=0.3)
    began = time.monotonic()
    with scripted(answer) as script, HttpFetcher(options) as fetcher, pytest.raises(NetworkError, match="less than"):
        fetch_bytes(fetcher, script.url + "/a", limit=1000)
    assert time.monotonic() - began < 3


def test_an_unchanged_document_is_not_sent_again() -> None:
    def answer(handler: Handler, n: int) -> None:
        if handler.headers.get("If-None-Match") == '"e"':
            send(handler, b"", 304, ETag='"e"')
        else:
            send(handler, b"text", ETag='"e"', Last_Modified="Thu, 01 Jan 1970 00:00:10 GMT")

    with scripted(answer) as script, HttpFetcher(QUICK) as fetcher:
        first = fetch_conditional(fetcher, script.url + "/a", limit=10, etag=None, modified=None)
        assert first is not None
        assert (first.data, first.etag) == (b"text", '"e"')
        again = fetch_conditional(fetcher, script.url + "/a", limit=10, etag=first.etag, modified=first.modified)
        assert again is not None
        assert again.data is None
    assert len(script.peers) == 1


def test_own_headers_and_user_agent_go_along_but_not_elsewhere() -> None:
    with scripted(lambda handler, n: send(handler, b"there")) as there:
        options = HttpOptions(headers={"X-Token": "t"}, user_agent="me/1")
        with (
            scripted(lambda handler, n: send(handler, b"", 302, Location=there.url + "/c")) as here,
            HttpFetcher(options) as fetcher,
        ):
            fetch_bytes(fetcher, here.url + "/a", limit=10)
    assert (here.headers[0]["X-Token"], here.headers[0]["User-Agent"]) == ("t", "me/1")
    assert "X-Token" not in there.headers[0]


COOKIES = (
    "# Netscape HTTP Cookie File\n"
    "127.0.0.1\tFALSE\t/repo\tFALSE\t0\tfoo\tbar\n"
    "#HttpOnly_.example.org\tTRUE\t/\tTRUE\t99999999999\ta\tb\n"
    "example.org\tFALSE\t/\tFALSE\t1\told\tgone\n"
    "broken line\n"
    "example.org\tFALSE\t/\tFALSE\t0\tevil\tx\ry\n"
)


def test_cookies_go_where_they_belong(tmp_path: Path) -> None:
    cookies = parse_cookies(COOKIES)
    assert cookie_header(cookies, "127.0.0.1", "/repo/config", secure=False) == "foo=bar"
    assert cookie_header(cookies, "127.0.0.1", "/repository", secure=False) is None
    assert cookie_header(cookies, "www.example.org", "/", secure=True) == "a=b"
    assert cookie_header(cookies, "www.example.org", "/", secure=False) is None
    assert cookie_header(cookies, "badexample.org", "/", secure=True) is None
    (tmp_path / "cookies").write_text(COOKIES)
    options = HttpOptions(cookies=tmp_path / "cookies")
    with scripted(lambda handler, n: send(handler, b"x")) as script, HttpFetcher(options) as fetcher:
        fetch_bytes(fetcher, script.url + "/repo/config", limit=10)
    assert script.headers[0]["Cookie"] == "foo=bar"


def test_several_requests_are_under_way_from_one_thread() -> None:
    barrier = threading.Barrier(4, timeout=5)

    def answer(handler: Handler, n: int) -> None:
        barrier.wait()  # answers only once four have asked
        send(handler, handler.path.encode())

    with scripted(answer) as script, HttpFetcher(QUICK) as fetcher:
        lanes: Lanes[int] = Lanes(fetcher, 4)
        for number in range(4):
            assert lanes.free
            lanes.send(number, f"{script.url}/{number}", limit=10)
        assert not lanes.free
        got = {}
        while lanes.pending:
            key, body = lanes.take(lambda _, body: body.read())
            got[key] = body
    assert got == {number: f"/{number}".encode() for number in range(4)}


def test_what_goes_wrong_ahead_is_made_good() -> None:
    def answer(handler: Handler, n: int) -> None:
        if handler.path == "/moved":
            send(handler, b"", 302, Location="/new")
        elif handler.path == "/absent":
            send(handler, b"nothing", 404)
        elif handler.path == "/flaky" and script.asked.count("/flaky") == 1:
            send(handler, b"", 503)
        elif handler.path == "/torn" and script.asked.count("/torn") == 1:
            handler.close_connection = True
        else:
            send(handler, handler.path.encode())

    with scripted(answer) as script, HttpFetcher(QUICK) as fetcher:
        lanes: Lanes[str] = Lanes(fetcher, 5)
        for path in ("/moved", "/absent", "/flaky", "/torn", "/plain"):
            lanes.send(path, script.url + path, limit=10)
        got: dict[str, object] = {}
        while lanes.pending:
            key, found = lanes.take(lambda _, body: body.read())
            got[key] = found
        absent = got.pop("/absent")
    assert isinstance(absent, HttpStatusError)
    assert absent.status == 404
    assert got == {"/moved": b"/new", "/flaky": b"/flaky", "/torn": b"/torn", "/plain": b"/plain"}


def test_a_silent_server_does_not_hold_up_the_lanes_for_ever() -> None:
    release = threading.Event()
    options = HttpOptions(attempts=1, timeout_seconds=0.3)
    with scripted(lambda handler, n: (release.wait(5), None)[1]) as script, HttpFetcher(options) as fetcher:
        lanes: Lanes[int] = Lanes(fetcher, 2)
        lanes.send(1, script.url + "/a", limit=10)
        _, found = lanes.take(lambda _, body: body.read())
        release.set()
    assert isinstance(found, NetworkError)


def test_a_server_that_drips_is_given_up_in_lanes_too() -> None:
    def answer(handler: Handler, n: int) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", "1000")
        handler.end_headers()
        with contextlib.suppress(OSError):
            for _ in range(100):
                handler.wfile.write(b"x")
                time.sleep(0.05)

    options = HttpOptions(attempts=1, timeout_seconds=5.0, low_speed_bytes=1000, low_speed_seconds=0.2)
    began = time.monotonic()
    with scripted(answer) as script, HttpFetcher(options) as fetcher:
        lanes: Lanes[int] = Lanes(fetcher, 2)
        lanes.send(1, script.url + "/a", limit=1000)
        _, found = lanes.take(lambda _, body: body.read())
    assert isinstance(found, NetworkError)
    assert "less than" in found.message
    assert time.monotonic() - began < 4


def test_a_body_that_comes_haltingly_is_read_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    def answer(handler: Handler, n: int) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", "20")
        handler.end_headers()
        for number in range(10):
            handler.wfile.write(b"%d," % number)
            time.sleep(0.01)

    monkeypatch.setattr("ostler.io.http_lanes.PATIENCE_SECONDS", 0.02)
    with scripted(answer) as script, HttpFetcher(QUICK) as fetcher:
        lanes: Lanes[int] = Lanes(fetcher, 2)
        lanes.send(1, script.url + "/a", limit=1000)
        assert lanes.take(lambda _, body: body.read()) == (1, b"0,1,2,3,4,5,6,7,8,9,")


def test_an_answer_at_the_last_moment_leaves_a_patient_connection() -> None:
    def answer(handler: Handler, n: int) -> None:
        if n == 2:
            time.sleep(0.1)
        send(handler, b"x")

    with scripted(answer) as script, HttpFetcher(QUICK) as fetcher:
        lanes: Lanes[int] = Lanes(fetcher, 1)
        lanes.send(1, script.url + "/a", limit=10)
        time.sleep(0.2)
        lanes._poll = _Nothing()  # type: ignore[assignment]
        assert lanes.take(lambda _, body: body.read()) == (1, b"x")
        assert fetch_bytes(fetcher, script.url + "/b", limit=10) == b"x"
    assert (len(script.asked), len(script.peers)) == (2, 1)


class _Nothing:
    """A poll whose time has passed."""

    def poll(self, timeout: float) -> list[tuple[int, int]]:
        return []

    def unregister(self, number: int) -> None:
        pass


def test_files_can_be_fetched_like_documents(tmp_path: Path) -> None:
    (tmp_path / "a b").write_bytes(b"content")
    fetcher = FileFetcher()
    assert fetch_bytes(fetcher, f"file://{tmp_path}/a%20b", limit=7) == b"content"
    with pytest.raises(NetworkError, match="longer than"):
        fetch_bytes(fetcher, f"file://{tmp_path}/a%20b", limit=6)
    with pytest.raises(HttpStatusError) as caught:
        fetch_bytes(fetcher, f"file://{tmp_path}/none", limit=6)
    assert caught.value.absent


def test_nothing_but_a_tunnel_reaches_a_proxy_of_https() -> None:
    class Proxy(http.server.BaseHTTPRequestHandler):
        def do_CONNECT(self) -> None:
            asked.append((self.path, self.headers.get("Proxy-Authorization")))
            self.send_error(403)

        def log_message(self, format: str, *args: object) -> None:
            pass

    asked: list[tuple[str, str | None]] = []
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Proxy)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    options = HttpOptions(attempts=1, proxy=f"http://u:p@127.0.0.1:{server.server_address[1]}")
    try:
        with HttpFetcher(options) as fetcher, pytest.raises(NetworkError, match="proxy answered 403"):
            fetch_bytes(fetcher, "https://updates.invalid/secret/path", limit=10)
    finally:
        server.shutdown()
        server.server_close()
    assert asked == [("updates.invalid:443", "Basic dTpw")]
