"""Files of options that hold one entry a line."""

from pathlib import Path


def read_lines(path: str) -> list[str]:
    """The lines that are not empty."""
    return [line for line in Path(path).read_text(errors="surrogateescape").split("\n") if line]
