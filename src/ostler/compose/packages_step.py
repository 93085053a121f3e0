"""The layer of the folder's own packages: the image's apt installs the locked files into a checkout of the base."""

from collections.abc import Sequence
from pathlib import Path

from ostler.compose.base import Ids, installed_ids, ownership_filter, present
from ostler.compose.bytecode import compile_system
from ostler.compose.cache import Cache
from ostler.compose.chroot import Bind, run_in
from ostler.compose.debs import PackageError
from ostler.compose.edit import TreeEditor
from ostler.compose.normalise import normalise
from ostler.definition.lock import Lock
from ostler.definition.model import Item
from ostler.formats.objects import Checksum
from ostler.io.files import space_errors
from ostler.io.process import CommandError
from ostler.io.progress import Reporter, silent
from ostler.store.checkout import Checkout, checkout
from ostler.store.ingest import ingest_directory, inode_index
from ostler.store.layers import diff_layers
from ostler.store.tree import Directory

RECIPE_VERSION = 1
ARCHIVE = "run/ostler/archive"
APT_OPTIONS = (
    "-o", "Dir::Etc::SourceList=/run/ostler/archive/sources.list", "-o", "Dir::Etc::SourceParts=/dev/null",
    "-o", "Dir::State::Lists=/tmp/lists", "-o", "Dir::Cache=/tmp/cache", "-o", "Dir::Log=/tmp",
    "-o", "APT::Sandbox::User=root", "-o", "Acquire::Languages=none", "-o", "Dpkg::Use-Pty=0",
    "-o", "Dpkg::Options::=--force-unsafe-io", "-o", "Dpkg::Options::=--force-confold",
    "-o", "APT::Install-Recommends=false", "-o", "APT::Get::Assume-Yes=true",
    "-o", "APT::Keep-Downloaded-Packages=true",
)  # fmt: skip


def packages_inputs(lock: Lock, removed: Sequence[Item], below: str) -> dict[str, str]:
    """What the layer depends on; `below` identifies the base layer."""
    inputs = {f"package {p.name}": f"{p.version} {p.architecture} {p.sha256}" for p in lock.folder.packages}
    inputs |= {f"removal of {item.name}": "yes" for item in removed}
    inputs["base layer"] = below
    inputs["Ostler's recipe for packages"] = str(RECIPE_VERSION)
    return inputs


def make_packages(
    cache: Cache, lock: Lock, removed: Sequence[Item], base: Directory, key: str, *, report: Reporter = silent
) -> Checksum:
    """Install and remove packages on top of `base`, and record what changed under `key`."""
    packages = lock.folder.packages
    with cache.work("packages") as work, space_errors("installing packages", cache.root):
        archive, root = work / "archive", work / "root"
        cache.debs.write_archive(packages, archive)
        (archive / "sources.list").write_text(f"deb [trusted=yes] copy:/{ARCHIVE} ./\n")
        checkout(cache.repo, base, root, how=Checkout.COPY)
        known = inode_index(root, base)
        request = [
            f"{p.name}:{p.architecture}={p.version}" if p.architecture != "all" else f"{p.name}={p.version}"
            for p in packages
        ]
        _apt(root, archive, [*request, *(f"{item.name}-" for item in removed)], lock.created, report)
        compile_system(root, report)
        users, groups = installed_ids(root, lock)
        with cache.repo.transaction() as transaction:
            tree = ingest_directory(transaction, root, filter=ownership_filter(users, groups), known=known)
            normalise(TreeEditor(cache.repo, transaction, tree), users, groups)
            layer = diff_layers(base, tree, transaction)
            note = Ids(present(users, root / "etc/passwd"), present(groups, root / "etc/group")).as_note()
            return cache.record(transaction, key, layer, note, lock.created)


def _apt(root: Path, archive: Path, request: Sequence[str], created: int, report: Reporter) -> None:
    """Run the image's apt over the local archive, with no services started and no network."""
    script = (
        "set -e; mkdir -p /tmp/lists/partial /tmp/cache/archives/partial; "
        "printf '#!/bin/sh\\nexit 101\\n' > /usr/sbin/policy-rc.d; chmod 755 /usr/sbin/policy-rc.d; "
        "systemd-tmpfiles --create --prefix=/var --prefix=/run >/dev/null 2>&1 || true; "
        'options="$1"; shift; apt-get $options update; apt-get $options install --purge "$@"'
    )
    try:
        run_in(
            root,
            ["/bin/sh", "-c", script, "sh", " ".join(APT_OPTIONS), *request],
            binds=[Bind(archive, ARCHIVE)],
            writable=True,
            env={"SOURCE_DATE_EPOCH": str(created), "PYTHONDONTWRITEBYTECODE": ""},
            capture=False,
            report=report,
        )
    except CommandError as error:
        if any("No space left on device" in line for line in error.output):
            raise OSError(28, "No space left on device") from error
        lines = "\n".join(f"  {line}" for line in error.output[-15:])
        raise PackageError(
            f"the packages of the folder could not be installed:\n{lines}",
            hint="the first line that names a package says which one failed; `ostler lock --update` may bring a newer",
        ) from error
