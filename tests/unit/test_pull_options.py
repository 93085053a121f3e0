"""What can be said of a pull: depth, parts, mirrors, caches, what must not come in, and how summaries are asked for."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from sample_trees import add_commit, content_of, file_checksum, make_repo, object_file, object_names, sample_files

from ostler.errors import CorruptError, NotFoundError
from ostler.formats.gvariant import Variant
from ostler.formats.objects import Checksum, DirMeta, FileMeta, ObjectType
from ostler.io.http import NetworkError
from ostler.io.progress import Event, Finished, Warning
from ostler.publish.server import FolderServer, Request
from ostler.store.commit import commit_tree
from ostler.store.content import RepoMode
from ostler.store.copy import LocalPath
from ostler.store.errors import StoreError
from ostler.store.import_rules import UnsafeModeError
from ostler.store.localcache import LocalCaches
from ostler.store.pull import OlderCommitError, pull, pull_local, remote_refs, remote_summary
from ostler.store.pull_deltas import NoDeltaError
from ostler.store.pull_options import PullOptions, UseDeltas
from ostler.store.repo import Repo
from ostler.store.signing.errors import SignatureError
from ostler.store.summary import write_summary
from ostler.store.tree import Directory
from ostler.store.walk import scope_of

NO_SIGNATURES = {"gpg-verify": "false"}


class Remote:
    """An archive repository with a history of three commits on `main`, and a server for it."""

    def __init__(self, path: Path) -> None:
        self.repo = make_repo(path, RepoMode.ARCHIVE)
        self.commits: list[Checksum] = []
        for number in range(3):
            self.add(number)
        self.log: list[Request] = []
        self.server = FolderServer(path, on_request=self.log.append)

    def add(self, number: int, **settings: Variant) -> Checksum:
        files = sample_files() | {"changing": f"version {number}".encode() * 50}
        parent = self.commits[-1] if self.commits else None
        commit = add_commit(
            self.repo, "main", files, parent=parent, timestamp=1_700_000_000 + number, metadata=settings or None
        )
        self.commits.append(commit)
        write_summary(self.repo)
        return commit

    def asked(self, ending: str = "") -> list[str]:
        return [request.path for request in self.log if request.path.endswith(ending)]


@pytest.fixture
def remote(tmp_path: Path) -> Iterator[Remote]:
    made = Remote(tmp_path / "remote")
    with made.server:
        yield made


@pytest.fixture
def repo(tmp_path: Path, remote: Remote) -> Repo:
    made = make_repo(tmp_path / "repo")
    made.add_remote("origin", remote.server.url, NO_SIGNATURES)
    return made


def commits_in(repo: Repo) -> set[Checksum]:
    return {checksum for checksum, kind in object_names(repo) if kind is ObjectType.COMMIT}


@pytest.mark.parametrize(("depth", "count"), [(0, 1), (1, 2), (-1, 3)])
@pytest.mark.parametrize("local", [False, True])
def test_depth_says_how_many_parents_come(repo: Repo, remote: Remote, depth: int, count: int, local: bool) -> None:
    options = PullOptions(depth=depth)
    if local:
        pull_local(repo, remote.repo.path, ["main"], options=options)
    else:
        pull(repo, "origin", ["main"], options=options)
    assert commits_in(repo) == set(remote.commits[-count:])
    for commit in remote.commits[-count:]:
        assert not repo.is_partial(commit)
        assert content_of(repo, commit) == content_of(remote.repo, commit)


def test_a_history_can_be_completed_later_and_may_end_early(repo: Repo, remote: Remote) -> None:
    pull(repo, "origin", ["main"])
    object_file(remote.repo, remote.commits[0], ObjectType.COMMIT).unlink()
    pull(repo, "origin", ["main"], options=PullOptions(depth=-1))
    assert commits_in(repo) == set(remote.commits[1:])
    object_file(remote.repo, remote.commits[2], ObjectType.COMMIT).unlink()
    with pytest.raises(NotFoundError):
        pull(make_repo(repo.path.parent / "other"), remote.server.url, ["main"], options=PullOptions(depth=-1))


def test_commits_alone_can_be_pulled_and_stay_partial(repo: Repo, remote: Remote) -> None:
    pull(repo, "origin", ["main"], options=PullOptions(commit_metadata_only=True))
    assert {kind for _, kind in object_names(repo)} == {ObjectType.COMMIT}
    assert repo.is_partial(remote.commits[2])
    pull(repo, "origin", ["main"])
    assert not repo.is_partial(remote.commits[2])
    assert content_of(repo, "origin:main") == content_of(remote.repo, "main")


def test_only_the_subpaths_asked_for_come(repo: Repo, remote: Remote) -> None:
    pull(repo, "origin", ["main"], options=PullOptions(subpaths=("/usr/bin", "/changing")))
    assert repo.is_partial(remote.commits[2])
    for path in ("usr/bin/tool.sh", "usr/bin/link", "changing"):
        assert repo.has(file_checksum(remote.repo, "main", path), ObjectType.FILE)
    large = file_checksum(remote.repo, "main", "usr/lib/large")
    assert not repo.has(large, ObjectType.FILE)
    assert not repo.has(file_checksum(remote.repo, "main", "empty"), ObjectType.FILE)
    pull(repo, "origin", ["main"])
    assert not repo.is_partial(remote.commits[2])
    assert content_of(repo, "origin:main") == content_of(remote.repo, "main")


def test_subpaths_become_a_scope() -> None:
    assert scope_of(()) is None
    assert scope_of(("/usr/share", "/")) is None
    assert scope_of(("/usr/share/doc", "/usr/bin", "/etc/")) == {
        "usr": {"share": {"doc": None}, "bin": None},
        "etc": None,
    }
    assert scope_of(("/usr", "/usr/bin")) == {"usr": None}
    assert scope_of(("/usr/bin", "/usr")) == {"usr": None}


def test_an_older_commit_can_be_named_or_refused(repo: Repo, remote: Remote) -> None:
    middle = remote.commits[1]
    assert pull(repo, "origin", [f"main@{middle}"]).refs == {"main": middle}
    assert repo.refs() == {"origin:main": middle}
    pull(repo, "origin", ["main"], options=PullOptions(timestamp_check=True))
    for options in (
        PullOptions(timestamp_check=True),
        PullOptions(timestamp_check_from=remote.commits[2]),
    ):
        with pytest.raises(OlderCommitError, match=r"Upgrade.*is chronologically older"):
            pull(repo, "origin", [f"main@{remote.commits[0]}"], options=options)
    assert repo.refs() == {"origin:main": remote.commits[2]}
    assert remote.commits[0] not in commits_in(repo)
    pull(repo, "origin", ["main"], options=PullOptions(override_commits={"main": remote.commits[0]}))
    assert repo.refs() == {"origin:main": remote.commits[0]}


def test_a_commit_by_name_needs_no_summary(repo: Repo, remote: Remote) -> None:
    (remote.repo.path / "summary").write_bytes(b"broken")
    options = PullOptions(static_deltas=UseDeltas.NEVER)
    pull(repo, "origin", [f"main@{remote.commits[2]}"], options=options)
    assert not remote.asked("/summary")
    with pytest.raises(CorruptError, match="summary"):
        pull(repo, "origin", ["main"], options=options)


def test_refs_come_from_the_configuration_if_none_are_named(repo: Repo, remote: Remote) -> None:
    with pytest.raises(StoreError, match="No configured branches for remote origin"):
        pull(repo, "origin")
    repo.add_remote("set", remote.server.url, {**NO_SIGNATURES, "branches": "main;"})
    assert pull(repo, "set").refs == {"main": remote.commits[2]}


def test_a_mirror_has_everything_with_summary_and_signature(tmp_path: Path, remote: Remote) -> None:
    add_commit(remote.repo, "other/branch", {"a": b"a"})
    write_summary(remote.repo)
    (remote.repo.path / "summary.sig").write_bytes(b"signature of whatever kind")
    mirror = make_repo(tmp_path / "mirror", RepoMode.ARCHIVE)
    mirror.add_remote("origin", remote.server.url, NO_SIGNATURES)
    pull(mirror, "origin", options=PullOptions(mirror=True))
    assert mirror.refs() == remote.repo.refs()
    for name in ("summary", "summary.sig"):
        assert (mirror.path / name).read_bytes() == (remote.repo.path / name).read_bytes()
    (remote.repo.path / "summary").unlink()
    with pytest.raises(StoreError, match="does not have a summary"):
        pull(mirror, remote.server.url, options=PullOptions(mirror=True))


def test_a_mirror_of_some_refs_keeps_its_own_summary(tmp_path: Path, remote: Remote) -> None:
    mirror = make_repo(tmp_path / "mirror", RepoMode.ARCHIVE)
    mirror.add_remote("origin", remote.server.url, NO_SIGNATURES)
    write_summary(mirror)
    own = (mirror.path / "summary").read_bytes()
    pull(mirror, "origin", ["main"], options=PullOptions(mirror=True))
    assert mirror.refs() == {"main": remote.commits[2]}
    assert (mirror.path / "summary").read_bytes() == own


def test_a_collections_refs_are_mirrored_as_such(tmp_path: Path) -> None:
    binding = {
        "ostree.collection-binding": Variant("s", "org.example.Os"),
        "ostree.ref-binding": Variant("as", ["main"]),
    }
    source = Repo.create(
        tmp_path / "source", RepoMode.ARCHIVE, settings={"collection-id": "org.example.Os", "fsync": "false"}
    )
    commit = add_commit(source, "main", {"a": b"a"}, metadata=binding)
    write_summary(source)
    with FolderServer(source.path) as server:
        mirror = make_repo(tmp_path / "mirror", RepoMode.ARCHIVE)
        mirror.add_remote("origin", server.url, {**NO_SIGNATURES, "collection-id": "org.example.Os"})
        pull(mirror, "origin", ["main"], options=PullOptions(mirror=True))
        assert mirror.collection_refs() == {("org.example.Os", "main"): commit}
        mirror.add_remote("wrong", server.url, {**NO_SIGNATURES, "collection-id": "org.example.Other"})
        with pytest.raises(CorruptError, match="collection ID"):
            pull(mirror, "wrong", ["main"])
        pull(mirror, "wrong", ["main"], options=PullOptions(verify_bindings=False))
        assert mirror.refs() == {"wrong:main": commit}


def test_objects_come_from_a_cache_on_this_machine(tmp_path: Path, remote: Remote) -> None:
    cache = make_repo(tmp_path / "cache")
    pull(cache, remote.server.url, [f"main@{remote.commits[0]}"])
    repo = make_repo(tmp_path / "repo", RepoMode.ARCHIVE)
    result = pull(repo, remote.server.url, ["main"], options=PullOptions(local_caches=(cache,)))
    numbers = result.statistics
    assert (numbers.content_fetched, numbers.metadata_fetched) == (1, 3)  # commit, root directory, detached metadata
    assert numbers.content_imported == sum(kind is ObjectType.FILE for _, kind in object_names(cache)) - 1
    assert content_of(repo, "main") == content_of(remote.repo, "main")


def test_a_damaged_cache_is_named(tmp_path: Path, remote: Remote) -> None:
    cache = make_repo(tmp_path / "cache")
    pull(cache, remote.server.url, ["main"])
    path = object_file(cache, file_checksum(cache, "main", "usr/bin/tool.sh"))
    path.chmod(0o644)
    path.write_bytes(b"evil")
    with pytest.raises(CorruptError, match=str(cache.path)):
        pull(make_repo(tmp_path / "repo"), remote.server.url, ["main"], options=PullOptions(local_caches=(cache,)))


def test_another_url_can_stand_in(repo: Repo, remote: Remote) -> None:
    repo.add_remote("moved", "http://127.0.0.1:1/", {**NO_SIGNATURES, "contenturl": "http://127.0.0.1:1/"})
    pull(repo, "moved", ["main"], options=PullOptions(override_url=remote.server.url))
    assert repo.refs() == {"moved:main": remote.commits[2]}


def test_mirrors_stand_in_for_each_other(tmp_path: Path, repo: Repo, remote: Remote) -> None:
    import shutil

    second = tmp_path / "second"
    shutil.copytree(remote.repo.path, second)
    for folder, path in ((remote.repo.path, "empty"), (second, "changing")):
        object_file(Repo.open(folder), file_checksum(remote.repo, "main", path)).unlink()
    commit = remote.repo.load_commit(remote.commits[2])
    object_file(remote.repo, commit.root_tree, ObjectType.DIRTREE).unlink()
    with FolderServer(second) as other:
        urls = ["", "# a comment", "ftp://example.org/", f"{remote.server.url}/nothing", remote.server.url, other.url]
        (remote.repo.path / "mirrors").write_text("\n".join(urls))
        repo.add_remote("list", f"mirrorlist={remote.server.url}/mirrors", NO_SIGNATURES)
        pull(repo, "list", ["main"])
    assert content_of(repo, "list:main") == content_of(Repo.open(repo.path), "list:main")
    (remote.repo.path / "mirrors").write_text("http://127.0.0.1:1/\n")
    with pytest.raises(NetworkError, match="No valid mirrors"):
        pull(repo, "list", ["main"], options=PullOptions(network_retries=0))


def test_an_unchanged_summary_is_not_sent_twice(repo: Repo, remote: Remote) -> None:
    pull(repo, "origin", ["main"])
    assert (repo.path / "tmp/cache/summaries/origin").read_bytes() == (remote.repo.path / "summary").read_bytes()
    remote.log.clear()
    pull(repo, "origin", ["main"])
    assert [(r.path, r.status) for r in remote.log if r.path == "/summary"] == [("/summary", 304)]
    new = remote.add(7)
    pull(repo, "origin", ["main"])
    assert repo.refs() == {"origin:main": new}


def test_summaries_can_be_cached_elsewhere(tmp_path: Path, repo: Repo) -> None:
    pull(repo, "origin", ["main"], options=PullOptions(cache_dir=tmp_path / "cache"))
    assert (tmp_path / "cache/summaries/origin").is_file()
    assert not (repo.path / "tmp/cache/summaries").exists()


def test_a_damaged_cache_of_summaries_does_no_harm(repo: Repo, remote: Remote) -> None:
    pull(repo, "origin", ["main"])
    cached = repo.path / "tmp/cache/summaries/origin"
    cached.unlink()
    cached.mkdir()
    remote.add(8)
    pull(repo, "origin", ["main"])
    assert repo.refs() == {"origin:main": remote.commits[-1]}


def test_the_summary_can_be_had_alone(repo: Repo, remote: Remote) -> None:
    (remote.repo.path / "summary.sig").write_bytes(b"sig")
    assert remote_summary(repo, "origin") == ((remote.repo.path / "summary").read_bytes(), b"sig")
    assert remote_refs(repo, "origin") == {"main": remote.commits[2]}


def test_a_summary_that_must_be_signed_is_not_used_unsigned(repo: Repo, remote: Remote) -> None:
    options = {**NO_SIGNATURES, "sign-verify-summary": "true"}
    repo.add_remote("strict", remote.server.url, options)
    with pytest.raises(SignatureError, match=r"no summary\.sig found"):
        pull(repo, "strict", ["main"])
    (remote.repo.path / "summary").unlink()
    with pytest.raises(SignatureError, match="no summary found"):
        pull(repo, "strict", ["main"])
    assert not remote.asked("/refs/heads/main")
    assert not object_names(repo)


@pytest.mark.parametrize("mode", [RepoMode.BARE_USER, RepoMode.ARCHIVE])
@pytest.mark.parametrize("local", [False, True])
def test_unsafe_files_can_be_kept_out(tmp_path: Path, remote: Remote, mode: RepoMode, local: bool) -> None:
    with remote.repo.transaction() as transaction:
        tree = Directory(DirMeta(0, 0, 0o40755))
        checksum = transaction.write_file(FileMeta(0, 0, 0o104755), b"set-id")
        tree.set_file("su", checksum, DirMeta(0, 0, 0o40755))
        transaction.set_ref("unsafe", commit_tree(transaction, tree, timestamp=1))
    write_summary(remote.repo)
    repo = make_repo(tmp_path / "repo", mode)
    options = PullOptions(bareuseronly_files=True)
    place = remote.repo.path if local else remote.server.url
    for _ in range(2):  # nor is it found staged the next time
        with pytest.raises(UnsafeModeError, match=f"Content object {checksum}: invalid mode 0104755 with bits 04000"):
            pull(repo, place, ["unsafe"], options=options)
    pull(repo, place, ["main"], options=options)
    pull(repo, place, ["unsafe"])
    assert repo.file_meta(checksum).mode == 0o104755


def test_a_trusted_repository_on_this_machine_is_linked(tmp_path: Path, remote: Remote) -> None:
    repo = make_repo(tmp_path / "repo", RepoMode.ARCHIVE)
    result = pull_local(repo, remote.repo.path, options=PullOptions(untrusted=False))
    assert repo.refs() == {"main": remote.commits[2]}
    assert result.statistics.local
    for checksum, kind in object_names(repo):
        if kind is ObjectType.FILE:
            assert object_file(repo, checksum).samefile(object_file(remote.repo, checksum))


def test_a_trusted_repository_is_believed_and_an_untrusted_one_not(tmp_path: Path) -> None:
    source = make_repo(tmp_path / "source")
    add_commit(source, "x", {"file": b"good"})
    checksum = file_checksum(source, "x", "file")
    object_file(source, checksum).write_bytes(b"evil")
    with pytest.raises(CorruptError, match=rf"Corrupted.*{checksum}"):
        pull_local(make_repo(tmp_path / "a", RepoMode.ARCHIVE), source.path)
    believing = make_repo(tmp_path / "b", RepoMode.ARCHIVE)
    pull_local(believing, source.path, options=PullOptions(untrusted=False))
    with FolderServer(believing.path) as server:
        with pytest.raises(CorruptError, match=rf"Corrupted.*{checksum}"):
            pull(make_repo(tmp_path / "c"), server.url, ["x"], options=PullOptions(http_trusted=True))
        mirror = make_repo(tmp_path / "d", RepoMode.ARCHIVE)
        pull(mirror, server.url, ["x"], options=PullOptions(http_trusted=True, mirror=True, untrusted=False))
    assert object_file(mirror, checksum).read_bytes() == object_file(believing, checksum).read_bytes()


def test_local_refs_can_become_those_of_a_remote(tmp_path: Path, remote: Remote) -> None:
    repo = make_repo(tmp_path / "repo")
    pull_local(repo, remote.repo.path, ["main"], remote="elsewhere")
    assert repo.refs() == {"elsewhere:main": remote.commits[2]}
    with pytest.raises(StoreError, match="Must specify remote name"):
        pull_local(repo, remote.repo.path, ["main"], options=PullOptions(gpg_verify=True))
    with pytest.raises(NotFoundError, match="nothing"):
        pull_local(repo, remote.repo.path, ["nothing"])


def test_required_deltas_that_are_not_there_are_an_error(tmp_path: Path, repo: Repo, remote: Remote) -> None:
    require = PullOptions(static_deltas=UseDeltas.REQUIRE)
    with pytest.raises(NoDeltaError):
        pull(repo, "origin", ["main"], options=require)
    with pytest.raises(StoreError, match="Can't use static deltas in an archive repo"):
        pull(make_repo(tmp_path / "archive", RepoMode.ARCHIVE), remote.server.url, ["main"], options=require)
    with pytest.raises(StoreError, match="--dry-run requires"):
        PullOptions(dry_run=True)


def test_a_delta_that_is_garbage_is_passed_over(repo: Repo, remote: Remote) -> None:
    from ostler.formats.delta import superblock_path

    remote.repo.write_config(remote.repo.config.with_value("core", "indexed-deltas", "false"))
    (remote.repo.path / "summary").unlink()
    path = remote.repo.path / superblock_path(None, remote.commits[2])
    path.parent.mkdir(parents=True)
    path.write_bytes(b"garbage" * 100)
    events: list[Event] = []
    pull(repo, "origin", ["main"], report=events.append)
    assert remote.asked("/superblock")
    assert any(isinstance(event, Warning) for event in events)
    assert content_of(repo, "origin:main") == content_of(remote.repo, "main")


def test_remotes_that_cannot_be_used_say_why(repo: Repo, remote: Remote) -> None:
    for options, words in (
        ({"unconfigured-state": "pay first"}, "remote unconfigured-state: pay first"),
        ({"custom-backend": "oci"}, "uses custom backend 'oci'"),
        ({"metalink": "http://x/"}, "metalink"),
        ({"tls-client-cert-path": "/x"}, 'must specify both "tls-client-cert-path"'),
    ):
        repo.add_remote("odd", remote.server.url, {**NO_SIGNATURES, **options})
        with pytest.raises(StoreError, match=words):
            pull(repo, "odd", ["main"])
    with pytest.raises(StoreError, match="Invalid URI scheme in badscheme://something"):
        pull(repo, "badscheme://something", ["main"])


@pytest.mark.parametrize(
    "bad", [{"subpaths": ("usr",)}, {"depth": -2}, {"timestamp_check": True, "depth": 1}, {"connections": 0}]
)
def test_options_that_make_no_sense_are_refused(bad: dict[str, object]) -> None:
    with pytest.raises(StoreError):
        PullOptions(**bad)  # type: ignore[arg-type]


@pytest.mark.parametrize("local", [False, True])
def test_a_parent_that_was_deleted_on_purpose_leaves_its_tombstone(repo: Repo, remote: Remote, local: bool) -> None:
    remote.repo.write_config(remote.repo.config.with_value("core", "tombstone-commits", "true"))
    object_file(remote.repo, remote.commits[1], ObjectType.COMMIT).unlink()
    remote.repo.write_tombstone(remote.commits[1])
    write_summary(remote.repo)
    if local:
        pull_local(repo, remote.repo.path, ["main"], options=PullOptions(depth=-1))
    else:
        pull(repo, "origin", ["main"], options=PullOptions(depth=-1))
    assert commits_in(repo) == {remote.commits[2]}
    assert repo.has(remote.commits[1], ObjectType.TOMBSTONE)


def test_a_ref_beside_the_summary_is_not_taken(repo: Repo, remote: Remote) -> None:
    (remote.repo.path / "refs/heads/evil").write_text(remote.commits[0] + "\n")
    with pytest.raises(NotFoundError, match="No such branch 'evil' in repository summary"):
        pull(repo, "origin", ["evil"])
    assert remote.asked("refs/heads/evil") == []


def test_a_missing_parent_reached_at_two_depths_ends_both_histories(tmp_path: Path) -> None:
    source, repo = make_repo(tmp_path / "source"), make_repo(tmp_path / "repo")
    lost = add_commit(source, None, {"x": b"x"})
    middle = add_commit(source, None, {"x": b"y"}, parent=lost)
    tips = {
        "a": add_commit(source, "a", {"x": b"z"}, parent=middle),
        "b": add_commit(source, "b", {"x": b"b"}, parent=lost),
    }
    object_file(source, lost, ObjectType.COMMIT).unlink()
    pull_local(repo, source.path, ["a", "b"], options=PullOptions(depth=2))
    assert commits_in(repo) == {middle, *tips.values()}
    with pytest.raises(NotFoundError):
        pull_local(make_repo(tmp_path / "other"), source.path, ["b", lost], options=PullOptions(depth=-1))


def _child_of(parent: Repo, path: Path) -> Repo:
    child = make_repo(path)
    child.write_config(child.config.with_value("core", "parent", str(parent.path)))
    return Repo.open(path)


def test_sources_and_caches_may_have_files_in_their_parents(tmp_path: Path, remote: Remote) -> None:
    child = _child_of(remote.repo, tmp_path / "child")
    repo = make_repo(tmp_path / "repo", RepoMode.ARCHIVE)
    pull_local(repo, child.path, [remote.commits[2]])
    assert content_of(repo, remote.commits[2]) == content_of(remote.repo, "main")
    other = make_repo(tmp_path / "other")
    result = pull(other, remote.server.url, ["main"], options=PullOptions(local_caches=(child,)))
    assert content_of(other, "main") == content_of(remote.repo, "main")
    assert result.statistics.content_fetched == 0


def test_what_a_cache_loses_on_the_way_comes_from_the_source(
    tmp_path: Path, remote: Remote, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache, repo = make_repo(tmp_path / "cache"), make_repo(tmp_path / "repo")
    pull(cache, remote.server.url, ["main"])
    lost = file_checksum(cache, "main", "usr/bin/tool.sh")
    share_out = LocalCaches.share_out

    def lose(caches: LocalCaches, checksums: Sequence[Checksum]) -> list[tuple[LocalPath, list[Checksum]]]:
        shared = list(share_out(caches, checksums))
        object_file(cache, lost).unlink()
        return shared

    monkeypatch.setattr(LocalCaches, "share_out", lose)
    result = pull(repo, remote.server.url, ["main"], options=PullOptions(local_caches=(cache,)))
    assert content_of(repo, "main") == content_of(remote.repo, "main")
    assert result.statistics.content_fetched == 1


def test_a_mirror_publishes_the_summary_it_mirrored(tmp_path: Path, remote: Remote) -> None:
    mirror = make_repo(tmp_path / "mirror", RepoMode.ARCHIVE)
    old = (remote.repo.path / "summary").read_bytes()

    def publish_more(event: Event) -> None:
        if isinstance(event, Finished) and len(remote.commits) == 3:
            remote.add(3)

    pull(mirror, remote.server.url, options=PullOptions(mirror=True), report=publish_more)
    assert len(remote.commits) == 4
    assert (mirror.path / "summary").read_bytes() == old
    assert len(remote.asked("/summary")) == len(remote.asked("/summary.sig")) == 1
