"""From a machine folder to the virtual machine that runs its disk."""

from pathlib import Path
from typing import Literal

from ostler.definition.load import load
from ostler.errors import NotFoundError
from ostler.vm.command import VmRequest
from ostler.workflow.outputs import Outputs


def machine_request(
    folder: Path,
    *,
    disk: Path | None,
    firmware: Literal["bios", "uefi"],
    persist: bool,
    memory_mib: int,
    cpus: int,
    ssh_port: int | None,
) -> VmRequest:
    """The machine to run: `disk`, or else the newest disk that `ostler disk` wrote. Raises `NotFoundError`."""
    definition = load(folder)
    if disk is None:
        written = [path for path in Outputs(definition.folder, definition.name).disks() if path.exists()]
        if not written:
            raise NotFoundError(f"{folder} has no disk yet", hint="write one with `ostler disk`")
        disk = max(written, key=lambda path: path.stat().st_mtime)
    return VmRequest(
        disk=disk,
        firmware=firmware,
        memory=memory_mib,
        cpus=cpus,
        ssh_port=ssh_port or 0,
        persist=persist,
        name=definition.name,
    )
