"""What a verb is, and what it is called with."""

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from ostler.cli.ostree.options import GLOBAL, REPO, Failure, HelpRequested, Option, Values, parse

if TYPE_CHECKING:
    from ostler.store.repo import Repo

PROGRAM = "ostree"


class Use(Enum):
    """How a verb uses `--repo`: opened before it runs, only noted as a path, or not taken at all."""

    OPEN = "open"
    PATH = "path"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class Verb:
    """A verb: what it runs, the arguments in its usage line, and its options besides those that every verb has.

    One that is `left_out` only says so, whatever options it is given.
    """

    run: "Callable[[Call], None]"
    usage: str
    options: Sequence[Option] = ()
    repo: Use = Use.OPEN
    left_out: bool = False

    @property
    def all_options(self) -> tuple[Option, ...]:
        """Its options in the order of the help."""
        return (*(() if self.repo is Use.NONE else (REPO,)), *self.options, *GLOBAL)


@dataclass(frozen=True, slots=True)
class Group:
    """A verb that has verbs of its own: (what it is for, module, name in that module) by name."""

    verbs: "Mapping[str, Entry]"


Entry = tuple[str, str, str]
"""What a verb is for, the module below `ostler.cli.ostree` that has it, and its name there."""


class Call:
    """One run of a verb: its options by long name, its other arguments, its repository, and its output."""

    def __init__(self, program: str, purpose: str, verb: Verb, values: Values) -> None:
        self.program = program
        self.arguments = values.arguments
        self._purpose = purpose
        self._verb = verb
        self._values = values
        self._repo: Repo | None = None

    # --- options

    def flag(self, name: str) -> bool:
        """Whether the flag was given."""
        return name in self._values.flags

    def text(self, name: str) -> str | None:
        """The value of a text option, None if it was not given."""
        return self._values.texts.get(name)

    def number(self, name: str) -> int | None:
        """The value of a number option, None if it was not given."""
        return self._values.numbers.get(name)

    def boolean(self, name: str) -> bool | None:
        """The value of a boolean option, None if it was not given."""
        return self._values.booleans.get(name)

    def many(self, name: str) -> list[str]:
        """The values of an option that may be repeated."""
        return self._values.lists.get(name, [])

    @property
    def fsync(self) -> bool:
        """What `--fsync` and `--disable-fsync` ask for (options.FSYNC)."""
        return not self.flag("disable-fsync") and self.boolean("fsync") is not False

    # --- repository

    @property
    def repo(self) -> "Repo":
        """The repository that `--repo`, the current folder or the environment names."""
        if self._repo is None:
            from ostler.cli.ostree.repository import open_repo

            self._repo = open_repo(self)
        return self._repo

    @property
    def repo_path(self) -> Path | None:
        """The value of `--repo`."""
        value = self.text("repo")
        return None if value is None else Path(value)

    # --- output

    def out(self, text: str, end: str = "\n") -> None:
        """Print to standard output."""
        sys.stdout.write(text + end)

    def err(self, text: str) -> None:
        """Print a line to standard error."""
        sys.stdout.flush()
        sys.stderr.write(text + "\n")

    def help(self) -> str:
        """The verb's help text."""
        from ostler.cli.ostree.help import verb_help

        return verb_help(self.program, self._purpose, self._verb)

    def usage_error(self, message: str) -> NoReturn:
        """Print the help to standard error and fail with the message."""
        self.err(self.help())
        raise Failure(message)


def run_verb(program: str, purpose: str, verb: Verb, words: Sequence[str]) -> None:
    """Read the command line of a verb and run it; raises `OstlerError`, `OSError`."""
    call = Call(program, purpose, verb, Values())
    try:
        values = parse(verb.all_options, words)
    except HelpRequested:
        call.out(call.help(), end="")
        return
    except Failure:
        if not verb.left_out:
            raise
        values = Values()
    call = Call(program, purpose, verb, values)
    if call.flag("version"):
        print_version()
        return
    if verb.repo is Use.OPEN:
        _ = call.repo
    verb.run(call)


def print_version() -> None:
    """What `ostree --version` prints."""
    from ostler.cli.ostree.help import version

    sys.stdout.write(version())
