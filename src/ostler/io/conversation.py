"""A program that is talked with: requests go in, answers come out, until it is no longer needed."""

import os
import subprocess
import threading
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import suppress

from ostler.io.process import BASE_ENVIRONMENT, KEPT_LINES, CommandError, MissingToolError, terminate


class Conversation:
    """Starts a program in a session of its own, with the environment that `process.run` gives."""

    def __init__(self, argv: Sequence[str | os.PathLike[str]], *, env: Mapping[str, str] | None = None) -> None:
        self._argv = [os.fspath(word) for word in argv]
        self._said: deque[str] = deque(maxlen=KEPT_LINES)
        try:
            self._process = subprocess.Popen(
                self._argv,
                env={**BASE_ENVIRONMENT, **(env or {})},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                start_new_session=True,
            )
        except FileNotFoundError as error:
            raise MissingToolError(f"the program `{self._argv[0]}` is not installed") from error
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()

    def _listen(self) -> None:
        assert self._process.stderr is not None
        for raw in self._process.stderr:
            self._said.append(raw.decode("utf-8", "replace").rstrip())

    def say(self, data: bytes) -> None:
        """Send something; raises `CommandError` if the program has ended."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(data)
            self._process.stdin.flush()
        except BrokenPipeError as error:
            raise self._ended() from error

    def hear_line(self) -> bytes:
        """The next line that the program prints, without its end; raises `CommandError` if there is none."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline(1 << 16)
        if not line.endswith(b"\n"):
            raise self._ended()
        return line[:-1]

    def hear(self, size: int) -> bytes:
        """The next `size` bytes that the program prints; raises `CommandError` if there are fewer."""
        assert self._process.stdout is not None
        data = self._process.stdout.read(size)
        if len(data) != size:
            raise self._ended()
        return data

    def _ended(self) -> CommandError:
        terminate(self._process)
        self._listener.join(1)
        return CommandError(self._argv, self._process.returncode, list(self._said)[-20:])

    def end(self) -> None:
        """End the program, whatever it is doing."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        if self._process.poll() is None:
            terminate(self._process)
        with suppress(BrokenPipeError):
            self._process.stdin.close()
        self._process.stdout.close()

    def close(self) -> None:
        """Tell the program that nothing more comes, and wait a little; then end it."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with suppress(BrokenPipeError):
            self._process.stdin.close()
        try:
            self._process.wait(timeout=2)
        except subprocess.TimeoutExpired:
            terminate(self._process)
        self._process.stdout.close()
