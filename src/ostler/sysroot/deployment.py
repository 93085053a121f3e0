"""A deployment: a commit checked out on a physical root, with its own /etc, and where it came from."""

import re
from dataclasses import dataclass, field, replace

from ostler.formats.keyfile import Keyfile
from ostler.formats.objects import Checksum, parse_checksum
from ostler.formats.refs import BadRefError, split_refspec
from ostler.sysroot.errors import SysrootError, SysrootFormatError
from ostler.sysroot.kargs import KernelArguments

_NAME = re.compile(r"([0-9a-f]{64})\.(0|[1-9][0-9]{0,8})")
_OSNAME = re.compile(r"[A-Za-z0-9_][-A-Za-z0-9._]*")


@dataclass(frozen=True, slots=True)
class Deployment:
    """One deployment; `index` 0 of a list of them is what boots by default.

    `serial` tells deployments of one commit apart; `bootcsum` names the kernel and initramfs; `bootserial` tells
    deployments that share those apart. `kargs` are the kernel arguments without `ostree=`. `linux`, `initrds` and
    `devicetree` are paths from the root of the boot file system; `extra` are other keys of the boot entry, kept when it
    is rewritten. `version` and `title` come from the commit and its os-release.
    """

    osname: str
    checksum: Checksum
    serial: int
    bootcsum: Checksum
    bootserial: int = 0
    kargs: KernelArguments = field(default_factory=KernelArguments)
    origin: Keyfile | None = None
    version: str | None = None
    title: str | None = None
    linux: str = ""
    initrds: tuple[str, ...] = ()
    devicetree: str | None = None
    extra: tuple[tuple[str, str], ...] = ()
    staged: bool = False

    @property
    def name(self) -> str:
        """`CHECKSUM.SERIAL`, the name of the directory."""
        return f"{self.checksum}.{self.serial}"

    @property
    def path(self) -> str:
        """The deployment's directory, relative to the sysroot."""
        return f"ostree/deploy/{self.osname}/deploy/{self.name}"

    @property
    def origin_path(self) -> str:
        """Its origin file, relative to the sysroot."""
        return f"{self.path}.origin"

    @property
    def backing_path(self) -> str:
        """The directory for further data of newer libostree releases, relative to the sysroot."""
        return f"ostree/deploy/{self.osname}/backing/{self.name}"

    @property
    def boot_path(self) -> str:
        """The directory of kernel and initramfs, relative to the boot file system."""
        return f"ostree/{self.osname}-{self.bootcsum}"

    @property
    def refspec(self) -> str | None:
        """Where updates come from (`REMOTE:REF`), if the origin says so."""
        return self.origin.get("origin", "refspec") if self.origin else None

    @property
    def image(self) -> str | None:
        """The container image that updates come from, in ostree-ext's form, if the origin names one."""
        return self.origin.get("origin", "container-image-reference") if self.origin else None

    @property
    def pinned(self) -> bool:
        """Whether someone asked to keep it."""
        return self.origin is not None and self.origin.get("libostree-transient", "pinned") in ("true", "1")

    @property
    def unlocked(self) -> str | None:
        """The kind of unlocking that the origin records ("hotfix"), or None."""
        state = self.origin.get("origin", "unlocked") if self.origin else None
        return None if state in (None, "none") else state

    def same_as(self, other: "Deployment | None") -> bool:
        """Whether both are the same directory."""
        return other is not None and (self.osname, self.name) == (other.osname, other.name)

    def boots_like(self, other: "Deployment") -> bool:
        """Whether boot entries of the two would differ in their link only."""
        return (
            self.osname == other.osname
            and self.bootcsum == other.bootcsum
            and self.kargs == other.kargs
            and self.version == other.version
            and self.initrds == other.initrds
            and self.extra == other.extra
        )


def parse_name(name: str) -> tuple[Checksum, int]:
    """(commit, serial) of a directory's name; raises `SysrootFormatError`."""
    match = _NAME.fullmatch(name)
    if match is None:
        raise SysrootFormatError(f"{name!r} does not have the form COMMIT.SERIAL of a deployment's name")
    return parse_checksum(match[1]), int(match[2])


def validate_osname(name: str) -> str:
    """`name` if it can name a stateroot; raises `SysrootError`."""
    if not _OSNAME.fullmatch(name) or len(name) > 128:
        raise SysrootError(
            f"{name!r} can't name an operating system on disk", hint="use letters, digits, '-', '.' and '_'"
        )
    return name


def assign_bootserials(deployments: tuple[Deployment, ...]) -> tuple[Deployment, ...]:
    """The deployments with each `bootserial` counted anew among those with the same kernel, as libostree counts."""
    seen: dict[str, int] = {}
    result = []
    for deployment in deployments:
        count = seen.get(deployment.bootcsum, 0)
        seen[deployment.bootcsum] = count + 1
        result.append(replace(deployment, bootserial=count))
    return tuple(result)


def origin_of_refspec(refspec: str) -> Keyfile:
    """The origin of a deployment that follows `REMOTE:REF`; raises `FormatError` for what is none."""
    split_refspec(refspec)
    return Keyfile({"origin": {"refspec": refspec}})


def lasting_origin(origin: Keyfile) -> Keyfile:
    """The origin for a successor: without what belonged to this one deployment only."""
    return origin.without("libostree-transient").with_value("origin", "unlocked", None)


def ref_of(deployment: Deployment) -> tuple[str, str]:
    """(remote, ref) that a deployment follows; raises `SysrootError` if it follows none."""
    refspec = deployment.refspec
    if refspec is None:
        raise SysrootError(
            "the running version follows no ref, so there is nowhere to get updates from",
            hint="choose one with `ostler switch REF`",
        )
    try:
        remote, ref = split_refspec(refspec)
    except BadRefError as error:
        raise SysrootFormatError(f"the origin of {deployment.name} is malformed: {error.message}") from error
    if remote is None:
        raise SysrootError(
            f"the running version follows {ref}, which names no remote to get updates from",
            hint=f"name one with `ostler switch REMOTE:{ref}`",
        )
    return remote, ref
