"""The parser, and what turns errors into messages and exit codes."""

import argparse
import errno
import importlib
import importlib.util
import os
import signal
import sys
import traceback
from collections.abc import Callable, Sequence
from types import FrameType
from typing import NoReturn

from ostler import __version__
from ostler.cli.console import Console
from ostler.errors import ExitCode, OstlerError

HOST_GROUPS = ("host", "repository", "internal", "completion")
BUILDER_GROUPS = ("folder", "machine", "release", "doctor")

EPILOG = """\
examples:
  ostler init web && cd web      make a machine folder
  ostler build && ostler disk    image, commit and a bootable disk
  ostler run                     try it in a virtual machine
  ostler publish                 make the version available to machines
  ostler status                  on a machine: what runs, what is staged

Exit codes and every option: man ostler, or the reference in docs/.
"""

Handler = Callable[[argparse.Namespace, Console], int]


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors name the nearest thing that would have been right."""

    def error(self, message: str) -> NoReturn:
        """Print the message with a pointer to the help, and exit with the usage code."""
        print(f"{self.prog}: error: {message}\n  hint: `{self.prog} --help` shows what it takes", file=sys.stderr)
        sys.exit(ExitCode.USAGE)


def has_builder() -> bool:
    """Whether the builder's side is installed here; on a host only the agent is."""
    return importlib.util.find_spec("ostler.workflow") is not None


def build_parser(groups: Sequence[str] | None = None) -> argparse.ArgumentParser:
    """The whole command tree; the modules that do the work are imported only when a command runs."""
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("-v", "--verbose", action="store_true", help="show what tools print, and tracebacks of errors")
    common.add_argument("-q", "--quiet", action="store_true", help="print only results, warnings and errors")
    parser = Parser(
        prog="ostler",
        description="A folder of plain files becomes a bootable Linux machine that updates atomically.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"ostler {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", title="commands", parser_class=Parser)
    if groups is None:
        groups = (*BUILDER_GROUPS, *HOST_GROUPS) if has_builder() else HOST_GROUPS
    for group in groups:
        importlib.import_module(f"ostler.cli.{group}").register(commands, common)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if arguments == ["--version"]:  # the parser need not be built for it
        print(f"ostler {__version__}")
        return ExitCode.OK
    signal.signal(signal.SIGTERM, _interrupt)
    os.umask(0o022)  # what is built must not depend on it, and what is on a machine be readable by its users
    parser = build_parser()
    options = parser.parse_args(arguments)
    if options.command is None:
        parser.print_help()
        return ExitCode.OK
    console = Console(verbose=options.verbose, quiet=options.quiet)
    try:
        handler: Handler = options.handler
        return handler(options, console)
    except OstlerError as error:
        if console.verbose:
            traceback.print_exc()
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
            traceback.print_exc()
        return _operating_system_error(error, console)


def _interrupt(signum: int, frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt


def _operating_system_error(error: OSError, console: Console) -> int:
    where = f": {error.filename}" if error.filename else ""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        console.fail(f"no space left on the device{where}", "free some space and run the same command again")
        return ExitCode.NO_SPACE
    if error.errno in (errno.EACCES, errno.EPERM):
        console.fail(f"not permitted{where} ({error.strerror})", "on a host, commands that change it need root")
        return ExitCode.FAILURE
    console.fail(f"{error.strerror or error}{where}", "run it again with -v for the details")
    return ExitCode.FAILURE
