"""`ostler disk`, `run`, `ssh` and `stop`: from a commit to a running machine."""

import argparse
import json
from pathlib import Path

from ostler.cli.console import Console, human_bytes, human_seconds, table
from ostler.cli.folder import add_folder_argument
from ostler.cli.paths import cache_directory, own_key_directory
from ostler.errors import ExitCode


def register(commands: "argparse._SubParsersAction[argparse.ArgumentParser]", common: argparse.ArgumentParser) -> None:
    """Add the commands."""
    parser = commands.add_parser(
        "disk",
        parents=[common],
        help="write the built version to a bootable disk file",
        description="Writes a disk that boots on BIOS and UEFI: BIOS boot, ESP, /boot and root. The file is sparse, as "
        "large as its content with a margin, and the root grows to the real disk on first boot. Needs no root.",
        epilog="examples:\n  ostler disk\n  ostler disk --format qcow2 -o web.qcow2\n  ostler disk --dry-run",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_folder_argument(parser)
    parser.add_argument("--format", choices=("raw", "qcow2"), help="the file's format (default: by the name, else raw)")
    parser.add_argument(
        "-o", "--output", type=Path, metavar="FILE", help="the file (default: build/NAME.raw or .qcow2)"
    )
    parser.add_argument("--dry-run", action="store_true", help="print the partitions, and write nothing")
    parser.add_argument("--json", action="store_true", help="print the plan or the result as JSON")
    parser.set_defaults(handler=disk)

    parser = commands.add_parser(
        "run",
        parents=[common],
        help="run the disk in a virtual machine",
        description="Starts the disk in QEMU with its console here and ssh on a forwarded port of this machine. "
        "Changes to the disk are thrown away unless --persist is given. Ends with Ctrl-A X or a power-off.",
        epilog="examples:\n  ostler run\n  ostler run --firmware uefi --persist\n  ostler run --detach && ostler ssh",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_folder_argument(parser)
    parser.add_argument(
        "disk", nargs="?", type=Path, metavar="DISK", help="the disk file (default: build/NAME.raw or .qcow2)"
    )
    parser.add_argument("--firmware", choices=("bios", "uefi"), default="bios", help="default: %(default)s")
    parser.add_argument("--persist", action="store_true", help="keep changes to the disk")
    parser.add_argument(
        "--detach", action="store_true", help="run in the background; the console goes to build/console.log"
    )
    parser.add_argument("--memory", type=int, default=2048, metavar="MIB", help="default: %(default)s")
    parser.add_argument("--cpus", type=int, default=2, help="default: %(default)s")
    parser.add_argument("--ssh-port", type=int, metavar="PORT", help="the forwarded port (default: a free one)")
    parser.add_argument("--dry-run", action="store_true", help="print the QEMU command, and start nothing")
    parser.set_defaults(handler=run)

    parser = commands.add_parser(
        "ssh",
        parents=[common],
        help="log in to the running virtual machine",
        epilog="examples:\n  ostler ssh\n  ostler ssh -- ostler status",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_folder_argument(parser)
    parser.add_argument("--user", default="root", help="who to log in as (default: %(default)s)")
    parser.add_argument("words", nargs="*", metavar="COMMAND", help="a command to run there instead of a shell")
    parser.set_defaults(handler=ssh)

    parser = commands.add_parser("stop", parents=[common], help="power off the detached virtual machine")
    add_folder_argument(parser)
    parser.set_defaults(handler=stop)


def disk(options: argparse.Namespace, console: Console) -> int:
    """Write the disk."""
    from ostler.io.userns import enter_user_namespace
    from ostler.workflow.disk import plan_machine_disk, write_machine_disk

    enter_user_namespace()
    if options.dry_run:
        plan = plan_machine_disk(options.folder, cache_directory())
        console.out(json.dumps(plan.to_json(), indent=2) if options.json else str(plan))
        return ExitCode.OK
    done = write_machine_disk(
        options.folder, cache_directory(), output=options.output, format=options.format, report=console.report
    )
    if options.json:
        console.out(json.dumps(done.to_json(), indent=2))
        return ExitCode.OK
    rows = [
        ("disk", str(done.path)),
        ("size", f"{human_bytes(done.size)}, {human_bytes(done.allocated)} on disk"),
        ("commit", done.commit),
        ("took", human_seconds(done.seconds)),
    ]
    console.out(table(rows))
    return ExitCode.OK


def run(options: argparse.Namespace, console: Console) -> int:
    """Run the disk."""
    import shlex

    from ostler.vm.qemu import run_console, run_detached
    from ostler.workflow.run import machine_request

    request = machine_request(
        options.folder,
        disk=options.disk,
        firmware=options.firmware,
        persist=options.persist,
        memory_mib=options.memory,
        cpus=options.cpus,
        ssh_port=options.ssh_port,
    )
    if options.dry_run:
        console.out(shlex.join(request.command()))
        return ExitCode.OK
    if not options.persist:
        console.say("Changes to the disk are thrown away at the end (--persist keeps them).")
    if options.detach:
        state = run_detached(request, options.folder / "build", report=console.report)
        console.out(f"running in the background; `ostler ssh` logs in (port {state.ssh_port}), `ostler stop` ends it")
        return ExitCode.OK
    console.say("Ctrl-A X ends the machine; `ostler ssh` in another terminal logs in.")
    return run_console(request, options.folder / "build", report=console.report)


def ssh(options: argparse.Namespace, console: Console) -> int:
    """Log in to the machine."""
    import os

    from ostler.vm.qemu import ssh_command

    own = own_key_directory() / "id_ed25519"
    command = ssh_command(
        options.folder / "build", user=options.user, key=own if own.exists() else None, words=options.words
    )
    os.execvp(command[0], command)


def stop(options: argparse.Namespace, console: Console) -> int:
    """Power off the machine."""
    from ostler.vm.qemu import stop as stop_machine

    stop_machine(options.folder / "build", report=console.report)
    return ExitCode.OK
