"""Pulling: over HTTP from our own server and from paths, into each mode; damage, absence, interruption, resumption."""

import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest
from sample_trees import add_commit, content_of, file_checksum, make_repo, object_file, object_names, sample_files

from ostler.errors import CorruptError, ExitCode, NotFoundError
from ostler.formats.gvariant import Variant
from ostler.formats.objects import Checksum, DirTree, ObjectType
from ostler.io.http import NO_HEADERS, Body, HttpFetcher, HttpOptions, NetworkError, T
from ostler.io.progress import Event, Finished, Progress, Step
from ostler.publish.folder import publish_folder
from ostler.publish.server import FolderServer, Request
from ostler.store.content import RepoMode
from ostler.store.errors import StoreError
from ostler.store.pull import pull, remote_commit, remote_refs
from ostler.store.remote import NotARepositoryError
from ostler.store.repo import Repo

QUICK = HttpOptions(attempts=2, backoff_seconds=0.01, timeout_seconds=5.0)
NO_SIGNATURES = {"gpg-verify": "false"}


class Published:
    """A repository of mode archive with the ref `web/stable`, and a server for it."""

    def __init__(self, root: Path) -> None:
        self.source = make_repo(root / "source")
        self.commit = add_commit(self.source, "web/stable", sample_files())
        self.folder = root / "www"
        self.repo = make_repo(self.folder, RepoMode.ARCHIVE)
        self.publish()
        self.log: list[Request] = []
        self.server = FolderServer(self.folder, on_request=self.log.append)

    def publish(self, ref: str = "web/stable") -> None:
        publish_folder(self.source, {ref: ref}, self.folder)

    def asked(self, ending: str = "") -> list[str]:
        return [request.path for request in self.log if request.path.endswith(ending)]


@pytest.fixture
def published(tmp_path: Path) -> Iterator[Published]:
    found = Published(tmp_path)
    with found.server:
        yield found


@pytest.fixture
def fetcher() -> Iterator[HttpFetcher]:
    with HttpFetcher(QUICK) as made:
        yield made


@pytest.fixture
def repo(tmp_path: Path, published: Published) -> Repo:
    made = make_repo(tmp_path / "destination")
    made.add_remote("origin", published.server.url, NO_SIGNATURES)
    return made


class Failing:
    """A fetcher that fails from the n-th file object on, with whatever is given."""

    def __init__(self, inner: HttpFetcher, after: int, error: BaseException) -> None:
        self.inner, self.left, self.error = inner, after, error
        self.lock = threading.Lock()

    def get(self, url: str, consume: Callable[[Body], T], *, limit: int, headers: Mapping[str, str] = NO_HEADERS) -> T:
        if url.endswith(".filez"):
            with self.lock:
                self.left -= 1
                if self.left < 0:
                    raise self.error
        return self.inner.get(url, consume, limit=limit, headers=headers)


@pytest.mark.parametrize("mode", list(RepoMode))
def test_a_commit_arrives_whole_in_every_mode(tmp_path: Path, published: Published, mode: RepoMode) -> None:
    repo = make_repo(tmp_path / "destination", mode)
    repo.add_remote("origin", published.server.url, NO_SIGNATURES)
    result = pull(repo, "origin", ["web/stable"])
    assert result.refs == {"web/stable": published.commit}
    assert repo.refs() == {"origin:web/stable": published.commit}
    assert content_of(repo, published.commit) == content_of(published.source, published.commit)
    assert result.objects == len(object_names(repo))
    assert not repo.is_partial(published.commit)
    assert not list((repo.path / "tmp").glob("staging-*"))


def test_bytes_and_objects_are_counted_and_reported(repo: Repo, published: Published, fetcher: HttpFetcher) -> None:
    events: list[Event] = []
    result = pull(repo, "origin", ["web/stable"], fetcher=fetcher, report=events.append)
    stored = [path for path in (published.folder / "objects").glob("*/*")]
    assert result.objects == len(stored)
    assert result.bytes_received == sum(path.stat().st_size for path in stored)
    progress = [event for event in events if isinstance(event, Progress)]
    assert (progress[-2].done, progress[-2].total, progress[-2].unit) == (result.objects, result.objects, "objects")
    assert (progress[-1].done, progress[-1].unit) == (result.bytes_received, "bytes")
    assert isinstance(events[0], Step)
    assert isinstance(events[-1], Finished)


def test_an_archive_keeps_the_compressed_bytes(tmp_path: Path, published: Published) -> None:
    mirror = make_repo(tmp_path / "mirror", RepoMode.ARCHIVE)
    pull(mirror, published.server.url, ["web/stable"])
    for checksum, kind in object_names(mirror):
        assert (
            object_file(mirror, checksum, kind).read_bytes() == object_file(published.repo, checksum, kind).read_bytes()
        )
    assert mirror.refs() == {"web/stable": published.commit}


def test_a_url_or_path_sets_refs_of_the_repository_itself(tmp_path: Path, published: Published) -> None:
    for number, place in enumerate([published.server.url, published.folder, f"file://{published.folder}"]):
        repo = make_repo(tmp_path / f"d{number}")
        pull(repo, place, ["web/stable"])
        assert repo.refs() == {"web/stable": published.commit}
        assert content_of(repo, "web/stable") == content_of(published.source, "web/stable")


@pytest.mark.parametrize("source_mode", list(RepoMode))
@pytest.mark.parametrize("mode", list(RepoMode))
def test_a_local_pull_works_between_all_modes(tmp_path: Path, source_mode: RepoMode, mode: RepoMode) -> None:
    source, repo = make_repo(tmp_path / "a", source_mode), make_repo(tmp_path / "b", mode)
    commit = add_commit(source, "x", sample_files())
    pull(repo, source.path, ["x"])
    assert content_of(repo, commit) == content_of(source, commit)


def test_a_whole_checksum_can_be_pulled_without_setting_a_ref(repo: Repo, published: Published) -> None:
    result = pull(repo, "origin", [published.commit])
    assert result.refs == {published.commit: published.commit}
    assert repo.refs() == {}
    assert repo.load_commit(published.commit)


def test_one_connection_is_enough(repo: Repo, published: Published) -> None:
    pull(repo, "origin", ["web/stable"], connections=1)
    assert content_of(repo, published.commit) == content_of(published.source, published.commit)


def test_pulling_again_fetches_no_object(repo: Repo, published: Published) -> None:
    pull(repo, "origin", ["web/stable"])
    published.log.clear()
    result = pull(repo, "origin", ["web/stable"])
    assert (result.objects, result.bytes_received) == (0, 0)
    assert [path for path in published.asked() if "/objects/" in path] == published.asked(".commitmeta")


def test_requests_come_in_libostrees_order(repo: Repo, published: Published) -> None:
    pull(repo, "origin", ["web/stable"])
    asked = published.asked()
    assert asked[0] == "/summary"
    assert asked[1].startswith("/delta-indexes/")
    assert [path.rpartition(".")[2] for path in asked[2:5]] == ["commitmeta", "commit", "dirmeta"]
    assert not published.asked("/refs/heads/web/stable")


def test_an_update_fetches_only_what_changed(repo: Repo, published: Published) -> None:
    pull(repo, "origin", ["web/stable"])
    files = sample_files() | {"usr/share/d1/e1/f1": b"changed", "usr/new/file": b"new"}
    new = add_commit(published.source, "web/stable", files, parent=published.commit)
    published.publish()
    published.log.clear()
    result = pull(repo, "origin", ["web/stable"])
    assert result.transfer.file_objects == 2
    # the commit; the directories /, usr, usr/share, usr/share/d1, usr/share/d1/e1, usr/new
    assert result.transfer.metadata_objects == 1 + 6
    assert repo.refs() == {"origin:web/stable": new}
    assert content_of(repo, new) == content_of(published.source, new)


def test_the_same_tree_under_another_commit_costs_one_object(repo: Repo, published: Published) -> None:
    pull(repo, "origin", ["web/stable"])
    add_commit(published.source, "web/stable", sample_files(), timestamp=1_800_000_000)
    published.publish()
    assert pull(repo, "origin", ["web/stable"]).objects == 1


def test_several_refs_come_in_one_pull(repo: Repo, published: Published) -> None:
    other = add_commit(published.source, "db/stable", {"usr/db": b"db"})
    published.publish("db/stable")
    result = pull(repo, "origin", ["web/stable", "db/stable"])
    assert result.refs == {"web/stable": published.commit, "db/stable": other}
    assert repo.refs() == {"origin:web/stable": published.commit, "origin:db/stable": other}


def test_without_summary_the_ref_file_is_asked(repo: Repo, published: Published, fetcher: HttpFetcher) -> None:
    (published.folder / "summary").unlink()
    assert pull(repo, "origin", ["web/stable"], fetcher=fetcher).refs == {"web/stable": published.commit}
    assert published.asked("/refs/heads/web/stable")
    with pytest.raises(NotFoundError, match="no ref web/testing"):
        pull(repo, "origin", ["web/testing"], fetcher=fetcher)


def test_an_unknown_ref_is_answered_with_those_there_are(repo: Repo, published: Published) -> None:
    add_commit(published.source, "db/stable", {"usr/db": b"db"})
    published.publish("db/stable")
    with pytest.raises(NotFoundError, match="no ref web/stabel") as caught:
        pull(repo, "origin", ["web/stabel"])
    assert caught.value.hint == "refs there: db/stable, web/stable"
    assert published.server.url in caught.value.message


def test_an_unknown_remote_is_answered_with_those_there_are(repo: Repo) -> None:
    with pytest.raises(NotFoundError, match='"orign" not found') as caught:
        pull(repo, "orign", ["web/stable"])
    assert caught.value.hint == "remotes there: origin"


def test_what_is_no_repository_is_told_apart(tmp_path: Path, repo: Repo, fetcher: HttpFetcher) -> None:
    (tmp_path / "plain").mkdir()
    with FolderServer(tmp_path / "plain") as server:
        with pytest.raises(NotARepositoryError, match="no file `config`"):
            pull(repo, server.url, ["x"], fetcher=fetcher)
        (tmp_path / "plain/config").write_text("<html>please log in</html>")
        with pytest.raises(NotARepositoryError):
            pull(repo, server.url, ["x"], fetcher=fetcher)
    with FolderServer(repo.path) as server, pytest.raises(NotARepositoryError, match="mode bare-user"):
        pull(repo, server.url, ["x"], fetcher=fetcher)


def test_a_dead_server_is_a_network_error_with_a_hint(repo: Repo, published: Published, fetcher: HttpFetcher) -> None:
    published.server.__exit__()
    try:
        with pytest.raises(NetworkError, match="refused") as caught:
            pull(repo, "origin", ["web/stable"], fetcher=fetcher)
    finally:
        published.server = FolderServer(published.folder)
        published.server.__enter__()
    assert caught.value.exit_code is ExitCode.NETWORK
    assert caught.value.hint
    assert not object_names(repo)


def _flip(data: bytes) -> bytes:
    middle = len(data) // 3  # of large files: where they are random, as a copy of zeros from elsewhere is still zeros
    return data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :]


DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "truncated": lambda data: data[: len(data) // 2],
    "empty": lambda data: b"",
    "flipped bit": _flip,
    "trailing byte": lambda data: data + b"\0",
}


@pytest.mark.parametrize("how", list(DAMAGE))
@pytest.mark.parametrize("what", ["usr/lib/large", "usr/bin/tool.sh", "usr/bin/link", "dirtree", "dirmeta", "commit"])
def test_a_damaged_object_is_named_and_nothing_becomes_visible(
    repo: Repo, published: Published, fetcher: HttpFetcher, how: str, what: str
) -> None:
    old = add_commit(repo, None, {"old": b"old"}, directory_mode=0o40700)
    repo.set_ref("web/stable", old, remote="origin")
    before = object_names(repo)
    commit = published.source.load_commit(published.commit)
    name = {
        "dirtree": (commit.root_tree, ObjectType.DIRTREE),
        "dirmeta": (commit.root_meta, ObjectType.DIRMETA),
        "commit": (published.commit, ObjectType.COMMIT),
    }.get(what) or (file_checksum(published.source, "web/stable", what), ObjectType.FILE)
    path = object_file(published.repo, *name)
    path.write_bytes(DAMAGE[how](path.read_bytes()))
    with pytest.raises(CorruptError) as caught:
        pull(repo, "origin", ["web/stable"], fetcher=fetcher)
    assert name[0] in caught.value.message
    assert published.server.url in caught.value.message
    assert caught.value.exit_code is ExitCode.CORRUPT
    assert object_names(repo) == before
    assert repo.refs() == {"origin:web/stable": old}
    path.unlink()
    published.repo.mark_partial(published.commit, True)
    published.publish()
    pull(repo, "origin", ["web/stable"], fetcher=fetcher)
    assert content_of(repo, "origin:web/stable") == content_of(published.source, "web/stable")


@pytest.mark.parametrize("kind", [ObjectType.FILE, ObjectType.DIRTREE, ObjectType.DIRMETA, ObjectType.COMMIT])
def test_a_missing_object_is_named(repo: Repo, published: Published, fetcher: HttpFetcher, kind: ObjectType) -> None:
    name = sorted(name for name in object_names(published.repo) if name[1] is kind)[0]
    object_file(published.repo, *name).unlink()
    with pytest.raises(NotFoundError, match=name[0]) as caught:
        pull(repo, "origin", ["web/stable"], fetcher=fetcher)
    assert published.server.url in caught.value.message
    assert not object_names(repo)


def test_a_swapped_object_is_noticed(repo: Repo, published: Published, fetcher: HttpFetcher) -> None:
    names = [file_checksum(published.source, "web/stable", path) for path in ("empty", "usr/bin/tool.sh")]
    first, second = (object_file(published.repo, name) for name in names)
    first.write_bytes(second.read_bytes())
    with pytest.raises(CorruptError, match=names[0]):
        pull(repo, "origin", ["web/stable"], fetcher=fetcher)


def test_a_tree_that_climbs_out_is_refused(
    tmp_path: Path, repo: Repo, published: Published, fetcher: HttpFetcher
) -> None:
    from hashlib import sha256

    good = DirTree((("xx", Checksum("0" * 64)),), ()).encode()
    bad = good.replace(b"xx\0", b"..\0")
    checksum = Checksum(sha256(bad).hexdigest())
    source = published.source.load_commit(published.commit)
    evil = type(source)(checksum, source.root_meta, 1)
    for name, kind, data in (
        (checksum, ObjectType.DIRTREE, bad),
        (evil.checksum, ObjectType.COMMIT, evil.encode()),
    ):
        path = object_file(published.repo, name, kind)
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(data)
    with pytest.raises(CorruptError, match=checksum):
        pull(repo, "origin", [evil.checksum], fetcher=fetcher)


@pytest.mark.parametrize("name", ["summary", "refs/heads/web/stable"])
def test_a_damaged_summary_or_ref_is_named(repo: Repo, published: Published, fetcher: HttpFetcher, name: str) -> None:
    (published.folder / "summary").unlink()
    (published.folder / name).write_bytes(b"garbage")
    with pytest.raises(CorruptError, match=name.rpartition("heads/")[2]):
        pull(repo, "origin", ["web/stable"], fetcher=fetcher)


@pytest.mark.parametrize("error", [NetworkError("the cable was pulled"), KeyboardInterrupt()])
def test_an_interrupted_pull_goes_on_where_it_was(
    repo: Repo, published: Published, fetcher: HttpFetcher, error: BaseException
) -> None:
    with pytest.raises(type(error)):
        pull(repo, "origin", ["web/stable"], fetcher=Failing(fetcher, 20, error))
    assert repo.refs() == {}
    assert not object_names(repo)
    first = published.asked(".filez")
    assert len(first) == 20
    published.log.clear()
    result = pull(repo, "origin", ["web/stable"], fetcher=fetcher)
    assert not set(first) & set(published.asked(".filez"))
    assert result.transfer.file_objects == len(published.asked(".filez"))
    assert content_of(repo, "origin:web/stable") == content_of(published.source, "web/stable")


def test_ctrl_c_does_not_wait_for_a_server_that_hangs(repo: Repo, published: Published) -> None:
    release = threading.Event()
    main = threading.main_thread().ident
    assert main is not None

    def answer(request: Request) -> None:  # runs before the answer is flushed
        if request.path.endswith(".filez"):
            if not release.is_set():
                threading.Timer(0.2, signal.pthread_kill, (main, signal.SIGINT)).start()
            release.wait(10)

    with FolderServer(published.folder, on_request=answer) as server:
        began = time.monotonic()
        with pytest.raises(KeyboardInterrupt):
            pull(repo, server.url, ["web/stable"], connections=1)
        assert 0.1 < time.monotonic() - began < 5
        release.set()
    assert repo.refs() == {}


def test_a_partial_commit_is_completed(repo: Repo, published: Published) -> None:
    pull(repo, "origin", ["web/stable"])
    gone = [file_checksum(repo, published.commit, path) for path in ("empty", "usr/share/d1/e1/f1")]
    for checksum in gone:
        object_file(repo, checksum).unlink()
    assert pull(repo, "origin", ["web/stable"]).objects == 0  # taken for complete, as nothing says otherwise
    repo.mark_partial(published.commit, True)
    assert pull(repo, "origin", ["web/stable"]).objects == len(gone)
    assert not repo.is_partial(published.commit)
    assert content_of(repo, published.commit) == content_of(published.source, published.commit)


def test_directories_of_a_partial_commit_are_not_taken_for_complete(repo: Repo, published: Published) -> None:
    pull(repo, "origin", ["web/stable"])
    object_file(repo, file_checksum(repo, published.commit, "usr/share/d1/e1/f1")).unlink()
    repo.mark_partial(published.commit, True)
    new = add_commit(published.source, "web/stable", sample_files() | {"other": b"new"})
    published.publish()
    pull(repo, "origin", ["web/stable"])
    assert content_of(repo, new) == content_of(published.source, new)


def test_detached_metadata_comes_along_and_is_renewed(repo: Repo, published: Published) -> None:
    for value in (b"one", b"two"):
        with published.repo.transaction() as transaction:
            transaction.write_detached(published.commit, {"x.signature": Variant("ay", value)})
        pull(repo, "origin", ["web/stable"])
        assert repo.load_detached(published.commit) == {"x.signature": Variant("ay", value)}


def test_a_commit_bound_to_another_ref_is_refused(repo: Repo, published: Published) -> None:
    binding = {"ostree.ref-binding": Variant("as", ["web/testing"])}
    bound = add_commit(published.source, "web/testing", {"a": b"a"}, metadata=binding)
    published.publish("web/testing")
    pull(repo, "origin", ["web/testing"])
    published.repo.set_ref("web/stable", bound)
    (published.folder / "summary").unlink()
    with pytest.raises(CorruptError, match=r"no requested ref ‘web/stable’ in ref binding metadata .‘web/testing’"):
        pull(repo, "origin", ["web/stable"])
    with pytest.raises(CorruptError, match="no requested ref"):
        remote_commit(repo, "origin", "web/stable")
    assert repo.refs() == {"origin:web/testing": bound}


@pytest.mark.parametrize("options", [{}, {"gpg-verify": "true"}, {"gpg-verify": "false", "sign-verify": "ed25519"}])
def test_missing_signatures_are_not_ignored(repo: Repo, published: Published, options: dict[str, str]) -> None:
    repo.add_remote("signed", published.server.url, options)
    with pytest.raises(StoreError, match=r"verif|No keys"):
        pull(repo, "signed", ["web/stable"])


def test_a_remote_can_be_looked_at_without_pulling(repo: Repo, published: Published) -> None:
    assert remote_refs(repo, "origin") == {"web/stable": published.commit}
    checksum, commit = remote_commit(repo, "origin", "web/stable")
    assert (checksum, commit.timestamp) == (published.commit, 1_700_000_000)
    assert not object_names(repo)


def test_objects_can_come_from_another_place_than_refs(repo: Repo, published: Published, tmp_path: Path) -> None:
    content = tmp_path / "content"
    content.mkdir()
    (published.folder / "objects").rename(content / "objects")
    with FolderServer(content) as server:
        repo.add_remote("split", published.server.url, {**NO_SIGNATURES, "contenturl": server.url})
        pull(repo, "split", ["web/stable"])
    assert content_of(repo, published.commit) == content_of(published.source, published.commit)


def test_a_local_pull_verifies_what_it_copies(tmp_path: Path) -> None:
    source, repo = make_repo(tmp_path / "a"), make_repo(tmp_path / "b")
    commit = add_commit(source, "x", sample_files())
    checksum = file_checksum(source, "x", "usr/bin/tool.sh")
    object_file(source, checksum).chmod(0o755)
    object_file(source, checksum).write_bytes(b"#!/bin/evil\n")
    with pytest.raises(CorruptError, match=checksum) as caught:
        pull(repo, source.path, ["x"])
    assert str(source.path) in caught.value.message
    assert not repo.has(commit, ObjectType.COMMIT)


def test_a_commit_of_unreasonable_size_is_not_read(repo: Repo, published: Published, fetcher: HttpFetcher) -> None:
    path = object_file(published.repo, published.commit, ObjectType.COMMIT)
    path.unlink()
    with path.open("wb") as file:
        file.truncate(16 * 1024 * 1024 + 1)
    with pytest.raises(NetworkError, match="longer than"):
        pull(repo, "origin", ["web/stable"], fetcher=fetcher)
