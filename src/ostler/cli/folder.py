"""`ostler init`, `build` and `lock`: from a machine folder to an image and a commit."""

import argparse
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ostler.cli.console import Console, human_bytes, human_seconds, table
from ostler.cli.paths import cache_directory, http_proxy, own_key_directory, ssh_public_key
from ostler.errors import ExitCode

if TYPE_CHECKING:
    from ostler.compose.plan import BuildPlan
    from ostler.definition.lock import Change
    from ostler.workflow.build import BuiltMachine


def add_folder_argument(parser: argparse.ArgumentParser) -> None:
    """The option that names the machine folder."""
    parser.add_argument(
        "-C", "--folder", type=Path, default=Path(), metavar="DIR", help="the machine folder (default: this folder)"
    )


def register(commands: "argparse._SubParsersAction[argparse.ArgumentParser]", common: argparse.ArgumentParser) -> None:
    """Add the commands."""
    parser = commands.add_parser(
        "init",
        parents=[common],
        help="make a commented machine folder that builds as it stands",
        description="Makes a machine folder with comments and examples, and your own ssh public key in keys/root.",
        epilog="example:\n  ostler init web && cd web && ostler build",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("path", type=Path, metavar="DIR", help="the folder to make; its name becomes the machine's")
    parser.add_argument("--name", help="the machine's name (default: the folder's)")
    parser.add_argument("--ssh-key", type=Path, metavar="FILE", help="the ssh public key for root (default: your own)")
    parser.set_defaults(handler=init)

    parser = commands.add_parser(
        "build",
        parents=[common],
        help="build the image and the commit of a machine folder",
        description="Composes the base from Debian packages, adds the folder's packages, Containerfile and files, and "
        "makes the initramfs. Steps whose inputs have not changed are taken from the cache. Results: an OCI image in "
        "build/image and an OSTree commit. Needs no root.",
        epilog="examples:\n  ostler build\n  ostler build --explain      say for each step why it ran or not\n"
        "  ostler build --dry-run      say what would run",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_folder_argument(parser)
    parser.add_argument("--explain", action="store_true", help="say for each step why it ran or not")
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--dry-run", action="store_true", help="say which steps would run, and run none")
    how.add_argument("--locked", action="store_true", help="fail if ostler.lock would have to change")
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    parser.set_defaults(handler=build)

    parser = commands.add_parser(
        "lock",
        parents=[common],
        help="write or renew ostler.lock",
        description="Resolves the base's and the folder's packages and pins them in ostler.lock. Without --update pins "
        "that are there stay and only what is missing is added.",
        epilog="examples:\n  ostler lock\n  ostler lock --update        newest versions; prints what changes",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_folder_argument(parser)
    parser.add_argument("--update", action="store_true", help="take the newest versions the mirror has")
    parser.add_argument("--dry-run", action="store_true", help="print the changes and write nothing")
    parser.add_argument("--json", action="store_true", help="print the changes as JSON")
    parser.set_defaults(handler=lock)


def init(options: argparse.Namespace, console: Console) -> int:
    """Make a machine folder."""
    from ostler.definition.template import new_folder
    from ostler.workflow.keys import make_key_pair, read_public_key

    found = options.ssh_key or ssh_public_key()
    if found is None:
        found = make_key_pair(own_key_directory())
        console.say(f"You have no ssh key; made a pair for you: {found.with_suffix('')}")
    key = read_public_key(found)
    name = options.name or options.path.absolute().name
    written = new_folder(options.path, name, key)
    for path in written:
        console.say(f"  {path}")
    console.say(f"The machine folder {options.path} is ready; root's ssh key is {found}.")
    console.out(f"Next: cd {options.path} && ostler build")
    return ExitCode.OK


def build(options: argparse.Namespace, console: Console) -> int:
    """Build a machine folder."""
    from ostler.io.userns import enter_user_namespace
    from ostler.workflow.build import build_machine, plan_machine

    enter_user_namespace()
    if options.dry_run:
        _show_plan(plan_machine(options.folder, cache_directory(), report=console.report), options, console)
        return ExitCode.OK
    built = build_machine(
        options.folder, cache_directory(), locked=options.locked, proxy=http_proxy(), report=console.report
    )
    if built.lock_changes:
        console.say(f"ostler.lock: {len(built.lock_changes)} package changes written")
    if options.json:
        console.out(json.dumps(built.to_json(), indent=2))
        return ExitCode.OK
    if options.explain:
        rows = [
            (step.name, "ran" if step.ran else "cached", human_seconds(step.seconds), step.why) for step in built.steps
        ]
        console.out(table(rows, header=("step", "", "took", "why")))
    _show_built(built, console)
    return ExitCode.OK


def _show_plan(plan: "BuildPlan", options: argparse.Namespace, console: Console) -> None:
    if options.json:
        steps = [{"name": step.name, "runs": not step.cached, "why": step.reason} for step in plan.steps]
        console.out(json.dumps({"steps": steps, "later": list(plan.later)}, indent=2))
        return
    rows = [(step.name, "cached" if step.cached else "would run", step.reason) for step in plan.steps]
    rows += [(name, "depends", "on the result of a step above") for name in plan.later]
    console.out(table(rows))


def _show_built(built: "BuiltMachine", console: Console) -> None:
    rows = [
        ("version", built.record.version),
        ("commit", built.record.commit),
        ("image", f"{built.image}  ({human_bytes(built.record.image_bytes)}, {built.record.manifest_digest})"),
        ("ref", built.ref),
    ]
    console.out(table(rows))


def lock(options: argparse.Namespace, console: Console) -> int:
    """Write or renew the lock."""
    from ostler.io.userns import enter_user_namespace
    from ostler.workflow.build import renew_lock

    enter_user_namespace()
    changes = renew_lock(
        options.folder,
        cache_directory(),
        update=options.update,
        dry_run=options.dry_run,
        proxy=http_proxy(),
        now=int(time.time()),
        report=console.report,
    )
    if options.json:
        console.out(json.dumps([{"name": c.name, "old": c.old, "new": c.new} for c in changes], indent=2))
    elif not changes:
        console.out("ostler.lock is up to date: no package changes")
    else:
        show_changes(changes, console)
    return ExitCode.OK


def show_changes(changes: "Sequence[Change]", console: Console) -> None:
    """Print package changes, one a line."""
    rows = [
        (
            change.name,
            change.old or "",
            "→" if change.old and change.new else "+" if change.new else "removed",
            change.new or "",
        )
        for change in changes
    ]
    console.out(table(rows))
