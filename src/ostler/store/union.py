"""Putting a file where something may lie already."""

import os
import stat
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import BinaryIO

from ostler.formats.objects import Checksum, FileMeta
from ostler.io.files import remove_tree
from ostler.store.checkout_options import OnExisting
from ostler.store.content import RepoMode, open_object
from ostler.store.errors import UnsupportedFileError

# Plain strings and `os` below: this runs once for every file of a tree.
# ruff: noqa: PTH104, PTH108, PTH112, PTH114

_CHUNK = 1 << 20


def put(
    path: str,
    make: Callable[[str], None],
    on_existing: OnExisting,
    *,
    is_same: Callable[[], bool],
    over_directories: bool = False,
) -> None:
    """Call `make` with the path of what is to be made: `path`, or a temporary one that then takes its place.

    `make` raises `FileExistsError` where there is something, and so does this if that is to stay an error. `is_same`
    says whether what exists is what would be made. With `over_directories` a directory is replaced, with all in it.
    """
    try:
        make(path)
    except FileExistsError:
        if on_existing is OnExisting.KEEP or (on_existing is not OnExisting.FAIL and is_same()):
            return
        if on_existing is not OnExisting.REPLACE:
            raise
        if over_directories and os.path.isdir(path) and not os.path.islink(path):
            remove(path)
            make(path)
        else:
            _replace(path, make)


def remove(path: str) -> None:
    """Remove a file of any kind, or a directory with all in it; what is not there is no error."""
    try:
        os.unlink(path)
    except FileNotFoundError:
        return
    except (IsADirectoryError, PermissionError):
        remove_tree(Path(path))


def _replace(path: str, make: Callable[[str], None]) -> None:
    folder, _, name = path.rpartition("/")
    temporary = f"{folder}/.{name[:200]}.{os.getpid()}.tmp"
    make(temporary)
    try:
        os.rename(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


def checksum_of_file(
    path: str, *, uid: int | None = None, gid: int | None = None, with_xattrs: bool = True
) -> Checksum:
    """The name that the regular file or symlink at `path` has as an object, with other owners if they are given.

    Raises `UnsupportedFileError` for what is neither.
    """
    mode = os.lstat(path).st_mode
    if not stat.S_ISREG(mode) and not stat.S_ISLNK(mode):
        raise UnsupportedFileError(f"{path} is neither a regular file nor a symlink")
    meta, _, content = open_object(path, RepoMode.BARE)
    with content:
        meta = FileMeta(
            meta.uid if uid is None else uid,
            meta.gid if gid is None else gid,
            meta.mode,
            tuple((name, value) for name, value in meta.xattrs if value) if with_xattrs else (),
            meta.target,
        )
        return _checksum(meta, content)


def _checksum(meta: FileMeta, content: BinaryIO) -> Checksum:
    digest = sha256(meta.header())
    while data := content.read(_CHUNK):
        digest.update(data)
    return Checksum(digest.hexdigest())


def is_same_file(
    source: os.stat_result, path: str, checksum: Checksum, *, with_xattrs: bool = True, any_owner: bool = False
) -> bool:
    """Whether `path` is the file `source`, or one that would get the name `checksum` as an object."""
    status = os.lstat(path)
    if os.path.samestat(source, status):
        return True
    alike = (source.st_mode, source.st_uid, source.st_gid) == (status.st_mode, status.st_uid, status.st_gid)
    if not alike or (stat.S_ISREG(status.st_mode) and source.st_size != status.st_size):
        return False
    return has_checksum(path, checksum, with_xattrs=with_xattrs, any_owner=any_owner)


def has_checksum(path: str, checksum: Checksum, *, with_xattrs: bool = True, any_owner: bool = False) -> bool:
    """Whether the file at `path` would get the name `checksum` as an object; `any_owner` takes root for its owner."""
    owner = 0 if any_owner else None
    try:
        return checksum_of_file(path, uid=owner, gid=owner, with_xattrs=with_xattrs) == checksum
    except UnsupportedFileError:
        return False
