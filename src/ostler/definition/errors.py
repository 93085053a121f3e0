"""What is wrong in a machine folder: found one by one, told together."""

import difflib
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from ostler.errors import ExitCode, OstlerError


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong: in which file (as the user named it), on which line (None: all of it), what to do."""

    file: str
    line: int | None
    message: str
    hint: str | None = None

    @property
    def where(self) -> str:
        """`file:line`, or the file alone."""
        return self.file if self.line is None else f"{self.file}:{self.line}"

    def __str__(self) -> str:
        return f"{self.where}: {self.message}"


class DefinitionError(OstlerError):
    """A machine folder says something that Ostler cannot do; `problems` has every finding of one load.

    The message has one `file:line: what is wrong` a line. With one problem its advice is the hint; with several
    each advice stands below its problem.
    """

    exit_code = ExitCode.DEFINITION

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)
        if len(self.problems) == 1:
            super().__init__(str(self.problems[0]), hint=self.problems[0].hint)
            return
        lines = []
        for problem in self.problems:
            lines.append(str(problem))
            if problem.hint:
                lines.append(f"    {problem.hint}")
        super().__init__("\n".join(lines), hint=None)


@dataclass(slots=True)
class Findings:
    """Collects what is found while a machine folder is read, so that all of it can be told at once."""

    problems: list[Problem] = field(default_factory=list)
    warnings: list[Problem] = field(default_factory=list)

    def error(self, file: Path | str, line: int | None, message: str, hint: str | None = None) -> None:
        """Note something that makes the folder unusable."""
        self.problems.append(Problem(str(file), line, message, hint))

    def warn(self, file: Path | str, line: int | None, message: str, hint: str | None = None) -> None:
        """Note something the user should know that does not stop the work."""
        self.warnings.append(Problem(str(file), line, message, hint))

    def raise_if_any(self) -> None:
        """Raise a `DefinitionError` with all problems, in the order of files found and of lines in them."""
        if self.problems:
            raise DefinitionError(in_order(self.problems))


def in_order(problems: Iterable[Problem]) -> tuple[Problem, ...]:
    """Problems by file (in the order of their first finding), then by line; the same finding only once."""
    unique = list(dict.fromkeys(problems))
    files = {problem.file: rank for rank, problem in reversed(list(enumerate(unique)))}
    return tuple(sorted(unique, key=lambda problem: (files[problem.file], problem.line or 0)))


def nearest(word: str, candidates: Iterable[str]) -> str | None:
    """The candidate that was probably meant by `word`, or None if none is near."""
    known = list(candidates)
    plain = {_plain(candidate): candidate for candidate in known}
    if _plain(word) in plain:
        return plain[_plain(word)]
    close = difflib.get_close_matches(_plain(word), plain, n=1, cutoff=0.6)
    return plain[close[0]] if close else None


def same_word(word: str, candidate: str) -> bool:
    """Whether two names differ in nothing but case and the choice of `-`, `_` or a space."""
    return _plain(word) == _plain(candidate)


def _plain(word: str) -> str:
    return word.lower().replace("_", "-").replace(" ", "-")
