"""From the last build of a machine folder to the place that machines update from."""

from dataclasses import dataclass
from pathlib import Path

from ostler.definition.load import load
from ostler.io.progress import Reporter, silent
from ostler.publish.folder import publish_folder
from ostler.store.repo import Repo
from ostler.workflow.outputs import Outputs
from ostler.workflow.record import read_record


@dataclass(frozen=True, slots=True)
class PublishedMachine:
    """What was published, or would be. `bytes` were written (for a dry run: what they are uncompressed)."""

    destination: Path
    ref: str
    commit: str
    objects: int
    bytes: int
    url: str | None

    def to_json(self) -> dict[str, object]:
        """For `--json`."""
        return {
            "destination": str(self.destination),
            "ref": self.ref,
            "commit": self.commit,
            "objects": self.objects,
            "bytes": self.bytes,
            "url": self.url,
        }


def publish_machine(
    folder: Path, cache_root: Path, *, to: Path | None, dry_run: bool, report: Reporter = silent
) -> PublishedMachine:
    """Publish the last build into a folder: `to`, or the one that the machine folder names."""
    definition = load(folder)
    record = read_record(Outputs(definition.folder, definition.name).record)
    destination = to.absolute() if to else definition.publish.to
    ref = definition.update.ref
    done = publish_folder(
        Repo.open(cache_root / "repo"), {ref: record.commit}, destination, dry_run=dry_run, report=report
    )
    size = done.content_bytes if dry_run else done.stored_bytes
    return PublishedMachine(destination, ref, record.commit, done.objects, size, definition.update.url)
