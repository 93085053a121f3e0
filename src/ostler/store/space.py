"""How much a repository's file system may still be filled: `core.min-free-space-percent` and `-size`."""

import os
import re
import threading
from pathlib import Path

from ostler.errors import NoSpaceError
from ostler.formats.gvariant import FormatError
from ostler.formats.keyfile import Keyfile

_UNITS = {"MB": 1 << 20, "GB": 1 << 30, "TB": 1 << 40}
DEFAULT_PERCENT = 3


def reserved_bytes(config: Keyfile, total: int) -> int:
    """The bytes of a file system of `total` bytes that must stay free; raises `FormatError` for a bad setting."""
    size = config.get("core", "min-free-space-size")
    if size is not None:
        match = re.fullmatch(r"(\d+)(MB|GB|TB)", size, re.ASCII)
        if not match:
            raise FormatError(
                f"[core] min-free-space-size={size} is no size", hint="write a number and MB, GB or TB, such as 500MB"
            )
        return int(match[1]) * _UNITS[match[2]]
    percent = config.get_int("core", "min-free-space-percent", DEFAULT_PERCENT)
    if not 0 <= percent <= 99:
        raise FormatError(f"[core] min-free-space-percent={percent} is not between 0 and 99")
    return total * percent // 100


class SpaceBudget:
    """Counts bytes to be written against what the file system had free when this was made. Thread-safe."""

    def __init__(self, path: Path, config: Keyfile) -> None:
        status = os.statvfs(path)
        self._path = path
        self._reserved = reserved_bytes(config, status.f_blocks * status.f_frsize)
        self._left = status.f_bfree * status.f_frsize - self._reserved
        self._lock = threading.Lock()

    def reserve(self, size: int) -> None:
        """Take `size` bytes from the budget; raises `NoSpaceError` when it is used up. Nothing is free with 0 kept."""
        if not self._reserved:
            return
        with self._lock:
            self._left -= size
            short = -self._left
        if short > 0:
            raise NoSpaceError(
                f"the file system of {self._path} would keep less than {self._reserved >> 20} MiB free",
                hint=f"free at least {(short >> 20) + 1} MiB there, or lower min-free-space-percent in "
                f"{self._path}/config",
            )
