"""The entry point, and what turns errors into messages and exit codes."""

import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, NoReturn

from ostler import __version__
from ostler.errors import ExitCode, OstlerError

if TYPE_CHECKING:
    from types import FrameType

    from ostler.cli.console import Console


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code. Called by the name `ostree`, it acts as that program."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    as_ostree = argv is None and os.path.basename(sys.argv[0]) == "ostree"  # noqa: PTH119 - before all other imports
    if as_ostree or arguments[:1] == ["ostree"]:
        from ostler.cli.ostree import main as ostree

        return ostree(arguments if as_ostree else arguments[1:])
    if arguments == ["--version"]:  # the parser need not be built for it
        print(f"ostler {__version__}")
        return ExitCode.OK
    return _run(arguments)


def _run(arguments: Sequence[str]) -> int:
    import signal

    from ostler.cli.console import Console
    from ostler.cli.parser import build_parser

    signal.signal(signal.SIGTERM, _interrupt)
    os.umask(0o022)  # what is built must not depend on it, and what is on a machine be readable by its users
    parser = build_parser()
    options = parser.parse_args(arguments)
    if options.command is None:
        parser.print_help()
        return ExitCode.OK
    console = Console(verbose=options.verbose, quiet=options.quiet)
    try:
        code: int = options.handler(options, console)
        return code
    except OstlerError as error:
        if console.verbose:
            _print_traceback()
        console.fail(error.message, error.hint)
        return error.exit_code
    except KeyboardInterrupt:
        console.fail("interrupted; nothing half-written was left behind")
        return ExitCode.INTERRUPTED
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return ExitCode.OK
    except OSError as error:
        if console.verbose:
            _print_traceback()
        return _operating_system_error(error, console)


def _interrupt(signum: int, frame: "FrameType | None") -> NoReturn:
    raise KeyboardInterrupt


def _print_traceback() -> None:
    import traceback

    traceback.print_exc()


def _operating_system_error(error: OSError, console: "Console") -> int:
    import errno

    where = f": {error.filename}" if error.filename else ""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        console.fail(f"no space left on the device{where}", "free some space and run the same command again")
        return ExitCode.NO_SPACE
    if error.errno in (errno.EACCES, errno.EPERM):
        console.fail(f"not permitted{where} ({error.strerror})", "on a host, commands that change it need root")
        return ExitCode.FAILURE
    console.fail(f"{error.strerror or error}{where}", "run it again with -v for the details")
    return ExitCode.FAILURE
