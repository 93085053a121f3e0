"""Repositories of Ostler and of `ostree`: equal trees give equal objects, and each reads what the other writes."""

import io
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "unit"))

from store_samples import BIG, NOISE, make_tree, tar_of

from ostler.formats.gvariant import Variant
from ostler.formats.objects import Checksum, DirTree, ObjectType, decode_metadata
from ostler.store.checkout import Checkout, checkout
from ostler.store.commit import commit_tree
from ostler.store.ingest import ingest_directory, ingest_tar
from ostler.store.inspect import cat, list_files, log
from ostler.store.layers import apply_layer
from ostler.store.repo import Repo, RepoMode
from ostler.store.tree import load_commit_tree

TIMESTAMP = 1_700_000_000


def ostree(*words: str | Path) -> str:
    done = subprocess.run(["ostree", *map(str, words)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"ostree {words}: {done.stdout}{done.stderr}"
    return done.stdout.strip()


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tree(tmp_path_factory.mktemp("source"))


@pytest.fixture(params=list(RepoMode))
def mode(request: pytest.FixtureRequest) -> RepoMode:
    found: RepoMode = request.param
    return found


def theirs(path: Path, mode: RepoMode, source: Path, *options: str) -> Checksum:
    ostree("init", f"--repo={path}", f"--mode={mode}")
    return Checksum(
        ostree(
            "commit", f"--repo={path}", "--branch=main", f"--timestamp=@{TIMESTAMP}", "--subject=subject",
            "--body=body", "--add-metadata-string=version=1", *options, source,
        )
    )  # fmt: skip


def ours(path: Path, mode: RepoMode, source: Path) -> Checksum:
    repo = Repo.create(path, mode)
    with repo.transaction() as transaction:
        tree = ingest_directory(transaction, source)
        # The metadata that `ostree commit --branch=main` writes, in its order.
        metadata = {"version": Variant("s", "1"), "ostree.ref-binding": Variant("as", ["main"])}
        commit = commit_tree(transaction, tree, subject="subject", body="body", timestamp=TIMESTAMP, metadata=metadata)
        transaction.set_ref("main", commit)
    return commit


def objects(path: Path) -> dict[str, os.stat_result]:
    return {str(file.relative_to(path)): file.lstat() for file in (path / "objects").rglob("*") if not file.is_dir()}


def test_the_same_tree_gives_the_same_commit_and_the_same_objects(source: Path, mode: RepoMode, tmp_path: Path) -> None:
    assert ours(tmp_path / "ours", mode, source) == theirs(tmp_path / "theirs", mode, source)
    mine, reference = objects(tmp_path / "ours"), objects(tmp_path / "theirs")
    assert set(mine) == set(reference)
    for name, expected in reference.items():
        found = mine[name]
        assert found.st_mode == expected.st_mode, name
        if mode is RepoMode.BARE:
            assert (found.st_uid, found.st_gid) == (expected.st_uid, expected.st_gid), name
        if mode is not RepoMode.ARCHIVE:
            a, b = tmp_path / "ours" / name, tmp_path / "theirs" / name
            assert a.is_symlink() or a.read_bytes() == b.read_bytes()
            assert _xattrs(a) == _xattrs(b), name
            if name.endswith(".file") and not a.is_symlink():
                assert found.st_mtime == expected.st_mtime == 0, name


def _xattrs(path: Path) -> dict[str, bytes]:
    names = os.listxattr(path, follow_symlinks=False)
    return {name: os.getxattr(path, name, follow_symlinks=False) for name in names}


def test_ostree_finds_nothing_wrong_with_what_we_write(source: Path, mode: RepoMode, tmp_path: Path) -> None:
    commit = ours(tmp_path / "repo", mode, source)
    repo = f"--repo={tmp_path / 'repo'}"
    ostree("fsck", repo, "--verify-bindings", "--verify-back-refs")
    assert ostree("rev-parse", repo, "main") == commit
    assert ostree("show", repo, "--print-metadata-key=version", "main") == "'1'"
    assert subprocess.check_output(["ostree", "cat", repo, "main", "/usr/big"]) == BIG
    ostree("checkout", repo, "main", tmp_path / "out")
    if mode is not RepoMode.BARE_USER_ONLY:  # checkouts of such make all directories 0755
        assert ours(tmp_path / "again", mode, tmp_path / "out") == commit


def test_ostree_pulls_from_and_commits_on_top_of_what_we_write(source: Path, mode: RepoMode, tmp_path: Path) -> None:
    commit = ours(tmp_path / "repo", mode, source)
    for target in RepoMode:
        if target is RepoMode.BARE_USER_ONLY is not mode:  # which cannot hold these owners and modes
            continue
        ostree("init", f"--repo={tmp_path / target}", f"--mode={target}")
        ostree("pull-local", f"--repo={tmp_path / target}", tmp_path / "repo", "main")
        ostree("fsck", f"--repo={tmp_path / target}")
        assert ostree("rev-parse", f"--repo={tmp_path / target}", "main") == commit
    child = ostree("commit", f"--repo={tmp_path / 'repo'}", "-b", "main", "-s", "child", f"--tree=ref={commit}")
    repo = Repo.open(tmp_path / "repo")
    assert [checksum for checksum, _ in log(repo, "main")] == [child, commit]


def test_we_read_what_ostree_writes(source: Path, mode: RepoMode, tmp_path: Path) -> None:
    commit = theirs(tmp_path / "repo", mode, source)
    repo = Repo.open(tmp_path / "repo")
    assert repo.mode is mode
    assert repo.resolve("main") == commit
    ((_, found),) = log(repo, "main")
    assert (found.subject, found.body, found.timestamp, found.metadata["version"].value) == (
        "subject", "body", TIMESTAMP, "1",
    )  # fmt: skip
    assert cat(repo, "main", "usr/noise").read() == NOISE
    for checksum, kind in repo.objects():
        if kind is ObjectType.FILE:
            repo.open_file(checksum, verify=True).read()
        else:
            data = repo.load_bytes(checksum, kind)
            assert decode_metadata(kind, data).encode() == data
    checkout(repo, load_commit_tree(repo, "main"), tmp_path / "out", how=Checkout.HARDLINK)
    if mode is not RepoMode.BARE_USER_ONLY:  # checkouts of such make all directories 0755
        assert theirs(tmp_path / "again", mode, tmp_path / "out") == commit


def test_listings_agree(source: Path, mode: RepoMode, tmp_path: Path) -> None:
    theirs(tmp_path / "repo", mode, source)
    listed = [line for line in ostree("ls", "-R", f"--repo={tmp_path / 'repo'}", "main").splitlines() if line]
    shown = sorted(
        f"{e.mode & 0o7777:05o} {e.uid} {e.gid} {e.size} /{e.path}" + (f" -> {e.target}" if e.target else "")
        for e in list_files(Repo.open(tmp_path / "repo"), "main")
    )
    assert sorted(" ".join(line[1:].split()) for line in listed) == shown


def test_a_tar_stream_gives_the_commit_of_the_folder(source: Path, tmp_path: Path) -> None:
    expected = theirs(tmp_path / "theirs", RepoMode.ARCHIVE, source)
    repo = Repo.create(tmp_path / "repo", RepoMode.ARCHIVE)
    with repo.transaction() as transaction:
        tree = ingest_tar(transaction, io.BytesIO(tar_of(source)))
        commit = commit_tree(transaction, tree, timestamp=1)
    root = Repo.open(tmp_path / "theirs").load_commit(expected)
    assert repo.load_commit(commit).content_checksum == root.content_checksum


def test_signature_bytes_and_detached_metadata_are_understood(source: Path, tmp_path: Path) -> None:
    commit = ours(tmp_path / "repo", RepoMode.ARCHIVE, source)
    repo = Repo.open(tmp_path / "repo")
    with repo.transaction() as transaction:
        transaction.write_detached(commit, {"note": Variant("s", "hello")})
    assert ostree("show", f"--repo={repo.path}", "--print-detached-metadata-key=note", commit) == "'hello'"


def test_both_programs_share_a_repository_at_the_same_time(source: Path, tmp_path: Path) -> None:
    repo = Repo.create(tmp_path / "repo", RepoMode.BARE)
    with repo.transaction() as transaction:
        tree = ingest_directory(transaction, source)
        ostree("commit", f"--repo={repo.path}", "--branch=theirs", source)
        assert not repo.refs("ours")
        transaction.set_ref("ours", commit_tree(transaction, tree, timestamp=1))
    ostree("fsck", f"--repo={repo.path}")
    assert set(repo.refs()) == {"ours", "theirs"}
    ostree("prune", f"--repo={repo.path}", "--refs-only")
    assert load_commit_tree(repo, "ours") == tree


def test_prune_waits_for_our_transaction(source: Path, tmp_path: Path) -> None:
    repo = Repo.create(tmp_path / "repo", RepoMode.BARE, settings={"lock-timeout-secs": "0"})
    ours(tmp_path / "other", RepoMode.BARE, source)
    with repo.transaction():
        done = subprocess.run(
            ["ostree", "prune", f"--repo={repo.path}", "--refs-only"], capture_output=True, text=True, check=False
        )
    assert done.returncode != 0
    assert "ock" in done.stderr


def test_remotes_that_we_add_are_theirs(tmp_path: Path) -> None:
    repo = Repo.create(tmp_path / "repo", RepoMode.ARCHIVE)
    repo.add_remote("origin", "https://example.org/x", {"gpg-verify": "false"})
    assert ostree("remote", "list", "-u", f"--repo={repo.path}").split() == ["origin", "https://example.org/x"]
    ostree("remote", "add", f"--repo={repo.path}", "--no-gpg-verify", "other", "https://example.org/y")
    assert Repo.open(repo.path).remotes()["other"].options["gpg-verify"] == "false"


@pytest.fixture
def layers(tmp_path: Path) -> Iterator[tuple[Path, Path]]:
    lower, upper = tmp_path / "lower", tmp_path / "upper"
    for path in ("a/x", "a/y", "b/z", "c", "same/keep"):
        (lower / path).parent.mkdir(parents=True, exist_ok=True)
        (lower / path).write_text(path)
    for path in ("a/.wh.x", "b/.wh..wh..opq", "b/new", ".wh.c", "same/more"):
        (upper / path).parent.mkdir(parents=True, exist_ok=True)
        (upper / path).write_bytes(b"")
    (lower / "same").chmod(0o700)
    (lower / "b").chmod(0o700)
    return lower, upper


def test_stacked_layers_are_what_a_union_checkout_with_whiteouts_gives(
    layers: tuple[Path, Path], tmp_path: Path
) -> None:
    repo = Repo.create(tmp_path / "repo", RepoMode.BARE)
    names = []
    with repo.transaction() as transaction:
        for name, folder in zip(("lower", "upper"), layers, strict=True):
            tree = ingest_directory(transaction, folder)
            transaction.set_ref(name, commit_tree(transaction, tree, timestamp=1))
            names.append(tree)
    for name in ("lower", "upper"):
        ostree("checkout", f"--repo={repo.path}", "--union", "--whiteouts", name, tmp_path / "out")
    with repo.transaction() as transaction:
        expected = ingest_directory(transaction, tmp_path / "out")
    assert apply_layer(*names, keep_directory_metadata=True) == expected


def test_the_empty_tree_is_the_well_known_object(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    theirs(tmp_path / "repo", RepoMode.ARCHIVE, tmp_path / "empty")
    repo = Repo.open(tmp_path / "repo")
    assert repo.load_commit(repo.resolve("main")).root_tree == DirTree().checksum
