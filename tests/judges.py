"""Where the reference programs are that Debian 12 lacks (see scripts/setup-judges)."""

import shutil
from pathlib import Path

FETCHED = Path(__file__).parent.parent / "build" / "judges" / "bin"


def judge(program: str) -> str | None:
    """The path of a reference program of Debian unstable, else of this system's; None if there is none."""
    fetched = FETCHED / program
    return str(fetched) if fetched.exists() else shutil.which(program)
