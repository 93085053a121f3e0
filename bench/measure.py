"""Running a command and measuring it: wall time, processor time, peak memory of it and its children together."""

import os
import subprocess
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

SAMPLE_SECONDS = 0.05


@dataclass(frozen=True)
class Measured:
    """Seconds on the clock, seconds of processors (user and system), and the peak of memory in bytes.

    Memory is the sum of the proportional set sizes of all processes, sampled, or the largest resident set of one of
    them if that is more (short runs fall between two samples).
    """

    wall: float
    cpu: float
    memory: int


def measure(command: Sequence[str | Path], *, cwd: Path | None = None, env: dict[str, str] | None = None) -> Measured:
    """Run the command to its end; raises `CalledProcessError` with what it printed if it fails."""
    began = time.perf_counter()
    process = subprocess.Popen(
        command,
        cwd=cwd,
        env={**os.environ, **(env or {})},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    peak = [0]
    ended = threading.Event()
    sampler = threading.Thread(target=_sample, args=(process.pid, peak, ended), daemon=True)
    sampler.start()
    assert process.stderr is not None
    errors = process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    wall = time.perf_counter() - began
    process.returncode = os.waitstatus_to_exitcode(status)
    ended.set()
    sampler.join()
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, list(map(str, command)), stderr=errors.decode())
    return Measured(wall, usage.ru_utime + usage.ru_stime, max(peak[0], usage.ru_maxrss * 1024))


def _sample(session: int, peak: list[int], ended: threading.Event) -> None:
    while not ended.wait(SAMPLE_SECONDS):
        peak[0] = max(peak[0], sum(_proportional(pid) for pid in _members(session)))


def _members(session: int) -> list[int]:
    """The processes of a session."""
    found = []
    for name in (entry.name for entry in os.scandir("/proc")):
        if name.isdigit():
            try:
                fields = Path(f"/proc/{name}/stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if int(fields[3]) == session:
                found.append(int(name))
    return found


def _proportional(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))


def row(what: str, theirs: Measured, ours: Measured) -> str:
    """One line of a table: times and memory of both, and how many times faster ours is."""
    return (
        f"{what:<28}{theirs.wall:>8.2f} s{ours.wall:>8.2f} s{theirs.wall / ours.wall:>7.2f}x"
        f"{theirs.cpu:>9.2f} s{ours.cpu:>8.2f} s{theirs.memory / 2**20:>8.0f} MiB{ours.memory / 2**20:>6.0f} MiB"
    )


HEADING = f"{'':28}{'ostree':>10}{'ostler':>10}{'ratio':>8}{'cpu':>11}{'cpu':>10}{'memory':>12}{'memory':>10}"
