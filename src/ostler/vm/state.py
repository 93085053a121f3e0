"""The small file `vm.json` beside a disk that says which machine is running, so that other commands find it."""

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

from ostler.io.files import atomic_write
from ostler.vm.errors import NotRunningError

STATE_FILE = "vm.json"
CONTROL_SOCKET = "vm.qmp"


@dataclass(frozen=True, slots=True)
class VmState:
    """A running machine. `started` is when its process began, in clock ticks since boot, as a `pid` may recur."""

    pid: int
    started: int
    ssh_port: int
    disk: str

    @property
    def alive(self) -> bool:
        """Whether that process still runs."""
        return process_start(self.pid) == self.started


def process_start(pid: int) -> int | None:
    """When the process started, in clock ticks since boot (field 22 of /proc/PID/stat); None if there is none."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    fields = text.rpartition(")")[2].split()
    return None if fields[0] == "Z" else int(fields[19])


def write_state(directory: Path, pid: int, ssh_port: int, disk: Path) -> VmState:
    """Record the machine in `directory`."""
    state = VmState(pid, process_start(pid) or 0, ssh_port, str(disk))
    atomic_write(directory / STATE_FILE, (json.dumps(asdict(state), indent=2) + "\n").encode(), durable=False)
    return state


def read_state(directory: Path) -> VmState:
    """The machine that runs from `directory`. Raises `NotRunningError`."""
    try:
        raw = json.loads((directory / STATE_FILE).read_text())
        state = VmState(int(raw["pid"]), int(raw["started"]), int(raw["ssh_port"]), str(raw["disk"]))
    except (OSError, ValueError, KeyError, TypeError):
        state = None
    if state is None or not state.alive:
        raise NotRunningError("no virtual machine of this folder is running", hint="start one with `ostler run`")
    return state


def clear_state(directory: Path) -> None:
    """Forget the machine."""
    for name in (STATE_FILE, CONTROL_SOCKET):
        (directory / name).unlink(missing_ok=True)


def connectable(directory: Path, name: str) -> tuple[str, int]:
    """A path of the socket `name` short enough for `connect`, and a file descriptor that must stay open meanwhile."""
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    return f"/proc/self/fd/{fd}/{name}", fd
