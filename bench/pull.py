"""Pull a tree over loopback HTTP with Ostler and with `ostree`, into repositories of each mode, and print the ratios.

    python bench/pull.py (--repo REPO --ref REF | TREE) [--work DIR] [--rounds N] [--no-fsync]

The tree is committed to an archive repository, which nginx serves (any archive repository can be given instead). Run it
as root: bare repositories keep owners. Each round runs both programs one after the other with a warm page cache; the
best round of each counts. Memory is that of all processes of a program together, shared pages counted once (PSS).
"""

import argparse
import contextlib
import resource
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ostler.store.commit import commit_tree
from ostler.store.content import RepoMode
from ostler.store.ingest import ingest_directory
from ostler.store.repo import Repo

REF = "bench"
MODES = (RepoMode.BARE, RepoMode.BARE_USER, RepoMode.ARCHIVE)
OURS = "import sys; sys.argv[0] = 'ostree'; from ostler.cli import main; sys.exit(main())"


@dataclass(frozen=True)
class Run:
    wall: float
    cpu: float
    memory: float


def memory_of(group: int) -> int:
    """Bytes that the processes of a process group hold."""
    total = 0
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError, IndexError, ValueError):
            if int((folder / "stat").read_text().rpartition(")")[2].split()[2]) == group:
                for line in (folder / "smaps_rollup").read_text().splitlines():
                    if line.startswith("Pss:"):
                        total += int(line.split()[1]) * 1024
    return total


def measured(command: list[str]) -> Run:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    peak = 0
    began = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, start_new_session=True)
    ended = threading.Event()

    def watch() -> None:
        nonlocal peak
        while not ended.wait(0.1):
            peak = max(peak, memory_of(process.pid))

    watcher = threading.Thread(target=watch)
    watcher.start()
    status = process.wait()
    wall = time.perf_counter() - began
    ended.set()
    watcher.join()
    if status != 0:
        raise SystemExit(f"{' '.join(command)} failed")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Run(wall, cpu, peak / 1e6)


@contextlib.contextmanager
def served(folder: Path, work: Path) -> Iterator[str]:
    """nginx for a folder."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    temporary = " ".join(f"{name}_temp_path {work}/nginx-{name};" for name in ("proxy", "fastcgi", "uwsgi", "scgi"))
    config = work / "nginx.conf"
    config.write_text(
        f"daemon off; pid {work}/nginx.pid; error_log {work}/nginx.log; user root; worker_processes 2;\n"
        f"events {{ }}\nhttp {{ access_log off; sendfile on; tcp_nodelay on; keepalive_requests 1000000;\n"
        f"client_body_temp_path {work}/nginx-body; {temporary}\n"
        f"server {{ listen 127.0.0.1:{port}; root {folder}; }} }}\n"
    )
    server = subprocess.Popen(["nginx", "-c", str(config), "-e", str(work / "nginx.log")])
    try:
        for _ in range(100):
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                break
            time.sleep(0.05)
        yield f"http://127.0.0.1:{port}"
    finally:
        server.terminate()
        server.wait()


def publish(tree: Path, work: Path) -> Path:
    repo = Repo.create(work / "www", RepoMode.ARCHIVE, settings={"fsync": "false"})
    with repo.transaction() as transaction:
        transaction.set_ref(REF, commit_tree(transaction, ingest_directory(transaction, tree), timestamp=0))
    subprocess.run(["ostree", f"--repo={repo.path}", "summary", "-u"], check=True)
    return repo.path


def compare(url: str, ref: str, work: Path, *, rounds: int, fsync: bool) -> int:
    programs = {"ostree": ["ostree"], "ostler": [sys.executable, "-c", OURS]}
    print(f"{'mode':<11}{'':10}{'ostree':>10}{'ostler':>10}{'ratio':>8}")
    commits = set()
    for mode in MODES:
        runs: dict[str, list[Run]] = {name: [] for name in programs}
        for number in range(rounds):
            for name, program in programs.items():
                repo = Repo.create(work / f"{mode}-{name}-{number}", mode, settings={} if fsync else {"fsync": "false"})
                repo.add_remote("origin", url, {"gpg-verify": "false"})
                subprocess.run(["sync", "-f", str(work)], check=True)
                runs[name].append(measured([*program, f"--repo={repo.path}", "pull", "origin", ref]))
                commits.add(Repo.open(repo.path).resolve(f"origin:{ref}"))
        for what, unit in (("wall", "s"), ("cpu", "s"), ("memory", "MB")):
            theirs, ours = (min(getattr(run, what) for run in runs[name]) for name in programs)
            print(f"{mode:<11}{what:<10}{theirs:>8.2f}{unit:<2}{ours:>8.2f}{unit:<2}{theirs / ours:>7.2f}")
    print("the commits are identical" if len(commits) == 1 else "THE COMMITS DIFFER")
    return 0 if len(commits) == 1 else 1


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("tree", type=Path, nargs="?")
    parser.add_argument("--repo", type=Path)
    parser.add_argument("--ref", default=REF)
    parser.add_argument("--work", type=Path, help="folder for the repositories (default: a temporary one)")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--no-fsync", dest="fsync", action="store_false", help="leave syncing to the system")
    options = parser.parse_args()
    if (options.tree is None) is (options.repo is None):
        parser.error("give a tree or a repository")
    work = Path(tempfile.mkdtemp(prefix="bench-pull-", dir=options.work)).absolute()
    work.chmod(0o755)
    try:
        folder = publish(options.tree, work) if options.tree is not None else options.repo.absolute()
        objects = [path for path in (folder / "objects").rglob("*") if path.is_file()]
        print(f"{folder}: {len(objects)} objects, {sum(path.stat().st_size for path in objects) / 1e6:.0f} MB")
        with served(folder, work) as url:
            return compare(url, options.ref, work, rounds=options.rounds, fsync=options.fsync)
    finally:
        shutil.rmtree(work)


if __name__ == "__main__":
    sys.exit(main())
