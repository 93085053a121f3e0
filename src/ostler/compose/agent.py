"""The agent layer: Ostler's own host side, its units, and the boot loader's images."""

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import ostler
from ostler.compose import units
from ostler.compose.bootloader import COMMON_MODULES, EARLY_CONFIG, IMAGES, PLACE, PREFIX, make_boot_images
from ostler.compose.cache import Cache
from ostler.compose.chroot import Bind, run_in
from ostler.compose.digests import digest_of
from ostler.compose.edit import TreeEditor
from ostler.definition.model import Item
from ostler.formats.objects import Checksum
from ostler.io.files import space_errors
from ostler.io.progress import Reporter, silent
from ostler.packages.dpkg import parse_status
from ostler.store.checkout import Checkout, checkout
from ostler.store.layers import diff_layers
from ostler.store.tree import Directory

RECIPE_VERSION = 1
# `workflow` and the builder's packages stay out; the command line imports what it needs when it needs it.
HOST_PACKAGES = ("io", "formats", "store", "oci", "packages", "sysroot", "host", "cli")
HOST_MODULES = ("__init__.py", "errors.py")
PYTHON_HOME = "usr/lib/ostler/python"
LAUNCHER = "usr/bin/ostler"
LAUNCHER_TEXT = """\
#!/usr/bin/python3 -I
import sys

sys.path.insert(0, "/usr/lib/ostler/python")
from ostler.cli import main

sys.exit(main())
"""
UNITS = "host/units"
# libostree's own finalizing: Ostler does it, and exactly one of the two may. The last would remove the stamp of a
# failure before anyone has seen it.
MASKED = (
    "ostree-finalize-staged.service",
    "ostree-finalize-staged.path",
    "ostree-finalize-staged-hold.service",
    "ostree-boot-complete.service",
)
COMPILE = "python3 -I -m compileall -q -f --invalidation-mode unchecked-hash -s {0} -p /{1} {0}"


@dataclass(frozen=True, slots=True)
class AgentFiles:
    """The agent as it is installed here, read once: path below `ostler/` → content; name of a unit → content."""

    sources: Mapping[str, bytes]
    units: Mapping[str, bytes]


def read_agent(root: Path | None = None) -> AgentFiles:
    """The agent's files, of this very Ostler unless another `root` is given. No byte code."""
    root = root or Path(ostler.__file__).parent
    sources = {name: (root / name).read_bytes() for name in HOST_MODULES}
    for package in HOST_PACKAGES:
        for path in sorted((root / package).rglob("*")):
            if path.is_file() and path.suffix in (".py", ".typed", ".json"):
                sources[str(path.relative_to(root))] = path.read_bytes()
    home = root / UNITS
    found = [path for path in sorted(home.rglob("*")) if path.is_file() and path.suffix not in (".py", ".pyc")]
    return AgentFiles(sources, {str(path.relative_to(home)): path.read_bytes() for path in found})


def system_identity(status: str) -> str:
    """What of the image's packages (`status` is dpkg's) the layer depends on: Python and GRUB."""
    relevant = {
        name: package.version
        for name, package in parse_status(status).items()
        if name.startswith(("grub-", "python3.", "libpython3.")) or name == "python3"
    }
    return digest_of(relevant)


def agent_inputs(files: AgentFiles, system: str) -> dict[str, str]:
    """What the layer depends on: the agent's files, and the image's Python and GRUB (`system`)."""
    inputs = {f"ostler/{name}": sha256(content).hexdigest() for name, content in files.sources.items()}
    inputs |= {f"unit {name}": sha256(content).hexdigest() for name, content in files.units.items()}
    images = [[image.platform, image.name, image.modules] for image in IMAGES]
    inputs["boot loader"] = digest_of([EARLY_CONFIG, PREFIX, COMMON_MODULES, images])
    inputs["the image's Python and GRUB"] = system
    inputs["Ostler's recipe for the agent"] = str(RECIPE_VERSION)
    return inputs


def make_agent(
    cache: Cache, files: AgentFiles, system: Directory, key: str, timestamp: int, *, report: Reporter = silent
) -> Checksum:
    """Build the layer on top of `system` (everything that packages brought) and record it under `key`."""
    with cache.work("agent") as work, space_errors("building the agent layer", cache.root):
        image, boot, python = work / "image", work / "boot", work / "python"
        checkout(cache.repo, system, image, how=Checkout.USER)
        boot.mkdir()
        make_boot_images(image, boot, report=report)
        for name, content in files.sources.items():
            target = python / "ostler" / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content)
        inside = "run/ostler/python"
        command = COMPILE.format(f"/{inside}", PYTHON_HOME)
        run_in(
            image,
            ["/bin/sh", "-c", command],
            binds=[Bind(python, inside, writable=True)],
            env={"PYTHONDONTWRITEBYTECODE": ""},
            report=report,
        )
        with cache.repo.transaction() as transaction:
            editor = TreeEditor(cache.repo, transaction, system.copy())
            for folder, place in ((python, PYTHON_HOME), (boot, PLACE)):
                for path in sorted(folder.rglob("*")):
                    if path.is_file():
                        editor.write(f"{place}/{path.relative_to(folder)}", path.read_bytes())
            editor.write(LAUNCHER, LAUNCHER_TEXT, 0o755)
            install_units(editor, files.units)
            layer = diff_layers(system, editor.root, transaction)
            return cache.record(transaction, key, layer, {}, timestamp)


def install_units(editor: TreeEditor, files: Mapping[str, bytes]) -> None:
    """Place the agent's units, enable those that have an [Install] section, and mask libostree's finalizing."""
    for name, content in files.items():
        editor.write(f"{units.UNIT_HOME}/{name}", content)
    for name in files:
        text = editor.text(f"{units.UNIT_HOME}/{name}") or ""
        if "/" not in name and not units.parse_install(text).empty:
            units.enable(editor, [Item(name, "the agent", 1)])
    for name in MASKED:
        editor.symlink(f"{units.UNIT_HOME}/{name}", "/dev/null")
