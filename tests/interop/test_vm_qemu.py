"""Real QEMU with a guest of 79 bytes: says hello on its serial console, echoes what it is sent, resets at `!`."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ostler.io.progress import Event, Warning
from ostler.vm.accelerator import TCG, choose, probe
from ostler.vm.errors import NotRunningError, VmError
from ostler.vm.qemu import VmRequest, run_detached, start, stop
from ostler.vm.state import read_state

GUEST = bytes.fromhex(
    "31c08ed8be3c7cac84c07405e81700ebf6bafd03eca80174f8baf803ec3c217416e80200ebeb88c3bafd03eca82074f888d8baf803eec3"
    "b0fee664f4677565737420736179732068656c6c6f0d0a00"
)
HELLO = "guest says hello"


@pytest.fixture
def request_(tmp_path: Path) -> VmRequest:
    """The guest's disk, in a folder whose name QEMU needs escaped."""
    folder = tmp_path / "a, folder"
    folder.mkdir()
    (folder / "disk.raw").write_bytes(GUEST.ljust(510, b"\0") + b"\x55\xaa" + bytes(1 << 20))
    return VmRequest(folder / "disk.raw", memory=64, cpus=1)


def wait_for_file(path: Path, text: str, seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while text not in path.read_text(errors="replace"):
        assert time.monotonic() < deadline, path.read_text(errors="replace")
        time.sleep(0.05)


def test_the_probe_guest_runs_to_its_end_under_emulation() -> None:
    assert probe(TCG, 20)


def test_an_accelerator_that_is_chosen_runs_the_probe_guest() -> None:
    assert probe(choose(), 20)


def test_a_program_talks_with_the_console_and_what_is_found_is_used_up(request_: VmRequest) -> None:
    with start(request_) as machine:
        machine.wait_for(HELLO, 30)
        machine.send("one \x01 two")
        assert machine.wait_for("two", 10).endswith("one \x01 two")
        with pytest.raises(VmError, match="before its console showed 'two'"):
            machine.wait_for("two", 0.3)
        assert machine.console.count(HELLO) == 1


def test_the_console_is_kept_in_a_file(request_: VmRequest, tmp_path: Path) -> None:
    with start(VmRequest(request_.disk, memory=64, cpus=1, serial=tmp_path / "log")) as machine:
        machine.wait_for(HELLO, 30)
    assert HELLO in (tmp_path / "log").read_text(errors="replace")


def test_a_reset_reboots_or_ends_the_machine_as_asked(request_: VmRequest) -> None:
    with start(request_) as machine:
        machine.wait_for(HELLO, 30)
        machine.send("!")
        machine.wait_for(HELLO, 30)
        machine.reset()
        machine.wait_for(HELLO, 30)
    with start(VmRequest(request_.disk, memory=64, cpus=1, reboot=False)) as machine:
        machine.wait_for(HELLO, 30)
        machine.send("!")
        assert machine.wait(10) == 0
        with pytest.raises(VmError, match="the machine ended"):
            machine.wait_for("more", 1)


def test_a_machine_that_does_not_shut_down_is_ended(request_: VmRequest) -> None:
    with start(request_) as machine:
        machine.wait_for(HELLO, 30)
        with pytest.raises(VmError, match="did not shut down"):
            machine.shutdown(0.5)
        assert machine.process.poll() is not None


def test_a_machine_that_cannot_be_reached_by_ssh_says_so(request_: VmRequest) -> None:
    with start(request_) as machine, pytest.raises(VmError, match="could not be reached by ssh"):
        machine.wait_for_ssh(0)


def test_a_background_machine_is_found_again_and_stopped(request_: VmRequest, tmp_path: Path) -> None:
    state = run_detached(request_, tmp_path / "build")
    assert read_state(tmp_path / "build") == state
    wait_for_file(tmp_path / "build/console.log", HELLO)
    with pytest.raises(VmError, match="already runs"):
        run_detached(request_, tmp_path / "build")
    events: list[Event] = []
    stop(tmp_path / "build", seconds=0.5, report=events.append)
    assert any(isinstance(event, Warning) and "did not shut down" in event.message for event in events)
    assert not state.alive
    with pytest.raises(NotRunningError):
        read_state(tmp_path / "build")


def test_qemus_own_complaint_is_shown_when_it_does_not_start(request_: VmRequest, tmp_path: Path) -> None:
    broken = VmRequest(request_.disk, memory=64, cpus=100_000)
    with pytest.raises(VmError, match=r"ended at once(.|\n)*CPUs"):
        run_detached(broken, tmp_path / "build")
    with pytest.raises(NotRunningError):
        read_state(tmp_path / "build")


@pytest.mark.parametrize(("persist", "kept"), [(False, False), (True, True)])
def test_only_persisting_machines_may_write_the_disk(request_: VmRequest, persist: bool, kept: bool) -> None:
    with start(VmRequest(request_.disk, memory=64, cpus=1, persist=persist)) as machine:
        machine.wait_for(HELLO, 30)
        process = Path(f"/proc/{machine.process.pid}")
        flags = [
            int((process / "fdinfo" / fd.name).read_text().split("flags:\t")[1].split()[0], 8)
            for fd in (process / "fd").iterdir()
            if fd.readlink() == request_.disk
        ]
    assert flags
    assert any(flag & os.O_ACCMODE == os.O_RDWR for flag in flags) == kept


def test_ctrl_c_ends_a_console_machine_that_has_no_terminal(request_: VmRequest, tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from ostler.vm.qemu import VmRequest, run_console\n"
        "run_console(VmRequest(Path(sys.argv[1]), memory=64, cpus=1), Path(sys.argv[2]))\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program, str(request_.disk), str(tmp_path / "build")],
        stdin=subprocess.PIPE,
        stdout=(tmp_path / "out").open("wb"),
        stderr=subprocess.DEVNULL,
    )
    wait_for_file(tmp_path / "out", HELLO)
    state = read_state(tmp_path / "build")
    process.send_signal(signal.SIGINT)
    assert process.wait(15) != 0
    assert not state.alive
    assert not (tmp_path / "build/vm.json").exists()
