"""Errors about deployments on a physical root."""

from ostler.errors import CorruptError, OstlerError


class SysrootError(OstlerError):
    """A sysroot is not in a state that allows what was asked for."""


class SysrootFormatError(CorruptError):
    """A file that describes deployments (boot entry, boot link, staged state) is malformed."""


class NoKernelError(SysrootError):
    """A tree has no kernel, or no kernel that can be booted."""


class NotBootedError(SysrootError):
    """The running system is not a deployment."""

    def __init__(self, why: str) -> None:
        super().__init__(
            f"this system was not booted from an OSTree deployment: {why}",
            hint="run this on a machine that was installed from an image that Ostler (or another OSTree system) built",
        )


class EtcConflictError(SysrootError):
    """Local changes in /etc can't be carried over into the new version; `paths` (relative to /etc) say which."""

    def __init__(self, reasons: dict[str, str]) -> None:
        self.paths = tuple(reasons)
        listed = "".join(f"\n  /etc/{path}: {reason}" for path, reason in reasons.items())
        super().__init__(
            f"local changes in /etc can't be merged into the new version:{listed}",
            hint="move these files away, or make them what the version expects (its defaults are in its /usr/etc)",
        )
