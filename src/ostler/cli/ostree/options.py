"""What options a verb takes, and reading a command line the way GLib's GOption does, which `ostree` uses.

Long options take values as `--name=VALUE` or `--name VALUE`, even one that starts with a dash; short ones may be
bundled (`-RC`) and take the next argument. Options and arguments mix until `--`. `--name=VALUE` of a flag is an unknown
option.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import Enum

from ostler.errors import OstlerError


class Failure(OstlerError):  # noqa: N818 - what went wrong is in its message
    """What was asked for cannot be done; the message is printed behind "error: " as it is."""


class Kind(Enum):
    """What an option takes."""

    FLAG = "nothing"
    TEXT = "text"
    NUMBER = "a whole number"
    BOOLEAN = "yes or no"
    MANY = "text, any number of times"


@dataclass(frozen=True, slots=True)
class Option:
    """An option: its long name, what it takes, its one-letter name, placeholder for the value, and help."""

    name: str
    kind: Kind
    short: str
    placeholder: str
    help: str
    hidden: bool

    @property
    def shown(self) -> str:
        """As in the help: "-o, --output=PATH"."""
        start = f"-{self.short}, --{self.name}" if self.short else f"--{self.name}"
        return f"{start}={self.placeholder}" if self.placeholder else start


def flag(name: str, help: str, short: str = "", *, hidden: bool = False) -> Option:
    """An option without value."""
    return Option(name, Kind.FLAG, short, "", help, hidden)


def text(name: str, placeholder: str, help: str, short: str = "", *, hidden: bool = False) -> Option:
    """An option with a value, the last of which counts."""
    return Option(name, Kind.TEXT, short, placeholder, help, hidden)


def number(name: str, placeholder: str, help: str, short: str = "") -> Option:
    """An option with a whole number, decimal, octal with leading 0 or hexadecimal with leading 0x."""
    return Option(name, Kind.NUMBER, short, placeholder, help, False)


def boolean(name: str, placeholder: str, help: str) -> Option:
    """An option whose value is true/yes/1 or false/no/0/none."""
    return Option(name, Kind.BOOLEAN, "", placeholder, help, False)


def many(name: str, placeholder: str, help: str, short: str = "") -> Option:
    """An option with a value that may be given several times."""
    return Option(name, Kind.MANY, short, placeholder, help, False)


FSYNC = (
    flag("disable-fsync", "Write without waiting for the disk", hidden=True),
    boolean("fsync", "POLICY", "Whether to wait until what was written is on the disk (true or false)"),
)
GLOBAL = (
    flag("verbose", "Tell more about what is done", "v"),
    flag("version", "Print the version and what is supported, and exit"),
)
REPO = text("repo", "PATH", "The repository (default: the current folder if it is one, $OSTREE_REPO, the system's)")


class HelpRequested(Exception):  # noqa: N818 - it is no error
    """`--help`, `-h` or `-?` was met."""


@dataclass(slots=True)
class Values:
    """A command line that was read: options by long name, and the other arguments."""

    arguments: list[str] = field(default_factory=list)
    flags: set[str] = field(default_factory=set)
    texts: dict[str, str] = field(default_factory=dict)
    numbers: dict[str, int] = field(default_factory=dict)
    booleans: dict[str, bool] = field(default_factory=dict)
    lists: dict[str, list[str]] = field(default_factory=dict)

    def store(self, option: Option, value: str, written: str) -> None:
        """Note an option that was written as `written`; raises `Failure` if the value does not fit."""
        match option.kind:
            case Kind.FLAG:
                self.flags.add(option.name)
            case Kind.TEXT:
                self.texts[option.name] = value
            case Kind.NUMBER:
                self.numbers[option.name] = _integer(value, written)
            case Kind.BOOLEAN:
                self.booleans[option.name] = parse_boolean(value)
            case Kind.MANY:
                self.lists.setdefault(option.name, []).append(value)


def parse(options: Sequence[Option], words: Sequence[str]) -> Values:
    """Read the words of a command line; raises `Failure` or `HelpRequested`."""
    values = Values()
    long = {option.name: option for option in reversed(options)}
    short = {option.short: option for option in reversed(options) if option.short}  # the first of a letter has it
    remaining = list(reversed(words))
    while remaining:
        word = remaining.pop()
        if word == "--":
            values.arguments += reversed(remaining)
            break
        if word.startswith("--"):
            _read_long(word, long, remaining.pop if remaining else None, values)
        elif word.startswith("-") and len(word) > 1:
            _read_short(word, short, remaining, values)
        else:
            values.arguments.append(word)
    return values


def _read_long(word: str, options: dict[str, Option], next_word: Callable[[], str] | None, values: Values) -> None:
    name, equals, value = word[2:].partition("=")
    option = options.get(name)
    if name == "help" and not equals:
        raise HelpRequested
    if option is None or (equals and option.kind is Kind.FLAG):
        raise Failure(f"Unknown option {word}")
    if option.kind is not Kind.FLAG and not equals:
        if next_word is None:
            raise Failure(f"Missing argument for {word}")
        value = next_word()
    values.store(option, value, f"--{name}")


def _read_short(word: str, options: dict[str, Option], remaining: list[str], values: Values) -> None:
    took_value = False
    for letter in word[1:]:
        option = options.get(letter)
        if letter == "?" or (letter == "h" and option is None):
            raise HelpRequested
        if option is None:
            raise Failure(f"Unknown option {word}")
        value = ""
        if option.kind is not Kind.FLAG:
            if took_value:
                raise Failure(f"Error parsing option -{letter}")
            if not remaining:
                raise Failure(f"Missing argument for -{letter}")
            value, took_value = remaining.pop(), True
        values.store(option, value, f"-{letter}")


def _integer(value: str, written: str) -> int:
    digits = value.strip().removeprefix("-").removeprefix("+")
    base = 16 if digits[:2].lower() == "0x" else 8 if digits.startswith("0") else 10
    try:
        if "_" in digits or digits[1:2].lower() == "o":  # Python's own spellings
            raise ValueError
        found = int(value, base)
    except ValueError as error:
        raise Failure(f"Cannot parse integer value “{value}” for {written}") from error
    if not -(2**31) <= found < 2**31:
        raise Failure(f"Integer value “{value}” for {written} out of range")
    return found


def parse_boolean(value: str) -> bool:
    """A boolean as libostree's command line spells it; raises `Failure`."""
    folded = value.lower()
    if folded in ("1", "true", "yes"):
        return True
    if folded in ("0", "false", "no", "none"):
        return False
    raise Failure(f"Invalid boolean argument '{value}'")
