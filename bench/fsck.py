"""Checking an archive repository (or one of another mode), Ostler beside `ostree fsck`, with peak memory.

    bench/fsck.py REPO
    bench/fsck.py --files 100000 [--work DIR]

The second form makes a repository of that many small files first. Read once before, so that all is in memory.
"""

import argparse
import os
import random
import resource
import shutil
import subprocess
import sys
import time
from pathlib import Path

CHECK = "import sys; from pathlib import Path; from ostler.store.fsck import fsck; from ostler.store.repo import Repo;"
OURS = CHECK + " sys.exit(len(fsck(Repo.open(Path(sys.argv[1])))))"
PRUNE = (
    "import sys; from pathlib import Path; from ostler.store.prune import prune; from ostler.store.repo import Repo;"
)
OUR_PRUNE = PRUNE + " prune(Repo.open(Path(sys.argv[1])), dry_run=True)"


def measured(command: list[str | Path]) -> tuple[float, int]:
    """Seconds, and the peak of memory in KiB of the largest process."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        began = time.perf_counter()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        usage = resource.getrusage(resource.RUSAGE_CHILDREN)
        os.write(writing, f"{time.perf_counter() - began} {usage.ru_maxrss}".encode())
        os._exit(0)
    os.close(writing)
    with open(reading, "rb") as pipe:
        seconds, peak = pipe.read().split()
    os.waitpid(child, 0)
    return float(seconds), int(peak)


def best(runs: int, command: list[str | Path]) -> tuple[float, int]:
    return min(measured(command) for _ in range(runs))


def compare(name: str, ours: list[str | Path], theirs: list[str | Path], runs: int) -> None:
    our_seconds, our_peak = best(runs, ours)
    their_seconds, their_peak = best(runs, theirs)
    print(f"{name:<14}{'seconds':>10}{'peak MB':>10}")
    print(f"  ostler      {our_seconds:>10.2f}{our_peak / 1024:>10.0f}")
    print(f"  ostree      {their_seconds:>10.2f}{their_peak / 1024:>10.0f}")
    print(f"  {their_seconds / our_seconds:.2f} times as fast", flush=True)


def make_repository(path: Path, files: int) -> None:
    """A repository of so many small files of which no two are equal."""
    from ostler.formats.objects import DirMeta, FileMeta
    from ostler.store.commit import commit_tree
    from ostler.store.content import RepoMode
    from ostler.store.repo import Repo
    from ostler.store.tree import Directory

    shutil.rmtree(path, ignore_errors=True)
    repo = Repo.create(path, RepoMode.ARCHIVE, settings={"fsync": "false"})
    random_bytes = random.Random(1)
    with repo.transaction() as transaction:
        meta = DirMeta(0, 0, 0o40755)
        tree = Directory(meta)
        for number in range(files):
            content = random_bytes.randbytes(random_bytes.randrange(64)) + bytes(number % 2000)
            checksum = transaction.write_file(FileMeta(0, 0, 0o100644), b"%d" % number + content)
            tree.set_file(f"d{number // 5000}/d{number // 50 % 100}/f{number}", checksum, meta)
        transaction.set_ref("bench", commit_tree(transaction, tree, timestamp=0))


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("repo", type=Path, nargs="?")
    parser.add_argument("--files", type=int, help="make a repository of so many files")
    parser.add_argument("--work", type=Path, default=Path("build/bench"))
    parser.add_argument("--runs", type=int, default=3)
    options = parser.parse_args()
    made = None
    if options.files:
        options.work.mkdir(parents=True, exist_ok=True)
        made = options.work / f"repo-{options.files}"
        maker = os.fork()  # a process of its own: what it takes would count as the peak of every child of this one
        if maker == 0:
            make_repository(made, options.files)
            os._exit(0)
        if os.waitpid(maker, 0)[1]:
            raise SystemExit("the repository could not be made")
    repo = made or options.repo
    if repo is None:
        parser.error("give a repository or --files")
    ours: list[str | Path] = [sys.executable, "-c"]
    compare("fsck", [*ours, OURS, repo], ["ostree", "fsck", "-q", f"--repo={repo}"], options.runs)
    prune: list[str | Path] = ["ostree", "prune", "--no-prune", "--refs-only", "--depth=0", f"--repo={repo}"]
    compare("prune, dry run", [*ours, OUR_PRUNE, repo], prune, options.runs)
    if made:
        shutil.rmtree(made)
    return 0


if __name__ == "__main__":
    sys.exit(main())
