"""Other formats than raw, by qemu-img."""

from pathlib import Path

from ostler.io.process import require_tool, run

FORMATS = ("raw", "qcow2")


def to_qcow2(raw: Path, target: Path) -> None:
    """Write the raw disk as qcow2 (version 3) to `target`. Raises `CommandError` and `MissingToolError`."""
    require_tool("qemu-img", package="qemu-utils")
    run(["qemu-img", "convert", "-f", "raw", "-O", "qcow2", "-o", "compat=1.1,lazy_refcounts=off", raw, target])
