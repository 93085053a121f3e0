"""The root of every error that Ostler raises on purpose.

Each package defines its own subclasses beside what raises them. The command line turns an `OstlerError` into one
message, one hint and the exit code that its class carries; anything else is a bug and shows a traceback.
"""

from enum import IntEnum
from typing import ClassVar


class ExitCode(IntEnum):
    """Exit codes of the `ostler` command; documented in docs/reference/exit-codes.md."""

    OK = 0
    FAILURE = 1
    USAGE = 2
    DEFINITION = 3
    MISSING_TOOL = 4
    PACKAGES = 5
    NETWORK = 6
    CORRUPT = 7
    NO_SPACE = 8
    BUSY = 9
    COMMAND_FAILED = 10
    NOT_FOUND = 11
    INTERRUPTED = 130


class OstlerError(Exception):
    """Something went wrong that the user can understand and mostly mend.

    `message` names the thing (file, line, digest, host) and what is wrong with it; `hint` says what to do.
    """

    exit_code: ClassVar[ExitCode] = ExitCode.FAILURE

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class NoSpaceError(OstlerError):
    """A file system is full, or would be."""

    exit_code = ExitCode.NO_SPACE


class CorruptError(OstlerError):
    """Bytes do not have the digest or the form that they must have."""

    exit_code = ExitCode.CORRUPT


class NotFoundError(OstlerError):
    """A named thing (ref, object, unit, file) does not exist."""

    exit_code = ExitCode.NOT_FOUND


class BusyError(OstlerError):
    """Another process holds a lock that this operation needs."""

    exit_code = ExitCode.BUSY
