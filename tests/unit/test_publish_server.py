"""The static server: what it serves, what it never serves, ranges, and a clean end."""

import http.client
import os
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from ostler.errors import BusyError, NotFoundError
from ostler.publish.server import FolderServer, Request, serve

LARGE = os.urandom(300_000)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "www"
    (root / "objects/ab").mkdir(parents=True)
    (root / "config").write_bytes(b"[core]\n")
    (root / "objects/ab/large").write_bytes(LARGE)
    (root / "empty").write_bytes(b"")
    (root / "sp ace+plus%").write_bytes(b"odd")
    (root / ".lock").write_bytes(b"secret")
    (root / "alias").symlink_to("config")
    (root / "out").symlink_to("../outside")
    (root / "up").symlink_to("..")
    os.mkfifo(root / "fifo")
    (tmp_path / "outside").write_bytes(b"secret")
    return root


@pytest.fixture
def connection(folder: Path) -> Iterator[http.client.HTTPConnection]:
    with FolderServer(folder) as server:
        parts = urlsplit(server.url)
        connection = http.client.HTTPConnection(str(parts.hostname), parts.port, timeout=5)
        yield connection
        connection.close()


def get(
    connection: http.client.HTTPConnection, path: str, method: str = "GET", **headers: str
) -> tuple[int, bytes, http.client.HTTPMessage]:
    connection.putrequest(method, path, skip_accept_encoding=True)
    for name, value in headers.items():
        connection.putheader(name.replace("_", "-"), value)
    connection.endheaders()
    response = connection.getresponse()
    return response.status, response.read(), response.headers


def test_files_are_served_on_one_connection(connection: http.client.HTTPConnection) -> None:
    assert get(connection, "/config")[:2] == (200, b"[core]\n")
    first = connection.sock
    assert get(connection, "/objects/ab/large")[:2] == (200, LARGE)
    assert get(connection, "/empty")[:2] == (200, b"")
    assert get(connection, "//objects///ab/large?query")[:2] == (200, LARGE)
    assert get(connection, "/sp%20ace+plus%25")[:2] == (200, b"odd")
    assert get(connection, "/alias")[:2] == (200, b"[core]\n")
    assert connection.sock is first


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/missing",
        "/objects",
        "/objects/",
        "/.lock",
        "/objects/../.lock",
        "/../outside",
        "/..%2foutside",
        "/%2e%2e/outside",
        "/out",
        "/up/outside",
        "/up/www/config/x",
        "/fifo",
        "/%00",
        "/config%00",
        "/etc/passwd",
        "//etc/passwd",
        "/config/x",
        "/" + "x" * 5000,
    ],
)
def test_nothing_else_is_served(connection: http.client.HTTPConnection, path: str) -> None:
    status, body, _ = get(connection, path)
    assert status == 404
    assert b"secret" not in body
    assert get(connection, "/config")[0] == 200


def test_head_has_the_length_and_no_body(connection: http.client.HTTPConnection) -> None:
    status, body, headers = get(connection, "/objects/ab/large", "HEAD")
    assert (status, body, headers["Content-Length"]) == (200, b"", str(len(LARGE)))
    assert get(connection, "/missing", "HEAD")[:2] == (404, b"")
    assert get(connection, "/config")[0] == 200


def test_other_methods_are_refused(connection: http.client.HTTPConnection) -> None:
    assert get(connection, "/config", "DELETE")[0] == 501


@pytest.mark.parametrize(
    ("asked", "part"),
    [
        ("bytes=0-0", slice(0, 1)),
        ("bytes=10-19", slice(10, 20)),
        ("bytes=299990-", slice(299_990, None)),
        ("bytes=299990-999999999", slice(299_990, None)),
        ("bytes=-7", slice(-7, None)),
        ("bytes=-999999999", slice(0, None)),
        ("bytes=1000-200000", slice(1000, 200_001)),
    ],
)
def test_a_range_is_answered_with_just_that(connection: http.client.HTTPConnection, asked: str, part: slice) -> None:
    status, body, headers = get(connection, "/objects/ab/large", Range=asked)
    start, stop, _ = part.indices(len(LARGE))
    assert (status, body) == (206, LARGE[part])
    assert headers["Content-Range"] == f"bytes {start}-{stop - 1}/{len(LARGE)}"


@pytest.mark.parametrize("asked", ["bytes=300000-", "bytes=-0", "bytes=999999999-9999999999"])
def test_a_range_outside_the_file_is_refused(connection: http.client.HTTPConnection, asked: str) -> None:
    status, _, headers = get(connection, "/objects/ab/large", Range=asked)
    assert (status, headers["Content-Range"]) == (416, f"bytes */{len(LARGE)}")


@pytest.mark.parametrize("asked", ["bytes=5-2", "bytes=0-1,5-6", "lines=1-2", "bytes=", "bytes=-", "bytes=a-b", "x"])
def test_a_range_that_is_not_understood_gets_the_whole_file(connection: http.client.HTTPConnection, asked: str) -> None:
    assert get(connection, "/objects/ab/large", Range=asked)[:2] == (200, LARGE)


def test_a_file_that_the_client_has_is_not_sent_again(connection: http.client.HTTPConnection, folder: Path) -> None:
    tag = get(connection, "/config")[2]["ETag"]
    assert get(connection, "/config", If_None_Match=tag)[:2] == (304, b"")
    assert get(connection, "/config", Range="bytes=0-1", If_Range=tag)[0] == 206
    (folder / "new").write_bytes(b"[more]\n")
    (folder / "new").rename(folder / "config")
    assert get(connection, "/config", If_None_Match=tag)[:2] == (200, b"[more]\n")
    assert get(connection, "/config", Range="bytes=0-1", If_Range=tag)[:2] == (200, b"[more]\n")


def test_small_files_arrive_in_one_packet_without_delay(connection: http.client.HTTPConnection) -> None:
    began = time.monotonic()
    for _ in range(50):
        get(connection, "/config")
    assert time.monotonic() - began < 1.0  # 40 ms each with Nagle's algorithm against delayed acknowledgements


def test_requests_are_logged(folder: Path) -> None:
    log: list[Request] = []
    with FolderServer(folder, on_request=log.append) as server:
        parts = urlsplit(server.url)
        connection = http.client.HTTPConnection(str(parts.hostname), parts.port)
        get(connection, "/config")
        get(connection, "/missing")
        connection.close()
    assert [(entry.method, entry.path, entry.status) for entry in log] == [
        ("GET", "/config", 200),
        ("GET", "/missing", 404),
    ]
    assert log[0].size == 7


def test_it_listens_on_loopback_and_ends_with_connections_open(folder: Path) -> None:
    with FolderServer(folder) as server:
        parts = urlsplit(server.url)
        assert parts.hostname == "127.0.0.1"
        connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=5)
        get(connection, "/config")
        before = time.monotonic()
    assert time.monotonic() - before < 2
    with pytest.raises(OSError):
        socket.create_connection((parts.hostname, parts.port), timeout=1)


def test_a_taken_port_is_named(folder: Path) -> None:
    with FolderServer(folder) as server:
        port = urlsplit(server.url).port
        assert port
        with pytest.raises(BusyError, match=str(port)) as caught:
            FolderServer(folder, port=port)
        assert caught.value.hint


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="nothing-here"):
        FolderServer(tmp_path / "nothing-here")


def test_serve_says_its_address_and_ends_when_interrupted(folder: Path) -> None:
    urls: list[str] = []

    def ready(url: str) -> None:
        urls.append(url)
        raise KeyboardInterrupt

    before = threading.active_count()
    with pytest.raises(KeyboardInterrupt):
        serve(folder, port=0, ready=ready)
    assert urls
    assert threading.active_count() == before
