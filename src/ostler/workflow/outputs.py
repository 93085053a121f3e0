"""Where results go: the folder `build` in the machine folder."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Outputs:
    """Paths and names of what is made from the machine folder `folder` of the machine `name`."""

    folder: Path
    name: str

    @property
    def directory(self) -> Path:
        """Everything that can be made again."""
        return self.folder / "build"

    @property
    def record(self) -> Path:
        """What the last build made."""
        return self.directory / "build.json"

    @property
    def image(self) -> Path:
        """The OCI image layout."""
        return self.directory / "image"

    def disk(self, format: str) -> Path:
        """The disk file in one of the formats."""
        return self.directory / f"{self.name}.{format}"

    def disks(self) -> list[Path]:
        """Every place where a disk may be."""
        return [self.disk(format) for format in ("raw", "qcow2")]
