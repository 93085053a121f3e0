"""`ostler publish` and `ostler serve`: make a version available to machines."""

import argparse
import json
from pathlib import Path

from ostler.cli.console import Console, human_bytes, table
from ostler.cli.folder import add_folder_argument
from ostler.cli.paths import cache_directory
from ostler.errors import ExitCode


def register(commands: "argparse._SubParsersAction[argparse.ArgumentParser]", common: argparse.ArgumentParser) -> None:
    """Add the commands."""
    parser = commands.add_parser(
        "publish",
        parents=[common],
        help="bring the built version to where machines update from",
        description="Writes the built commit into an OSTree repository (mode archive) that any static web server can "
        "serve: objects first, then the ref, then the summary, so that clients never see half of it.",
        epilog="examples:\n  ostler publish\n  ostler publish --to /var/www/updates",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_folder_argument(parser)
    parser.add_argument("--to", type=Path, metavar="DIR", help="where to (default: [publish] to in ostler.toml)")
    parser.add_argument("--dry-run", action="store_true", help="say what would be written, and write nothing")
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    parser.set_defaults(handler=publish)

    parser = commands.add_parser(
        "serve",
        parents=[common],
        help="serve a published folder over HTTP, for a try at home",
        description="A small static web server. Listens on the loopback address unless told otherwise; machines "
        "started by `ostler run` reach it at http://10.0.2.2:PORT.",
        epilog="example:\n  ostler serve build/www --port 8000",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("directory", type=Path, metavar="DIR", help="the folder to serve")
    parser.add_argument("--host", default="127.0.0.1", help="the address to listen on (default: %(default)s)")
    parser.add_argument("--port", type=int, default=8000, help="the port (default: %(default)s; 0 takes a free one)")
    parser.set_defaults(handler=serve)


def publish(options: argparse.Namespace, console: Console) -> int:
    """Publish the built version."""
    from ostler.workflow.publish import publish_machine

    done = publish_machine(
        options.folder, cache_directory(), to=options.to, dry_run=options.dry_run, report=console.report
    )
    if options.json:
        console.out(json.dumps(done.to_json(), indent=2))
        return ExitCode.OK
    verb = "would be written" if options.dry_run else "written"
    rows = [
        ("to", str(done.destination)),
        ("ref", f"{done.ref} = {done.commit}"),
        ("objects", f"{done.objects} {verb}, {human_bytes(done.bytes)}"),
    ]
    console.out(table(rows))
    if not done.url:
        console.say(
            "Machines have no address to update from: set [update] from in ostler.toml to where this folder is served."
        )
    return ExitCode.OK


def serve(options: argparse.Namespace, console: Console) -> int:
    """Serve a folder until interrupted."""
    from ostler.publish.server import serve as serve_folder

    def started(url: str) -> None:
        console.out(f"serving {options.directory} at {url} (Ctrl-C ends it)")

    try:
        serve_folder(options.directory, options.host, options.port, ready=started)
    except KeyboardInterrupt:
        console.say("")
    return ExitCode.OK
