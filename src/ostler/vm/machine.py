"""A running machine in a program's hands: read and write its console, run commands over ssh, shut it down."""

import shlex
import subprocess
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from ostler.io.files import remove_tree
from ostler.io.process import CommandError, Result, run, terminate
from ostler.vm.control import execute, power_button
from ostler.vm.errors import VmError

_TAIL = 1500


def ssh_arguments(
    port: int, *, user: str = "root", key: Path | None = None, batch: bool = False, connect_seconds: int = 10
) -> list[str]:
    """An ssh command, without the words to run, that reaches the guest behind the forwarded port.

    The guest's host key is not checked: it is new with every fresh disk, and the connection is to the loopback address.
    With `batch` ssh never asks for anything.
    """
    argv = [
        "ssh", "-p", str(port), "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null",
        "-o", "LogLevel=ERROR", "-o", f"ConnectTimeout={connect_seconds}",
    ]  # fmt: skip
    if batch:
        argv += ["-o", "BatchMode=yes"]
    if key is not None:
        argv += ["-i", str(key), "-o", "IdentitiesOnly=yes"]
    return [*argv, f"{user}@127.0.0.1"]


class Machine:
    """QEMU with its console on pipes. A context manager: leaving it ends the machine as pulling the plug does."""

    def __init__(
        self, process: "subprocess.Popen[bytes]", ssh_port: int, work: Path, *, console_log: Path | None = None
    ) -> None:
        self.process = process
        self.ssh_port = ssh_port
        self._work = work
        self._heard = bytearray()
        self._read_to = 0
        self._news = threading.Condition()
        self._closed = False
        self._log = console_log.open("wb") if console_log else None
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()

    @property
    def console(self) -> str:
        """Everything that the console has shown."""
        with self._news:
            return self._heard.decode("utf-8", "replace")

    def wait_for(self, text: str, timeout: float) -> str:
        """Wait until the console shows `text`, and return what came up to it since the last call.

        What is found is used up: the next call looks behind it. Raises `VmError` after `timeout` seconds or if the
        machine ends, with the last of what the console showed.
        """
        sought = text.encode()
        deadline = time.monotonic() + timeout
        with self._news:
            while True:
                found = self._heard.find(sought, self._read_to)
                if found >= 0:
                    start, self._read_to = self._read_to, found + len(sought)
                    return self._heard[start : self._read_to].decode("utf-8", "replace")
                left = deadline - time.monotonic()
                if self._closed or left <= 0:
                    why = "the machine ended" if self._closed else f"{timeout:.0f} s went by"
                    tail = self._heard[-_TAIL:].decode("utf-8", "replace")
                    raise VmError(f"{why} before its console showed {text!r}; it last showed:\n{tail}")
                self._news.wait(left)

    def send(self, text: str) -> None:
        """Type `text` on the console; a line ends with "\\n"."""
        assert self.process.stdin is not None
        self.process.stdin.write(text.encode().replace(b"\x01", b"\x01\x01"))
        self.process.stdin.flush()

    def ssh(
        self,
        words: Sequence[str],
        *,
        user: str = "root",
        key: Path | None = None,
        input: bytes | None = None,
        connect_seconds: int = 10,
    ) -> Result:
        """Run a command in the guest over ssh. Raises `CommandError` if it fails."""
        argv = ssh_arguments(self.ssh_port, user=user, key=key, batch=True, connect_seconds=connect_seconds)
        return run([*argv, shlex.join(words)], input=input)

    def wait_for_ssh(self, timeout: float, *, user: str = "root", key: Path | None = None) -> None:
        """Wait until the guest runs commands over ssh. Raises `VmError` after `timeout` seconds or if it ends."""
        deadline = time.monotonic() + timeout
        while True:
            try:
                left = max(1, min(10, int(deadline - time.monotonic())))
                self.ssh(["true"], user=user, key=key, connect_seconds=left)
                return
            except CommandError as error:
                if self.process.poll() is not None:
                    raise VmError("the machine ended before it could be reached by ssh") from error
                if time.monotonic() > deadline:
                    raise VmError(
                        f"the machine could not be reached by ssh within {timeout:.0f} s: {error.message}"
                    ) from error
            time.sleep(1)

    def wait(self, timeout: float) -> int:
        """Wait until the machine ends by itself; return QEMU's exit status. Raises `VmError`."""
        try:
            status = self.process.wait(timeout)
        except subprocess.TimeoutExpired as error:
            raise VmError(f"the machine still runs after {timeout:.0f} s") from error
        self._close()
        return status

    def shutdown(self, timeout: float = 90.0) -> None:
        """Press the power button and wait for the machine to end. Raises `VmError` (and ends it) if it does not."""
        if self.process.poll() is None:
            try:
                power_button(self._work)
                self.process.wait(timeout)
            except subprocess.TimeoutExpired as error:
                raise VmError(f"the machine did not shut down within {timeout:.0f} s") from error
            finally:
                self.kill()
        self._close()

    def reset(self) -> None:
        """Press the reset button: what the guest has not written to its disk is lost."""
        execute(self._work, "system_reset")

    def kill(self) -> None:
        """End the machine at once, as pulling the plug does. Does nothing if it has ended."""
        if self.process.poll() is None:
            terminate(self.process)
        self._close()

    def _close(self) -> None:
        self._listener.join(timeout=5)
        for stream in (self.process.stdin, self.process.stdout, self._log):
            if stream is not None:
                with suppress(OSError):
                    stream.close()
        remove_tree(self._work)

    def _listen(self) -> None:
        stream: IO[bytes] | None = self.process.stdout
        assert stream is not None
        try:
            while chunk := stream.read1(65536):  # type: ignore[attr-defined]
                if self._log is not None:
                    self._log.write(chunk)
                    self._log.flush()
                with self._news:
                    self._heard += chunk
                    self._news.notify_all()
        except (OSError, ValueError):
            pass
        finally:
            with self._news:
                self._closed = True
                self._news.notify_all()
