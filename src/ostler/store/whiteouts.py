"""Files that stand for the absence of others: those of container layers, and quoted ones of overlayfs."""

import os
import stat
from collections.abc import Mapping

from ostler.formats.objects import Checksum, FileMeta
from ostler.store.checkout_options import OnExisting
from ostler.store.errors import StoreError
from ostler.store.repo import Repo
from ostler.store.union import remove

# ruff: noqa: PTH101, PTH108

WHITEOUT = ".wh."
OPAQUE = ".wh..wh..opq"
QUOTED = ".ostree-wh."
"""What stands before the name of an overlayfs whiteout, a character device 0:0, which a repository cannot hold."""


def apply_whiteouts(
    repo: Repo, files: Mapping[str, Checksum], folder: str, *, with_quoted: bool = False
) -> dict[str, Checksum]:
    """Remove from `folder` what the whiteouts among the files of its directory name; returns the files to be made.

    `with_quoted` says that `.ostree-wh.NAME` is to become NAME, which `.wh.NAME` then stands for too.
    """
    left: dict[str, Checksum] = {}
    for name in sorted(files):  # in this order, since a whiteout also removes what came before it
        if not name.startswith(WHITEOUT) or repo.file_meta(files[name]).is_symlink:
            left[name] = files[name]
            continue
        hidden = name.removeprefix(WHITEOUT)
        if hidden in ("", ".", ".."):
            raise StoreError(f"the whiteout {folder}/{name} names no file: Invalid empty whiteout '{hidden}'")
        remove(f"{folder}/{hidden}")
        left.pop(hidden, None)
        if with_quoted and QUOTED + hidden in left and not repo.file_meta(left[QUOTED + hidden]).is_symlink:
            del left[QUOTED + hidden]
    return left


def unquoted(name: str) -> str:
    """The name of the whiteout that `.ostree-wh.NAME` becomes; raises `StoreError`."""
    hidden = name.removeprefix(QUOTED)
    if hidden in ("", ".", ".."):
        raise StoreError(f"the file {name} names no overlayfs whiteout: Invalid empty overlayfs whiteout '{hidden}'")
    return hidden


def make_device(path: str, meta: FileMeta, on_existing: OnExisting, *, plain: bool, with_xattrs: bool = True) -> None:
    """Make the overlayfs whiteout `path` with the mode, and unless `plain` the owner and attributes, of `meta`."""
    try:
        os.mknod(path, stat.S_IFCHR | stat.S_IMODE(meta.mode), 0)
    except FileExistsError:
        if on_existing is OnExisting.KEEP:
            return
        if on_existing is OnExisting.IDENTICAL:
            _check_same(path, meta, plain=plain)
            return
        if on_existing is OnExisting.FAIL:
            raise
        os.unlink(path)
        os.mknod(path, stat.S_IFCHR | stat.S_IMODE(meta.mode), 0)
    if plain:
        return
    for name, value in meta.xattrs if with_xattrs else ():
        os.setxattr(path, name, value, follow_symlinks=False)
    os.chown(path, meta.uid, meta.gid, follow_symlinks=False)
    os.chmod(path, stat.S_IMODE(meta.mode))
    os.utime(path, (0, 0))


def _check_same(path: str, meta: FileMeta, *, plain: bool) -> None:
    status = os.lstat(path)
    same = stat.S_ISCHR(status.st_mode) and status.st_rdev == 0
    if not plain:
        expected = (meta.uid, meta.gid, stat.S_IMODE(meta.mode))
        same = same and (status.st_uid, status.st_gid, stat.S_IMODE(status.st_mode)) == expected
    if not same:
        raise StoreError(f"{path} exists and is another file than the whiteout: File exists")
