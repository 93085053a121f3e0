"""Commit a tree with Ostler and with `ostree`, into repositories of each mode, and print the ratios.

    python bench/commit.py TREE [--work DIR] [--rounds N] [--no-fsync]

Run it as root (bare repositories keep owners) on a tree without devices. Each round runs both programs one after the
other with a warm page cache; the best round of each counts. Wall time depends on what else the machine does, so the
processor seconds (user and system) are shown beside it.
"""

import argparse
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ostler.store.commit import commit_tree
from ostler.store.ingest import ingest_directory
from ostler.store.repo import Repo, RepoMode

TIMESTAMP = 1_700_000_000


@dataclass(frozen=True)
class Run:
    wall: float
    cpu: float
    content: str
    size: int


def with_ostler(tree: Path, path: Path) -> None:
    repo = Repo.open(path)
    with repo.transaction() as transaction:
        commit = commit_tree(transaction, ingest_directory(transaction, tree), timestamp=TIMESTAMP)
        transaction.set_ref("bench", commit)


def with_ostree(tree: Path, path: Path) -> None:
    command = ["ostree", "commit", f"--repo={path}", "--branch=bench", f"--timestamp=@{TIMESTAMP}", str(tree)]
    subprocess.run(command, check=True, capture_output=True)


def cpu_seconds() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in used)


def measure(commit: Callable[[Path, Path], None], tree: Path, mode: RepoMode, work: Path, *, fsync: bool) -> Run:
    folder = Path(tempfile.mkdtemp(prefix=f"{mode}-", dir=work))
    repo = Repo.create(folder / "repo", mode, settings={} if fsync else {"fsync": "false"})
    subprocess.run(["sync"], check=True)
    wall, cpu = time.perf_counter(), cpu_seconds()
    commit(tree, repo.path)
    wall, cpu = time.perf_counter() - wall, cpu_seconds() - cpu
    stored = repo.load_commit(repo.resolve("bench"))
    size = sum(file.lstat().st_size for file in (repo.path / "objects").rglob("*.file*"))
    return Run(wall, cpu, stored.content_checksum, size)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("tree", type=Path)
    parser.add_argument("--work", type=Path, help="folder for the repositories (default: a temporary one)")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--no-fsync", dest="fsync", action="store_false", help="leave syncing to the system")
    options = parser.parse_args()
    files = [path for path in options.tree.rglob("*") if path.is_file() and not path.is_symlink()]
    print(f"{options.tree}: {len(files)} files, {sum(file.stat().st_size for file in files) / 1e6:.0f} MB")
    work = Path(tempfile.mkdtemp(prefix="bench-commit-", dir=options.work))
    try:
        return compare(options.tree, work, rounds=options.rounds, fsync=options.fsync)
    finally:
        shutil.rmtree(work)


def compare(tree: Path, work: Path, *, rounds: int, fsync: bool) -> int:
    """Nothing is deleted between runs: ext4 is slow to make files where some were just removed."""
    print(f"{'mode':<11}{'':10}{'ostree':>9}{'ostler':>9}{'ratio':>8}")
    contents = set()
    for mode in RepoMode:
        runs: dict[str, list[Run]] = {"ostree": [], "ostler": []}
        for _ in range(rounds):
            for name, commit in (("ostree", with_ostree), ("ostler", with_ostler)):
                runs[name].append(measure(commit, tree, mode, work, fsync=fsync))
        contents |= {run.content for found in runs.values() for run in found}
        for what, unit in (("wall", "s"), ("cpu", "s"), ("size", "MB")):
            scale = 1e6 if what == "size" else 1
            theirs, ours = (min(getattr(run, what) for run in runs[name]) / scale for name in ("ostree", "ostler"))
            print(f"{mode:<11}{what:<10}{theirs:>7.2f}{unit:<2}{ours:>7.2f}{unit:<2}{theirs / ours:>7.2f}")
    print("the trees are identical" if len(contents) == 1 else "THE TREES DIFFER")
    return 0 if len(contents) == 1 else 1


if __name__ == "__main__":
    sys.exit(main())
