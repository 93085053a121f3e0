"""From the last build of a machine folder to a disk file."""

from pathlib import Path

from ostler.compose.cache import Cache
from ostler.definition.load import load
from ostler.definition.model import Definition
from ostler.disk.errors import DiskError
from ostler.disk.make import FORMATS, DiskResult, make_disk, plan_disk
from ostler.disk.plan import DiskPlan, DiskRequest
from ostler.io.progress import Reporter, silent
from ostler.workflow.outputs import Outputs
from ostler.workflow.record import read_record


def plan_machine_disk(folder: Path, cache_root: Path) -> DiskPlan:
    """What `write_machine_disk` would write. The caller has entered the user namespace."""
    definition = load(folder)
    record = read_record(Outputs(definition.folder, definition.name).record)
    return plan_disk(Cache.open(cache_root).repo, record.commit, _request(definition))


def write_machine_disk(
    folder: Path, cache_root: Path, *, output: Path | None, format: str | None, report: Reporter = silent
) -> DiskResult:
    """Write the last build to the file `output` (default: in `build/`), replacing it in one step.

    `format` None: what the name of `output` says, else raw.
    """
    named = output.suffix.removeprefix(".") if output and output.suffix.removeprefix(".") in FORMATS else None
    if format and named and format != named:
        raise DiskError(f"{output} is named like a {named} disk, but --format says {format}", hint="change one of them")
    format = format or named or "raw"
    definition = load(folder)
    outputs = Outputs(definition.folder, definition.name)
    record = read_record(outputs.record)
    cache = Cache.open(cache_root)
    target = output.absolute() if output else outputs.disk(format)
    with cache.work("disk") as work:
        return make_disk(
            cache.repo, record.commit, _request(definition), target, work=work, format=format, report=report
        )


def _request(definition: Definition) -> DiskRequest:
    size = definition.disk.size
    return DiskRequest(
        osname=definition.name,
        ref=definition.update.ref,
        remote_url=definition.update.url,
        kernel_arguments=definition.boot.kernel_arguments,
        size=None if size == "auto" else size,
        filesystem=definition.disk.filesystem,
        keep=definition.update.keep,
    )
