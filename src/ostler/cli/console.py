"""What people see: messages, progress bars on a terminal, plain lines elsewhere."""

import os
import shutil
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from ostler.io.progress import Event, Finished, Output, Progress, Step, Warning

BAR_INTERVAL_SECONDS = 0.1
LINE_INTERVAL_SECONDS = 5.0
UNITS = ("B", "kB", "MB", "GB", "TB")


def human_bytes(count: float) -> str:
    """A number of bytes in decimal units with three digits that matter ("19.6 MB")."""
    for unit in UNITS:
        if abs(count) < 1000 or unit == UNITS[-1]:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    raise AssertionError


def human_seconds(seconds: float) -> str:
    """A duration for people ("0.8 s", "2 min 05 s")."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    return f"{int(seconds // 60)} min {int(seconds % 60):02d} s"


def table(rows: Sequence[Sequence[str]], *, header: Sequence[str] | None = None) -> str:
    """Rows of text in aligned columns; columns of numbers (all but the header start with a digit) to the right."""
    lines = [list(header)] if header else []
    lines += [list(row) for row in rows]
    if not lines:
        return ""
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    numeric = [
        all(row[column][:1].isdigit() or row[column] in ("", "-") for row in rows) for column in range(len(widths))
    ]
    rendered = []
    for line in lines:
        cells = (
            cell.rjust(width) if right else cell.ljust(width)
            for cell, width, right in zip(line, widths, numeric, strict=True)
        )
        rendered.append("  ".join(cells).rstrip())
    return "\n".join(rendered)


@dataclass
class Console:
    """Draws events on standard error and results on standard output."""

    verbose: bool = False
    quiet: bool = False
    colour: bool = field(default_factory=lambda: sys.stderr.isatty() and not os.environ.get("NO_COLOR"))
    terminal: bool = field(default_factory=lambda: sys.stderr.isatty() and os.environ.get("TERM") != "dumb")
    _bar: bool = False
    _last: float = 0.0
    _began: dict[str, float] = field(default_factory=dict)

    def report(self, event: Event) -> None:
        """The reporter that library functions are given."""
        match event:
            case Step(name, detail):
                self._began[name] = time.monotonic()
                self._last = time.monotonic()
                self._line(f"{self._style('1', '·')} {name}" + (f"  {self._style('2', detail)}" if detail else ""))
            case Progress():
                self._progress(event)
            case Finished(name, detail):
                seconds = time.monotonic() - self._began.pop(name, time.monotonic())
                took = f"  {human_seconds(seconds)}" if seconds >= 0.5 else ""
                self._line(
                    f"{self._style('32', '✓')} {name}" + (f"  {detail}" if detail else "") + self._style("2", took)
                )
            case Output(line):
                if self.verbose:
                    self._line(self._style("2", f"  | {line}"))
            case Warning(message, hint):
                self.warn(message, hint)

    def warn(self, message: str, hint: str | None = None) -> None:
        """A warning on standard error; shown with --quiet too."""
        self._clear()
        print(f"{self._style('33', 'warning:')} {message}", file=sys.stderr)
        if hint:
            print(f"  hint: {hint}", file=sys.stderr)

    def fail(self, message: str, hint: str | None = None) -> None:
        """An error on standard error."""
        self._clear()
        print(f"{self._style('31;1', 'error:')} {message}", file=sys.stderr)
        if hint:
            print(f"  hint: {hint}", file=sys.stderr)

    def say(self, text: str) -> None:
        """A remark for people on standard error; silent with --quiet."""
        self._line(text)

    def out(self, text: str) -> None:
        """The result that was asked for, on standard output."""
        self._clear()
        print(text, flush=True)

    def _style(self, code: str, text: str) -> str:
        return f"\033[{code}m{text}\033[0m" if self.colour and text else text

    def _line(self, text: str) -> None:
        if self.quiet:
            return
        self._clear()
        print(text, file=sys.stderr, flush=True)

    def _clear(self) -> None:
        if self._bar:
            print("\r\033[K", end="", file=sys.stderr, flush=True)
            self._bar = False

    def _progress(self, event: Progress) -> None:
        if self.quiet:
            return
        now = time.monotonic()
        if now - self._last < (BAR_INTERVAL_SECONDS if self.terminal else LINE_INTERVAL_SECONDS):
            return
        self._last = now
        text = self._progress_text(event)
        if not self.terminal:
            print(f"  {text}", file=sys.stderr, flush=True)
            return
        print(f"\r\033[K{text}"[: shutil.get_terminal_size().columns + 3], end="", file=sys.stderr, flush=True)
        self._bar = True

    def _progress_text(self, event: Progress) -> str:
        def amount(count: int) -> str:
            return human_bytes(count) if event.unit == "bytes" else f"{count}"

        unit = "" if event.unit == "bytes" else f" {event.unit}"
        if not event.total:
            return f"{event.name}  {amount(event.done)}{unit}"
        share = min(event.done / event.total, 1.0)
        bar = ""
        if self.terminal:
            filled = round(share * 24)
            bar = "█" * filled + "░" * (24 - filled) + " "
        return f"{event.name}  {bar}{share:4.0%}  {amount(event.done)} of {amount(event.total)}{unit}"
