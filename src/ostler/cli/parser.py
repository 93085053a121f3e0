"""The argument parser of `ostler`: the whole command tree."""

import argparse
import importlib
import importlib.util
import sys
from collections.abc import Sequence
from typing import NoReturn

from ostler import __version__
from ostler.errors import ExitCode

HOST_GROUPS = ("host", "keys", "repository", "ostree", "internal", "completion")
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
