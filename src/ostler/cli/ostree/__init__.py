"""`ostree`, as a face over the store: its verbs, options, output and exit codes, for scripts written for that program.

No logic of its own: a verb reads its options, calls `ostler.store`, prints. Adding a verb: write a module here with a
`Verb(run, usage, options)` (call.py; options are made by `flag`, `text`, `number`, `boolean`, `many` of options.py),
where `run(call)` gets options as `call.flag("mirror")`, `call.text("subpath")`, …, the others as `call.arguments`, the
open repository as `call.repo`, prints with `call.out`, fails by raising `Failure(message)` or any other `OstlerError`
(both give "error: MESSAGE" and exit code 1) or with the help by `call.usage_error(message)`; then enter it in `VERBS`.
A verb with verbs of its own (`ostree remote add`) is a `Group`, entered likewise. Import what only the verb needs
inside `run`: this program is started thousands of times by scripts.
"""

import os
import sys
from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import TYPE_CHECKING, NoReturn

from ostler.cli.ostree.call import PROGRAM, Entry, Group, Verb, print_version, run_verb
from ostler.cli.ostree.options import GLOBAL, Failure, HelpRequested, parse
from ostler.errors import OstlerError

if TYPE_CHECKING:
    import argparse

VERBS: Mapping[str, Entry] = {
    "admin": ("Manage a host that was booted with ostree (not part of this program)", "unavailable", "ADMIN"),
    "cat": ("Print files of a commit", "cat", "VERB"),
    "checkout": ("Write a commit into a folder", "checkout", "VERB"),
    "checksum": ("Print the checksum that a file or folder would have", "checksum", "VERB"),
    "commit": ("Store folders, archives and commits as a new commit", "commit", "VERB"),
    "config": ("Show or change settings of the repository", "config", "VERB"),
    "diff": ("List what differs between two commits or folders", "diff", "VERB"),
    "export": ("Write a commit as a tar archive", "export", "VERB"),
    "find-remotes": ("Find remotes that have refs (not part of this program)", "unavailable", "FIND_REMOTES"),
    "create-usb": ("Copy refs to a repository on removable media", "create_usb", "VERB"),
    "fsck": ("Check that every object is whole", "fsck", "VERB"),
    "gpg-sign": ("Sign a commit with GPG", "gpg_sign", "VERB"),
    "init": ("Make a repository", "init", "VERB"),
    "log": ("Show a commit and its ancestors", "log", "VERB"),
    "ls": ("List files of a commit", "ls", "VERB"),
    "prune": ("Remove objects that nothing needs", "prune", "VERB"),
    "pull-local": ("Copy commits from a repository on this machine", "pull_local", "VERB"),
    "pull": ("Fetch commits from a remote repository", "pull", "VERB"),
    "refs": ("List, make and delete refs", "refs", "VERB"),
    "remote": ("Configure remote repositories and look into them", "remote", "GROUP"),
    "reset": ("Point a ref at another commit", "reset", "VERB"),
    "rev-parse": ("Print the checksum that a revision stands for", "rev_parse", "VERB"),
    "sign": ("Sign a commit, or verify its signatures", "sign", "VERB"),
    "show": ("Print a commit or another metadata object", "show", "VERB"),
    "static-delta": ("Make, list and apply static deltas", "static_delta", "GROUP"),
    "summary": ("Make or print the summary of the repository", "summary", "VERB"),
    "trivial-httpd": ("", "unavailable", "TRIVIAL_HTTPD"),
}
"""Every verb, in the order of the help; without a purpose it is not shown there."""


def register(
    commands: "argparse._SubParsersAction[argparse.ArgumentParser]", common: "argparse.ArgumentParser"
) -> None:
    """Make the verbs known to the help and the completions of `ostler`, whose `main` runs them without its parser."""
    parser = commands.add_parser(
        "ostree",
        help="the verbs, options and output of the `ostree` program",
        description="Takes what the `ostree` program takes; a link named `ostree` to this program acts like it too.",
    )
    parser.add_argument("verb", choices=[name for name in VERBS if VERBS[name][0]], metavar="VERB", help="the verb")


def main(arguments: Sequence[str]) -> int:
    """Run `ostree` with these arguments (without the program's name); returns the exit code."""
    sys.stdout.reconfigure(errors="surrogateescape")  # type: ignore[union-attr]
    external = _external(arguments)
    try:
        if external is not None:
            _execute(external, arguments)
        _dispatch(PROGRAM, "", VERBS, arguments)
        sys.stdout.flush()
        return 0
    except OstlerError as error:
        return _fail(error.message)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 141  # as if it had died of SIGPIPE
    except KeyboardInterrupt:
        return 130
    except OSError as error:
        return _fail(f"{error.filename}: {error.strerror}" if error.filename else str(error.strerror or error))


def _fail(message: str) -> int:
    sys.stdout.flush()
    red, normal = ("\033[31m\033[1m", "\033[22m\033[0m") if sys.stdout.isatty() else ("", "")
    sys.stderr.write(f"{red}error:{normal} {message}\n")
    return 1


def _dispatch(program: str, purpose: str, verbs: Mapping[str, Entry], arguments: Sequence[str]) -> None:
    """Run the verb that the first argument without a dash names; the others are its own."""
    place = next((at for at, word in enumerate(arguments) if not word.startswith("-")), None)
    name = None if place is None else arguments[place]
    entry = verbs.get(name) if name is not None else None
    if place is None or name is None or entry is None:
        _no_verb(program, purpose, verbs, name, [word for word in arguments if word != name])
        return
    rest = [*arguments[:place], *arguments[place + 1 :]]
    module = import_module(f"{__name__}.{entry[1]}")
    found: Verb | Group = getattr(module, entry[2])
    if isinstance(found, Group):
        _dispatch(f"{program} {name}", entry[0], found.verbs, rest)
    else:
        run_verb(f"{program} {name}", entry[0], found, rest)


def _no_verb(program: str, purpose: str, verbs: Mapping[str, Entry], name: str | None, words: Sequence[str]) -> None:
    """`--help`, `--version`, or no verb that there is."""
    from ostler.cli.ostree.help import group_help

    group = program.rpartition(" ")[2] if purpose else ""
    try:
        if "version" in parse(GLOBAL, words).flags:
            print_version()
            return
        what = f'"{group}" subcommand' if group else "command"
        message = f"No {what} specified" if name is None else f"Unknown {what} '{name}'"
    except HelpRequested:
        sys.stdout.write(group_help(program, purpose, verbs))
        return
    except Failure as failure:
        message = failure.message
    sys.stdout.flush()
    sys.stderr.write(group_help(program, purpose, verbs))
    raise Failure(message)


def _external(arguments: Sequence[str]) -> str | None:
    """The program `ostree-VERB` in PATH for a verb that this one does not have."""
    name = next((word for word in arguments if word and not word.startswith("-")), None)
    if name is None or name in VERBS or "/" in name:
        return None
    import shutil

    return shutil.which(f"ostree-{name}")


def _execute(program: str, arguments: Sequence[str]) -> NoReturn:
    os.execv(program, [program, *arguments])
