"""A commit that looks like a machine's, small enough to write many disks of it."""

import random
from pathlib import Path

from ostler.disk.plan import DiskIdentity, DiskRequest
from ostler.formats.objects import Checksum, DirMeta, FileMeta
from ostler.store.commit import commit_tree
from ostler.store.content import RepoMode
from ostler.store.repo import Repo
from ostler.store.tree import Directory
from ostler.sysroot.install import UPDATE_KEYS

CAPABILITY = bytes.fromhex("0100000200200000000000000000000000000000")
REF = "web/stable"
REQUEST = DiskRequest(
    osname="web",
    ref=REF,
    remote_url="http://updates.invalid/web",
    kernel_arguments=("console=ttyS0",),
    identity=DiskIdentity.from_seed(b"a test"),
    time=1_700_000_000,
)
_NOISE = random.Random(7)

FILES: dict[str, tuple[FileMeta, bytes]] = {
    "usr/bin/tool": (FileMeta(0, 0, 0o100755), _NOISE.randbytes(700_000)),
    "usr/bin/ping": (FileMeta(0, 0, 0o100755, ((b"security.capability", CAPABILITY),)), b"ping" * 3000),
    "usr/bin/su": (FileMeta(0, 0, 0o104755), b"su" * 5000),
    "usr/bin/write": (FileMeta(0, 5, 0o102755), b"write" * 500),
    "usr/bin/sh": (FileMeta(0, 0, 0o120777, target="tool"), b""),
    "usr/share/empty": (FileMeta(0, 0, 0o100644), b""),
    "usr/share/games": (FileMeta(5, 60, 0o100660), b"scores"),
    "usr/lib/os-release": (FileMeta(0, 0, 0o100644), b'ID=test\nPRETTY_NAME="Test 1"\n'),
    "usr/lib/tmpfiles.d/x.conf": (FileMeta(0, 0, 0o100644), b"d /var/home\n"),
    "usr/lib/modules/6.1-test/vmlinuz": (FileMeta(0, 0, 0o100644), _NOISE.randbytes(300_000)),
    "usr/lib/modules/6.1-test/initramfs.img": (FileMeta(0, 0, 0o100600), _NOISE.randbytes(500_000)),
    "usr/lib/ostler/boot/boot.img": (FileMeta(0, 0, 0o100644), bytes(510) + b"\x55\xaa"),
    "usr/lib/ostler/boot/core.img": (FileMeta(0, 0, 0o100644), _NOISE.randbytes(100_000)),
    "usr/lib/ostler/boot/BOOTX64.EFI": (FileMeta(0, 0, 0o100644), b"MZ" + _NOISE.randbytes(90_000)),
    UPDATE_KEYS: (FileMeta(0, 0, 0o100644), b"11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=\n"),
    "usr/etc/hostname-of-it": (FileMeta(0, 0, 0o100644), b"web\n"),
    "usr/etc/shadow": (FileMeta(0, 42, 0o100640), b"root:*:1::::::\n"),
    "usr/etc/with-attribute": (FileMeta(0, 0, 0o100644, ((b"user.note", b"kept"),)), b"x"),
    "ostree": (FileMeta(0, 0, 0o120777, target="sysroot/ostree"), b""),
}
DIRECTORIES = ("boot", "dev", "proc", "run", "sys", "sysroot", "tmp", "var")


def make_machine(repo_path: Path, without: str = "") -> tuple[Repo, Checksum]:
    """A new bare-user repository with one commit, of all `FILES` except the path `without`."""
    repo = Repo.create(repo_path, RepoMode.BARE_USER, settings={"fsync": "false", "min-free-space-percent": "0"})
    tree = Directory(DirMeta(0, 0, 0o40755))
    with repo.transaction() as transaction:
        for path, (meta, content) in FILES.items():
            if path != without:
                tree.set_file(path, transaction.write_file(meta, content))
        for name in DIRECTORIES:
            tree.ensure_dir(name)
        tree.ensure_dir("usr/share/private", DirMeta(5, 60, 0o42770))
        commit = commit_tree(transaction, tree, timestamp=1_700_000_000, subject="a machine")
        transaction.set_ref(REF, commit)
    return repo, commit
