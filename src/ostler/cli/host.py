"""`ostler status`, `upgrade`, `rollback` and `switch`: the machine itself."""

import argparse
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

from ostler.cli.console import Console, human_bytes
from ostler.errors import ExitCode, OstlerError

if TYPE_CHECKING:
    from ostler.host.upgrade import UpgradeResult

ROOT = Path("/")


def register(commands: "argparse._SubParsersAction[argparse.ArgumentParser]", common: argparse.ArgumentParser) -> None:
    """Add the commands."""
    parser = commands.add_parser(
        "status",
        parents=[common],
        help="on a machine: what runs, what is staged, what it can go back to",
        description="Shows the booted, staged and rollback deployment: version, checksum, origin. Needs no root.",
    )
    parser.add_argument("--json", action="store_true", help="print as JSON, in the form of bootc's BootcHost")
    parser.set_defaults(handler=status)

    parser = commands.add_parser(
        "upgrade",
        parents=[common],
        help="on a machine: fetch the newest version and stage it for the next boot",
        description="Fetches only what is missing and prepares the new version beside the running one. It is made the "
        "default at shutdown, with /etc merged then; until then nothing changes.",
        epilog="examples:\n  ostler upgrade --check     is there one, and what would it bring\n"
        "  ostler upgrade             stage it\n  ostler upgrade --apply     stage it and reboot into it",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--check", action="store_true", help="only say whether there is a new version and what it brings")
    what.add_argument("--apply", action="store_true", help="reboot into the new version at once")
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    parser.set_defaults(handler=upgrade)

    parser = commands.add_parser(
        "rollback",
        parents=[common],
        help="on a machine: make the other version the default for the next boot",
        description="Swaps the order of the two deployments; again swaps back. /etc of that version is as it was left.",
    )
    parser.add_argument("--apply", action="store_true", help="reboot at once")
    parser.add_argument("--discard-staged", action="store_true", help="throw a staged upgrade away, if there is one")
    parser.set_defaults(handler=rollback)

    parser = commands.add_parser(
        "switch",
        parents=[common],
        help="on a machine: follow another ref, and stage its newest version",
        epilog="example:\n  ostler switch web/testing",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("ref", help="the ref to follow from now on, or REMOTE:REF")
    parser.add_argument("--apply", action="store_true", help="reboot into it at once")
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    parser.set_defaults(handler=switch)


def _need_root(what: str) -> None:
    if os.geteuid() != 0:
        raise OstlerError(f"`ostler {what}` changes the machine and needs root", hint=f"run `sudo ostler {what}`")


def status(options: argparse.Namespace, console: Console) -> int:
    """Show the deployments."""
    from ostler.host.status import read_status

    found = read_status(ROOT)
    console.out(json.dumps(found.to_json(), indent=2) if options.json else found.to_text())
    return ExitCode.OK


def upgrade(options: argparse.Namespace, console: Console) -> int:
    """Check for, or stage, the newest version."""
    if options.check:
        from ostler.host.upgrade import check

        found = check(ROOT, report=console.report)
        console.out(json.dumps(found.to_json(), indent=2) if options.json else found.to_text())
        return ExitCode.OK
    _need_root("upgrade")
    from ostler.host.upgrade import upgrade as run

    return _staged(run(ROOT, report=console.report), options, console)


def _staged(result: "UpgradeResult", options: argparse.Namespace, console: Console) -> int:
    if options.json:
        console.out(json.dumps(result.to_json(), indent=2))
    elif not result.changed:
        console.out(
            f"nothing new: {result.origin} is at {result.version or result.checksum}, which is {result.state} already"
        )
    else:
        console.out(f"staged {result.version or ''} {result.checksum}")
        console.out(f"fetched {result.objects} objects, {human_bytes(result.bytes)}")
    if options.apply and result.state == "staged":
        _reboot(console)
    elif not options.json and result.state == "staged":
        console.say("It becomes the default at the next shutdown: `systemctl reboot` boots it.")
    return ExitCode.OK


def rollback(options: argparse.Namespace, console: Console) -> int:
    """Make the other deployment the default."""
    _need_root("rollback")
    from ostler.host.rollback import rollback as run

    target = run(ROOT, discard_staged=options.discard_staged, report=console.report)
    console.out(f"the next boot runs {target.version or ''} {target.checksum}")
    if options.apply:
        _reboot(console)
    return ExitCode.OK


def switch(options: argparse.Namespace, console: Console) -> int:
    """Follow another ref."""
    _need_root("switch")
    from ostler.host.switch import switch as run

    return _staged(run(ROOT, options.ref, report=console.report), options, console)


def _reboot(console: Console) -> None:
    from ostler.io.process import run as run_program

    console.say("rebooting")
    run_program(["systemctl", "reboot"])
