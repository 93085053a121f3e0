"""Layers of an image as directory trees: stacking them, the difference of two trees, and the bootable form.

Whiteouts are those of the OCI image specification: an empty file `.wh.NAME` hides NAME of the layers below, the file
`.wh..wh..opq` hides everything that the directory holds below.
"""

import stat
from collections.abc import Iterable

from ostler.formats.objects import Checksum, FileMeta
from ostler.store.errors import StoreError
from ostler.store.repo import Repo
from ostler.store.transaction import Transaction
from ostler.store.tree import Directory

WHITEOUT_PREFIX = ".wh."
OPAQUE_WHITEOUT = ".wh..wh..opq"
WHITEOUT_META = FileMeta(0, 0, 0o100644)

EMPTIED = ("run", "tmp", "proc", "sys", "dev")
"""Directories at the root whose content never gets into a bootable tree."""
INJECTED_BY_BUILDERS = ("usr/etc/hostname", "usr/etc/resolv.conf")
"""Files that container builders leave behind empty."""


def apply_layer(base: Directory, layer: Directory, *, keep_directory_metadata: bool = False) -> Directory:
    """`base` with `layer` on top, whiteouts carried out and gone; both stay as they are.

    A directory in both has the metadata of `layer`, as in a running container; with `keep_directory_metadata` that of
    `base`, as in the commits that bootc makes of images (`ostree checkout --union`), unless it is opaque.
    """
    opaque = OPAQUE_WHITEOUT in layer.files
    meta = base.meta if keep_directory_metadata and not opaque else layer.meta
    files = {} if opaque else base.files.copy()
    lower = {} if opaque else base.dirs.copy()
    for name in layer.files:
        if name.startswith(WHITEOUT_PREFIX):
            hidden = name[len(WHITEOUT_PREFIX) :]
            files.pop(hidden, None)
            lower.pop(hidden, None)
    for name, checksum in layer.files.items():
        if not name.startswith(WHITEOUT_PREFIX):
            lower.pop(name, None)
            files[name] = checksum
    dirs = {name: below.copy() for name, below in lower.items() if name not in layer.dirs}
    for name, upper in layer.dirs.items():
        files.pop(name, None)
        under = lower.get(name) or Directory(upper.meta)
        dirs[name] = apply_layer(under, upper, keep_directory_metadata=keep_directory_metadata)
    return Directory(meta, files, dirs)


def merge_layers(layers: Iterable[Directory], *, keep_directory_metadata: bool = False) -> Directory:
    """All layers stacked, the first lowest; see `apply_layer`. No layers make an empty directory."""
    merged: Directory | None = None
    for layer in layers:
        under = Directory(layer.meta) if merged is None else merged
        merged = apply_layer(under, layer, keep_directory_metadata=keep_directory_metadata)
    return merged or Directory()


def diff_layers(old: Directory, new: Directory, transaction: Transaction) -> Directory:
    """The layer that turns `old` into `new`: `apply_layer(old, it) == new`. Whiteouts are stored as empty files.

    Raises `StoreError` if a name in `new` looks like a whiteout.
    """
    return _difference(old, new, transaction.write_file(WHITEOUT_META, b"")) or Directory(new.meta)


def _difference(old: Directory, new: Directory, whiteout: Checksum) -> Directory | None:
    layer = Directory(new.meta)
    for name, checksum in new.files.items():
        _refuse_whiteout(name)
        if old.files.get(name) != checksum:
            layer.files[name] = checksum
    for name, below in new.dirs.items():
        _refuse_whiteout(name)
        under = old.dirs.get(name)
        changed = _checked_copy(below) if under is None else _difference(under, below, whiteout)
        if changed is not None:
            layer.dirs[name] = changed
    for name in (*old.files, *old.dirs):
        if name not in new.files and name not in new.dirs:
            layer.files[WHITEOUT_PREFIX + name] = whiteout
    return layer if layer.files or layer.dirs or old.meta != new.meta else None


def _checked_copy(directory: Directory) -> Directory:
    for path, _ in directory.walk():
        _refuse_whiteout(path.rpartition("/")[2])
    return directory.copy()


def _refuse_whiteout(name: str) -> None:
    if name.startswith(WHITEOUT_PREFIX):
        raise StoreError(
            f"the file name {name} cannot be in an image",
            hint="names that start with .wh. mark removed files in layers",
        )


def bootable_tree(merged: Directory, repo: Repo) -> Directory:
    """The tree of a bootable commit made of an image's merged layers, as bootc makes it; `merged` stays as it is.

    `etc` becomes `usr/etc`; `run`, `tmp`, `proc`, `sys` and `dev` are emptied; `usr/etc/hostname` and
    `usr/etc/resolv.conf` go if they are empty files (their objects are looked up in `repo`). Raises `StoreError` if
    both `etc` and `usr/etc` have content.
    """
    tree = merged.copy()
    etc = tree.dirs.pop("etc", None)
    if etc is not None:
        present = tree.directory("usr/etc")
        if present is not None and (present.files or present.dirs):
            raise StoreError(
                "both /etc and /usr/etc have content, so the image cannot be made bootable",
                hint="put configuration into /etc only; it becomes /usr/etc by itself",
            )
        tree.set_dir("usr/etc", etc)
    for name in EMPTIED:
        if name in tree.dirs:
            tree.dirs[name] = Directory(tree.dirs[name].meta)
    for path in INJECTED_BY_BUILDERS:
        found = tree.lookup(path)
        if isinstance(found, str) and _is_empty_file(repo, found):
            tree.remove(path)
    return tree


def _is_empty_file(repo: Repo, checksum: Checksum) -> bool:
    meta, size, content = repo.open_file_object(checksum)
    content.close()
    return stat.S_ISREG(meta.mode) and size == 0
