"""Typed progress events that long operations report to whoever called them; only the command line draws them."""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Step:
    """A named piece of work began. `name` is short ("base packages"); `detail` says why or what, for people."""

    name: str
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Progress:
    """Work on `name` stands at `done` of `total` (None: unknown); `unit` is "bytes" or a plural noun ("objects")."""

    name: str
    done: int
    total: int | None = None
    unit: str = "bytes"


@dataclass(frozen=True, slots=True)
class Finished:
    """The step `name` ended well; `detail` sums it up ("212 packages", "cached")."""

    name: str
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Output:
    """One line that a tool printed while working; shown with -v only."""

    line: str


@dataclass(frozen=True, slots=True)
class Warning:  # the field's own word; this module is never star-imported
    """Something the user should know that does not stop the work."""

    message: str
    hint: str | None = None


Event = Step | Progress | Finished | Output | Warning
Reporter = Callable[[Event], None]


def silent(event: Event) -> None:
    """The reporter of callers that want no progress."""
