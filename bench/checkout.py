"""Check a tree out with Ostler and with `ostree`, from each kind of repository, and print the ratios.

    python bench/checkout.py TREE [--work DIR] [--rounds N]

Run it as root (owners are kept) on a tree without devices. Each round runs both programs one after the other with a
warm page cache, each as a process of its own, start included; the best round of each counts. Memory is the peak of all
its processes together.
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
WAYS = (
    ("bare, hard links", "bare", ()),
    ("bare, copies", "bare", ("-C",)),
    ("bare-user, user, hard links", "bare-user", ("-U",)),
    ("bare-user, user, copies", "bare-user", ("-U", "-C")),
    ("archive, user, copies", "archive", ("-U", "--disable-cache")),
    ("archive, owners, copies", "archive", ("-C",)),
)
OURS = """
import sys
from pathlib import Path
from ostler.store.checkout import Checkout, CheckoutOptions, checkout, stored_tree
from ostler.store.repo import Repo
repo = Repo.open(Path(sys.argv[1]))
how = Checkout.USER if "-U" in sys.argv else Checkout.HARDLINK
options = CheckoutOptions(force_copy="-C" in sys.argv)
checkout(repo, stored_tree(repo, "bench"), Path(sys.argv[2]), how=how, options=options)
"""


def commands(repo: Path, folder: Path, flags: tuple[str, ...]) -> dict[str, list[str | Path]]:
    return {
        "ostree": ["ostree", "checkout", f"--repo={repo}", *flags, "bench", folder / "theirs"],
        "ostler": [sys.executable, "-c", OURS, repo, folder / "ours", *flags],
    }


def compare(repo: Path, work: Path, name: str, flags: tuple[str, ...], rounds: int) -> None:
    runs: dict[str, list[Measured]] = {"ostree": [], "ostler": []}
    for number in range(rounds):
        folder = Path(tempfile.mkdtemp(prefix="checkout-", dir=work))
        order = ("ostree", "ostler") if number % 2 == 0 else ("ostler", "ostree")
        for program in order:
            subprocess.run(["sync"], check=True)
            command = commands(repo, folder, flags)[program]
            runs[program].append(measure(command, env={"PYTHONPATH": os.fspath(SOURCE)}))
        if number == 0:
            subprocess.run(["diff", "-r", "--no-dereference", folder / "theirs", folder / "ours"], check=True)
        shutil.rmtree(folder)
    theirs, ours = (min(runs[program], key=lambda run: run.wall) for program in ("ostree", "ostler"))
    print(row(name, theirs, ours), flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("tree", type=Path)
    parser.add_argument("--work", type=Path, help="folder for repositories and checkouts (default: a temporary one)")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    work = Path(tempfile.mkdtemp(prefix="bench-checkout-", dir=options.work))
    try:
        for mode in ("bare", "bare-user", "archive"):
            repo = work / mode
            subprocess.run(["ostree", "init", f"--repo={repo}", f"--mode={mode}"], check=True)
            subprocess.run(["ostree", f"--repo={repo}", "config", "set", "core.fsync", "false"], check=True)
            commit = ["ostree", "commit", f"--repo={repo}", "--branch=bench", options.tree]
            subprocess.run(commit, check=True, stdout=subprocess.DEVNULL)
        print(HEADING)
        for name, mode, flags in WAYS:
            compare(work / mode, work, name, flags, options.rounds)
    finally:
        shutil.rmtree(work)
    return 0


if __name__ == "__main__":
    sys.exit(main())
