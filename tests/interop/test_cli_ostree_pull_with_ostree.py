"""`pull` and `pull-local` of both programs: the same commands print the same and leave the same repositories."""

import functools
import http.server
import os
import shutil
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from ostree_programs import OURS, THEIRS, Pair, run

MODES = ("bare-user", "archive")


class QuietHandler(http.server.SimpleHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A published repository `repo`: three commits on main, one on dev, deltas, and a summary."""
    folder = tmp_path_factory.mktemp("source")
    tree = folder / "tree"
    (tree / "usr/share/doc").mkdir(parents=True)
    (tree / "usr/share/doc/readme").write_text("text\n" * 100)
    (tree / "usr/link").symlink_to("share")
    make("init", "--mode=archive", folder=folder)
    for number in range(3):
        (tree / "usr/data").write_bytes(os.urandom(5000) + b"same" * 10000)
        (tree / f"usr/share/{number}").write_text(str(number))
        make("commit", "-b", "main", f"--timestamp=@{1_600_000_000 + number}", "-s", "s", "tree", folder=folder)
    make("commit", "-b", "dev", "--orphan", "--timestamp=@1500000000", "tree/usr/share", folder=folder)
    make("static-delta", "generate", "main", folder=folder)
    make("summary", "-u", folder=folder)
    return folder / "repo"


def make(*words: str, folder: Path) -> str:
    said = run(THEIRS, folder, "--repo=repo", *words)
    assert said.code == 0, said.err
    return said.out.strip()


@pytest.fixture(scope="module")
def url(source: Path) -> Iterator[str]:
    handler = functools.partial(QuietHandler, directory=str(source))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture(scope="module")
def blank(tmp_path_factory: pytest.TempPathFactory, url: str) -> Path:
    """A folder with an empty repository of each mode, which has `url` as remote `up`."""
    folder = tmp_path_factory.mktemp("blank")
    for mode in MODES:
        assert run(THEIRS, folder, f"--repo={mode}", "init", f"--mode={mode}").code == 0
        assert run(THEIRS, folder, f"--repo={mode}", "remote", "add", "--no-gpg-verify", "up", url).code == 0
    return folder


@pytest.fixture
def pair(tmp_path: Path, blank: Path) -> Pair:
    return new_pair(tmp_path, blank / "bare-user")


def new_pair(root: Path, repo: Path) -> Pair:
    found = Pair(root)
    for folder in (found.ours, found.theirs):
        shutil.copytree(repo, folder / "repo")
    return found


def same_repositories(pair: Pair) -> None:
    """Assert that both repositories hold the same: refs, objects, and which commits are partial."""
    ours, theirs = ({file for file in _contents(folder / "repo")} for folder in (pair.ours, pair.theirs))
    assert ours == theirs


def _contents(repo: Path) -> Iterator[str]:
    for path in repo.rglob("*"):
        name = path.relative_to(repo).as_posix()
        if name.startswith("refs/") and path.is_file():
            yield f"{name} {path.read_text().strip()}"
        elif name.startswith(("objects/", "state/")) and not path.is_dir():
            yield name


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    "words",
    [
        ["up", "main"],
        ["up:main"],
        ["up", "main", "dev"],
        ["--disable-static-deltas", "up", "main"],
        ["--depth=-1", "up", "main"],
        ["--depth=1", "up", "main"],
        ["--commit-metadata-only", "up", "main"],
        ["--commit-metadata-only", "--depth=-1", "up", "main"],
        ["--disable-static-deltas", "--subpath=/usr/share", "up", "main"],
        ["--disable-static-deltas", "--subpath=/usr/share/doc", "--subpath=/usr/data", "up", "main"],
        ["--mirror", "up"],
        ["--mirror", "up", "dev"],
        ["--require-static-deltas", "up", "main"],
        ["--require-static-deltas", "up", "dev"],
        ["--require-static-deltas", "--dry-run", "up", "main"],
        ["up"],
        ["elsewhere", "main"],
        ["--dry-run", "up", "main"],
        ["--http-header=x", "up", "main"],
        ["up", "main@123"],
        ["--disable-static-deltas", "--disable-fsync", "--bareuseronly-files", "up", "dev"],
        [],
    ],
    ids=" ".join,
)
def test_a_pull_does_and_says_the_same(tmp_path: Path, blank: Path, mode: str, words: list[str]) -> None:
    pair = new_pair(tmp_path, blank / mode)
    pair.both("--repo=repo", "pull", *words)
    same_repositories(pair)


def test_pulls_after_one_another_do_and_say_the_same(pair: Pair, source: Path) -> None:
    first, second, third = (make("rev-parse", f"main{'^' * n}", folder=source.parent) for n in (2, 1, 0))
    pair.both("--repo=repo", "pull", "up", f"main@{first}")
    pair.both("--repo=repo", "pull", "--timestamp-check", "up", f"main@{second}")
    same_repositories(pair)
    pair.both("--repo=repo", "pull", "--require-static-deltas", "--dry-run", "up", "main")
    pair.both("--repo=repo", "pull", "up", "main")
    same_repositories(pair)
    pair.both("--repo=repo", "pull", "--disable-static-deltas", "up", "main")
    pair.both("--repo=repo", "pull", "--disable-static-deltas", "up", third)
    said = pair.both("--repo=repo", "pull", "-T", "up", f"main@{first}", alike=False)
    assert "is chronologically older" in said.err
    since = f"--timestamp-check-from-rev={first}"
    pair.both("--repo=repo", "pull", "--disable-static-deltas", since, "up", f"main@{second}")
    pair.both("--repo=repo", "pull", "--commit-metadata-only", "up", "dev")
    pair.both("--repo=repo", "pull", "--disable-static-deltas", "up", "dev")
    same_repositories(pair)
    assert run(THEIRS, pair.ours, "--repo=repo", "fsck", "--quiet").code == 0


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    "words",
    [
        ["SOURCE"],
        ["SOURCE", "main"],
        ["SOURCE", "main", "dev"],
        ["--remote=up", "SOURCE", "main"],
        ["--depth=1", "SOURCE", "main"],
        ["--commit-metadata-only", "SOURCE", "dev"],
        ["--require-static-deltas", "SOURCE", "main"],
        ["nowhere"],
        ["--gpg-verify", "SOURCE", "main"],
        [],
    ],
    ids=" ".join,
)
def test_a_local_pull_does_and_says_the_same(
    tmp_path: Path, blank: Path, source: Path, mode: str, words: list[str]
) -> None:
    pair = new_pair(tmp_path, blank / mode)
    pair.both("--repo=repo", "pull-local", *(str(source) if word == "SOURCE" else word for word in words))
    same_repositories(pair)


def test_a_ref_that_is_not_there_is_named(pair: Pair, source: Path) -> None:
    for words in (["pull", "up", "nothing"], ["pull-local", str(source), "nothing"]):
        said = pair.both("--repo=repo", *words, alike=False)
        assert said.err.startswith("error: No such branch 'nothing' in repository summary")


def test_what_comes_from_a_local_repository_is_verified_if_asked_for(pair: Pair, source: Path) -> None:
    for program, folder in ((OURS, pair.ours), (THEIRS, pair.theirs)):
        assert run(program, folder, "--repo=repo", "pull-local", "--untrusted", source, "dev").code == 0
    same_repositories(pair)


def test_refs_and_summary_of_a_remote_are_printed_alike(pair: Pair) -> None:
    for words in (["refs", "up"], ["summary", "up"], ["summary", "--raw", "up"], ["refs", "elsewhere"]):
        pair.both("remote", *words, "--repo=repo")
