"""The staged deployment: one that is on disk, but whose boot entry is only written at shutdown.

Format: libostree's `/run/ostree/staged-deployment`, a GVariant `a{sv}` with `target` and `merge-deployment` (each
`a{sv}`: name, osname, bootcsum), `kargs` (`as`), `locked` (`b`), `overlay-initrds` (`as`), `bootconfig-extra`
(`a{ss}`).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ostler.errors import CorruptError
from ostler.formats import gvariant
from ostler.formats.gvariant import Variant
from ostler.formats.objects import Checksum, parse_checksum
from ostler.io.files import atomic_write
from ostler.sysroot.deployment import Deployment, parse_name
from ostler.sysroot.errors import SysrootFormatError

STAGED_FILE = "staged-deployment"
LOCKED_FILE = "staged-deployment-locked"
_MAX_SIZE = 1 << 20
_TYPE = "a{sv}"


@dataclass(frozen=True, slots=True)
class DeploymentName:
    """What the staged file says of a deployment."""

    osname: str
    checksum: Checksum
    serial: int
    bootcsum: Checksum

    def names(self, deployment: Deployment) -> bool:
        """Whether this is that deployment."""
        mine = (self.osname, self.checksum, self.serial)
        return mine == (deployment.osname, deployment.checksum, deployment.serial)


@dataclass(frozen=True, slots=True)
class StagedState:
    """The content of the staged file. `kargs` None: those of the merge deployment."""

    target: DeploymentName
    merge: DeploymentName | None = None
    kargs: tuple[str, ...] | None = None
    locked: bool = False
    overlay_initrds: tuple[str, ...] = ()
    extra: tuple[tuple[str, str], ...] = ()

    def encode(self) -> bytes:
        """The bytes of the file."""
        fields: dict[str, Variant] = {"target": _encode_name(self.target)}
        if self.locked:
            fields["locked"] = Variant("b", True)
        if self.merge is not None:
            fields["merge-deployment"] = _encode_name(self.merge)
        if self.kargs is not None:
            fields["kargs"] = Variant("as", list(self.kargs))
        if self.overlay_initrds:
            fields["overlay-initrds"] = Variant("as", list(self.overlay_initrds))
        if self.extra:
            fields["bootconfig-extra"] = Variant("a{ss}", dict(self.extra))
        return gvariant.encode(_TYPE, fields)

    @staticmethod
    def decode(data: bytes) -> "StagedState":
        """Parse; raises `SysrootFormatError`."""
        try:
            fields: Mapping[str, Variant] = gvariant.decode(_TYPE, data)
            target = _decode_name(fields["target"])
            merge = _decode_name(fields["merge-deployment"]) if "merge-deployment" in fields else None
            kargs = fields.get("kargs")
            return StagedState(
                target=target,
                merge=merge,
                kargs=None if kargs is None else tuple(_value(kargs, "as")),
                locked="locked" in fields and _value(fields["locked"], "b"),
                overlay_initrds=tuple(_value(fields["overlay-initrds"], "as")) if "overlay-initrds" in fields else (),
                extra=tuple(_value(fields["bootconfig-extra"], "a{ss}").items())
                if "bootconfig-extra" in fields
                else (),
            )
        except (CorruptError, KeyError) as error:
            raise SysrootFormatError(f"the record of the staged version is malformed: {error}") from error


def name_of(deployment: Deployment) -> DeploymentName:
    """How the staged file names a deployment."""
    return DeploymentName(deployment.osname, deployment.checksum, deployment.serial, deployment.bootcsum)


def read_staged(run: Path) -> StagedState | None:
    """The staged state in the folder `run` (`/run/ostree`), or None; raises `SysrootFormatError`."""
    try:
        with open(run / STAGED_FILE, "rb") as file:
            data = file.read(_MAX_SIZE + 1)
    except FileNotFoundError:
        return None
    return StagedState.decode(data)


def is_locked(run: Path, state: StagedState) -> bool:
    """Whether someone asked not to finalize it, in the newer or the older way."""
    return state.locked or (run / LOCKED_FILE).exists()


def write_staged(run: Path, state: StagedState) -> None:
    """Replace the staged file; a lock that was for another one goes."""
    run.mkdir(mode=0o755, parents=True, exist_ok=True)
    atomic_write(run / STAGED_FILE, state.encode(), durable=False)
    if not state.locked:
        (run / LOCKED_FILE).unlink(missing_ok=True)


def remove_staged(run: Path) -> None:
    """Nothing is staged any more."""
    (run / STAGED_FILE).unlink(missing_ok=True)
    (run / LOCKED_FILE).unlink(missing_ok=True)


def _encode_name(name: DeploymentName) -> Variant:
    fields = {
        "name": Variant("s", f"{name.checksum}.{name.serial}"),
        "osname": Variant("s", name.osname),
        "bootcsum": Variant("s", name.bootcsum),
    }
    return Variant(_TYPE, fields)


def _decode_name(value: Variant) -> DeploymentName:
    fields: Mapping[str, Variant] = _value(value, _TYPE)
    checksum, serial = parse_name(_value(fields["name"], "s"))
    return DeploymentName(
        _value(fields["osname"], "s"), checksum, serial, parse_checksum(_value(fields["bootcsum"], "s"))
    )


def _value(variant: Variant, type_string: str) -> Any:
    if variant.type != type_string:
        raise SysrootFormatError(f"a member has the type {variant.type} instead of {type_string}")
    return variant.value
