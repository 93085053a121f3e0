"""How much a repository's file system may still be filled: `core.min-free-space-percent` and `-size`."""

import mmap
import os
import re
import threading
from pathlib import Path

from ostler.errors import NoSpaceError
from ostler.formats.gvariant import FormatError
from ostler.formats.keyfile import Keyfile
from ostler.store.forked import MAX_WORKERS, worker_number

_UNITS = {"MB": 1 << 20, "GB": 1 << 30, "TB": 1 << 40}
DEFAULT_PERCENT = 3


def reserved_bytes(config: Keyfile, total: int) -> int:
    """The bytes of a file system of `total` bytes that must stay free; raises `FormatError` for a bad setting."""
    size = config.get("core", "min-free-space-size")
    if size is not None:
        match = re.fullmatch(r"(\d+)(MB|GB|TB)", size, re.ASCII)
        if not match:
            raise FormatError(
                f"Invalid min-free-space-size '{size}' in [core]",
                hint="It should be of the format '123MB', '123GB' or '123TB'",
            )
        if int(match[1]):
            return int(match[1]) * _UNITS[match[2]]
        if config.get("core", "min-free-space-percent") is None:
            return 0
    percent = config.get_int("core", "min-free-space-percent", DEFAULT_PERCENT)
    if not 0 <= percent <= 99:
        raise FormatError(f"Invalid min-free-space-percent '{percent}' in [core]", hint="it must be from 0 to 99")
    return total * percent // 100


def describe_limit(config: Keyfile) -> str:
    """The setting that limits a repository, as people know it."""
    size = config.get("core", "min-free-space-size")
    if size is not None and not size.startswith("0"):
        return f"min-free-space-size {size}"
    return f"min-free-space-percent '{config.get_int('core', 'min-free-space-percent', DEFAULT_PERCENT)}%'"


class SpaceBudget:
    """Counts bytes to be written against what the file system had free when this was made.

    Threads and forked worker processes count together: each process in a slot of shared memory of its own.
    """

    def __init__(self, path: Path, config: Keyfile) -> None:
        status = os.statvfs(path)
        free = status.f_bfree if os.geteuid() == 0 else status.f_bavail
        self._config = config
        self._path = path
        self._block = status.f_frsize
        self._reserved = reserved_bytes(config, status.f_blocks * status.f_frsize)
        self._limit = free * status.f_frsize - self._reserved
        self._used = memoryview(mmap.mmap(-1, 8 * (MAX_WORKERS + 1))).cast("q") if self._reserved else None
        self._lock = threading.Lock()

    def reserve(self, size: int) -> None:
        """Take `size` bytes, rounded up to blocks; raises `NoSpaceError` when too few are left.

        Nothing is counted if the configuration keeps nothing free.
        """
        if self._used is None:
            return
        slot = worker_number()
        with self._lock:
            self._used[slot] += (size // self._block + 1) * self._block
            short = sum(self._used) - self._limit
        if short > 0:
            raise NoSpaceError(
                f"{describe_limit(self._config)} would be exceeded, at least {_readable(size)} requested",
                hint=f"the file system of {self._path} must keep {self._reserved >> 20} MiB free: free at least "
                f"{(short >> 20) + 1} MiB there, or lower the limit in {self._path}/config",
            )


def _readable(size: int) -> str:
    """The size as GLib prints it, in powers of 1000."""
    if size < 1000:
        return f"{size} bytes"
    number, unit = size / 1000, "kB"
    for larger in ("MB", "GB", "TB"):
        if number < 1000:
            break
        number, unit = number / 1000, larger
    return f"{number:.1f}\N{NO-BREAK SPACE}{unit}"
