"""Where a system keeps the keys that it trusts, and those that it has come to distrust."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Places:
    """The places of one system.

    `root` is what absolute paths in configurations are below ("/" but for a system that is not running). `folders` hold
    `trusted.TYPE`, `trusted.TYPE.d/`, `revoked.TYPE` and `revoked.TYPE.d/`; `keyrings` is the folder of GPG keyrings
    for remotes without one of their own. `dummy` admits signatures of the type `dummy`, which prove nothing: for tests.
    """

    root: Path = Path("/")
    folders: tuple[Path, ...] = (Path("/etc/ostree"), Path("/usr/share/ostree"))
    keyrings: Path = Path("/usr/share/ostree/trusted.gpg.d")
    dummy: bool = False

    @staticmethod
    def of_system(root: Path) -> "Places":
        """The usual places of the system whose tree is at `root`."""
        usual = Places()
        return Places(
            root,
            tuple(root / folder.relative_to("/") for folder in usual.folders),
            root / usual.keyrings.relative_to("/"),
        )

    def resolve(self, path: str) -> Path:
        """A path out of a configuration."""
        return self.root / path.lstrip("/") if path.startswith("/") else Path(path)


USUAL = Places()
"""The places of the running system."""
