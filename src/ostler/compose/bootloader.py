"""GRUB's images, made from the image's own GRUB packages and carried in the image for whoever writes its boot sectors.

The core finds /boot as the third partition of the disk it was loaded from (BIOS: the boot drive, UEFI: the disk of
the EFI system partition): GRUB completes a prefix that names a partition only. Everything else is in the grub.cfg
there. The embedded configuration is read by GRUB's rescue parser, which knows neither `if` nor functions.
"""

from dataclasses import dataclass
from pathlib import Path

from ostler.compose.chroot import Bind, run_in
from ostler.io.progress import Reporter, silent

PLACE = "usr/lib/ostler/boot"
PREFIX = "(,gpt3)/grub"
EARLY_CONFIG = """\
set prefix=($root)/grub
configfile ($root)/grub/grub.cfg
echo 'The boot configuration could not be read; trying again.'
sleep 30
reboot
"""
COMMON_MODULES = (
    "part_gpt", "ext2", "fat", "search", "search_fs_uuid", "search_label", "search_fs_file", "loadenv", "test", "echo",
    "configfile", "normal", "linux", "serial", "terminal", "gzio", "zstd", "regexp", "sleep", "reboot", "halt", "true",
    "minicmd", "ls", "cat", "all_video",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class GrubImage:
    """One image: GRUB's platform, its file name below `PLACE`, and modules besides the common ones."""

    platform: str
    name: str
    modules: tuple[str, ...]


IMAGES = (
    GrubImage("i386-pc", "core.img", ("biosdisk",)),
    GrubImage("x86_64-efi", "BOOTX64.EFI", ("efi_gop", "efi_uga", "efifwsetup")),
)


def mkimage_command(image: GrubImage, config: str, output: str) -> list[str]:
    """The grub-mkimage(1) call for an image; `config` and `output` are paths as it sees them."""
    modules = sorted({*COMMON_MODULES, *image.modules})
    return ["grub-mkimage", "-O", image.platform, "-p", PREFIX, "-c", config, "-o", output, *modules]


def make_boot_images(root: Path, out: Path, *, report: Reporter = silent) -> None:
    """Write boot.img, core.img and BOOTX64.EFI into `out` with the programs of the image at `root`."""
    (out / "early.cfg").write_text(EARLY_CONFIG)
    inside = "run/ostler/boot"
    commands = [mkimage_command(image, f"/{inside}/early.cfg", f"/{inside}/{image.name}") for image in IMAGES]
    script = "set -e; " + "; ".join(" ".join(f"'{word}'" for word in command) for command in commands)
    script += f"; cp /usr/lib/grub/i386-pc/boot.img /{inside}/boot.img"
    run_in(root, ["/bin/sh", "-c", script], binds=[Bind(out, inside, writable=True)], report=report)
    (out / "early.cfg").unlink()
