"""How the store's operations grow with the number of files, beside `ostree`: time and peak memory.

    python bench/growth.py [--files 10000 100000 1000000] [--work DIR]

Each tree holds N files of 100 to 1,500 bytes, 100 in a folder. Both programs run the same commands once, one after the
other; run it as root on a quiet machine. A million files take about half an hour and 15 GB of disk.
"""

import argparse
import random
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from measure import HEADING, measure, row

OSTREE = ["ostree"]
OSTLER = [sys.executable, "-m", "ostler.cli", "ostree"]
IN_A_FOLDER = 100


def make_tree(folder: Path, files: int) -> None:
    """Files whose content is half random, so that compression has something to do."""
    chance = random.Random(files)
    noise = chance.randbytes(1 << 20)
    for number in range(files):
        place = folder / f"{number // (IN_A_FOLDER * 100):03}" / f"{number // IN_A_FOLDER % 100:02}"
        if number % IN_A_FOLDER == 0:
            place.mkdir(parents=True)
        size = chance.randrange(50, 750)
        at = chance.randrange(len(noise) - size)
        (place / f"file-{number}").write_bytes(b"%d\n" % number + noise[at : at + size] + b"text " * (size // 5))


def steps(repo: Path, other: Path, tree: Path, out: Path) -> list[tuple[str, list[str]]]:
    """What is measured, in order: (name, arguments)."""
    return [
        ("commit to archive", ["commit", f"--repo={repo}", "-b", "main", "--timestamp=@1", str(tree)]),
        ("commit, nothing new", ["commit", f"--repo={repo}", "-b", "other", "--timestamp=@2", str(tree)]),
        ("fsck", ["fsck", f"--repo={repo}", "-q"]),
        ("prune, nothing to remove", ["prune", f"--repo={repo}", "--refs-only"]),
        ("summary", ["summary", f"--repo={repo}", "-u"]),
        ("pull-local to bare-user", ["pull-local", f"--repo={other}", str(repo), "main"]),
        ("checkout -U -H", ["checkout", f"--repo={other}", "-U", "-H", "main", str(out)]),
        ("refs --delete", ["refs", f"--repo={other}", "--delete", "main"]),
        ("prune, all to remove", ["prune", f"--repo={other}", "--refs-only"]),
    ]


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--files", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--work", type=Path, help="folder for trees and repositories (default: a temporary one)")
    options = parser.parse_args()
    work = Path(tempfile.mkdtemp(prefix="bench-growth-", dir=options.work))
    try:
        for files in options.files:
            print(f"\n{files:,} files\n{HEADING}", flush=True)
            tree = work / f"tree-{files}"
            make_tree(tree, files)
            plans = {}
            for name in ("ostree", "ostler"):
                base = work / f"{name}-{files}"
                base.mkdir()
                for repo, mode in (("repo", "archive"), ("other", "bare-user")):
                    subprocess.run(["ostree", "init", f"--repo={base / repo}", f"--mode={mode}"], check=True)
                plans[name] = steps(base / "repo", base / "other", tree, base / "out")
            for (what, theirs), (_, ours) in zip(plans["ostree"], plans["ostler"], strict=True):
                subprocess.run(["sync"], check=True)
                first = measure([*OSTREE, *theirs])
                subprocess.run(["sync"], check=True)
                print(row(what, first, measure([*OSTLER, *ours])), flush=True)
            for name in plans:
                shutil.rmtree(work / f"{name}-{files}")
            shutil.rmtree(tree)
    finally:
        shutil.rmtree(work)
    return 0


if __name__ == "__main__":
    sys.exit(main())
