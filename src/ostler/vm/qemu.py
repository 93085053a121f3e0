"""Starting machines: for a program (`start`), for a person (`run_console`), in the background (`run_detached`)."""

import os
import shlex
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from ostler.errors import NotFoundError
from ostler.io.files import remove_tree
from ostler.io.process import BASE_ENVIRONMENT, terminate
from ostler.io.progress import Reporter, Step, Warning, silent
from ostler.vm.accelerator import OLDEST_QEMU_FOR_EMULATION, choose, qemu_version
from ostler.vm.command import STDIO, VmRequest, build_command, disk_format
from ostler.vm.control import power_button
from ostler.vm.errors import VmError
from ostler.vm.firmware import find_firmware, fresh_variables
from ostler.vm.machine import Machine, ssh_arguments
from ostler.vm.state import CONTROL_SOCKET, VmState, clear_state, read_state, write_state

__all__ = [
    "OLDEST_QEMU_FOR_EMULATION",
    "Machine",
    "VmRequest",
    "VmState",
    "free_port",
    "qemu_version",
    "run_console",
    "run_detached",
    "ssh_command",
    "start",
    "stop",
]
CONSOLE_LOG = "console.log"
QEMU_LOG = "qemu.log"
_SETTLE_SECONDS = 0.7
_VARIABLES = "vm-uefi-vars.fd"


def free_port() -> int:
    """A TCP port of the loopback address that nobody uses at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def start(request: VmRequest, *, report: Reporter = silent) -> Machine:
    """Start a machine that a program drives: its console is read and written through the `Machine`.

    The console is also kept in the file `request.serial`, if that is a path. Raises `VmError` and what
    `VmRequest.command` raises.
    """
    request = _checked(request)
    work = Path(tempfile.mkdtemp(prefix="ostler-vm-"))
    try:
        log = None if request.serial == STDIO else Path(request.serial)
        argv = _prepare(replace(request, serial=STDIO), work, work / _VARIABLES, report)
        process = _spawn(argv, work / QEMU_LOG, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        return Machine(process, request.ssh_port, work, console_log=log)
    except BaseException:
        remove_tree(work)
        raise


def run_console(request: VmRequest, directory: Path, *, report: Reporter = silent) -> int:
    """Run the machine with its console on this terminal until it ends; return QEMU's exit status.

    `directory` gets the state file by which `ostler ssh` finds the machine. Ctrl-C goes to the guest where the
    console is a terminal; where it is not, it ends the machine.
    """
    directory = _claimed(directory)
    request = replace(_checked(request), serial=STDIO)
    argv = _prepare(request, directory, directory / _VARIABLES, report)
    process = subprocess.Popen(argv, env=dict(BASE_ENVIRONMENT), cwd=directory)
    try:
        write_state(directory, process.pid, request.ssh_port, request.disk)
        return process.wait()
    except BaseException:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        raise
    finally:
        clear_state(directory)


def run_detached(request: VmRequest, directory: Path, *, report: Reporter = silent) -> VmState:
    """Start the machine in the background; its console goes to `directory`/console.log.

    Raises `VmError` if QEMU ends at once.
    """
    directory = _claimed(directory)
    request = replace(_checked(request), serial=directory / CONSOLE_LOG)
    argv = _prepare(request, directory, directory / _VARIABLES, report)
    process = _spawn(argv, directory / QEMU_LOG, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    return write_state(directory, process.pid, request.ssh_port, request.disk)


def stop(directory: Path, *, seconds: float = 90.0, report: Reporter = silent) -> None:
    """Shut the background machine down by its power button; after `seconds` end it. Raises `NotRunningError`."""
    directory = directory.absolute()
    state = read_state(directory)
    try:
        power_button(directory)
        report(Step("shutting down"))
        deadline = time.monotonic() + seconds
        while state.alive and time.monotonic() < deadline:
            time.sleep(0.2)
        if state.alive:
            report(Warning(f"the machine did not shut down within {seconds:.0f} s and was ended"))
    except VmError as error:
        report(Warning(f"{error.message}; the machine was ended"))
    _end_process(state)
    clear_state(directory)


def ssh_command(
    directory: Path, *, user: str = "root", key: Path | None = None, words: Sequence[str] = ()
) -> list[str]:
    """The ssh command that logs in to the machine that runs from `directory`. Raises `NotRunningError`."""
    state = read_state(directory)
    return ssh_arguments(state.ssh_port, user=user, key=key) + ([shlex.join(words)] if len(words) > 1 else list(words))


def _checked(request: VmRequest) -> VmRequest:
    """The request with an absolute disk path, the disk's format and a port. Raises `NotFoundError`."""
    format = disk_format(request.disk)
    serial = request.serial if request.serial == STDIO else Path(request.serial).absolute()
    port = request.ssh_port or free_port()
    return replace(request, disk=request.disk.absolute(), format=format, ssh_port=port, serial=serial)


def _claimed(directory: Path) -> Path:
    """The directory, ready for a machine of its own. Raises `VmError` if one runs from it already."""
    directory = directory.absolute()
    directory.mkdir(parents=True, exist_ok=True)
    with suppress(NotFoundError):
        state = read_state(directory)
        raise VmError(
            f"a virtual machine of this folder already runs (process {state.pid}, ssh port {state.ssh_port})",
            hint="log in with `ostler ssh`, or end it with `ostler stop`",
        )
    clear_state(directory)
    return directory


def _prepare(request: VmRequest, directory: Path, variables: Path, report: Reporter) -> list[str]:
    """The command; QEMU is to be run in `directory`."""
    accelerator = choose()
    report(Step("virtual machine", "emulated: KVM does not work here" if accelerator.emulated else "with KVM"))
    firmware = None
    if request.firmware == "uefi":
        code, template = find_firmware()
        firmware = code, fresh_variables(template, variables)
    return build_command(request, accelerator, firmware, control=CONTROL_SOCKET)


def _spawn(argv: list[str], log: Path, *, stdin: int, stdout: int) -> "subprocess.Popen[bytes]":
    """Start QEMU in a session of its own, in the directory of `log`, and see that it survives its start."""
    with log.open("wb") as complaints:
        process = subprocess.Popen(
            argv,
            env=dict(BASE_ENVIRONMENT),
            cwd=log.parent,
            stdin=stdin,
            stdout=stdout,
            stderr=complaints,
            start_new_session=True,
        )
    try:
        status = process.wait(timeout=_SETTLE_SECONDS)
    except subprocess.TimeoutExpired:
        return process
    except BaseException:
        terminate(process)
        raise
    said = log.read_text(errors="replace").strip() or "(it said nothing)"
    raise VmError(f"QEMU ended at once with status {status}\n  $ {shlex.join(argv)}\n{said}")


def _end_process(state: VmState) -> None:
    for sign in (signal.SIGTERM, signal.SIGKILL):
        if not state.alive:
            return
        with suppress(ProcessLookupError):
            os.kill(state.pid, sign)
        deadline = time.monotonic() + 5
        while state.alive and time.monotonic() < deadline:
            time.sleep(0.1)
