"""`ostler doctor`: what this machine lacks for building, and the command that installs it."""

import argparse
import json
from dataclasses import asdict

from ostler.cli.console import Console, table
from ostler.cli.paths import cache_directory
from ostler.errors import ExitCode


def register(commands: "argparse._SubParsersAction[argparse.ArgumentParser]", common: argparse.ArgumentParser) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "doctor",
        parents=[common],
        help="say what this machine lacks for building, and how to install it",
        description="Checks programs, modules, namespaces, QEMU and disk space. Exit code 4: something is missing.",
    )
    parser.add_argument("--json", action="store_true", help="print the checks as JSON")
    parser.set_defaults(handler=doctor)


def doctor(options: argparse.Namespace, console: Console) -> int:
    """Print the checks; the exit code says whether anything is missing."""
    from ostler.workflow.requirements import check_all, install_command

    checks = check_all(cache_directory())
    failed = [check for check in checks if not check.ok and not check.optional]
    if options.json:
        console.out(json.dumps([asdict(check) for check in checks], indent=2))
    else:
        rows = [
            ("✓" if check.ok else "–" if check.optional else "✗", check.name, check.found, check.needed_for)
            for check in checks
        ]
        console.out(table(rows, header=("", "what", "found", "needed for")))
        command = install_command(failed)
        others = [check.remedy for check in failed if not check.remedy.startswith("apt-get install")]
        if failed:
            console.out("\nTo mend it:")
            for line in filter(None, [command, *others]):
                console.out(f"  {line}")
        else:
            console.out("\nEverything is there.")
    return ExitCode.MISSING_TOOL if failed else ExitCode.OK
