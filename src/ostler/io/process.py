"""The one place that starts other programs: clean environment, a command that can be pasted, output kept for errors."""

import os
import shlex
import shutil
import signal
import subprocess
import threading
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from ostler.errors import ExitCode, OstlerError
from ostler.io.progress import Output, Reporter, silent

SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
BASE_ENVIRONMENT: Mapping[str, str] = {"PATH": SYSTEM_PATH, "LC_ALL": "C.UTF-8", "HOME": "/root", "TERM": "dumb"}
KEPT_LINES = 60
_CHUNK = 1 << 20


class CommandError(OstlerError):
    """A program ended with a failure; `output` has the last lines it printed."""

    exit_code = ExitCode.COMMAND_FAILED

    def __init__(self, argv: Sequence[str], status: int, output: Sequence[str], *, hint: str | None = None) -> None:
        reason = f"was killed by signal {signal.Signals(-status).name}" if status < 0 else f"exited with {status}"
        shown = "\n".join(f"  | {line}" for line in output)
        super().__init__(f"{argv[0]} {reason}\n  $ {shlex.join(argv)}" + (f"\n{shown}" if shown else ""), hint=hint)
        self.argv = list(argv)
        self.status = status
        self.output = list(output)


class MissingToolError(OstlerError):
    """A program that this operation needs is not installed."""

    exit_code = ExitCode.MISSING_TOOL


@dataclass(frozen=True, slots=True)
class Result:
    """What a finished program printed on standard output (standard error went to the reporter)."""

    stdout: bytes

    @property
    def text(self) -> str:
        """Standard output as text, undecodable bytes replaced."""
        return self.stdout.decode("utf-8", "replace")


def find_tool(name: str) -> Path | None:
    """The path of the program `name` in the system's directories, or None."""
    found = shutil.which(name, path=SYSTEM_PATH)
    return Path(found) if found else None


def require_tool(name: str, *, package: str) -> Path:
    """The path of the program `name`; `package` is the Debian package that brings it.

    Raises `MissingToolError`, whose hint says how to install it.
    """
    found = find_tool(name)
    if found is None:
        raise MissingToolError(
            f"the program `{name}` is not installed",
            hint=f"install it with `apt-get install {package}` (or run `ostler doctor` for everything at once)",
        )
    return found


def run(
    argv: Sequence[str | os.PathLike[str]],
    *,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    input: bytes | IO[bytes] | None = None,
    capture: bool = True,
    report: Reporter = silent,
    check: bool = True,
    hint: str | None = None,
    pass_fds: Sequence[int] = (),
) -> Result:
    """Run a program to its end and return what it printed.

    `env` is added to a small fixed environment; nothing else is inherited. `input` is standard input. With `capture`
    standard output is returned, else each of its lines goes to `report` like those of standard error. Raises
    `CommandError` on a failure (unless `check` is false) and `MissingToolError` if the program does not exist. If this
    is interrupted the program and its children are ended first.
    """
    words = [os.fspath(word) for word in argv]
    try:
        process = subprocess.Popen(
            words,
            env={**BASE_ENVIRONMENT, **(env or {})},
            cwd=cwd,
            stdin=subprocess.DEVNULL if input is None else subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
            pass_fds=pass_fds,
        )
    except FileNotFoundError as error:
        raise MissingToolError(
            f"the program `{words[0]}` is not installed", hint="`ostler doctor` says which package brings it"
        ) from error
    assert process.stdout is not None
    assert process.stderr is not None
    kept: deque[str] = deque(maxlen=KEPT_LINES)

    def drain(stream: IO[bytes]) -> None:
        for raw in stream:
            line = raw.decode("utf-8", "replace").rstrip()
            kept.append(line)
            report(Output(line))

    collected: list[bytes] = []
    readers = [threading.Thread(target=drain, args=(process.stderr,), daemon=True)]
    if capture:
        readers.append(threading.Thread(target=lambda: collected.append(process.stdout.read()), daemon=True))  # type: ignore[union-attr]
    else:
        readers.append(threading.Thread(target=drain, args=(process.stdout,), daemon=True))
    if input is not None:
        readers.append(threading.Thread(target=_feed, args=(process, input), daemon=True))
    try:
        for reader in readers:
            reader.start()
        status = process.wait()
        for reader in readers:
            reader.join()
    except BaseException:
        terminate(process)
        raise
    finally:
        process.stdout.close()
        process.stderr.close()
    stdout = b"".join(collected)
    if check and status != 0:
        printed = list(kept) or stdout.decode("utf-8", "replace").splitlines()[-KEPT_LINES:]
        raise CommandError(words, status, printed[-20:], hint=hint)
    return Result(stdout)


def run_interactive(argv: Sequence[str | os.PathLike[str]]) -> int:
    """Run a program that talks to the user, such as an editor, on this process's terminal and environment.

    Returns its exit status. Raises `MissingToolError` if it does not exist.
    """
    words = [os.fspath(word) for word in argv]
    try:
        return subprocess.run(words, check=False).returncode
    except FileNotFoundError as error:
        raise MissingToolError(
            f"the program `{words[0]}` is not installed", hint="install it, or name another"
        ) from error


def _feed(process: subprocess.Popen[bytes], data: bytes | IO[bytes]) -> None:
    assert process.stdin is not None
    try:
        if isinstance(data, bytes):
            process.stdin.write(data)
        else:
            shutil.copyfileobj(data, process.stdin, _CHUNK)
        process.stdin.close()
    except BrokenPipeError:
        pass


def terminate(process: subprocess.Popen[bytes], *, patience_seconds: float = 5.0) -> None:
    """End a program started in a session of its own, with everything it started: politely, then for good."""
    for sign in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, sign)
        except ProcessLookupError:
            break
        try:
            process.wait(timeout=patience_seconds)
        except subprocess.TimeoutExpired:
            continue
    process.wait()
