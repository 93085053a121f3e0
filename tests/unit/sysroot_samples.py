"""Small operating systems, and folders that stand for machines which run them."""

from collections.abc import Mapping
from pathlib import Path

from sample_trees import QUIET, add_commit, make_repo

from ostler.formats.gvariant import Variant
from ostler.formats.objects import Checksum
from ostler.host.system import System
from ostler.store.content import RepoMode
from ostler.store.repo import Repo
from ostler.sysroot.deployment import Deployment
from ostler.sysroot.install import FirstInstall, install_first
from ostler.sysroot.layout import Sysroot, SysrootState

REF = "web/stable"
BOOT_UUID = "5f1c3f6e-1111-4222-8333-444455556666"
DPKG = "usr/lib/sysimage/dpkg/status"


def dpkg_status(packages: Mapping[str, str]) -> bytes:
    stanza = "Package: {}\nStatus: install ok installed\nArchitecture: amd64\nVersion: {}\n"
    return "\n".join(stanza.format(name, version) for name, version in packages.items()).encode()


def add_os(
    repo: Repo,
    version: str,
    *,
    ref: str | None = REF,
    kernel: str = "6.12",
    initramfs: bytes | None = None,
    etc: Mapping[str, bytes | str] | None = None,
    packages: Mapping[str, str] | None = None,
    kargs: str | None = None,
    files: Mapping[str, bytes | str] | None = None,
    parent: Checksum | None = None,
) -> Checksum:
    tree: dict[str, bytes | str] = {
        f"usr/lib/modules/{kernel}/vmlinuz": f"kernel {kernel}".encode() * 100,
        f"usr/lib/modules/{kernel}/initramfs.img": initramfs or f"initramfs {kernel}".encode() * 100,
        "usr/lib/os-release": b'ID=demo\nPRETTY_NAME="Demo Linux"\n',
        "usr/lib/tmpfiles.d/x.conf": b"",
        "usr/bin/version": version.encode(),
        "var/lib/seed": b"seed",
        DPKG: dpkg_status(packages or {"base": "1.0", "web": version}),
        "ostree": "sysroot/ostree",
        **{f"usr/etc/{name}": content for name, content in (etc or {"hosts": b"localhost", "motd": b"hi"}).items()},
        **(files or {}),
    }
    if kargs is not None:
        tree["usr/lib/bootc/kargs.d/10-image.toml"] = kargs.encode()
    return add_commit(repo, ref, tree, metadata={"version": Variant("s", version)}, parent=parent)


class Machine:
    """A machine in a folder that was installed with version 1.0, and the repository that it updates from."""

    def __init__(self, folder: Path, **options: object) -> None:
        self.remote = make_repo(folder / "remote", RepoMode.ARCHIVE)
        self.root = folder / "machine"
        self.root.mkdir()
        commit = add_os(self.remote, "1.0", **options)  # type: ignore[arg-type]
        what = FirstInstall(
            osname="web",
            ref=REF,
            remote_url=str(folder / "remote"),
            kargs=("root=UUID=1", "rw"),
            boot_uuid=BOOT_UUID,
            etc={"fstab": b"nothing\n"},
            repo_settings={f"core.{key}": value for key, value in QUIET.items()},
        )
        self.first = install_first(self.root, self.remote, commit, what)
        (self.root / "run").mkdir()
        (self.root / "run/ostree-booted").touch()
        self.booted = self.first
        self.started = 0

    @property
    def system(self) -> System:
        return System(self.root, booted_root=self.root / self.booted.path)

    @property
    def sysroot(self) -> Sysroot:
        return self.system.sysroot()

    @property
    def state(self) -> SysrootState:
        return self.sysroot.load()

    def start_unit(self) -> None:
        self.started += 1

    def etc(self, deployment: Deployment | None = None) -> Path:
        return self.root / (deployment or self.booted).path / "etc"

    def reboot(self) -> None:
        """Into the default, without finalizing."""
        (self.root / "run/ostree/staged-deployment").unlink(missing_ok=True)
        self.booted = self.state.deployments[0]

    def configure(self, text: str) -> None:
        path = self.root / "usr/lib/ostler/update.conf"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def assert_bootable(sysroot: Sysroot) -> None:
    """Every entry's kernel, initramfs and deployment is there and whole, and `grub.cfg` has the same menu."""
    entries = sysroot.entries()
    assert entries
    state = sysroot.load()
    for entry, deployment in zip(entries.values(), state.deployments, strict=True):
        root = sysroot.root_of(deployment)
        assert (root / "usr/bin/version").is_file()
        assert (root / "etc/hosts").is_file()
        assert deployment.refspec is not None
        modules = next((root / "usr/lib/modules").iterdir())
        assert (sysroot.boot / entry.linux.lstrip("/")).read_bytes() == (modules / "vmlinuz").read_bytes()
        assert (sysroot.boot / entry.initrds[0].lstrip("/")).read_bytes() == (modules / "initramfs.img").read_bytes()
        link = sysroot.path / (entry.bootlink or "").lstrip("/")
        assert link.samefile(root)
    config = (sysroot.boot / "grub/grub.cfg").read_text()
    assert [line for line in config.splitlines() if line.startswith("  linux ")] == [
        f"  linux {entry.linux} {entry.options.text}" for entry in entries.values()
    ]
    assert f"--set=root {BOOT_UUID}" in config
