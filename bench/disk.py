"""Seconds from a commit in the builder's store to a bootable raw disk, against libostree's way to the same root.

Run as root: `python bench/disk.py --repo REPO COMMIT` with a bare-user repository and a commit or ref of a machine.
The reference is `ostree pull-local` into a bare repository, `ostree admin deploy`, `mke2fs -d`, without partitions and
boot loader. Times say little on busy machines, so processor seconds are printed beside them.
"""

import argparse
import os
import shutil
import subprocess
import time
from pathlib import Path
from tempfile import mkdtemp

from ostler.disk.make import make_disk
from ostler.disk.plan import DiskRequest
from ostler.io.progress import Event, Step
from ostler.io.userns import enter_user_namespace
from ostler.store.repo import Repo


def run(*argv: str | Path) -> None:
    subprocess.run(list(map(str, argv)), check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def cpu() -> float:
    """Processor seconds that this process and its children have used."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def reference(repo: Path, commit: str, work: Path) -> tuple[float, float]:
    """(seconds, processor seconds) of the reference; as root outside the user namespace, as `bare` is meant."""
    sysroot = work / "reference"
    sysroot.mkdir()
    began, used = time.perf_counter(), cpu()
    run("ostree", "admin", "init-fs", "--modern", sysroot)
    run("ostree", "admin", "os-init", f"--sysroot={sysroot}", "bench")
    run("ostree", "config", f"--repo={sysroot}/ostree/repo", "set", "core.fsync", "false")
    run("ostree", "config", f"--repo={sysroot}/ostree/repo", "set", "sysroot.bootloader", "none")
    run("ostree", "pull-local", f"--repo={sysroot}/ostree/repo", repo, commit)
    run("ostree", "admin", "deploy", f"--sysroot={sysroot}", "--os=bench", commit)
    with (work / "reference.raw").open("wb") as file:
        file.truncate(2 << 30)
    run("mke2fs", "-q", "-F", "-t", "ext4", "-O", "verity", "-d", sysroot, work / "reference.raw")
    seconds = time.perf_counter() - began, cpu() - used
    for root in sysroot.glob("ostree/deploy/*/deploy/*.0"):
        run("chattr", "-i", root)
    shutil.rmtree(sysroot)
    (work / "reference.raw").unlink()
    return seconds


def ours(repo: Repo, commit: str, work: Path) -> tuple[float, float]:
    """(seconds, processor seconds) of `make_disk`, with its steps printed."""
    began = last = time.perf_counter()
    used = cpu()
    name = ""

    def report(event: Event) -> None:
        nonlocal last, name
        if not isinstance(event, Step):
            return
        now = time.perf_counter()
        if name:
            print(f"    {name:<24} {now - last:6.2f} s")
        last, name = now, event.name

    done = make_disk(
        repo, repo.resolve(commit), DiskRequest("bench", "bench/stable"), work / "bench.raw", work=work, report=report
    )
    print(f"    {name:<24} {time.perf_counter() - last:6.2f} s")
    print(f"    {done.plan.files} files, {done.allocated / 1e6:.0f} MB of {done.size / 1e6:.0f} MB allocated")
    done.path.unlink()
    return time.perf_counter() - began, cpu() - used


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("commit", help="a commit or ref")
    parser.add_argument("--repo", type=Path, required=True, help="the bare-user repository")
    parser.add_argument("--runs", type=int, default=3)
    options = parser.parse_args()
    work = Path(mkdtemp(prefix="bench-disk-", dir=options.repo.absolute().parent))
    try:
        theirs = min(reference(options.repo.absolute(), options.commit, work) for _ in range(options.runs))
        enter_user_namespace()
        repo = Repo.open(options.repo)
        mine = min(ours(repo, options.commit, work) for _ in range(options.runs))
        print(f"ostler disk                         {mine[0]:6.2f} s, {mine[1]:5.2f} s of processor")
        print(f"ostree pull-local, deploy, mke2fs   {theirs[0]:6.2f} s, {theirs[1]:5.2f} s of processor")
        longer, more = theirs[0] / mine[0], theirs[1] / mine[1]
        print(f"the reference takes {longer:.1f} times as long and {more:.1f} times the processor")
        print(f"load average {os.getloadavg()[0]:.1f}")
    finally:
        shutil.rmtree(work, ignore_errors=True)


if __name__ == "__main__":
    main()
