"""What can go wrong with a virtual machine."""

from typing import ClassVar

from ostler.errors import ExitCode, NotFoundError, OstlerError


class VmError(OstlerError):
    """QEMU did not start, ended too early, or the machine did not do in time what was waited for."""


class QemuTooOldError(OstlerError):
    """This QEMU cannot emulate the machine reliably, and KVM does not work here."""

    exit_code: ClassVar[ExitCode] = ExitCode.MISSING_TOOL


class FirmwareMissingError(OstlerError):
    """The UEFI firmware for virtual machines is not installed."""

    exit_code: ClassVar[ExitCode] = ExitCode.MISSING_TOOL


class NotRunningError(NotFoundError):
    """No virtual machine of this folder is running."""
