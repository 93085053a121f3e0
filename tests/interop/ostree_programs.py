"""`ostree` and `ostler ostree`, run side by side in folders of their own."""

import os
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ostler.formats.keyfile import Keyfile

THEIRS = ("ostree",)
OURS = (sys.executable, "-m", "ostler.cli", "ostree")

_VARYING = re.compile(r"; \d+ (B|KiB) transferred in \d+ seconds|(?<=delta parts), \d+ loose fetched.*")
"""What says nothing: bytes on the wire, time, and with deltas what is counted as an object besides."""


@dataclass(frozen=True)
class Said:
    """What a program said and how it ended."""

    code: int
    out: str
    err: str


def run(program: Sequence[str], folder: Path, *words: str | Path, environment: Mapping[str, str] | None = None) -> Said:
    """Run one of the programs in a folder. What varies is left out of what it says."""
    done = subprocess.run(
        [*program, *map(str, words)],
        cwd=folder,
        env={**os.environ, "TZ": "UTC", **(environment or {})},
        capture_output=True,
        text=True,
        check=False,
    )
    out, err = (text.replace(str(folder), "FOLDER") for text in (done.stdout, done.stderr))
    return Said(done.returncode, _VARYING.sub("", out), err)


class Pair:
    """A folder for each program; what is done in one is done in the other, and must look the same."""

    def __init__(self, root: Path, environment: Mapping[str, str] | None = None) -> None:
        self.theirs = root / "theirs"
        self.ours = root / "ours"
        self.environment = environment
        for folder in (self.theirs, self.ours):
            folder.mkdir()

    def both(self, *words: str | Path, alike: bool = True) -> Said:
        """Run a command by both programs; asserts that they print the same and end alike. Returns what ours said.

        Not `alike`: that they fail is enough, they need not say the same.
        """
        theirs = run(THEIRS, self.theirs, *words, environment=self.environment)
        ours = run(OURS, self.ours, *words, environment=self.environment)
        assert (ours.code, _lines(ours.out)) == (theirs.code, _lines(theirs.out)), (
            f"{words}: {ours} instead of {theirs}"
        )
        assert not alike or _fault(ours.err) == _fault(theirs.err), f"{words}: {ours.err} instead of {theirs.err}"
        return ours

    def same_configuration(self, repo: str = "repo") -> None:
        """Assert that the configurations of both repositories say the same."""
        ours, theirs = (
            Keyfile.parse((folder / repo / "config").read_text()).groups for folder in (self.ours, self.theirs)
        )
        assert ours == theirs


def _lines(out: str) -> list[str]:
    """The lines in an order: some lists come as the folder has them."""
    return sorted(out.splitlines())


def _fault(err: str) -> str:
    """The line that says what is wrong, without what comes behind its first words."""
    return next((line for line in err.splitlines() if line.startswith("error: ")), "")
