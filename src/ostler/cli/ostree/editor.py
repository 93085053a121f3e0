"""Commit messages written in an editor."""

import os
from pathlib import Path

from ostler.cli.ostree.options import Failure

_PROMPT = """
# The first line of this message is the commit's subject, what follows after a blank line is its description.
# Lines that begin with '#' are left out; without a subject nothing is committed.
"""


def edited_message(branch: str | None, subject: str, body: str) -> tuple[str, str]:
    """(subject, body) as the user writes them; raises `Failure` if there is no subject or no editor."""
    shown = "".join(f"\n{part}" for part in (subject, body) if part)
    prompt = _PROMPT + (f"#\n# Branch: {branch}\n" if branch else "") + shown + "\n"
    lines = [line.rstrip() for line in _edit(prompt).split("\n") if not line.startswith("#")]
    while lines and not lines[0]:
        lines.pop(0)
    if not lines:
        raise Failure("Aborting commit due to empty commit subject.")
    return lines[0], "\n".join(lines[1:]).strip("\n")


def _edit(text: str) -> str:
    """The text after the user's editor had it."""
    import tempfile

    from ostler.io.process import run_interactive

    editor = _editor()
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "COMMIT_MESSAGE"
        file.write_text(text)
        if run_interactive(["/bin/sh", "-c", f'{editor} "$1"', "sh", str(file)]) != 0:
            raise Failure(f"There was a problem with the editor '{editor}'")
        return file.read_text()


def _editor() -> str:
    dumb = os.environ.get("TERM", "dumb") == "dumb"
    named = os.environ.get("OSTREE_EDITOR") or (None if dumb else os.environ.get("VISUAL")) or os.environ.get("EDITOR")
    if named:
        return named
    if dumb:
        raise Failure("Terminal is dumb, but EDITOR unset")
    return "vi"
