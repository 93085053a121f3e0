"""Every benchmark on a real machine's tree: builds a machine, then measures Ostler beside the reference programs.

    bench/run.py [--work DIR] [--kernel PACKAGE]

Absolute times say little on shared machines; the ratios come from one run. Run as root: `bare` keeps owners.
"""

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).parent
OSTLER = [sys.executable, "-m", "ostler.cli"]


def ostler(folder: Path, *arguments: str) -> dict[str, object]:
    done = subprocess.run(
        [*OSTLER, arguments[0], "-q", *arguments[1:]], cwd=folder, check=True, stdout=subprocess.PIPE, text=True
    )
    found: dict[str, object] = json.loads(done.stdout) if "--json" in arguments else {}
    return found


def run(program: str, *arguments: str | Path) -> None:
    subprocess.run([sys.executable, HERE / program, *arguments], check=True)


def heading(text: str) -> None:
    print(f"\n## {text}\n", flush=True)


def best(runs: int, *command: str | Path, cwd: Path | None = None) -> float:
    times = []
    for _ in range(runs):
        began = time.perf_counter()
        subprocess.run(command, cwd=cwd, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        times.append(time.perf_counter() - began)
    return min(times)


def make_machine(work: Path, kernel: str | None) -> Path:
    folder = work / "bench"
    shutil.rmtree(folder, ignore_errors=True)
    ostler(work, "init", str(folder))
    if kernel:
        toml = folder / "ostler.toml"
        toml.write_text(re.sub(r"^#? ?kernel = .*$", f'kernel = "{kernel}"', toml.read_text(), flags=re.MULTILINE))
    return folder


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--work", type=Path, default=Path("build/bench"))
    parser.add_argument("--kernel", help="the kernel package (default: the machine folder's)")
    options = parser.parse_args()
    work = options.work.absolute()
    work.mkdir(parents=True, exist_ok=True)
    cache = work.parent / "cache"
    os.environ.setdefault("OSTLER_CACHE", str(cache))
    folder = make_machine(work, options.kernel)

    heading("build")
    began = time.perf_counter()
    built = ostler(folder, "build", "--json")
    print(f"first build (what the cache has not yet)  {time.perf_counter() - began:7.2f} s")
    print(f"unchanged rebuild                         {best(3, *OSTLER, 'build', cwd=folder):7.2f} s")
    (folder / "overlay/etc/motd").write_text(f"changed at {time.time()}\n")
    began = time.perf_counter()
    changed = ostler(folder, "build", "--json")
    ran = [step["name"] for step in changed["steps"] if step["ran"]]  # type: ignore[attr-defined]
    print(f"one overlay file changed                  {time.perf_counter() - began:7.2f} s  (ran: {', '.join(ran)})")

    heading("image → bootable raw disk")
    for _ in range(2):
        disk = ostler(folder, "disk", "--json")
        print(f"{disk['seconds']:.1f} s for {disk['plan']['files']} files, {disk['allocated'] / 1e6:.0f} MB")  # type: ignore[index,operator]

    tree = work / "tree"
    shutil.rmtree(tree, ignore_errors=True)
    repo = Path(os.environ["OSTLER_CACHE"]) / "repo"
    subprocess.run(["ostree", "checkout", f"--repo={repo}", str(built["commit"]), tree], check=True)
    published = work / "published"
    shutil.rmtree(published, ignore_errors=True)
    subprocess.run(["ostree", "init", f"--repo={published}", "--mode=archive"], check=True)
    subprocess.run(["ostree", "commit", f"--repo={published}", "-b", "base", tree], check=True, capture_output=True)
    subprocess.run(["ostree", "summary", "-u", f"--repo={published}"], check=True)

    heading("commit of the machine's tree, against `ostree commit`")
    run("commit.py", tree, "--work", work)
    heading("checkout of the machine's tree, against `ostree checkout`")
    run("checkout.py", tree, "--work", work)
    heading("pull over loopback HTTP, against `ostree pull`")
    run("pull.py", "--repo", published, "--ref", "base", "--work", work)
    heading("check and prune, against `ostree fsck` and `ostree prune`")
    run("fsck.py", published)
    shutil.rmtree(tree)
    heading("delta between two versions of some packages, against `ostree static-delta generate`")
    run("pair.py", work / "pair")
    run("delta.py", work / "pair" / "old", work / "pair" / "new", "--work", work, "--rounds", "1")

    heading("image layer, against tar | zstd and skopeo")
    subprocess.run([sys.executable, HERE / "image.py", "--size", "480", "--runs", "2"], check=True)

    heading("start-up")
    python = best(5, sys.executable, "-c", "pass")
    print(f"python itself     {python * 1000:6.0f} ms")
    print(f"ostler --version  {best(5, *OSTLER, '--version') * 1000:6.0f} ms")
    print(f"ostree --version  {best(5, 'ostree', '--version') * 1000:6.0f} ms")
    return 0


if __name__ == "__main__":
    sys.exit(main())
