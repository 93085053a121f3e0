"""Carrying a disk plan out: partition table, boot sectors and file systems into one sparse raw file."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID, uuid5

from ostler.disk import bootcode, esp, plan
from ostler.disk.ext4 import Attribute, Ext4, write_ext4
from ostler.disk.plan import DiskPlan
from ostler.formats import gpt
from ostler.formats.gpt import SECTOR
from ostler.io.progress import Reporter, Step, silent


@dataclass(frozen=True, slots=True)
class BootImages:
    """GRUB as the operating system image carries it under /usr/lib/ostler/boot."""

    boot_img: bytes
    core_img: bytes
    efi: bytes


@dataclass(frozen=True, slots=True)
class Trees:
    """Directories that become file systems; and in the root's the attributes to set, and directories not to change."""

    root: Path
    boot: Path
    root_attributes: Sequence[Attribute] = ()
    immutable: Sequence[str] = ()


def write_raw(
    target: Path, what: DiskPlan, images: BootImages, trees: Trees, *, work: Path, report: Reporter = silent
) -> None:
    """Write the disk that `what` plans into the new file `target`. `work` is a directory for temporary files.

    Raises `NoSpaceError`, `DiskError`, `CommandError` and `OSError`; what has been written then is left behind.
    """
    bios = what.partition(plan.BIOS_BOOT)
    head, tail = gpt.encode(what.table, bootcode.boot_code(images.boot_img, bios.first))
    report(Step("partition table"))
    with target.open("xb") as file:
        file.truncate(what.size)
        file.write(head)
        file.seek(bios.first * SECTOR)
        file.write(bootcode.place_core(images.core_img, bios.first, bios.sectors))
        file.seek(what.size - len(tail))
        file.write(tail)
    report(Step("EFI system partition"))
    system = what.partition(plan.ESP)
    files = {"EFI/BOOT/BOOTX64.EFI": images.efi}
    esp.write_esp(
        target, system.first, system.sectors, files, serial=what.identity.esp_serial, work=work, time=what.time
    )
    report(Step("boot file system"))
    write_ext4(target, _filesystem(what, plan.BOOT), trees.boot, work=work)
    report(Step("root file system", f"{what.files} files"))
    write_ext4(target, _filesystem(what, plan.ROOT), trees.root, trees.root_attributes, trees.immutable, work=work)


def _filesystem(what: DiskPlan, number: int) -> Ext4:
    partition = what.partition(number)
    uuid = UUID(partition.filesystem_id)
    is_root = number == plan.ROOT
    return Ext4(
        first=partition.first,
        sectors=partition.sectors,
        uuid=uuid,
        hash_seed=uuid5(uuid, "hash seed"),
        journal=plan.ROOT_JOURNAL_MIB if is_root else plan.BOOT_JOURNAL_MIB,
        verity=is_root,
        time=what.time,
    )


def allocated(path: Path) -> int:
    """Bytes that a sparse file takes up on its file system."""
    return path.stat().st_blocks * 512
