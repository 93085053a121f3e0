"""The HTTP fetcher against a scripted server: bounds, retries, redirects, and errors that say what to do."""

import base64
import socket
import threading

import pytest
from scripted_server import Handler, scripted, send

from ostler.errors import ExitCode
from ostler.io.http import (
    Body,
    HttpFetcher,
    HttpOptions,
    HttpStatusError,
    NetworkError,
    fetch_bytes,
    fetch_optional,
    redact,
)

QUICK = HttpOptions(attempts=3, backoff_seconds=0.01, timeout_seconds=2.0)


def unused_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_requests_one_after_another_share_a_connection() -> None:
    with scripted(lambda handler, n: send(handler, b"x" * n)) as script, HttpFetcher(QUICK) as fetcher:
        assert [fetch_bytes(fetcher, f"{script.url}/{n}", limit=10) for n in (1, 2, 3)] == [b"x", b"xx", b"xxx"]
    assert len(script.peers) == 1


def test_a_connection_closed_while_idle_is_replaced_without_using_up_an_attempt() -> None:
    def answer(handler: Handler, n: int) -> None:
        send(handler, b"fine")
        handler.close_connection = True  # without telling

    options = HttpOptions(attempts=1, timeout_seconds=2.0)
    with scripted(answer) as script, HttpFetcher(options) as fetcher:
        for _ in range(3):
            assert fetch_bytes(fetcher, script.url + "/a", limit=10) == b"fine"


def test_a_server_error_is_tried_again() -> None:
    with (
        scripted(lambda handler, n: send(handler, b"ok" if n == 3 else b"no", 200 if n == 3 else 503)) as script,
        HttpFetcher(QUICK) as fetcher,
    ):
        assert fetch_bytes(fetcher, script.url + "/a", limit=10) == b"ok"
    assert len(script.asked) == 3


def test_a_lasting_server_error_is_reported_after_the_last_attempt() -> None:
    with (
        scripted(lambda handler, n: send(handler, b"", 500)) as script,
        HttpFetcher(QUICK) as fetcher,
        pytest.raises(HttpStatusError, match="500") as caught,
    ):
        fetch_bytes(fetcher, script.url + "/a", limit=10)
    assert len(script.asked) == QUICK.attempts
    assert caught.value.hint


def test_retry_after_is_honoured_within_reason() -> None:
    def answer(handler: Handler, n: int) -> None:
        send(handler, b"ok") if n > 1 else send(handler, b"", 429, Retry_After="0")

    options = HttpOptions(attempts=2, backoff_seconds=60.0)
    with scripted(answer) as script, HttpFetcher(options) as fetcher:
        assert fetch_bytes(fetcher, script.url + "/a", limit=10) == b"ok"


@pytest.mark.parametrize("status", [400, 401, 404, 416])
def test_a_client_error_is_final(status: int) -> None:
    with (
        scripted(lambda handler, n: send(handler, b"", status)) as script,
        HttpFetcher(QUICK) as fetcher,
        pytest.raises(HttpStatusError) as caught,
    ):
        fetch_bytes(fetcher, script.url + "/a", limit=10)
    assert (caught.value.status, caught.value.exit_code) == (status, ExitCode.NETWORK)
    assert len(script.asked) == 1


@pytest.mark.parametrize("status", [403, 404, 410])
def test_what_is_absent_can_be_asked_for(status: int) -> None:
    with scripted(lambda handler, n: send(handler, b"", status)) as script, HttpFetcher(QUICK) as fetcher:
        assert fetch_optional(fetcher, script.url + "/a", limit=10) is None


def test_a_body_that_breaks_off_is_fetched_again_from_the_start() -> None:
    def answer(handler: Handler, n: int) -> None:
        if n == 1:
            handler.send_response(200)
            handler.send_header("Content-Length", "10")
            handler.end_headers()
            handler.wfile.write(b"half ")
            handler.close_connection = True
        else:
            send(handler, b"whole body")

    starts: list[bytes] = []

    def consume(body: Body) -> bytes:
        starts.append(body.read(5))
        return starts[-1] + body.read()

    with scripted(answer) as script, HttpFetcher(QUICK) as fetcher:
        assert fetcher.get(script.url + "/a", consume, limit=10) == b"whole body"
    assert starts == [b"half ", b"whole"]


def test_a_body_that_always_breaks_off_is_a_network_error() -> None:
    def answer(handler: Handler, n: int) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", "10")
        handler.end_headers()
        handler.close_connection = True

    with scripted(answer) as script, HttpFetcher(QUICK) as fetcher, pytest.raises(NetworkError, match="10 bytes early"):
        fetch_bytes(fetcher, script.url + "/a", limit=10)


def test_an_announced_body_beyond_the_limit_is_refused_unread() -> None:
    with (
        scripted(lambda handler, n: send(handler, b"x" * 11)) as script,
        HttpFetcher(QUICK) as fetcher,
        pytest.raises(NetworkError, match="longer than the 10 bytes"),
    ):
        fetch_bytes(fetcher, script.url + "/a", limit=10)
    assert len(script.asked) == 1


def test_a_chunked_body_beyond_the_limit_is_refused() -> None:
    def answer(handler: Handler, n: int) -> None:
        handler.send_response(200)
        handler.send_header("Transfer-Encoding", "chunked")
        handler.end_headers()
        handler.wfile.write(b"8\r\n12345678\r\n8\r\n12345678\r\n0\r\n\r\n")

    with scripted(answer) as script, HttpFetcher(QUICK) as fetcher:
        assert fetch_bytes(fetcher, script.url + "/a", limit=16) == b"1234567812345678"
        with pytest.raises(NetworkError, match="longer than"):
            fetch_bytes(fetcher, script.url + "/a", limit=15)


def test_redirects_are_followed_and_private_headers_stay_behind() -> None:
    with scripted(lambda handler, n: send(handler, b"there")) as there:

        def answer(handler: Handler, n: int) -> None:
            if handler.path == "/a":
                send(handler, b"", 302, Location="/b")
            else:
                send(handler, b"", 307, Location=there.url + "/c")

        with scripted(answer) as here, HttpFetcher(QUICK) as fetcher:
            url = here.url.replace("http://", "http://me:secret@")
            assert fetcher.get(url + "/a", lambda body: body.read(), limit=10, headers={"X-Token": "t"}) == b"there"
    assert here.asked == ["/a", "/b"]
    assert here.headers[0]["Authorization"] == "Basic " + base64.b64encode(b"me:secret").decode()
    assert here.headers[0]["X-Token"] == "t"
    assert there.asked == ["/c"]
    assert not {"Authorization", "X-Token"} & set(there.headers[0])


def test_a_redirect_in_circles_ends() -> None:
    with (
        scripted(lambda handler, n: send(handler, b"", 301, Location="/a")) as script,
        HttpFetcher(QUICK) as fetcher,
        pytest.raises(NetworkError, match="redirected more than"),
    ):
        fetch_bytes(fetcher, script.url + "/a", limit=10)


def test_a_server_that_is_not_there_is_named_with_a_hint() -> None:
    port = unused_port()
    with HttpFetcher(QUICK) as fetcher, pytest.raises(NetworkError, match=f"127.0.0.1:{port}.*refused") as caught:
        fetch_bytes(fetcher, f"http://127.0.0.1:{port}/repo/config", limit=10)
    assert caught.value.hint
    assert "curl" in caught.value.hint


def test_a_name_that_does_not_exist_is_named() -> None:
    with HttpFetcher(QUICK) as fetcher, pytest.raises(NetworkError, match=r"name no-such\.invalid cannot be resolved"):
        fetch_bytes(fetcher, "http://no-such.invalid/config", limit=10)


def test_a_server_that_says_nothing_is_given_up() -> None:
    release = threading.Event()
    options = HttpOptions(attempts=1, timeout_seconds=0.2)
    with scripted(lambda handler, n: (release.wait(5), None)[1]) as script, HttpFetcher(options) as fetcher:
        with pytest.raises(NetworkError, match="did not answer in time"):
            fetch_bytes(fetcher, script.url + "/a", limit=10)
        release.set()


@pytest.mark.parametrize("url", ["ftp://host/x", "/some/path", "http://", "http://host:port/x"])
def test_what_is_no_http_url_is_refused(url: str) -> None:
    with HttpFetcher(QUICK) as fetcher, pytest.raises(NetworkError, match="URL"):
        fetch_bytes(fetcher, url, limit=10)


def test_passwords_do_not_show_in_messages() -> None:
    assert redact("https://user:secret@host:1/p?q") == "https://host:1/p?q"
    url = f"http://user:secret@127.0.0.1:{unused_port()}/x"
    with HttpFetcher(QUICK) as fetcher, pytest.raises(NetworkError) as caught:
        fetch_bytes(fetcher, url, limit=10)
    assert "secret" not in caught.value.message + str(caught.value.hint)


def test_plain_requests_go_through_a_proxy_as_whole_urls() -> None:
    with scripted(lambda handler, n: send(handler, b"by proxy")) as proxy:
        options = HttpOptions(attempts=1, proxy=proxy.url.replace("http://", "http://p:q@"))
        with HttpFetcher(options) as fetcher:
            assert fetch_bytes(fetcher, "http://updates.invalid/repo/config", limit=10) == b"by proxy"
    assert proxy.asked == ["http://updates.invalid/repo/config"]
    assert "Proxy-Authorization" in proxy.headers[0]


def test_closing_ends_a_transfer_in_another_thread() -> None:
    begun, release = threading.Event(), threading.Event()

    def answer(handler: Handler, n: int) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", "10")
        handler.end_headers()
        handler.wfile.write(b"some")
        begun.set()
        release.wait(10)
        handler.close_connection = True

    errors: list[BaseException] = []
    fetcher = HttpFetcher(HttpOptions(attempts=4, timeout_seconds=30.0, backoff_seconds=5.0))

    def transfer(url: str) -> None:
        try:
            fetch_bytes(fetcher, url, limit=10)
        except NetworkError as error:
            errors.append(error)

    with scripted(answer) as script:
        thread = threading.Thread(target=transfer, args=(script.url + "/a",))
        thread.start()
        assert begun.wait(5)
        fetcher.close()
        thread.join(5)
        release.set()
        assert not thread.is_alive()
    assert len(errors) == 1


def test_many_threads_fetch_at_once() -> None:
    with scripted(lambda handler, n: send(handler, handler.path.encode())) as script, HttpFetcher(QUICK) as fetcher:
        got: list[bytes] = []

        def work(start: int) -> None:
            for n in range(start, start + 20):
                got.append(fetch_bytes(fetcher, f"{script.url}/{n}", limit=10))

        threads = [threading.Thread(target=work, args=(n * 20,)) for n in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert sorted(got) == sorted(f"/{n}".encode() for n in range(120))
    assert len(script.peers) <= 6


@pytest.mark.parametrize("location", ["http://[bad/", "http://a..b/x", f"http://{'a' * 70}.example/x", "http://a:b/"])
def test_a_redirect_to_what_is_no_address_is_final(location: str) -> None:
    with (
        scripted(lambda handler, n: send(handler, b"", 302, Location=location)) as script,
        HttpFetcher(QUICK) as fetcher,
    ):
        with pytest.raises(NetworkError):
            fetch_bytes(fetcher, script.url + "/a", limit=10)
        assert fetcher._pool.opened == {each for idle in fetcher._pool.idle.values() for each in idle}
    assert script.asked == ["/a"]


def test_a_query_that_is_not_ascii_is_quoted() -> None:
    def answer(handler: Handler, n: int) -> None:
        send(handler, b"fine") if "?" in handler.path else send(handler, b"", 302, Location="/x?\xe9=1&b=%20")

    with scripted(answer) as script, HttpFetcher(QUICK) as fetcher:
        assert fetch_bytes(fetcher, script.url + "/a", limit=10) == b"fine"
    assert script.asked == ["/a", "/x?%C3%A9=1&b=%20"]


@pytest.mark.parametrize("url", ["http://[bad/", "http://a..b/x", f"http://{'a' * 70}/", "http://a.example/\udce9"])
def test_a_mistyped_address_is_refused_without_another_try(url: str) -> None:
    options = HttpOptions(attempts=2, backoff_seconds=60.0)
    with HttpFetcher(options) as fetcher, pytest.raises(NetworkError):
        fetch_bytes(fetcher, url, limit=10)
