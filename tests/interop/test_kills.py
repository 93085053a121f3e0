"""A process killed at any moment of a commit, a pull or a prune leaves a repository that is whole and can go on."""

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ostler.store.commit import commit_tree
from ostler.store.fsck import fsck
from ostler.store.ingest import ingest_directory
from ostler.store.prune import prune
from ostler.store.pull import pull
from ostler.store.repo import Repo, RepoMode

KILLS = int(os.environ.get("OSTLER_KILLS", "100"))
FILES = 150
REF = "main"


def run_killed(work: Callable[[], object], seconds: float) -> bool:
    """Do the work in a process of its own and kill that after some time; whether it was finished before."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            os.setpgid(0, 0)
            work()
            code = 0
        finally:
            os._exit(code)
    time.sleep(seconds)
    ended, status = os.waitpid(child, os.WNOHANG)
    if not ended:
        os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0, "the work itself failed"
    return not os.WIFSIGNALED(status)


def seconds_for(work: Callable[[], object]) -> float:
    """How long the work takes, done once to its end in a process of its own."""
    began = time.perf_counter()
    child = os.fork()
    if child == 0:
        try:
            work()
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    return time.perf_counter() - began


def assert_whole(repo: Path) -> None:
    """Both programs find nothing wrong, and refs lead to complete commits."""
    assert fsck(Repo.open(repo)) == []
    done = subprocess.run(["ostree", "fsck", f"--repo={repo}", "-q"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    opened = Repo.open(repo)
    for ref, commit in opened.refs().items():
        assert not opened.is_partial(commit), f"{ref} points at a commit that lacks objects"


def write_tree(folder: Path, seed: int) -> Path:
    """A folder of small files, of which each seed changes some, with a few larger ones."""
    folder.mkdir(exist_ok=True)
    chance = random.Random(seed)
    for number in range(FILES):
        file = folder / f"d{number % 7}" / f"f{number}"
        file.parent.mkdir(exist_ok=True)
        if not file.exists() or chance.random() < 0.4:
            file.write_bytes(chance.randbytes(200_000 if number % 50 == 0 else chance.randrange(3000)))
    return folder


def commit_folder(repo: Path, tree: Path, number: int) -> None:
    opened = Repo.open(repo)
    with opened.transaction() as transaction:
        directory = ingest_directory(transaction, tree)
        transaction.set_ref(REF, commit_tree(transaction, directory, timestamp=number, subject=str(number)))


def moments(duration: float) -> Iterator[tuple[int, float]]:
    chance = random.Random(20)
    for number in range(KILLS):
        yield number, chance.uniform(0, duration * 1.2)


@pytest.mark.parametrize("mode", [RepoMode.BARE_USER, RepoMode.ARCHIVE])
def test_a_killed_commit_leaves_nothing_visible(tmp_path: Path, mode: RepoMode) -> None:
    path, tree = tmp_path / "repo", tmp_path / "tree"
    Repo.create(path, mode)
    write_tree(tree, 0)
    duration = seconds_for(lambda: commit_folder(path, tree, 0))
    finished = 0
    for number, delay in moments(duration):
        write_tree(tree, number + 1)
        before = Repo.open(path).resolve(REF)
        done = run_killed(lambda number=number: commit_folder(path, tree, number + 1), delay)  # type: ignore[misc]
        finished += done
        assert done or number < 5 or Repo.open(path).load_commit(Repo.open(path).resolve(REF)).timestamp <= number + 1
        assert not done or Repo.open(path).resolve(REF) != before
        if number % 5 == 0 or number == KILLS - 1:
            assert_whole(path)
    commit_folder(path, tree, KILLS + 1)
    assert_whole(path)
    assert 0 < finished < KILLS
    assert len(list((path / "tmp").glob("staging-*"))) <= 2, "what was left behind is used again or removed"


def test_a_killed_pull_goes_on_where_it_was(tmp_path: Path) -> None:
    origin, path, tree = tmp_path / "origin", tmp_path / "repo", tmp_path / "tree"
    Repo.create(origin, RepoMode.ARCHIVE)
    write_tree(tree, 0)
    commit_folder(origin, tree, 0)
    server = subprocess.Popen(
        [sys.executable, "-m", "http.server", "--bind", "127.0.0.1", "--directory", str(origin), "0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )
    try:
        assert server.stdout is not None
        port = server.stdout.readline().split(" port ")[1].split()[0]
        repo = Repo.create(path, RepoMode.BARE_USER)
        repo.add_remote("origin", f"http://127.0.0.1:{port}", {"gpg-verify": "false"})
        duration = seconds_for(lambda: pull(Repo.open(path), "origin", [REF]))
        finished = 0
        for number, delay in moments(duration):
            write_tree(tree, number + 1)
            commit_folder(origin, tree, number + 1)
            finished += run_killed(lambda: pull(Repo.open(path), "origin", [REF]), delay)
            if number % 5 == 0 or number == KILLS - 1:
                assert_whole(path)
        pull(Repo.open(path), "origin", [REF])
        assert Repo.open(path).refs()[f"origin:{REF}"] == Repo.open(origin).resolve(REF)
        assert_whole(path)
        assert 0 < finished < KILLS
    finally:
        server.kill()
        server.wait()


def test_a_killed_prune_removes_nothing_that_is_needed(tmp_path: Path) -> None:
    path, tree = tmp_path / "repo", tmp_path / "tree"
    Repo.create(path, RepoMode.BARE_USER, settings={"fsync": "false"})
    write_tree(tree, 0)
    commit_folder(path, tree, 0)
    write_tree(tree, 1)
    commit_folder(path, tree, 1)
    duration = seconds_for(lambda: prune(Repo.open(path)))
    for number, delay in moments(duration):
        write_tree(tree, number + 2)
        commit_folder(path, tree, number + 2)
        run_killed(lambda: prune(Repo.open(path)), delay)
        if number % 5 == 0 or number == KILLS - 1:
            assert_whole(path)
    prune(Repo.open(path))
    assert_whole(path)
    needed = prune(Repo.open(path))
    assert needed.removed == 0
