"""`ostler publish` and `ostler serve`: make a version available to machines."""

import argparse
import json
import os
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from ostler.cli.console import Console, human_bytes, table
from ostler.cli.folder import add_folder_argument
from ostler.cli.paths import cache_directory
from ostler.errors import ExitCode, OstlerError

if TYPE_CHECKING:
    from ostler.publish.ssh import SshOptions

KEPT_VERSIONS = 5


def register(commands: "argparse._SubParsersAction[argparse.ArgumentParser]", common: argparse.ArgumentParser) -> None:
    """Add the commands."""
    parser = commands.add_parser(
        "publish",
        parents=[common],
        help="bring the built version to where machines update from",
        description="Writes the built commit into an OSTree repository (mode archive) that any static web server can "
        "serve: objects first, then static deltas, then the ref, then the summary, so that clients never see half of "
        "it. The repository is in a folder, in a folder behind SSH (which needs `sh` and `tar` only), or in an "
        "S3-compatible bucket. Only what is missing is written; a publication that was cut off goes on where it was.",
        epilog="examples:\n  ostler publish\n  ostler publish --to /var/www/updates --delta-from 2\n"
        "  ostler publish --to ssh://me@updates.example.org/srv/www/web\n"
        "  ostler publish --to s3://updates/web --prune --keep 3",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_folder_argument(parser)
    parser.add_argument(
        "--to",
        metavar="PLACE",
        help="a folder, ssh://USER@HOST/PATH or s3://BUCKET/PREFIX (default: [publish] to in ostler.toml)",
    )
    parser.add_argument(
        "--delta-from",
        type=_count,
        default=0,
        metavar="N",
        help="make static deltas from the N versions published before: machines that run one fetch little more than "
        "what changed",
    )
    parser.add_argument(
        "--prune", action="store_true", help="remove in the end what neither a ref nor a kept version needs"
    )
    parser.add_argument(
        "--keep",
        type=_count,
        default=KEPT_VERSIONS,
        metavar="N",
        help="with --prune: how many versions of each ref stay, the new one included (default: %(default)s)",
    )
    parser.add_argument(
        "--new-keys",
        action="store_true",
        help="publish even if machines that run the version published last believe none of the keys that sign this one",
    )
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


def _count(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number of 0 or more")
    return int(text)


def _ssh_options() -> "SshOptions":
    """`OSTLER_SSH_OPTIONS` has more arguments for `ssh`; the agent's socket is all else that it is given."""
    from ostler.publish.ssh import SshOptions

    try:
        arguments = tuple(shlex.split(os.environ.get("OSTLER_SSH_OPTIONS", "")))
    except ValueError as error:
        raise OstlerError(
            f"OSTLER_SSH_OPTIONS cannot be read: {error}", hint="quote it as arguments are quoted in a shell"
        ) from error
    agent = os.environ.get("SSH_AUTH_SOCK")
    return SshOptions(arguments, {"SSH_AUTH_SOCK": agent} if agent else {})


def publish(options: argparse.Namespace, console: Console) -> int:
    """Publish the built version."""
    from ostler.cli.aws import s3_options
    from ostler.publish.sequence import PublishOptions
    from ostler.workflow.publish import Access, publish_machine

    done = publish_machine(
        options.folder,
        cache_directory(),
        to=options.to,
        access=Access(_ssh_options(), s3_options),
        options=PublishOptions(options.delta_from, options.prune, options.keep, options.dry_run),
        new_keys=options.new_keys,
        report=console.report,
    )
    if options.json:
        console.out(json.dumps(done.to_json(), indent=2))
        return ExitCode.OK
    verb = "would be written" if options.dry_run else "written"
    rows = [
        ("to", done.destination),
        ("ref", f"{done.ref} = {done.commit}"),
        ("objects", f"{done.result.objects} {verb}, {human_bytes(done.bytes)}"),
    ]
    if done.result.deltas:
        size = "" if options.dry_run else f", {human_bytes(done.result.delta_bytes)}"
        rows.append(("deltas", f"{len(done.result.deltas)} {verb}{size}"))
    if done.result.pruned is not None:
        removed = "would be removed" if options.dry_run else "removed"
        rows.append(("pruned", f"{done.result.pruned.removed} objects {removed}, {done.result.pruned.kept} kept"))
    if done.signed_by:
        rows.append(("signed by", ", ".join(done.signed_by)))
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
