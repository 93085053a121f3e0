"""Servers that fail, stall, cut off, lie or flood: a pull ends well or names the fault, and nothing bad stays."""

import random
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from sample_trees import add_commit, content_of, make_repo, object_names, sample_files
from scripted_server import Handler, Script, scripted, send

from ostler.errors import CorruptError, NotFoundError, OstlerError
from ostler.formats.gvariant import FormatError
from ostler.formats.objects import Checksum, ObjectType, checksum_of
from ostler.io.http import HttpFetcher, HttpOptions, NetworkError
from ostler.store.content import RepoMode
from ostler.store.filez_in import store_filez
from ostler.store.fsck import fsck
from ostler.store.mirrors import Mirrors
from ostler.store.pull import pull
from ostler.store.remote import EagerRemoteHttp
from ostler.store.repo import Repo
from ostler.store.summary import write_summary

QUICK = HttpOptions(attempts=6, backoff_seconds=0.001, timeout_seconds=0.4)


class Hostile:
    """Serves a repository; `fault` may answer in its place and then returns True."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.fault = lambda handler, data: False

    def __call__(self, handler: Handler, number: int) -> None:
        path = self.folder / handler.path.lstrip("/")
        data = path.read_bytes() if path.is_file() else None
        if self.fault(handler, data):
            return
        if data is None:
            send(handler, b"", 404)
        else:
            send(handler, data)


@pytest.fixture
def source(tmp_path: Path) -> Repo:
    made = make_repo(tmp_path / "source", RepoMode.ARCHIVE)
    add_commit(made, "main", sample_files())
    write_summary(made)
    return made


@pytest.fixture
def hostile(source: Repo) -> Hostile:
    return Hostile(source.path)


@pytest.fixture
def script(hostile: Hostile) -> Iterator[Script]:
    with scripted(hostile) as running:
        yield running


def pull_main(tmp_path: Path, script: Script, options: HttpOptions = QUICK) -> Repo:
    repo = make_repo(tmp_path / "repo")
    with HttpFetcher(options) as fetcher:
        pull(repo, script.url, ["main"], fetcher=fetcher)
    return repo


def cut_off(handler: Handler, data: bytes, at: int) -> bool:
    handler.send_response(200)
    handler.send_header("Content-Length", str(len(data)))
    handler.end_headers()
    handler.wfile.write(data[:at])
    handler.close_connection = True
    return True


@pytest.mark.parametrize("seed", range(4))
def test_a_server_that_fails_at_random_is_outlasted(
    tmp_path: Path, source: Repo, hostile: Hostile, script: Script, seed: int
) -> None:
    dice = random.Random(seed)
    lock = threading.Lock()

    def fault(handler: Handler, data: bytes | None) -> bool:
        with lock:
            chance = dice.random()
            at = dice.randrange(len(data)) if data else 0
        if chance < 0.08:
            send(handler, b"", dice.choice([500, 502, 503, 429, 408]))
        elif chance < 0.14 and data:
            return cut_off(handler, data, at)
        elif chance < 0.17:
            handler.close_connection = True
        elif chance < 0.20:
            handler.wfile.write(b"\x16\x03\x01 this is no HTTP\r\n\r\n")
            handler.close_connection = True
        elif chance < 0.21:
            time.sleep(0.6)  # longer than anyone waits
            handler.close_connection = True
        else:
            return False
        return True

    hostile.fault = fault
    repo = pull_main(tmp_path, script)
    assert content_of(repo, "main") == content_of(source, "main")
    assert fsck(repo) == []


LIES = {
    "login page": lambda data: b"<html>please log in</html>" * 50,
    "flipped": lambda data: bytes([data[0] ^ 1]) + data[1:] if data else b"x",
    "zeros": lambda data: bytes(len(data) + 1),
    "twice": lambda data: data + data + b"x",
}


@pytest.mark.parametrize("lie", list(LIES))
@pytest.mark.parametrize("ending", [".filez", ".dirtree", ".dirmeta", ".commit", ".commitmeta", "summary"])
def test_lies_never_become_objects(tmp_path: Path, hostile: Hostile, script: Script, lie: str, ending: str) -> None:
    def fault(handler: Handler, data: bytes | None) -> bool:
        if not handler.path.endswith(ending):
            return False
        send(handler, LIES[lie](data or b""))
        return True

    if (ending, lie) == ("summary", "flipped"):
        pytest.skip("a well-formed summary of other refs, which nobody signed, is no lie that can be told")
    hostile.fault = fault
    with pytest.raises(CorruptError):
        pull_main(tmp_path, script)
    repo = Repo.open(tmp_path / "repo")
    assert not object_names(repo)
    assert repo.refs() == {}


def test_a_flood_is_stopped_at_its_bound(tmp_path: Path, hostile: Hostile, script: Script) -> None:
    def fault(handler: Handler, data: bytes | None) -> bool:
        if not handler.path.endswith(".commit"):
            return False
        handler.send_response(200)
        handler.send_header("Transfer-Encoding", "chunked")
        handler.end_headers()
        block = b"10000\r\n" + bytes(65536) + b"\r\n"
        try:
            for _ in range(2000):
                handler.wfile.write(block)
        except OSError:
            pass
        handler.close_connection = True
        return True

    hostile.fault = fault
    with pytest.raises(NetworkError, match="longer than"):
        pull_main(tmp_path, script)


def test_a_small_file_that_inflates_without_end_is_stopped(tmp_path: Path, hostile: Hostile, script: Script) -> None:
    import zlib

    from ostler.formats import filez
    from ostler.formats.objects import FileMeta

    squeezer = zlib.compressobj(9, zlib.DEFLATED, -15)
    bomb = b"".join(squeezer.compress(bytes(1 << 20)) for _ in range(200)) + squeezer.flush()

    def fault(handler: Handler, data: bytes | None) -> bool:
        if not handler.path.endswith(".filez"):
            return False
        send(handler, filez.encode_header(FileMeta(0, 0, 0o100644), 100) + bomb)
        return True

    hostile.fault = fault
    with pytest.raises(CorruptError, match="larger than its header says"):
        pull_main(tmp_path, script)


class Endless:
    """A body that says that it has ten bytes."""

    received = 0

    def header(self, name: str) -> str | None:
        return "10"

    def read(self, size: int = -1) -> bytes:
        assert 0 <= size < 100
        return bytes(min(size, 3))


def test_a_body_longer_than_it_said_is_not_gathered(tmp_path: Path) -> None:
    repo = make_repo(tmp_path / "repo")
    with repo.transaction() as transaction, pytest.raises(FormatError, match="more than the 10 bytes"):
        store_filez(transaction, Endless(), checksum_of(b"any"))


def test_where_the_first_mirror_is_down_another_serves(tmp_path: Path, source: Repo, script: Script) -> None:
    repo = make_repo(tmp_path / "repo")
    objects = list(source.objects())
    files = [checksum for checksum, kind in objects if kind is ObjectType.FILE]
    trees = [(checksum, kind) for checksum, kind in objects if kind is ObjectType.DIRTREE]
    with HttpFetcher(HttpOptions(attempts=1)) as fetcher, repo.transaction() as transaction:
        content = Mirrors(fetcher, ["http://127.0.0.1:1", script.url])
        remote = EagerRemoteHttp(content, content, fetcher)
        todo = iter(trees)
        assert {(c, kind) for c, kind, _ in remote.each_metadata(lambda: next(todo, None), 2)} == set(trees)
        assert len(list(remote.store_files(files, transaction, 2))) == len(files) > 0


def test_a_stalled_server_is_an_error_in_time(tmp_path: Path, hostile: Hostile, script: Script) -> None:
    release = threading.Event()

    def fault(handler: Handler, data: bytes | None) -> bool:
        if handler.path.endswith(".filez") and data is not None:
            handler.send_response(200)
            handler.send_header("Content-Length", str(len(data)))
            handler.end_headers()
            handler.wfile.write(data[:3])
            handler.wfile.flush()
            release.wait(10)
        return False

    hostile.fault = fault
    began = time.monotonic()
    with pytest.raises(NetworkError):
        pull_main(tmp_path, script, HttpOptions(attempts=1, timeout_seconds=0.3))
    release.set()
    assert time.monotonic() - began < 5


def test_a_ref_cannot_name_a_path_outside(tmp_path: Path, source: Repo, script: Script) -> None:
    repo = make_repo(tmp_path / "repo")
    for ref in ("../../outside", "/etc/x", "a//b", "-x", ".hidden"):
        with pytest.raises(OstlerError):
            pull(repo, script.url, [ref])
    assert not (tmp_path / "outside").exists()


def test_a_summary_cannot_name_a_ref_outside(tmp_path: Path, source: Repo, script: Script) -> None:
    from ostler.store.pull_options import PullOptions
    from ostler.store.summary import Summary, SummaryEntry

    commit = source.refs()["main"]
    evil = Summary({"../../../evil": SummaryEntry(commit, 1)}, {})
    (source.path / "summary").write_bytes(evil.encode())
    repo = make_repo(tmp_path / "repo", RepoMode.ARCHIVE)
    with pytest.raises(CorruptError, match="impossible name"):
        pull(repo, script.url, options=PullOptions(mirror=True))
    assert not list(tmp_path.rglob("evil"))


def test_objects_that_refer_in_circles_end(tmp_path: Path, source: Repo, script: Script) -> None:
    """A commit whose tree is not there at all: every name that a server gives is looked for once."""
    from ostler.formats.objects import Commit, ObjectType

    missing = Commit(Checksum("1" * 64), Checksum("2" * 64), 5)
    path = source.object_path(missing.checksum, ObjectType.COMMIT)
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(missing.encode())
    with pytest.raises(NotFoundError, match=r"1111|2222"):
        pull(make_repo(tmp_path / "repo"), script.url, [missing.checksum])
