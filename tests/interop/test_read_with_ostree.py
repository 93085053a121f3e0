"""Listings, differences and exports of Ostler beside those of `ostree ls`, `diff`, `cat` and `export`."""

import io
import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "unit"))

from store_samples import make_tree

from ostler.store.checkout import StoredTree, stored_tree
from ostler.store.diff import DiffOptions, Side, diff_sides, diff_stats
from ostler.store.export import export_tar
from ostler.store.inspect import Entry, cat, listing
from ostler.store.repo import Repo

pytestmark = pytest.mark.skipif(shutil.which("ostree") is None or os.geteuid() != 0, reason="needs ostree and root")

LETTERS = {stat.S_IFDIR: "d", stat.S_IFLNK: "l", stat.S_IFREG: "-"}


def ostree(*words: str | Path) -> bytes:
    return subprocess.run(["ostree", *words], capture_output=True, check=True).stdout


@pytest.fixture(scope="module", params=["bare", "archive"])
def repo(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Repo:
    work = tmp_path_factory.mktemp("read")
    ostree("init", f"--repo={work / 'repo'}", f"--mode={request.param}")
    (work / "tree").mkdir()
    tree = make_tree(work / "tree")
    commit = ("commit", f"--repo={work / 'repo'}", "--timestamp=@1700000000", "--branch=main")
    ostree(*commit, f"--tree=dir={tree}")
    shutil.rmtree(tree / "usr/bin")
    (tree / "bin").unlink()
    (tree / "bin").mkdir()
    (tree / "bin/tool").write_bytes(b"other")
    (tree / "usr/secret").write_bytes(b"told")
    (tree / "usr/empty").chmod(0o700)
    (tree / ("long-" * 30)).symlink_to("target-" * 40)
    os.chown(tree / "usr/noise", 4_000_000_000, 2_097_152)
    ostree(*commit, f"--tree=dir={tree}")
    return Repo.open(work / "repo")


def line(entry: Entry) -> str:
    checksums = " ".join(checksum for checksum in (entry.tree, entry.checksum) if checksum)
    letter = LETTERS[stat.S_IFMT(entry.mode)]
    target = f" -> {entry.target}" if entry.target else ""
    start = f"{letter}0{stat.S_IMODE(entry.mode):04o} {entry.uid} {entry.gid} {entry.size:6}"
    return f"{start} {checksums} /{entry.path}{target}\n"


@pytest.mark.parametrize(
    ("options", "depth"), [(("-d",), 0), ((), 1), (("-R",), None)], ids=["itself", "folder", "recursive"]
)
@pytest.mark.parametrize("path", ["/", "/usr", "/usr/big", "/bin"])
def test_listings_are_the_same(repo: Repo, options: tuple[str, ...], depth: int | None, path: str) -> None:
    for rev in ("main", "main^"):
        theirs = ostree("ls", f"--repo={repo.path}", "-C", *options, rev, path).decode()
        assert "".join(line(entry) for entry in listing(repo, rev, path, depth=depth)) == theirs


def test_content_is_the_same_through_symlinks_too(repo: Repo) -> None:
    assert cat(repo, "main", "/usr/big").read() == ostree("cat", f"--repo={repo.path}", "main", "/usr/big")


def printed(repo: Repo, old: Side, new: Side, options: DiffOptions | None = None) -> str:
    found = diff_sides(repo, old, new, options)
    slash = ["/" if isinstance(side, StoredTree) else "" for side in (old, new)]
    lines = [f"M    {slash[0]}{path}\n" for path in found.changed]
    lines += [f"D    {slash[0]}{path}\n" for path in found.removed]
    return "".join([*lines, *(f"A    {slash[1]}{path}\n" for path in found.added)])


def test_differences_between_commits_are_the_same(repo: Repo) -> None:
    for old, new in (("main^", "main"), ("main", "main^"), ("main", "main")):
        theirs = ostree("diff", f"--repo={repo.path}", old, new).decode()
        assert printed(repo, stored_tree(repo, old), stored_tree(repo, new)) == theirs


def test_differences_with_folders_are_the_same(repo: Repo, tmp_path: Path) -> None:
    ostree("checkout", f"--repo={repo.path}", "main^", tmp_path / "out")
    new = stored_tree(repo, "main")
    for options, words in (
        (DiffOptions(), ()),
        (DiffOptions(ignore_xattrs=True), ("--no-xattrs",)),
        (DiffOptions(owner_uid=12, owner_gid=34), ("--owner-uid=12", "--owner-gid=34")),
    ):
        for old_side, new_side in ((new, tmp_path / "out"), (tmp_path / "out", new)):
            sides = ["main" if isinstance(side, StoredTree) else os.fspath(side) for side in (old_side, new_side)]
            theirs = ostree("diff", f"--repo={repo.path}", *words, *sides).decode()
            ours = printed(repo, old_side, new_side, options)
            assert sorted(ours.splitlines()) == sorted(theirs.splitlines()), (options, sides)


def test_statistics_are_the_same(repo: Repo) -> None:
    theirs = ostree("diff", f"--repo={repo.path}", "--stats", "main^", "main").decode().splitlines()
    stats = diff_stats(repo, "main^", "main")
    assert theirs[:3] == [
        f"[A] Object Count: {stats.old_objects}",
        f"[B] Object Count: {stats.new_objects}",
        f"Common Object Count: {stats.common_objects}",
    ]


@pytest.mark.parametrize("words", [(), ("--prefix=pre/",), ("--subpath=/usr",), ("--subpath=/usr", "--prefix=x-")])
@pytest.mark.parametrize("rev", ["main", "main^"])
def test_exports_without_attributes_are_the_same_bytes(repo: Repo, words: tuple[str, ...], rev: str) -> None:
    settings = dict(word[2:].split("=") for word in words)
    out = io.BytesIO()
    export_tar(repo, stored_tree(repo, rev), out, mtime=1_700_000_000, xattrs=False, **settings)  # type: ignore[arg-type]
    assert out.getvalue() == ostree("export", f"--repo={repo.path}", "--no-xattrs", *words, rev)


def test_exports_unpack_with_tar_to_the_same_tree(repo: Repo, tmp_path: Path) -> None:
    with open(tmp_path / "ours.tar", "wb") as file:
        export_tar(repo, stored_tree(repo, "main"), file, mtime=1_700_000_000)
    (tmp_path / "ours").mkdir()
    unpack = ["tar", "-C", tmp_path / "ours", "--xattrs", "--xattrs-include=*", "--numeric-owner", "-xpf"]
    subprocess.run([*unpack, tmp_path / "ours.tar"], check=True)
    ostree("commit", f"--repo={repo.path}", "--branch=again", f"--tree=dir={tmp_path / 'ours'}")
    again, main = (repo.load_commit(repo.resolve(rev)) for rev in ("again", "main"))
    assert again.content_checksum == main.content_checksum
