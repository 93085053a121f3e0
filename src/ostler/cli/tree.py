"""The command tree as plain values, read off the parser: what completions and manuals are made from."""

import argparse
from collections.abc import Iterator
from dataclasses import dataclass

from ostler.cli.parser import build_parser

HIDDEN = ("internal",)


@dataclass(frozen=True, slots=True)
class Option:
    """An option or argument: its names (empty for an argument), placeholder, help and choices."""

    names: tuple[str, ...]
    metavar: str
    help: str
    choices: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Command:
    """A command with its words ("ostler", "repo", "ls"), what it is for, and what it takes."""

    words: tuple[str, ...]
    help: str
    description: str
    epilog: str
    usage: str
    options: tuple[Option, ...]
    subcommands: tuple[str, ...]


def commands() -> list[Command]:
    """Every command that people use, parents before children."""
    return list(_walk(build_parser(), ("ostler",), ""))


def _walk(parser: argparse.ArgumentParser, words: tuple[str, ...], help: str) -> Iterator[Command]:
    options = []
    children: list[tuple[str, argparse.ArgumentParser, str]] = []
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            helps = {choice.dest: choice.help or "" for choice in action._choices_actions}
            children += [
                (name, child, helps.get(name, "")) for name, child in action.choices.items() if name not in HIDDEN
            ]
            continue
        placeholder = action.metavar or (action.dest.upper() if action.nargs != 0 else "")
        options.append(
            Option(
                tuple(action.option_strings),
                "" if action.nargs == 0 else str(placeholder if isinstance(placeholder, str) else placeholder[0]),
                (action.help or "") % {"default": action.default, "prog": "ostler"},
                tuple(str(choice) for choice in action.choices or ()),
            )
        )
    usage = " ".join(parser.format_usage().removeprefix("usage: ").split())
    names = tuple(name for name, _, _ in children)
    yield Command(words, help, parser.description or help, parser.epilog or "", usage, tuple(options), names)
    for name, child, child_help in children:
        yield from _walk(child, (*words, name), child_help)
