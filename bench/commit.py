"""Commit a tree with Ostler and with `ostree`, into repositories of each mode, and print the ratios.

    python bench/commit.py TREE [--work DIR] [--rounds N] [--no-fsync] [--modes archive-z2,bare]

Run it as root (bare repositories keep owners) on a tree without devices. Each round runs both programs one after the
other, as commands, with a warm page cache; the best round of each counts. Wall time depends on what else the machine
does, so the processor seconds (user and system) are shown beside it, and the peak of memory of all processes together.
"""

import argparse
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from measure import HEADING, Measured, measure, row

from ostler.store.repo import Repo, RepoMode

PROGRAMS = {"ostree": ["ostree"], "ostler": [sys.executable, "-m", "ostler.cli", "ostree"]}


@dataclass(frozen=True)
class Run:
    measured: Measured
    commit: str
    size: int


def run(program: str, tree: Path, mode: RepoMode, work: Path, *, fsync: bool) -> Run:
    folder = Path(tempfile.mkdtemp(prefix=f"{mode}-", dir=work))
    repo = Repo.create(folder / "repo", mode, settings={} if fsync else {"fsync": "false"})
    subprocess.run(["sync"], check=True)
    options = [f"--repo={repo.path}", "--branch=bench", "--timestamp=@1700000000", f"--tree=dir={tree}"]
    measured = measure([*PROGRAMS[program], "commit", *options])
    size = sum(file.lstat().st_size for file in (repo.path / "objects").rglob("*.file*"))
    return Run(measured, repo.resolve("bench"), size)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("tree", type=Path)
    parser.add_argument("--work", type=Path, help="folder for the repositories (default: a temporary one)")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--no-fsync", dest="fsync", action="store_false", help="leave syncing to the system")
    parser.add_argument("--modes", default=",".join(RepoMode))
    options = parser.parse_args()
    files = [path for path in options.tree.rglob("*") if path.is_file() and not path.is_symlink()]
    print(f"{options.tree}: {len(files)} files, {sum(file.stat().st_size for file in files) / 1e6:.0f} MB")
    work = Path(tempfile.mkdtemp(prefix="bench-commit-", dir=options.work))
    modes = [RepoMode.parse(name) for name in options.modes.split(",")]
    try:
        return compare(options.tree, work, modes, rounds=options.rounds, fsync=options.fsync)
    finally:
        shutil.rmtree(work)


def compare(tree: Path, work: Path, modes: list[RepoMode], *, rounds: int, fsync: bool) -> int:
    """Nothing is deleted between runs: ext4 is slow to make files where some were just removed."""
    print(HEADING)
    equal = True
    for mode in modes:
        runs: dict[str, list[Run]] = {name: [] for name in PROGRAMS}
        for _ in range(rounds):
            for name, found in runs.items():
                found.append(run(name, tree, mode, work, fsync=fsync))
        theirs, ours = (min(runs[name], key=lambda one: one.measured.wall) for name in PROGRAMS)
        equal = equal and theirs.commit == ours.commit
        print(row(f"commit to {mode}", theirs.measured, ours.measured))
        more = 100 * ours.size / theirs.size - 100
        print(f"{'':28}{theirs.size / 1e6:>7.1f} MB{ours.size / 1e6:>7.1f} MB{more:>+7.1f}%")
    print("the commits are identical" if equal else "THE COMMITS DIFFER")
    return 0 if equal else 1


if __name__ == "__main__":
    sys.exit(main())
