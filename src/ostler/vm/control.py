"""Just enough of QEMU's machine protocol (QMP) to press a virtual machine's power button."""

import json
import os
import socket
from collections.abc import Callable
from pathlib import Path

from ostler.vm.errors import VmError
from ostler.vm.state import CONTROL_SOCKET, connectable

_LINE_LIMIT = 1 << 20


def power_button(directory: Path, *, seconds: float = 5.0) -> None:
    """Press the power button of the machine whose control socket lies in `directory`. Raises `VmError`."""
    execute(directory, "system_powerdown", seconds=seconds)


def execute(directory: Path, command: str, *, seconds: float = 5.0) -> object:
    """Run one QMP command without arguments and return its result. Raises `VmError`."""
    path, fd = connectable(directory, CONTROL_SOCKET)
    try:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(seconds)
            connection.connect(path)
            with connection.makefile("rwb") as stream:
                _reply(stream.readline(_LINE_LIMIT), "QMP")
                answer: object = None
                for word in ("qmp_capabilities", command):
                    stream.write(json.dumps({"execute": word}).encode() + b"\n")
                    stream.flush()
                    answer = _answer(stream.readline, word)
                return answer
    except (OSError, ValueError) as error:
        raise VmError(f"the virtual machine does not answer on its control socket: {error}") from error
    finally:
        os.close(fd)


def _answer(readline: Callable[[int], bytes], command: str) -> object:
    while True:
        line = readline(_LINE_LIMIT)
        message = json.loads(line) if line else {}
        if "return" in message:
            return message["return"]
        if "error" in message or not message:
            raise VmError(f"the virtual machine refuses {command}: {message.get('error', 'connection closed')}")


def _reply(line: bytes, key: str) -> None:
    if key not in json.loads(line or b"{}"):
        raise VmError("what answers on the control socket is not QEMU")
