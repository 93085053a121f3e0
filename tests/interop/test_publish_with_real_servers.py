"""Publishing to a folder, over a real sshd and to a real S3 server: what arrives is what `ostree` pulls and accepts."""

import random
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from publish_places import S3Server, SshServer, find_sshd, s3_is_there, s3_server, ssh_server

from ostler.errors import BusyError, CorruptError, NotFoundError
from ostler.formats.gvariant import Variant
from ostler.formats.objects import Checksum, DirMeta, FileMeta, ObjectType
from ostler.formats.summary import Summary
from ostler.publish.destination import Destination, PublishError
from ostler.publish.folder import FolderDestination
from ostler.publish.history import parse_history
from ostler.publish.s3 import S3Destination
from ostler.publish.s3_client import S3Error, S3Options
from ostler.publish.sequence import PublishOptions, PublishResult, publish
from ostler.publish.server import FolderServer
from ostler.publish.sigv4 import Credentials
from ostler.publish.ssh import SshDestination, SshError, SshOptions
from ostler.store.commit import commit_tree
from ostler.store.content import RepoMode
from ostler.store.copy import copy_objects
from ostler.store.pull import pull
from ostler.store.repo import Repo
from ostler.store.tree import Directory

QUIET = {"fsync": "false", "min-free-space-percent": "0"}
REFS = {"web/stable": "machine/web"}
META = DirMeta(0, 0, 0o40755)


def ostree(*arguments: str | Path) -> str:
    done = subprocess.run(["ostree", *map(str, arguments)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"ostree {' '.join(map(str, arguments))}: {done.stderr}"
    return done.stdout.strip()


def add_commit(repo: Repo, seed: int, count: int = 40) -> Checksum:
    """A version of the machine: most files are the same in all, some are new."""
    random_bytes = random.Random(seed)
    same = random.Random(0)
    with repo.transaction() as transaction:
        tree = Directory(META)
        for number in range(count):
            source = random_bytes if number % 10 == 0 else same
            content = b"%d\n" % number + source.randbytes(200) * 20
            checksum = transaction.write_file(FileMeta(0, 0, 0o100644), content)
            tree.set_file(f"usr/share/d{number % 5}/f{number}", checksum, META)
        if seed <= 2:  # more than is compressed in memory
            large = transaction.write_file(FileMeta(0, 0, 0o100644), same.randbytes(9_000_000) + b"%d" % seed)
            tree.set_file("usr/lib/large", large, META)
        tree.set_file("usr/link", transaction.write_file(FileMeta(0, 0, 0o120777, target="share"), b""), META)
        commit = commit_tree(transaction, tree, timestamp=1_700_000_000 + seed, metadata={"version": Variant("s", "1")})
        transaction.set_ref("machine/web", commit)
    return commit


@pytest.fixture
def source(tmp_path: Path) -> Repo:
    repo = Repo.create(tmp_path / "source", RepoMode.BARE_USER, settings=QUIET)
    add_commit(repo, 1)
    return repo


@dataclass
class Place:
    """A place to publish to: the folder that its server keeps the files in, and a way to open it."""

    folder: Path
    open: Callable[[], Destination]
    refresh: Callable[[], None] = lambda: None

    def put(self, name: str, data: bytes) -> None:
        self.folder.mkdir(parents=True)
        (self.folder / name).write_bytes(data)

    def publish(self, source: Repo, options: PublishOptions | None = None) -> PublishResult:
        destination = self.open()
        try:
            return publish(source, REFS, destination, options)
        finally:
            destination.close()
            self.refresh()

    def summary(self) -> Summary:
        return Summary.decode((self.folder / "summary").read_bytes())

    def objects(self) -> set[str]:
        return {path.name for path in (self.folder / "objects").glob("??/*.*")}


@dataclass
class Bucket(Place):
    """In an S3 server; `folder` is a copy, as it was after publishing last."""

    server: S3Server | None = None
    prefix: str = ""

    def put(self, name: str, data: bytes) -> None:
        assert self.server is not None
        self.server.put(f"{self.prefix}/{name}", data)
        self.refresh()


@pytest.fixture(scope="module")
def sshd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SshServer]:
    if find_sshd() is None:
        pytest.skip("sshd is not installed")
    with ssh_server(tmp_path_factory.mktemp("sshd") / "server") as server:
        yield server


@pytest.fixture(scope="module")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    if not s3_is_there():
        pytest.skip("neither swift (proxy, account, container, object) nor an rclone with `serve s3` is installed")
    with s3_server(tmp_path_factory.mktemp("s3") / "buckets") as server:
        yield server


@pytest.fixture(params=["folder", "ssh", "s3"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    if request.param == "folder":
        return Place(tmp_path / "www", lambda: FolderDestination(tmp_path / "www"))
    if request.param == "ssh":
        server: SshServer = request.getfixturevalue("sshd")
        folder = tmp_path / "with space"
        return Place(folder, lambda: SshDestination(server.url(folder).replace(" ", "%20"), server.options))
    bucket: S3Server = request.getfixturevalue("s3")
    prefix = f"a b/{tmp_path.name}"
    url = f"s3://updates/{prefix}".replace(" ", "%20")
    folder = tmp_path / "fetched"
    return Bucket(
        folder, lambda: S3Destination(url, bucket.options), lambda: bucket.fetch(prefix, folder), bucket, prefix
    )


def check_with_ostree(place: Place, commit: Checksum, work: Path) -> None:
    """The C program pulls the ref from a web server over the place's files, and finds all of it whole."""
    with FolderServer(place.folder) as server:
        ostree(f"--repo={work}", "init", "--mode=bare-user")
        ostree(f"--repo={work}", "remote", "add", "--no-gpg-verify", "origin", server.url)
        ostree(f"--repo={work}", "pull", "origin", "web/stable")
        assert ostree(f"--repo={work}", "rev-parse", "origin:web/stable") == commit
        ostree(f"--repo={work}", "fsck")


def test_ostree_pulls_what_was_published(place: Place, source: Repo, tmp_path: Path) -> None:
    result = place.publish(source, PublishOptions(timestamp=1_800_000_000))
    commit = source.resolve("machine/web")
    assert result.refs[0].old is None
    assert result.objects == len(place.objects())
    assert 0 < result.stored_bytes < result.content_bytes
    assert place.summary().refs["web/stable"].commit == commit
    check_with_ostree(place, commit, tmp_path / "client")
    ostree(f"--repo={place.folder}", "fsck")


def test_an_update_brings_only_what_is_missing(place: Place, source: Repo, tmp_path: Path) -> None:
    place.publish(source)
    before = place.objects()
    old, new = source.resolve("machine/web"), add_commit(source, 2)
    planned = place.publish(source, PublishOptions(dry_run=True))
    assert place.objects() == before
    result = place.publish(source)
    assert result.refs[0].old == old
    assert result.objects == planned.objects == len(place.objects() - before)
    assert result.objects < len(before) / 2
    assert parse_history((place.folder / "ostler/history/web/stable").read_bytes()) == [new, old]
    check_with_ostree(place, new, tmp_path / "client")
    again = place.publish(source)
    assert (again.objects, again.stored_bytes) == (0, 0)


def test_detached_metadata_comes_along_whenever_it_was_made(place: Place, source: Repo) -> None:
    commit = source.resolve("machine/web")
    for text in ("first", "second"):
        with source.transaction() as transaction:
            transaction.write_detached(commit, {"a": Variant("s", text)})
        place.publish(source)
        stored = (place.folder / f"objects/{commit[:2]}/{commit[2:]}.commitmeta").read_bytes()
        assert text.encode() in stored


def test_the_summary_is_signed_whenever_it_changes(place: Place, source: Repo) -> None:
    def sign(summary: bytes) -> bytes:
        return b"signature of " + str(len(summary)).encode()

    options = PublishOptions(sign_summary=sign)
    for seed in (1, 2):
        add_commit(source, seed)
        place.publish(source, options)
        assert (place.folder / "summary.sig").read_bytes() == sign((place.folder / "summary").read_bytes())
    add_commit(source, 3)
    place.publish(source)
    assert not (place.folder / "summary.sig").exists()


def test_pruning_keeps_the_last_versions_and_other_refs(place: Place, source: Repo, tmp_path: Path) -> None:
    commits = [source.resolve("machine/web")]
    place.publish(source)
    destination = place.open()
    publish(source, {"other": "machine/web"}, destination)
    destination.close()
    place.refresh()
    for seed in (2, 3, 4):
        commits.append(add_commit(source, seed))
        place.publish(source)
    planned = place.publish(source, PublishOptions(prune=True, keep=2, dry_run=True)).pruned
    result = place.publish(source, PublishOptions(prune=True, keep=2)).pruned
    assert result is not None
    assert planned == result
    assert result.removed > 3
    there = {path.parent.name + path.stem for path in (place.folder / "objects").glob("??/*.commit")}
    assert there == {commits[0], commits[2], commits[3]}
    ostree(f"--repo={place.folder}", "fsck")
    check_with_ostree(place, commits[3], tmp_path / "client")


def test_pruning_reads_there_what_is_not_here(place: Place, source: Repo, tmp_path: Path) -> None:
    place.publish(source)
    other = Repo.create(tmp_path / "other machine", RepoMode.BARE_USER, settings=QUIET)
    add_commit(other, 7, count=15)
    destination = place.open()
    publish(other, {"db/stable": "machine/web"}, destination, PublishOptions(prune=True, keep=1))
    destination.close()
    place.refresh()
    assert set(place.summary().refs) == {"web/stable", "db/stable"}
    ostree(f"--repo={place.folder}", "fsck")


def test_something_else_is_left_alone(place: Place, source: Repo) -> None:
    place.put("index.html", b"my home page")
    with pytest.raises(PublishError, match="something else"):
        place.publish(source)
    assert [path.name for path in place.folder.iterdir()] == ["index.html"]


def test_damage_here_does_not_get_out(place: Place, source: Repo) -> None:
    place.publish(source)
    before = (place.folder / "summary").read_bytes()
    commit = add_commit(source, 5)
    tree = source.load_commit(commit).root_tree
    damaged = next(
        checksum
        for checksum, kind in sorted(source.objects())
        if kind is ObjectType.FILE
        and f"{checksum[2:]}.filez" not in place.objects()
        and source.file_size(checksum) < 10_000
    )
    path = source.object_path(damaged, ObjectType.FILE)
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    with pytest.raises(CorruptError, match=damaged):
        place.publish(source)
    assert (place.folder / "summary").read_bytes() == before
    assert f"{damaged[2:]}.filez" not in place.objects()
    assert f"{commit[2:]}.commit" not in place.objects()
    assert tree


def test_whoever_removes_objects_keeps_away_from_publishers(place: Place, source: Repo) -> None:
    place.publish(source)
    if (place.folder / ".lock").exists():
        repo = Repo.open(place.folder)
        repo.write_config(repo.config.with_value("core", "lock-timeout-secs", "0"))
    first = place.open()
    with first.busy(removing=False):
        place.publish(source)
        with pytest.raises(BusyError):
            place.publish(source, PublishOptions(prune=True))
    place.publish(source, PublishOptions(prune=True))
    first.close()
    place.refresh()
    assert list((place.folder / "ostler").glob("busy/*")) == []


PUBLISH = """
import sys
from pathlib import Path
sys.path[:0] = [{tests!r}, {root!r}]
from publish_places import *
from ostler.publish.sequence import publish
from ostler.publish.folder import FolderDestination
from ostler.publish.ssh import SshDestination, SshOptions
from ostler.publish.s3 import S3Destination
from ostler.store.repo import Repo
import ostler.publish.ssh
ostler.publish.ssh.BATCH_FILES = 10
destination = {destination}
publish(Repo.open(Path({source!r})), {{"web/stable": "machine/web"}}, destination)
destination.close()
"""


def described(destination: Destination, s3_options: S3Options | None) -> str:
    """How to open the same place in another process."""
    if isinstance(destination, SshDestination):
        return f"SshDestination({destination.name.replace(' ', '%20')!r}, {destination._options!r})"
    if isinstance(destination, S3Destination):
        assert s3_options is not None
        who = s3_options.credentials
        options = (
            f"S3Options(Credentials({who.access_key!r}, {who.secret_key!r}), 'us-east-1', {s3_options.endpoint!r})"
        )
        return f"S3Destination({destination.name.replace(' ', '%20')!r}, {options})"
    return f"FolderDestination(Path({destination.name!r}))"


def test_publishing_that_is_killed_can_be_repeated_and_shows_nothing_halfway(
    place: Place, source: Repo, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    place.publish(source)
    destination = place.open()
    options = request.getfixturevalue("s3").options if isinstance(destination, S3Destination) else None
    here = Path(__file__).parent
    script = PUBLISH.format(
        tests=str(here),
        root=str(here.parent.parent),
        source=str(source.path),
        destination=described(destination, options),
    )
    destination.close()
    moments = random.Random(4)
    longest = 0.0
    for number in range(6):
        new = add_commit(source, 10 + number, count=80)
        began = time.monotonic()
        log = tmp_path / "log"
        process = subprocess.Popen([sys.executable, "-c", script], stderr=log.open("wb"))
        try:
            process.wait(timeout=None if number == 0 else moments.uniform(0.15, longest))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        else:
            assert process.returncode == 0, log.read_text()
            longest = max(longest, time.monotonic() - began)
        place.refresh()
        if (place.folder / f"objects/{new[:2]}/{new[2:]}.commit").exists():
            ostree(f"--repo={place.folder}", "fsck")
        listed = place.summary().refs["web/stable"].commit
        ref = (place.folder / "refs/heads/web/stable").read_text().strip()
        for commit in (listed, ref):
            assert (place.folder / f"objects/{commit[:2]}/{commit[2:]}.commit").exists()
    place.publish(source)
    check_with_ostree(place, new, tmp_path / "client")
    ostree(f"--repo={place.folder}", "fsck")


def test_a_host_that_does_not_answer_is_named(tmp_path: Path, source: Repo) -> None:
    destination = SshDestination("ssh://nobody@127.0.0.1:1/srv", SshOptions(("-F", "/dev/null")))
    with pytest.raises(SshError, match="ssh://nobody@127") as caught:
        publish(source, REFS, destination)
    destination.close()
    assert "ssh nobody@127.0.0.1" in str(caught.value.hint)


def test_a_wrong_key_or_bucket_is_explained(s3: S3Server, source: Repo) -> None:
    wrong = S3Destination(
        "s3://updates/x", replace(s3.options, credentials=Credentials(s3.options.credentials.access_key, "wrong"))
    )
    with pytest.raises(S3Error) as caught:
        publish(source, REFS, wrong)
    assert caught.value.status == 403
    assert caught.value.hint
    wrong.close()
    absent = S3Destination("s3://nothing/x", s3.options)
    with pytest.raises(S3Error, match="NoSuchBucket"):
        publish(source, REFS, absent)
    absent.close()


def test_an_unknown_revision_is_named(place: Place, source: Repo) -> None:
    destination = place.open()
    with pytest.raises(NotFoundError, match="machine/db"):
        publish(source, {"db": "machine/db"}, destination)
    destination.close()
    place.refresh()
    assert not place.folder.exists()


def test_ostree_updates_by_a_delta_from_the_version_before(place: Place, source: Repo, tmp_path: Path) -> None:
    commits = [source.resolve("machine/web")]
    options = PublishOptions(delta_from=2)
    place.publish(source, options)
    client = tmp_path / "client"
    check_with_ostree(place, commits[0], client)
    for seed in (2, 3):
        commits.append(add_commit(source, seed))
        result = place.publish(source, options)
    assert set(result.deltas) == {(commits[0], commits[2]), (commits[1], commits[2])}
    assert result.delta_bytes > 0
    assert not list(source.path.glob("deltas/??/*"))
    asked: list[str] = []
    with FolderServer(place.folder, on_request=lambda request: asked.append(request.path)) as server:
        ostree(f"--repo={client}", "remote", "delete", "origin")
        ostree(f"--repo={client}", "remote", "add", "--no-gpg-verify", "origin", server.url)
        ostree(f"--repo={client}", "pull", "origin", "web/stable")
    ostree(f"--repo={client}", "fsck")
    assert ostree(f"--repo={client}", "rev-parse", "origin:web/stable") == commits[2]
    assert any(re.search(r"^/deltas/.*/0$", path) for path in asked)
    ours = Repo.create(tmp_path / "ours", RepoMode.BARE_USER, settings=QUIET)
    copy_objects(source, ours, commits[0], ref="web/stable")
    asked.clear()
    with FolderServer(place.folder, on_request=lambda request: asked.append(request.path)) as server:
        pull(ours, server.url, ["web/stable"])
    assert any(re.search(r"^/deltas/.*/0$", path) for path in asked)
    assert not any(path.endswith(".filez") for path in asked)
    assert place.publish(source, options).deltas == ()
    place.publish(source, PublishOptions(prune=True, keep=1))
    assert {commit for _, commit in result.deltas} == {commits[2]}
    add_commit(source, 4)
    place.publish(source, PublishOptions(prune=True, keep=1))
    assert not list(place.folder.glob("deltas/??/*/superblock"))
    assert "ostree.static-deltas" not in place.summary().metadata
