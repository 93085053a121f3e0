"""A loaded machine folder as plain values: the only thing that the rest of Ostler needs to know of it."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ostler.definition.errors import Problem

MiB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Base:
    """What the machine is derived from. `kind` "debian": composed from packages of `suite`."""

    kind: Literal["debian"]
    suite: str

    def __str__(self) -> str:
        return f"{self.kind}:{self.suite}"


@dataclass(frozen=True, slots=True)
class Mirror:
    """A package archive named in `ostler.toml`: what an apt source line says, complete with suite and components."""

    uri: str
    suite: str
    components: tuple[str, ...] = ("main",)

    @property
    def source_line(self) -> str:
        """The one-line form of sources.list(5)."""
        return f"deb {self.uri} {self.suite} {' '.join(self.components)}"


@dataclass(frozen=True, slots=True)
class Boot:
    """The kernel package, and arguments that are added to Ostler's own on the kernel's command line."""

    kernel: str
    kernel_arguments: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Disk:
    """`size` in bytes (whole MiB) or "auto" (content and a margin); `filesystem` is the root's."""

    size: int | Literal["auto"]
    filesystem: str


@dataclass(frozen=True, slots=True)
class Update:
    """Where a machine's updates come from.

    `from_` is what the folder says (None: nowhere, updates are pushed); `url` is the same as a machine can use it
    (http, https or file URL; None if it cannot); `folder` is the local folder it names, if it names one.
    """

    from_: str | None
    url: str | None
    folder: Path | None
    ref: str
    keep: int


@dataclass(frozen=True, slots=True)
class Publish:
    """Where `ostler publish` writes the repository: a folder, or an `ssh://` or `s3://` address.

    `endpoint` is the address of an S3-compatible server (None: Amazon's), `region` where its bucket is (None: as the
    environment says).
    """

    to: Path | str
    endpoint: str | None = None
    region: str | None = None


@dataclass(frozen=True, slots=True)
class Item:
    """A name from a list file, with its place there (`file` as shown to people)."""

    name: str
    file: str
    line: int

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True, slots=True)
class Ownership:
    """What `[overlay]` says of one path; None leaves Ostler's own choice (root, root, 0644 or 0755).

    `owner` and `group` are names in the image or numbers; `mode` has permission bits only (0 to 0o7777).
    """

    owner: str | int | None = None
    group: str | int | None = None
    mode: int | None = None


@dataclass(frozen=True, slots=True)
class Signing:
    """Public keys (base64) of who may sign new versions: those that machines believe, and those they no longer do."""

    trusted: tuple[str, ...] = ()
    revoked: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Definition:
    """A machine folder that was read without errors.

    `overlay_rules` maps paths in the overlay (no leading slash, directories without a trailing one) to what
    `[overlay]` says of them; paths it says nothing of are absent. `overlay` and `containerfile` are None if there
    is nothing in them. `keys` maps users to their ssh public key lines. `context` lists what a Containerfile may
    copy (relative paths, directories before what is in them). `warnings` is what the user should be told. `signing` are
    the public keys that machines are to believe.
    """

    folder: Path
    name: str
    base: Base
    version: str | None
    mirrors: tuple[Mirror, ...]
    boot: Boot
    disk: Disk
    update: Update
    publish: Publish
    packages_install: tuple[Item, ...]
    packages_remove: tuple[Item, ...]
    units_enable: tuple[Item, ...]
    units_disable: tuple[Item, ...]
    overlay: Path | None
    overlay_rules: Mapping[str, Ownership]
    keys: Mapping[str, tuple[str, ...]]
    containerfile: Path | None
    context: tuple[str, ...]
    warnings: tuple[Problem, ...]
    signing: Signing = Signing()

    @property
    def lock_path(self) -> Path:
        """Where the lock of this folder is or would be."""
        return self.folder / "ostler.lock"
