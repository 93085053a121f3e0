"""`ostler internal`: what the units in the image call; not for people."""

import argparse
from pathlib import Path

from ostler.cli.console import Console
from ostler.errors import ExitCode


def register(commands: "argparse._SubParsersAction[argparse.ArgumentParser]", common: argparse.ArgumentParser) -> None:
    """Add the commands."""
    parser = commands.add_parser("internal", description="What the units in the image call.")
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    action = actions.add_parser(
        "finalize", parents=[common], help="write the staged deployment's boot entry, at shutdown"
    )
    action.set_defaults(handler=finalize)
    action = actions.add_parser("grow-root", parents=[common], help="grow the root file system to its disk")
    action.set_defaults(handler=grow)


def finalize(options: argparse.Namespace, console: Console) -> int:
    """Finalize what is staged."""
    from ostler.host.finalize import finalize as run

    run(Path("/"), report=console.report)
    return ExitCode.OK


def grow(options: argparse.Namespace, console: Console) -> int:
    """Grow the root file system."""
    from ostler.host.grow import grow_root

    grow_root(report=console.report)
    return ExitCode.OK
