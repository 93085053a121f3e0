"""What the last build of a machine folder made: a small file in `build/` that `disk` and `publish` start from."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from ostler.errors import NotFoundError
from ostler.formats.objects import Checksum, parse_checksum
from ostler.io.files import atomic_write


@dataclass(frozen=True, slots=True)
class BuildRecord:
    """A build's results: `commit` is in the store of the builder's cache, `manifest_digest` in build/image."""

    version: str
    commit: Checksum
    content: str
    manifest_digest: str
    image_bytes: int

    def write(self, path: Path) -> None:
        """Replace the record."""
        atomic_write(path, (json.dumps(asdict(self), indent=2) + "\n").encode(), durable=False)


def read_record(path: Path) -> BuildRecord:
    """The record of the last build. Raises `NotFoundError` if there is none that can be read."""
    try:
        raw = json.loads(path.read_text())
        return BuildRecord(
            version=str(raw["version"]),
            commit=parse_checksum(str(raw["commit"])),
            content=str(raw["content"]),
            manifest_digest=str(raw["manifest_digest"]),
            image_bytes=int(raw["image_bytes"]),
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise NotFoundError(f"{path.parent.parent} has not been built yet", hint="run `ostler build` first") from error
