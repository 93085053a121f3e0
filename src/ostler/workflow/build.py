"""From a machine folder to an OCI image and a bootable commit: load, lock, compose, export, commit."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ostler.compose.build import BuildResult, StepOutcome, plan_build
from ostler.compose.build import build as compose
from ostler.compose.cache import Cache
from ostler.compose.plan import BuildPlan
from ostler.compose.resolve import outdated, resolve
from ostler.definition.load import load
from ostler.definition.lock import Change, Lock, package_changes, read_lock, write_lock
from ostler.definition.model import Definition
from ostler.errors import ExitCode, NotFoundError, OstlerError
from ostler.formats.gvariant import Variant
from ostler.formats.objects import Checksum
from ostler.io.files import space_errors
from ostler.io.http import HttpFetcher
from ostler.io.progress import Finished, Reporter, Step, silent
from ostler.oci.image import Image, ImageLayer, ImageSettings, build_image
from ostler.oci.layer import compress_layer
from ostler.oci.layout import Layout
from ostler.oci.metadata import image_commit_metadata
from ostler.workflow.outputs import Outputs
from ostler.workflow.record import BuildRecord

MACHINE_REFS = "ostler/machine"
"""Refs of the cache that keep what the last build of each machine made."""


class LockOutdatedError(OstlerError):
    """The lock would have to change, and the caller said that it must not."""

    exit_code = ExitCode.PACKAGES


@dataclass(frozen=True, slots=True)
class BuiltMachine:
    """What a build made: `image` is the layout folder, `ref` what `ostler publish` will call the commit."""

    record: BuildRecord
    image: Path
    ref: str
    steps: tuple[StepOutcome, ...]
    lock_changes: tuple[Change, ...]

    def to_json(self) -> dict[str, object]:
        """For `--json`: an interface, documented in docs/reference/json.md."""
        return {
            "version": self.record.version,
            "commit": self.record.commit,
            "content": self.record.content,
            "ref": self.ref,
            "image": str(self.image),
            "manifest_digest": self.record.manifest_digest,
            "image_bytes": self.record.image_bytes,
            "steps": [
                {"name": step.name, "ran": step.ran, "why": step.why, "seconds": round(step.seconds, 3)}
                for step in self.steps
            ],
            "lock_changes": [{"name": c.name, "old": c.old, "new": c.new} for c in self.lock_changes],
        }


def build_machine(
    folder: Path, cache_root: Path, *, locked: bool = False, proxy: str | None = None, report: Reporter = silent
) -> BuiltMachine:
    """Build the machine folder. The caller has entered the user namespace.

    With `locked` a lock that would have to change is an error. Raises whatever the steps raise; the results of the
    last build stay until the new ones are complete.
    """
    definition = load(folder, report=report)
    before = _read_lock(definition)
    cache = Cache.open(cache_root)
    reasons = outdated(definition, before)
    if locked and reasons:
        raise LockOutdatedError(
            f"{definition.lock_path} would have to change, and --locked forbids it: {'; '.join(reasons)}",
            hint="run `ostler lock` and commit the file",
        )
    result = compose(definition, before, cache, proxy=proxy, report=report)
    write_lock(definition.lock_path, result.lock)
    outputs = Outputs(definition.folder, definition.name)
    with space_errors("writing the image", outputs.directory):
        image = _export(definition, result, cache, outputs, report)
    commit = _seal(definition, result, image, cache)
    record = BuildRecord(
        version=result.version,
        commit=commit,
        content=cache.repo.load_commit(commit).content_checksum,
        manifest_digest=image.digest,
        image_bytes=image.size,
    )
    record.write(outputs.record)
    return BuiltMachine(
        record=record,
        image=outputs.image,
        ref=definition.update.ref,
        steps=result.steps,
        lock_changes=tuple(package_changes(before, result.lock)),
    )


def plan_machine(folder: Path, cache_root: Path, *, report: Reporter = silent) -> BuildPlan:
    """What a build would do, as far as it can be known without doing it."""
    definition = load(folder, report=report)
    return plan_build(definition, _read_lock(definition), Cache.open(cache_root))


def renew_lock(
    folder: Path,
    cache_root: Path,
    *,
    update: bool,
    dry_run: bool = False,
    proxy: str | None = None,
    now: int,
    report: Reporter = silent,
) -> Sequence[Change]:
    """Write the folder's lock: what is missing, or with `update` everything anew. Returns the package changes."""
    definition = load(folder, report=report)
    before = _read_lock(definition)
    cache = Cache.open(cache_root)
    with HttpFetcher() as fetcher:
        lock = resolve(definition, before, cache, fetcher, now=now, update=update, proxy=proxy, report=report)
    if not dry_run:
        write_lock(definition.lock_path, lock)
    return package_changes(before, lock)


def _read_lock(definition: Definition) -> Lock | None:
    try:
        return read_lock(definition.lock_path)
    except NotFoundError:
        return None


def _export(definition: Definition, result: BuildResult, cache: Cache, outputs: Outputs, report: Reporter) -> Image:
    """The OCI image of the layers; those compressed before are not read again."""
    blobs = cache.root / "blobs"
    report(Step("image"))
    layers = [
        ImageLayer(compress_layer(cache.repo, layer.commit, blobs, report=report), layer.created_by)
        for layer in result.layers
    ]
    settings = ImageSettings(title=definition.name, created=result.lock.created, version=result.version)
    outputs.directory.mkdir(exist_ok=True)
    image = build_image(layers, settings, Layout.create(outputs.image), blobs)
    report(Finished("image", f"{image.size / 1e6:.1f} MB in {len(layers)} layers"))
    return image


def _seal(definition: Definition, result: BuildResult, image: Image, cache: Cache) -> Checksum:
    """The machine's commit: the merged tree, with what the image says of itself, as an import of the image has it."""
    merged = cache.repo.load_commit(result.commit)
    metadata: dict[str, Variant] = {
        **merged.metadata,
        **image_commit_metadata(image.manifest_bytes, image.config_bytes),
    }
    with cache.repo.transaction() as transaction:
        commit = transaction.write_metadata(replace(merged, metadata=dict(sorted(metadata.items()))))
        transaction.set_ref(f"{MACHINE_REFS}/{definition.name}", commit)
    return commit
