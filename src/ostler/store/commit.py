"""Making commits."""

from collections.abc import Mapping

from ostler.formats.gvariant import Variant
from ostler.formats.objects import Checksum, Commit
from ostler.store.errors import StoreError
from ostler.store.transaction import Transaction
from ostler.store.tree import Directory, write_tree

BOOTABLE_KEY = "ostree.bootable"
KERNEL_KEY = "ostree.linux"


def commit_tree(
    transaction: Transaction,
    directory: Directory,
    *,
    timestamp: int,
    subject: str = "",
    body: str = "",
    metadata: Mapping[str, Variant] | None = None,
    parent: Checksum | None = None,
    generate_sizes: bool = False,
) -> Checksum:
    """Store the tree and a commit of it; returns the commit's checksum. `timestamp` is in seconds since 1970.

    Equal arguments give the same commit, in every mode. With `generate_sizes` the sizes of the objects that the
    transaction came across since its `record_sizes` are added to the metadata, in archive repositories only: they
    depend on how these compress. No ref is set: see `Transaction.set_ref`.
    """
    tree, meta = write_tree(transaction, directory)
    keys = dict(metadata or {})
    if generate_sizes and transaction.sizes is not None:
        keys |= transaction.sizes.take()
    return transaction.write_metadata(Commit(tree, meta, timestamp, subject, body, parent, keys))


def bootable_metadata(directory: Directory) -> dict[str, Variant]:
    """The metadata that marks a commit of this tree as bootable, with the release of its kernel.

    Raises `StoreError` unless exactly one folder of `usr/lib/modules` holds a `vmlinuz`.
    """
    modules = directory.directory("usr/lib/modules")
    if modules is None:
        raise StoreError("Opening usr/lib/modules: No such file or directory", hint="install a kernel in the tree")
    kernels = sorted(name for name, below in modules.dirs.items() if "vmlinuz" in below.files)
    if not kernels:
        raise StoreError("No kernel found below usr/lib/modules", hint="each kernel lies in a folder, as `vmlinuz`")
    if len(kernels) > 1:
        raise StoreError(
            f"Multiple kernels found in usr/lib/modules: {', '.join(kernels)}", hint="a bootable tree has exactly one"
        )
    return {KERNEL_KEY: Variant("s", kernels[0]), BOOTABLE_KEY: Variant("b", True)}
