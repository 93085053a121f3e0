"""The initramfs layer: dracut, run in the image, over exactly those files that its key is made of.

dracut takes whatever it finds useful from the system it runs in. So it is given a view of the image: all that
packages brought, without what no initramfs needs, and of everything else (overlay, agent) only the configuration that
dracut reads. What is not in the view cannot be read, and a change of it cannot matter.
"""

from ostler.compose.cache import Cache
from ostler.compose.chroot import Bind, run_in
from ostler.errors import OstlerError
from ostler.formats.objects import Checksum, FileMeta
from ostler.io.files import space_errors
from ostler.io.progress import Reporter, silent
from ostler.store.checkout import Checkout, checkout
from ostler.store.layers import diff_layers
from ostler.store.tree import Directory

RECIPE_VERSION = 2  # raised with any change of the tables below as well
IGNORED = (
    "var", "boot", "etc/apt", "etc/ssh", "etc/hostname", "etc/motd", "etc/hosts", "etc/issue", "etc/issue.net",
    "usr/include", "usr/lib/sysimage",
    "usr/lib/grub",
    "usr/lib/apt", "usr/lib/tmpfiles.d/ostler-var.conf",
)  # fmt: skip
# Of /usr/share, what dracut's modules look for: fonts and keymaps, terminals, message bus, smart cards, splash screens.
SHARED = frozenset(
    {"consolefonts", "consoletrans", "dbus-1", "hwdata", "i18n", "kbd", "keymaps", "misc", "pcsc", "pkcs11", "plymouth"}
    | {"polkit-1", "terminfo"}
)
IGNORED_BEGINNINGS = {"usr/lib": ("python3",)}
CONFIGURATION = (
    "etc/cmdline.d", "etc/crypttab", "etc/default/keyboard", "etc/dracut.conf", "etc/dracut.conf.d", "etc/locale.conf",
    "etc/modprobe.d", "etc/modules", "etc/modules-load.d", "etc/ostree", "etc/sysctl.conf", "etc/sysctl.d",
    "etc/systemd/journald.conf", "etc/systemd/journald.conf.d", "etc/systemd/system.conf", "etc/systemd/system.conf.d",
    "etc/udev", "etc/vconsole.conf", "usr/lib/dracut", "usr/lib/firmware", "usr/lib/modprobe.d", "usr/lib/modules",
    "usr/lib/modules-load.d", "usr/lib/ostree", "usr/lib/sysctl.d", "usr/lib/systemd/journald.conf.d",
    "usr/lib/systemd/system.conf.d", "usr/lib/udev",
)  # fmt: skip
MOUNT_POINTS = ("dev", "proc", "sys", "run", "tmp", "var/tmp")
OUTPUT = "run/ostler/initramfs"


class KernelError(OstlerError):
    """The image has no kernel, or more than one."""


def dracut_view(system: Directory, whole: Directory) -> Directory:
    """What dracut is shown: `system` (packages) reduced, with the configuration that `whole` (all layers) has."""
    view = system.copy()
    for path in IGNORED:
        view.remove(path)
    for parent, beginnings in IGNORED_BEGINNINGS.items():
        found = view.lookup(parent)
        if isinstance(found, Directory):
            for name in [name for name in [*found.dirs, *found.files] if name.startswith(beginnings)]:
                view.remove(f"{parent}/{name}")
    shared = view.directory("usr/share")
    if shared is not None:
        for name in [name for name in [*shared.dirs, *shared.files] if name not in SHARED]:
            view.remove(f"usr/share/{name}")
    for path in CONFIGURATION:
        found_in_whole = whole.lookup(path)
        view.remove(path)
        if isinstance(found_in_whole, Directory):
            view.set_dir(path, found_in_whole.copy())
        elif found_in_whole is not None:
            view.set_file(path, found_in_whole)
    for path in MOUNT_POINTS:
        view.ensure_dir(path)
    return view


def kernel_version(tree: Directory) -> str:
    """The version of the image's one kernel. Raises `KernelError`."""
    modules = tree.lookup("usr/lib/modules")
    found = []
    if isinstance(modules, Directory):
        found = sorted(name for name, directory in modules.dirs.items() if "vmlinuz" in directory.files)
    if len(found) != 1:
        listed = f": {', '.join(found)}" if found else ""
        raise KernelError(
            f"an image must have exactly one kernel, but this one has {len(found) or 'none'}{listed}",
            hint="the kernel's package is named in ostler.toml (`kernel` in [boot]), and in no list of packages",
        )
    return found[0]


def initramfs_inputs(view: str, version: str) -> dict[str, str]:
    """What the layer depends on; `view` is the digest of what dracut is shown."""
    return {
        "files that dracut reads": view,
        "kernel": version,
        "Ostler's recipe for the initramfs": str(RECIPE_VERSION),
    }


def make_initramfs(
    cache: Cache, view: Directory, whole: Directory, key: str, timestamp: int, *, report: Reporter = silent
) -> Checksum:
    """Run dracut over `view` and record the layer that adds its result to `whole` under `key`."""
    version = kernel_version(whole)
    with cache.work("initramfs") as work, space_errors("making the initramfs", cache.root):
        image, out, scratch = work / "image", work / "out", work / "tmp"
        checkout(cache.repo, view, image, how=Checkout.USER)
        out.mkdir()
        scratch.mkdir()
        run_in(
            image,
            [
                "dracut", "--force", "--no-hostonly", "--no-hostonly-cmdline", "--reproducible", "--zstd",
                "--add", "ostree", "--kver", version, f"/{OUTPUT}/initramfs.img",
            ],
            binds=[Bind(out, OUTPUT, writable=True), Bind(scratch, "var/tmp", writable=True)],
            env={"DRACUT_NO_MKNOD": "1", "SOURCE_DATE_EPOCH": "0"},
            capture=False,
            report=report,
        )  # fmt: skip
        result = out / "initramfs.img"
        with cache.repo.transaction() as transaction:
            changed = whole.copy()
            content = transaction.write_file(FileMeta(0, 0, 0o100600), result)
            changed.set_file(f"usr/lib/modules/{version}/initramfs.img", content)
            layer = diff_layers(whole, changed, transaction)
            return cache.record(transaction, key, layer, {}, timestamp)
