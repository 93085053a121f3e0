"""Pulling, publishing, pruning and checking, both ways with libostree: `ostree` judges what we write and reads us."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from ostler.errors import CorruptError, NotFoundError
from ostler.formats.objects import Checksum, ObjectType
from ostler.io.http import HttpFetcher, HttpOptions, NetworkError
from ostler.publish.folder import publish_folder
from ostler.publish.server import FolderServer, Request
from ostler.store.content import RepoMode
from ostler.store.diff import diff
from ostler.store.fsck import fsck
from ostler.store.prune import prune
from ostler.store.pull import pull
from ostler.store.repo import Repo
from ostler.store.summary import Summary
from ostler.store.tree import load_commit_tree

MODES = {RepoMode.BARE: "bare", RepoMode.BARE_USER: "bare-user", RepoMode.ARCHIVE: "archive"}
QUIET = {"fsync": "false", "min-free-space-percent": "0"}


def ostree(*arguments: str | Path, check: bool = True) -> str:
    done = subprocess.run(["ostree", *map(str, arguments)], capture_output=True, text=True, check=False)
    if check and done.returncode != 0:
        raise AssertionError(f"ostree {' '.join(map(str, arguments))}: {done.stderr}")
    return done.stdout.strip()


def write_tree(root: Path, change: str = "") -> None:
    (root / "usr/bin").mkdir(parents=True, exist_ok=True)
    (root / "usr/share/empty directory").mkdir(parents=True, exist_ok=True)
    (root / "usr/bin/tool").write_bytes(b"#!/bin/sh\n" * 200)
    (root / "usr/bin/tool").chmod(0o4755)
    (root / "usr/share/changing").write_text(f"something {change}")
    (root / "usr/share/ümläut").write_bytes(b"")
    if not (root / "link").is_symlink():
        (root / "link").symlink_to("usr/bin/tool")
        (root / "usr/large").write_bytes(os.urandom(700_000) + bytes(700_000))
        os.setxattr(root / "usr/bin/tool", "user.note", b"a value")
        (root / "usr/share/private").mkdir(mode=0o700)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    write_tree(tmp_path / "tree")
    return tmp_path / "tree"


class Theirs:
    """A repository that `ostree` makes, with commits of a tree."""

    def __init__(self, path: Path, mode: str, tree: Path) -> None:
        self.path, self.tree = path, tree
        ostree(f"--repo={path}", "init", f"--mode={mode}")
        ostree(f"--repo={path}", "config", "set", "core.fsync", "false")
        ostree(f"--repo={path}", "config", "set", "core.min-free-space-percent", "0")
        self.commit = self.commit_again()

    def commit_again(self, ref: str = "web/stable") -> Checksum:
        extra = ["--add-metadata-string=version=7"]
        return Checksum(ostree(f"--repo={self.path}", "commit", "-b", ref, *extra, self.tree))


@pytest.fixture
def theirs(tmp_path: Path, tree: Path) -> Theirs:
    made = Theirs(tmp_path / "theirs", "archive", tree)
    ostree(f"--repo={made.path}", "summary", "-u")
    return made


@pytest.fixture
def server(theirs: Theirs) -> Iterator[FolderServer]:
    with FolderServer(theirs.path) as running:
        yield running


@pytest.fixture
def quick() -> Iterator[HttpFetcher]:
    with HttpFetcher(HttpOptions(attempts=2, backoff_seconds=0.01)) as fetcher:
        yield fetcher


def whole(repo: Path) -> bool:
    return subprocess.run(["ostree", f"--repo={repo}", "fsck"], capture_output=True, check=False).returncode == 0


def listing(repo: Path, rev: str) -> str:
    return ostree(f"--repo={repo}", "ls", "-R", "-C", "-X", rev)


@pytest.mark.parametrize("mode", list(MODES))
def test_we_pull_over_http_what_ostree_published(
    tmp_path: Path, theirs: Theirs, server: FolderServer, mode: RepoMode
) -> None:
    ours = Repo.create(tmp_path / "ours", mode, settings=QUIET)
    ours.add_remote("origin", server.url, {"gpg-verify": "false"})
    result = pull(ours, "origin", ["web/stable"])
    assert result.refs == {"web/stable": theirs.commit}
    assert whole(ours.path)
    assert ostree(f"--repo={ours.path}", "refs") == "origin:web/stable"
    assert listing(ours.path, theirs.commit) == listing(theirs.path, theirs.commit)
    assert fsck(ours) == []


@pytest.mark.parametrize("mode", list(MODES))
@pytest.mark.parametrize("their_mode", list(MODES))
def test_we_pull_from_a_path_where_ostree_committed(
    tmp_path: Path, tree: Path, their_mode: RepoMode, mode: RepoMode
) -> None:
    theirs = Theirs(tmp_path / "theirs", MODES[their_mode], tree)
    ours = Repo.create(tmp_path / "ours", mode, settings=QUIET)
    pull(ours, f"file://{theirs.path}", ["web/stable"])
    assert whole(ours.path)
    assert listing(ours.path, "web/stable") == listing(theirs.path, "web/stable")


@pytest.mark.parametrize("their_mode", list(MODES))
def test_ostree_pulls_over_http_what_we_published(tmp_path: Path, tree: Path, their_mode: RepoMode) -> None:
    source = Theirs(tmp_path / "source", "bare-user", tree)
    publish_folder(Repo.open(source.path), {"web/stable": "web/stable"}, tmp_path / "www")
    assert whole(tmp_path / "www")
    theirs = tmp_path / "theirs"
    ostree(f"--repo={theirs}", "init", f"--mode={MODES[their_mode]}")
    with FolderServer(tmp_path / "www") as server:
        ostree(f"--repo={theirs}", "remote", "add", "--no-gpg-verify", "us", server.url)
        assert ostree(f"--repo={theirs}", "remote", "refs", "us") == "us:web/stable"
        ostree(f"--repo={theirs}", "pull", "us", "web/stable")
        assert ostree(f"--repo={theirs}", "rev-parse", "us:web/stable") == source.commit
        assert whole(theirs)
        assert listing(theirs, source.commit) == listing(source.path, source.commit)
        write_tree(tree, "new")
        new = Theirs.commit_again(source, "web/testing")
        publish_folder(Repo.open(source.path), {"web/testing": new}, tmp_path / "www")
        ostree(f"--repo={theirs}", "pull", "us", "web/testing")
    assert ostree(f"--repo={theirs}", "rev-parse", "us:web/testing") == new
    assert whole(theirs)
    assert whole(tmp_path / "www")


def test_ostree_mirrors_what_we_published(tmp_path: Path, theirs: Theirs) -> None:
    publish_folder(Repo.open(theirs.path), {"web/stable": "web/stable"}, tmp_path / "www")
    mirror = tmp_path / "mirror"
    ostree(f"--repo={mirror}", "init", "--mode=archive")
    with FolderServer(tmp_path / "www") as server:
        ostree(f"--repo={mirror}", "remote", "add", "--no-gpg-verify", "us", server.url)
        ostree(f"--repo={mirror}", "pull", "--mirror", "us")
    assert (mirror / "summary").read_bytes() == (tmp_path / "www/summary").read_bytes()
    assert whole(mirror)


def test_our_summary_says_what_ostrees_says(tmp_path: Path, theirs: Theirs) -> None:
    theirs.commit_again("db/stable")
    ostree(f"--repo={theirs.path}", "summary", "-u")
    publish_folder(Repo.open(theirs.path), {ref: ref for ref in ("web/stable", "db/stable")}, tmp_path / "www")
    ours = Summary.decode((tmp_path / "www/summary").read_bytes())
    reference = Summary.decode((theirs.path / "summary").read_bytes())
    assert reference.encode() == (theirs.path / "summary").read_bytes()
    assert ours.refs == reference.refs
    own_to_them = {"ostree.summary.indexed-deltas", "ostree.summary.last-modified"}
    assert {key: value for key, value in ours.metadata.items() if key not in own_to_them} == {
        key: value for key, value in reference.metadata.items() if key not in own_to_them
    }
    shown = ostree(f"--repo={tmp_path / 'www'}", "summary", "--view")
    assert theirs.commit in shown
    assert "Version (ostree.commit.version): 7" in shown


def test_an_update_fetches_only_what_is_new(tmp_path: Path, theirs: Theirs, tree: Path) -> None:
    ours = Repo.create(tmp_path / "ours", RepoMode.BARE, settings=QUIET)
    log: list[Request] = []
    with FolderServer(theirs.path, on_request=log.append) as server:
        pull(ours, server.url, ["web/stable"])
        write_tree(tree, "changed")
        new = theirs.commit_again()
        ostree(f"--repo={theirs.path}", "summary", "-u")
        log.clear()
        result = pull(ours, server.url, ["web/stable"])
    fetched = [
        request.path.rpartition(".")[2] for request in log if "/objects/" in request.path and request.status == 200
    ]
    assert sorted(fetched) == ["commit", "dirtree", "dirtree", "dirtree", "filez"]
    assert result.objects == 5
    assert ostree(f"--repo={ours.path}", "rev-parse", "web/stable") == new
    assert whole(ours.path)
    found = diff(load_commit_tree(ours, theirs.commit), load_commit_tree(ours, new))
    assert (found.added, found.removed, found.changed) == ((), (), ("usr/share/changing",))


def test_a_commit_that_ostree_left_partial_is_completed(tmp_path: Path, theirs: Theirs, server: FolderServer) -> None:
    path = tmp_path / "ours"
    ostree(f"--repo={path}", "init", "--mode=bare-user")
    ostree(f"--repo={path}", "remote", "add", "--no-gpg-verify", "origin", server.url)
    ostree(f"--repo={path}", "pull", "--subpath=/usr/bin", "origin", "web/stable")
    ours = Repo.open(path)
    assert ours.is_partial(theirs.commit)
    assert fsck(ours) == []
    pull(ours, "origin", ["web/stable"])
    assert not ours.is_partial(theirs.commit)
    assert listing(path, theirs.commit) == listing(theirs.path, theirs.commit)
    assert whole(path)


def test_a_pull_that_we_were_cut_off_from_is_finished_by_ostree(
    tmp_path: Path, theirs: Theirs, server: FolderServer, quick: HttpFetcher
) -> None:
    victim = next((theirs.path / "objects").glob("*/*.filez"))
    data = victim.read_bytes()
    victim.unlink()
    path = tmp_path / "ours"
    ostree(f"--repo={path}", "init", "--mode=bare-user")
    ostree(f"--repo={path}", "remote", "add", "--no-gpg-verify", "origin", server.url)
    with pytest.raises(NotFoundError):
        pull(Repo.open(path), "origin", ["web/stable"], fetcher=quick)
    assert ostree(f"--repo={path}", "refs") == ""
    victim.write_bytes(data)
    ostree(f"--repo={path}", "pull", "origin", "web/stable")
    assert whole(path)


@pytest.mark.parametrize("how", ["truncated", "corrupted"])
@pytest.mark.parametrize("extension", ["filez", "dirtree", "dirmeta", "commit"])
def test_a_damaged_object_at_the_remote_is_named_and_nothing_changes_here(
    tmp_path: Path, theirs: Theirs, server: FolderServer, quick: HttpFetcher, tree: Path, how: str, extension: str
) -> None:
    ours = Repo.create(tmp_path / "ours", RepoMode.BARE, settings=QUIET)
    ours.add_remote("origin", server.url, {"gpg-verify": "false"})
    pull(ours, "origin", ["web/stable"])
    before = ostree(f"--repo={theirs.path}", "rev-parse", "web/stable")
    known = set(theirs.path.glob("objects/*/*"))
    write_tree(tree, "changed")
    (tree / "usr/share/another").mkdir(mode=0o711)
    new = theirs.commit_again()
    ostree(f"--repo={theirs.path}", "summary", "-u")
    victim = sorted(path for path in set(theirs.path.glob("objects/*/*")) - known if path.suffix == f".{extension}")[0]
    data = victim.read_bytes()
    victim.write_bytes(data[:-4] if how == "truncated" else data[:-4] + bytes([data[-4] ^ 0x80]) + data[-3:])
    objects = set(ours.objects())
    with pytest.raises(CorruptError) as caught:
        pull(ours, "origin", ["web/stable"], fetcher=quick)
    assert victim.parent.name + victim.stem in caught.value.message
    assert server.url in caught.value.message
    assert set(ours.objects()) == objects
    assert ostree(f"--repo={ours.path}", "rev-parse", "origin:web/stable") == before != new
    assert whole(ours.path)


def test_a_server_that_is_gone_is_said_so_with_a_hint(tmp_path: Path, theirs: Theirs, quick: HttpFetcher) -> None:
    with FolderServer(theirs.path) as server:
        url = server.url
    ours = Repo.create(tmp_path / "ours", RepoMode.BARE, settings=QUIET)
    with pytest.raises(NetworkError, match="connection refused") as caught:
        pull(ours, url, ["web/stable"], fetcher=quick)
    assert caught.value.hint is not None
    assert url in caught.value.hint


def test_a_ref_that_is_not_there_is_answered_with_those_that_are(
    tmp_path: Path, server: FolderServer, quick: HttpFetcher
) -> None:
    ours = Repo.create(tmp_path / "ours", RepoMode.BARE, settings=QUIET)
    with pytest.raises(NotFoundError, match="no ref web/testing") as caught:
        pull(ours, server.url, ["web/testing"], fetcher=quick)
    assert caught.value.hint == "refs there: web/stable"


def test_we_find_the_damage_that_ostree_finds(theirs: Theirs) -> None:
    ours = Repo.open(theirs.path)
    assert fsck(ours) == []
    victim = next(theirs.path.glob("objects/*/*.dirtree"))
    victim.write_bytes(victim.read_bytes()[:-1] + b"?")
    assert not whole(theirs.path)
    assert [problem.checksum for problem in fsck(ours)] == [victim.parent.name + victim.stem]


@pytest.mark.parametrize("theirs_first", [False, True])
def test_a_commit_that_lost_an_object_is_a_problem_for_both_until_pulled_again(
    tmp_path: Path, theirs: Theirs, server: FolderServer, theirs_first: bool
) -> None:
    ours = Repo.create(tmp_path / "ours", RepoMode.ARCHIVE, settings=QUIET)
    pull(ours, server.url, ["web/stable"])
    next(ours.path.glob("objects/*/*.filez")).unlink()
    if theirs_first:
        assert not whole(ours.path)
    assert len(fsck(ours, delete=True)) == 1
    assert len(fsck(ours)) == 1
    assert not whole(ours.path)
    pull(ours, server.url, ["web/stable"])
    assert fsck(ours) == []
    assert whole(ours.path)


def test_pruning_leaves_what_ostree_leaves(tmp_path: Path, theirs: Theirs, tree: Path) -> None:
    for change in ("one", "two", "three"):
        write_tree(tree, change)
        theirs.commit_again()
    copy = tmp_path / "copy"
    subprocess.run(["cp", "-a", theirs.path, copy], check=True)
    ostree(f"--repo={theirs.path}", "prune", "--refs-only", "--depth=1")
    prune(Repo.open(copy), depth=1)
    assert set(Repo.open(copy).objects()) == set(Repo.open(theirs.path).objects())
    assert whole(copy)
    assert sum(kind is ObjectType.COMMIT for _, kind in Repo.open(copy).objects()) == 2
