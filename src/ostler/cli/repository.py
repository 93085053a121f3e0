"""`ostler repo`: look into and check an OSTree repository."""

import argparse
import json
import shutil
import sys
from datetime import UTC, datetime
from pathlib import Path

from ostler.cli.console import Console, human_bytes, table
from ostler.cli.paths import cache_directory
from ostler.errors import ExitCode

HOST_REPOSITORY = Path("/ostree/repo")


def register(commands: "argparse._SubParsersAction[argparse.ArgumentParser]", common: argparse.ArgumentParser) -> None:
    """Add the commands."""
    parser = commands.add_parser(
        "repo",
        help="look into and check an OSTree repository",
        description="Works on any OSTree repository of mode bare, bare-user or archive.",
        epilog="examples:\n  ostler repo refs\n  ostler repo ls web/stable /usr/bin\n"
        "  ostler repo diff OLD NEW\n  ostler repo fsck",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--repo", type=Path, metavar="DIR", help="the repository (default: the host's, else the builder's cache)"
    )
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")

    def add(name: str, handler: object, help: str, *arguments: tuple[str, str]) -> argparse.ArgumentParser:
        action = actions.add_parser(name, parents=[common], help=help, description=help.capitalize() + ".")
        for argument, description in arguments:
            action.add_argument(argument, help=description)
        action.set_defaults(handler=handler)
        return action

    revision = ("revision", "a ref, REMOTE:REF, a checksum or its beginning; ^ behind it is its parent")
    add("refs", refs, "list refs and the commits they name").add_argument(
        "--json", action="store_true", help="print as JSON"
    )
    log_parser = add("log", log, "show a commit and its parents", revision)
    log_parser.add_argument("--json", action="store_true", help="print as JSON")
    ls_parser = add("ls", ls, "list a folder of a commit", revision)
    ls_parser.add_argument("path", nargs="?", default="/", help="the folder (default: /)")
    ls_parser.add_argument("-R", "--recursive", action="store_true", help="with everything below")
    add("cat", cat, "print a file of a commit", revision, ("path", "the file"))
    diff_parser = add(
        "diff", diff, "list what differs between two commits", ("old", "a revision"), ("new", "a revision")
    )
    diff_parser.add_argument("--json", action="store_true", help="print as JSON")
    fsck_parser = add("fsck", fsck, "verify every object that a ref reaches")
    fsck_parser.add_argument("--json", action="store_true", help="print as JSON")
    fsck_parser.add_argument(
        "--delete",
        action="store_true",
        help="remove damaged objects, so that the next pull or publish brings them anew",
    )
    fsck_parser.add_argument(
        "--repair-from",
        metavar="SOURCE",
        help="fetch what is damaged or missing from another repository: a URL, a folder, or a configured remote",
    )
    pull_parser = add(
        "pull",
        pull,
        "fetch a ref with everything it reaches",
        ("source", "a URL, a folder, or a configured remote"),
        ("ref", "the ref"),
    )
    pull_parser.add_argument("--json", action="store_true", help="print as JSON")


def _open(options: argparse.Namespace):  # type: ignore[no-untyped-def]
    from ostler.store.repo import Repo

    path = options.repo
    if path is None:
        path = HOST_REPOSITORY if HOST_REPOSITORY.is_dir() else cache_directory() / "repo"
    return Repo.open(path)


def refs(options: argparse.Namespace, console: Console) -> int:
    """List refs."""
    found = _open(options).refs()
    if options.json:
        console.out(json.dumps(found, indent=2))
    else:
        console.out(table([(name, checksum) for name, checksum in sorted(found.items())]))
    return ExitCode.OK


def log(options: argparse.Namespace, console: Console) -> int:
    """Show a commit and its parents, as far as they are here."""
    repo = _open(options)
    from ostler.formats.objects import ObjectType

    checksum = repo.resolve(options.revision)
    entries = []
    while checksum and repo.has(checksum, ObjectType.COMMIT):
        commit = repo.load_commit(checksum)
        version = commit.metadata.get("version")
        entries.append(
            {
                "commit": checksum,
                "parent": commit.parent,
                "content": commit.content_checksum,
                "date": datetime.fromtimestamp(commit.timestamp, UTC).isoformat(),
                "version": version.value if version else None,
                "subject": commit.subject,
            }
        )
        checksum = commit.parent
    if options.json:
        console.out(json.dumps(entries, indent=2))
        return ExitCode.OK
    for entry in entries:
        shown = {key: value for key, value in entry.items() if value}
        console.out("\n".join(f"{key:<8} {value}" for key, value in shown.items()) + "\n")
    return ExitCode.OK


def ls(options: argparse.Namespace, console: Console) -> int:
    """List a folder of a commit."""
    from ostler.errors import NotFoundError
    from ostler.store.tree import Directory, load_commit_tree

    repo = _open(options)
    root = load_commit_tree(repo, options.revision)
    path = options.path.strip("/")
    start = root.lookup(path) if path else root
    if start is None:
        raise NotFoundError(
            f"{options.revision} has no {options.path}", hint="`ostler repo ls REVISION /` shows its top"
        )
    rows = []

    def show(where: str, node: Directory | str) -> None:
        if isinstance(node, Directory):
            rows.append((f"d{node.meta.mode & 0o7777:05o}", str(node.meta.uid), str(node.meta.gid), "0", where or "/"))
        else:
            meta = repo.file_meta(node)
            kind = "l" if meta.is_symlink else "-"
            arrow = f" -> {meta.target}" if meta.is_symlink else ""
            size = 0 if meta.is_symlink else repo.file_size(node)
            rows.append((f"{kind}{meta.mode & 0o7777:05o}", str(meta.uid), str(meta.gid), str(size), where + arrow))

    show("/" + path if path else "/", start)
    if isinstance(start, Directory):
        for below, node in start.walk():
            if options.recursive or "/" not in below:
                show("/" + "/".join(filter(None, [path, below])), node)
    console.out(table(rows))
    return ExitCode.OK


def cat(options: argparse.Namespace, console: Console) -> int:
    """Print a file of a commit."""
    from ostler.errors import NotFoundError
    from ostler.store.tree import Directory, load_commit_tree

    repo = _open(options)
    node = load_commit_tree(repo, options.revision).lookup(options.path.strip("/"))
    if node is None or isinstance(node, Directory):
        raise NotFoundError(f"{options.revision} has no file {options.path}")
    with repo.open_file(node) as file:
        shutil.copyfileobj(file, sys.stdout.buffer)
    sys.stdout.buffer.flush()
    return ExitCode.OK


def diff(options: argparse.Namespace, console: Console) -> int:
    """List what differs."""
    from ostler.store.diff import diff as compare
    from ostler.store.tree import load_commit_tree

    repo = _open(options)
    found = compare(load_commit_tree(repo, options.old), load_commit_tree(repo, options.new))
    if options.json:
        console.out(json.dumps({"modified": found.changed, "removed": found.removed, "added": found.added}, indent=2))
        return ExitCode.OK
    for letter, paths in (("M", found.changed), ("D", found.removed), ("A", found.added)):
        for path in paths:
            console.out(f"{letter}    /{path.lstrip('/')}")
    return ExitCode.OK


def fsck(options: argparse.Namespace, console: Console) -> int:
    """Verify every object."""
    from ostler.store.fsck import fsck as verify

    if options.repair_from is not None:
        from ostler.store.repair import repair

        problems = list(repair(_open(options), options.repair_from, report=console.report).after.problems)
    else:
        problems = verify(_open(options), delete=options.delete, report=console.report)
    if options.json:
        console.out(json.dumps([str(problem) for problem in problems], indent=2))
    else:
        for problem in problems:
            console.out(str(problem))
        console.say(f"{len(problems)} problems" if problems else "every object is whole")
    return ExitCode.CORRUPT if problems else ExitCode.OK


def pull(options: argparse.Namespace, console: Console) -> int:
    """Fetch a ref."""
    from ostler.store.pull import pull as fetch

    result = fetch(_open(options), options.source, [options.ref], report=console.report)
    checksum = result.refs[options.ref]
    if options.json:
        console.out(
            json.dumps(
                {"ref": options.ref, "commit": checksum, "objects": result.objects, "bytes": result.bytes_received}
            )
        )
    else:
        console.out(f"{options.ref} = {checksum}  ({result.objects} objects, {human_bytes(result.bytes_received)})")
    return ExitCode.OK
