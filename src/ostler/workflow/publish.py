"""From the last build of a machine folder to the place that machines update from."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from ostler.definition.load import load
from ostler.definition.model import Publish
from ostler.io.progress import Reporter, silent
from ostler.publish.destination import Destination, PublishError
from ostler.publish.folder import FolderDestination
from ostler.publish.s3_client import S3Options
from ostler.publish.sequence import PublishOptions, PublishResult, publish
from ostler.publish.ssh import SshOptions
from ostler.store.repo import Repo
from ostler.workflow.outputs import Outputs
from ostler.workflow.record import read_record
from ostler.workflow.signing import check_believed, check_version, sign_version, signers_of, summary_signer


@dataclass(frozen=True, slots=True)
class Access:
    """How to get in where a folder is not enough: settings for `ssh`, and those for a bucket's endpoint and region."""

    ssh: SshOptions
    s3: Callable[[str | None, str | None], S3Options]


@dataclass(frozen=True, slots=True)
class PublishedMachine:
    """What was published, or would be. `bytes` were written for objects (for a dry run: what they are uncompressed)."""

    destination: str
    ref: str
    commit: str
    result: PublishResult
    bytes: int
    url: str | None
    signed_by: tuple[str, ...] = ()

    def to_json(self) -> dict[str, object]:
        """For `--json`."""
        pruned = self.result.pruned
        return {
            "destination": self.destination,
            "ref": self.ref,
            "commit": self.commit,
            "objects": self.result.objects,
            "bytes": self.bytes,
            "url": self.url,
            "deltas": [{"from": from_, "to": to} for from_, to in self.result.deltas],
            "delta_bytes": self.result.delta_bytes,
            "pruned": None if pruned is None else {"removed": pruned.removed, "kept": pruned.kept},
            "signed_by": list(self.signed_by),
        }


def publish_machine(
    folder: Path,
    cache_root: Path,
    *,
    to: str | None,
    access: Access,
    options: PublishOptions,
    new_keys: bool = False,
    report: Reporter = silent,
) -> PublishedMachine:
    """Publish the last build, to the place `to` or the one that the machine folder names.

    It is signed with the folder's keys if there are any; `new_keys` lets all of them be unknown to machines that run
    the version published last. Raises what `publish` raises, and `KeyFolderError`.
    """
    definition = load(folder)
    record = read_record(Outputs(definition.folder, definition.name).record)
    ref = definition.update.ref
    repo = Repo.open(cache_root / "repo")
    signers = signers_of(definition)
    check_version(repo, record.commit, signers)
    place = definition.publish if to is None else replace(definition.publish, to=_place(to))
    destination = open_destination(place, access)
    try:
        previous = destination.refs().get(ref) if destination.exists() else None
        if previous != record.commit and not new_keys:
            there = destination.repository()
            check_believed(previous, [repo] if there is None else [repo, there], signers)
        if not options.dry_run:
            sign_version(repo, record.commit, signers)
        complete = replace(options, sign_summary=summary_signer(signers))
        done = publish(repo, {ref: record.commit}, destination, complete, report)
    finally:
        destination.close()
    size = done.content_bytes if options.dry_run else done.stored_bytes
    keys = tuple(str(signer.public) for signer in signers)
    return PublishedMachine(destination.name, ref, record.commit, done, size, definition.update.url, keys)


def open_destination(place: Publish, access: Access) -> Destination:
    """The place as something to publish to; raises `PublishError` for an address of another kind."""
    if isinstance(place.to, Path):
        return FolderDestination(place.to)
    if place.to.startswith("ssh:"):
        from ostler.publish.ssh import SshDestination

        return SshDestination(place.to, access.ssh)
    from ostler.publish.s3 import S3Destination

    return S3Destination(place.to, access.s3(place.endpoint, place.region))


def _place(to: str) -> Path | str:
    scheme, colon, _ = to.partition("://")
    if not colon:
        return Path(to).absolute()
    if scheme not in ("ssh", "s3"):
        raise PublishError(f"cannot publish to {to}", hint="name a folder, ssh://USER@HOST/PATH, or s3://BUCKET/PREFIX")
    return to
