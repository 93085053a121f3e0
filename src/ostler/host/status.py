"""What runs on a machine, what is staged, what it can go back to.

`HostStatus.to_json` has the form of bootc's `BootcHost` (org.containers.bootc/v1) with those of its fields that mean
the same here. Each entry's `ostree` also has version, timestamp and origin, which bootc knows of images only.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ostler.formats.objects import Commit
from ostler.host.system import System, as_system
from ostler.sysroot.deployment import Deployment
from ostler.sysroot.layout import Sysroot, SysrootState

_IMAGE_PREFIXES = (  # of origins in ostree-ext's form: (prefix, how the signature is verified)
    ("ostree-unverified-registry:", "insecure", "registry"),
    ("ostree-unverified-image:", "insecure", None),
    ("ostree-image-signed:", "containerPolicy", None),
    ("ostree-remote-registry:", "remote", "registry"),
    ("ostree-remote-image:", "remote", None),
)
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


@dataclass(frozen=True, slots=True)
class DeploymentStatus:
    """One deployment as it is shown. `timestamp` is in seconds since 1970, None if the commit is not there."""

    osname: str
    checksum: str
    serial: int
    origin: str | None
    version: str | None
    timestamp: int | None
    pinned: bool
    unlocked: str | None = None
    manifest_digest: str | None = None
    image: str | None = None
    architecture: str | None = None
    finalization_locked: bool = False

    @property
    def time(self) -> str | None:
        """The commit's time in RFC 3339, UTC."""
        if self.timestamp is None:
            return None
        import time

        return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(self.timestamp))

    def to_json(self) -> dict[str, Any]:
        """A `BootEntry` of bootc."""
        return {
            "image": self._image_json(),
            "cachedUpdate": None,
            "incompatible": False,
            "pinned": self.pinned,
            "softRebootCapable": False,
            "downloadOnly": self.finalization_locked,
            "store": "ostreeContainer" if self.image else None,
            "ostree": {
                "stateroot": self.osname,
                "checksum": self.checksum,
                "deploySerial": self.serial,
                "version": self.version,
                "timestamp": self.time,
                "origin": self.origin,
            },
        }

    def _image_json(self) -> dict[str, Any] | None:
        reference = _image_reference(self.image)
        if reference is None:
            return None
        return {
            "image": reference,
            "version": self.version,
            "timestamp": self.time,
            "imageDigest": self.manifest_digest,
            "architecture": self.architecture,
        }

    def to_text(self, label: str) -> str:
        """Some lines for people, beginning with `label`."""
        head = " ".join(part for part in (label + ":", self.version or self.checksum[:12]) if part)
        marks = [mark for mark, on in (("pinned", self.pinned), ("unlocked", self.unlocked is not None)) if on]
        if self.finalization_locked:
            marks.append("held back")
        lines = [head + (f"  ({', '.join(marks)})" if marks else "")]
        lines.append(f"  commit  {self.checksum}" + (f".{self.serial}" if self.serial else ""))
        if self.origin:
            lines.append(f"  from    {self.origin}")
        if self.time:
            lines.append(f"  made    {self.time.replace('T', ' ').replace('Z', ' UTC')}")
        return "\n".join(lines)


def _image_reference(image: str | None) -> dict[str, Any] | None:
    for prefix, verified, transport in _IMAGE_PREFIXES:
        if image is None or not image.startswith(prefix):
            continue
        rest = image.removeprefix(prefix)
        signature: Any = verified
        if verified == "remote":
            remote, _, rest = rest.partition(":")
            signature = {"ostreeRemote": remote}
        if transport is None:
            transport, _, rest = rest.partition(":")
        return {"image": rest.removeprefix("//"), "transport": transport, "signature": signature}
    return None


@dataclass(frozen=True, slots=True)
class HostStatus:
    """The deployments of a machine by their part. `default` is the one that the next boot runs, if nothing is staged.

    `failure` is why the last finalizing (at the shutdown before this boot) failed.
    """

    booted: DeploymentStatus
    staged: DeploymentStatus | None = None
    rollback: DeploymentStatus | None = None
    others: tuple[DeploymentStatus, ...] = ()
    rollback_queued: bool = False
    failure: str | None = None
    read_only: bool = True

    def to_json(self) -> dict[str, Any]:
        """bootc's `BootcHost`."""
        newest = self.staged or (self.rollback if self.rollback_queued else self.booted) or self.booted
        spec = _image_reference(newest.image)
        status: dict[str, Any] = {
            "staged": self.staged.to_json() if self.staged else None,
            "booted": self.booted.to_json(),
            "rollback": self.rollback.to_json() if self.rollback else None,
            "otherDeployments": [other.to_json() for other in self.others],
            "rollbackQueued": self.rollback_queued,
            "type": "bootcHost",
            "usrOverlay": _USR_OVERLAYS.get(self.booted.unlocked or ""),
            "readOnly": self.read_only,
        }
        if self.failure:
            status["finalizeFailure"] = self.failure
        return {
            "apiVersion": "org.containers.bootc/v1",
            "kind": "BootcHost",
            "metadata": {"name": "host"},
            "spec": {"image": spec, "bootOrder": "rollback" if self.rollback_queued else "default"},
            "status": status,
        }

    def to_text(self) -> str:
        """A page for people."""
        blocks = []
        if self.failure:
            blocks.append(f"The update at the last shutdown failed, the machine is as it was before:\n  {self.failure}")
        if self.staged:
            blocks.append(self.staged.to_text("Staged"))
        if self.rollback_queued and self.rollback:
            blocks.append(self.rollback.to_text("Next boot"))
        blocks.append(self.booted.to_text("Booted"))
        if not self.rollback_queued and self.rollback:
            blocks.append(self.rollback.to_text("Rollback"))
        blocks += [other.to_text("Kept") for other in self.others]
        return "\n\n".join(blocks)


_USR_OVERLAYS = {
    "hotfix": {"accessMode": "readWrite", "persistence": "persistent"},
    "development": {"accessMode": "readWrite", "persistence": "transient"},
    "transient": {"accessMode": "readWrite", "persistence": "transient"},
}


def read_status(where: System | Path = Path("/")) -> HostStatus:
    """Look at a machine; needs no root. Raises `NotBootedError`, `SysrootFormatError`."""
    system = as_system(where)
    sysroot, state, booted = system.load()
    rest = [found for found in state.deployments if not found.same_as(booted)]
    queued = not state.deployments[0].same_as(booted)
    rollback = state.deployments[0] if queued else state.rollback()
    others = [found for found in rest if not found.same_as(rollback)]
    return HostStatus(
        booted=_status_of(sysroot, booted),
        staged=_staged_status(sysroot, state),
        rollback=_status_of(sysroot, rollback) if rollback else None,
        others=tuple(_status_of(sysroot, found) for found in others),
        rollback_queued=queued,
        failure=sysroot.failure(),
        read_only=booted.unlocked is None,
    )


def _staged_status(sysroot: Sysroot, state: SysrootState) -> DeploymentStatus | None:
    if state.staged is None:
        return None
    return _status_of(sysroot, state.staged.deployment, locked=state.staged.locked)


def _status_of(sysroot: Sysroot, deployment: Deployment, *, locked: bool = False) -> DeploymentStatus:
    commit = sysroot.commit_of(deployment)
    return DeploymentStatus(
        osname=deployment.osname,
        checksum=deployment.checksum,
        serial=deployment.serial,
        origin=deployment.image or deployment.refspec,
        version=deployment.version,
        timestamp=commit.timestamp if commit else None,
        pinned=deployment.pinned,
        unlocked=deployment.unlocked,
        manifest_digest=_text(commit, "ostree.manifest-digest"),
        image=deployment.image,
        architecture=_architecture(commit) if deployment.image else None,
        finalization_locked=locked,
    )


def _text(commit: Commit | None, key: str) -> str | None:
    found = commit.metadata.get(key) if commit else None
    return found.value if found is not None and found.type == "s" else None


def _architecture(commit: Commit | None) -> str | None:
    config = _text(commit, "ostree.container.image-config")
    if config is not None:
        import json

        try:
            found = json.loads(config).get("architecture")
        except (ValueError, AttributeError):
            found = None
        if isinstance(found, str):
            return found
    known = _text(commit, "ostree.architecture")
    return _ARCHITECTURES.get(known, known) if known else None
