"""The EFI system partition: a FAT32 file system made by mtools straight into its place in the disk file."""

from collections.abc import Mapping
from pathlib import Path, PurePosixPath

from ostler.formats.gpt import SECTOR
from ostler.io.process import require_tool, run

MINIMUM_SECTORS = 66_600  # FAT32 needs 65,525 clusters; with clusters of one sector this is the least that has them


def write_esp(
    disk: Path,
    first: int,
    sectors: int,
    files: Mapping[str, bytes],
    *,
    serial: int,
    work: Path,
    time: int | None = None,
) -> None:
    """Make a FAT32 file system in the sectors `first` … of the file `disk` and put `files` (path -> content) into it.

    `serial` is the 32-bit volume id; `time` (unix seconds) pins what the file system says about times. `work` is a
    directory for temporary files. Raises `CommandError` and `MissingToolError`.
    """
    for tool in ("mformat", "mmd", "mcopy"):
        require_tool(tool, package="mtools")
    env = {"MTOOLSRC": "/dev/null", "MTOOLS_SKIP_CHECK": "1", "TZ": "UTC", "SOURCE_DATE_EPOCH": str(time)}
    image = f"{disk}@@{first * SECTOR}"
    run(
        [
            "mformat", "-i", image, "-F", "-c", "1", "-T", str(sectors), "-H", str(first),
            "-h", "255", "-s", "63", "-N", f"{serial:08x}", "-v", "ESP", "::",
        ],
        env=env,
    )  # fmt: skip
    made: set[PurePosixPath] = set()
    for name, content in sorted(files.items()):
        path = PurePosixPath(name)
        for parent in reversed(path.parents[:-1]):
            if parent not in made:
                run(["mmd", "-i", image, f"::{parent}"], env=env)
                made.add(parent)
        source = work / "esp-file"
        source.write_bytes(content)
        try:
            run(["mcopy", "-i", image, source, f"::{path}"], env=env)
        finally:
            source.unlink()
