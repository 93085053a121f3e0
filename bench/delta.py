"""Make the static delta between two trees with Ostler and with `ostree`, and print time, memory and bytes of each.

    python bench/delta.py OLD NEW [--work DIR] [--rounds N]

OLD and NEW are folders: two versions of a system or of some packages, or folders of two versions of `.deb` files, which
are unpacked (`apt-get download linux-image-6.1.0-55-amd64 …` fetches such). The delta lies in an archive repository;
fallbacks are counted with its parts, at the size they have there. Each round runs both programs one after the other
with a warm page cache, each as a process of its own; the best round of each counts. Memory is the peak of all its
processes together. At the end each program applies the other's delta, and the repository is checked.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from measure import HEADING, Measured, measure, row

SOURCE = Path(__file__).parents[1] / "src"
MAKE = """
import sys
from pathlib import Path
from ostler.store.delta.generate import generate
from ostler.store.repo import Repo
repo = Repo.open(Path(sys.argv[1]))
generate(repo, repo.resolve("new"), from_=repo.resolve("old"))
"""
APPLY = """
import sys
from pathlib import Path
from ostler.store.delta.offline import apply_offline
from ostler.store.repo import Repo
apply_offline(Repo.open(Path(sys.argv[1])), Path(sys.argv[2]))
"""


def ostree(*words: str | Path) -> str:
    return subprocess.run(["ostree", *words], check=True, capture_output=True, text=True).stdout.strip()


def unpacked(folder: Path, work: Path) -> Path:
    """The folder, or the tree of the packages in it."""
    packages = sorted(folder.glob("*.deb"))
    if not packages:
        return folder
    work.mkdir()
    for package in packages:
        subprocess.run(["dpkg-deb", "-x", package, work], check=True)
    return work


def size_of(repo: Path) -> int:
    """Bytes that a client fetches for the only delta of a repository."""
    files = sum(file.stat().st_size for file in (repo / "deltas").rglob("*") if file.is_file())
    name = ostree("static-delta", "list", f"--repo={repo}")
    shown = ostree("static-delta", "show", f"--repo={repo}", name)
    fallback = next(line for line in shown.splitlines() if line.startswith("Total Fallback Size: "))
    return files + int(fallback.split()[3])


def make(repo: Path, program: str) -> tuple[Measured, int]:
    shutil.rmtree(repo / "deltas", ignore_errors=True)
    subprocess.run(["sync"], check=True)
    command: dict[str, list[str | Path]] = {
        "ostree": ["ostree", "static-delta", "generate", f"--repo={repo}", "--from=old", "--to=new"],
        "ostler": [sys.executable, "-c", MAKE, repo],
    }
    taken = measure(command[program], env={"PYTHONPATH": os.fspath(SOURCE)})
    return taken, size_of(repo)


def apply(repo: Path, program: str, work: Path) -> Measured:
    """Apply the delta of the repository in another one that has the old commit."""
    shutil.rmtree(work, ignore_errors=True)
    ostree("init", f"--repo={work}", "--mode=bare-user")
    ostree("pull-local", f"--repo={work}", repo, ostree("rev-parse", f"--repo={repo}", "old"))
    (delta,) = (path.parent for path in (repo / "deltas").rglob("superblock"))
    command: dict[str, list[str | Path]] = {
        "ostree": ["ostree", "static-delta", "apply-offline", f"--repo={work}", delta],
        "ostler": [sys.executable, "-c", APPLY, work, delta],
    }
    taken = measure(command[program], env={"PYTHONPATH": os.fspath(SOURCE)})
    ostree("fsck", f"--repo={work}", "-q")
    ostree("ls", "-R", f"--repo={work}", ostree("rev-parse", f"--repo={repo}", "new"))
    return taken


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("old", type=Path)
    parser.add_argument("new", type=Path)
    parser.add_argument("--work", type=Path, help="folder for the repositories (default: a temporary one)")
    parser.add_argument("--rounds", type=int, default=1)
    options = parser.parse_args()
    work = Path(tempfile.mkdtemp(prefix="bench-delta-", dir=options.work))
    try:
        return compare(options.old, options.new, work, rounds=options.rounds)
    finally:
        shutil.rmtree(work)


def compare(old: Path, new: Path, work: Path, *, rounds: int) -> int:
    repo = work / "repo"
    ostree("init", f"--repo={repo}", "--mode=archive")
    for name, folder in (("old", old), ("new", new)):
        ostree("commit", f"--repo={repo}", f"--branch={name}", unpacked(folder, work / name))
    made: dict[str, list[Measured]] = {"ostree": [], "ostler": []}
    sizes: dict[str, int] = {}
    applied: dict[str, Measured] = {}
    for number in range(rounds):
        for program, other in (("ostree", "ostler"), ("ostler", "ostree")):
            taken, sizes[program] = make(repo, program)
            made[program].append(taken)
            if number == 0:
                applied[other] = apply(repo, other, work / "other")
    print(HEADING)
    print(row("make the delta", *(min(made[name], key=lambda taken: taken.wall) for name in ("ostree", "ostler"))))
    print(row("apply the other's", applied["ostree"], applied["ostler"]))
    theirs, ours = sizes["ostree"], sizes["ostler"]
    print(
        f"bytes to fetch: ostree {theirs / 1e6:.2f} MB, ostler {ours / 1e6:.2f} MB ({100 * ours / theirs - 100:+.1f} %)"
    )
    return 0 if ours <= theirs else 1


if __name__ == "__main__":
    sys.exit(main())
