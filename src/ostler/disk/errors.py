"""What can go wrong while a disk is planned or written."""

from typing import ClassVar

from ostler.errors import ExitCode, OstlerError


class DiskError(OstlerError):
    """A disk cannot be made of this commit; the message says what the commit lacks."""


class DiskSizeError(OstlerError):
    """The disk that was asked for is too small for what goes onto it, or its size cannot be used."""

    exit_code: ClassVar[ExitCode] = ExitCode.DEFINITION


class FilesystemError(OstlerError):
    """A file system that was asked for cannot be made here."""

    exit_code: ClassVar[ExitCode] = ExitCode.DEFINITION
