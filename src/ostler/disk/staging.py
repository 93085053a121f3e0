"""A bare repository beside the cache, mostly of hard links into it, so that nothing is copied before mke2fs reads it.

The cache is `bare-user`: an object's real owner and mode stand in an extended attribute, its inode has what an ordinary
user may set. Most files of a system are root's, and for these both are equal (this process is root in a user
namespace): such an object is linked. mke2fs leaves extended attributes out, which drops the cache's own; the few real
ones are set afterwards. Only objects whose inode says something else are copied and given their owner and mode.
"""

# ruff: noqa: PTH101, PTH102, PTH103, PTH211 - plain strings and os: this runs once for every file of a tree

import errno
import os
import shutil
from collections.abc import Iterable
from pathlib import Path

from ostler.disk.content import CommitContent, FileObject
from ostler.disk.ext4 import Attribute
from ostler.errors import NotFoundError
from ostler.formats.objects import Checksum, FileMeta, ObjectType
from ostler.io.files import space_errors
from ostler.store.content import RepoMode
from ostler.store.repo import Repo
from ostler.store.tree import Directory

REPO = "ostree/repo"


def stage_objects(source: Repo, content: CommitContent, target: Repo) -> None:
    """Put all objects of the commit into the bare repository `target`, without their extended attributes.

    The objects may share inodes with `source`: nothing may change them. Raises `NoSpaceError`.
    """
    assert target.mode is RepoMode.BARE
    folder = f"{target.path}/objects"
    with space_errors("preparing the root file system", target.path):
        for prefix in {checksum[:2] for checksum in (*content.files, *(c for c, _ in content.metadata))}:
            os.makedirs(f"{folder}/{prefix}", exist_ok=True)
        for checksum, file in content.files.items():
            _stage_file(file, f"{folder}/{checksum[:2]}/{checksum[2:]}.file")
        for checksum, kind in content.metadata:
            place = f"{folder}/{checksum[:2]}/{checksum[2:]}.{kind.extension}"
            _stage_metadata(source, checksum, kind, place)


def _stage_file(file: FileObject, place: str) -> None:
    if not (file.linkable and _linked(file.path, place)):
        _copy(file.meta, file.path, place)


def _stage_metadata(source: Repo, checksum: Checksum, kind: ObjectType, place: str) -> None:
    """`scan` has read and verified these objects, all but a commit's detached metadata, which has no checksum.

    Unlike file objects they are not modified at time 0, linked or not, so that equal disks come of either.
    """
    path = source.find_object(checksum, kind)
    status = os.lstat(path)
    as_wanted = (status.st_uid, status.st_gid, status.st_mode) == (0, 0, 0o100644) and int(status.st_mtime) != 0
    if as_wanted and _linked(path, place):
        return
    with open(place, "xb") as out:
        os.fchmod(out.fileno(), 0o644)
        out.write(source.load_bytes(checksum, kind))


def _linked(path: str, place: str) -> bool:
    """Link `path` to `place`, if their file systems allow it."""
    try:
        os.link(path, place)
    except OSError as error:
        if error.errno not in (errno.EXDEV, errno.EMLINK, errno.EPERM):
            raise
        return False
    return True


def _copy(meta: FileMeta, source: str, place: str) -> None:
    if meta.is_symlink:
        os.symlink(meta.target, place)
        os.lchown(place, meta.uid, meta.gid)
    else:
        shutil.copyfile(source, place)
        os.chown(place, meta.uid, meta.gid)
        os.chmod(place, meta.mode & 0o7777)  # behind chown, which clears set-user-id
    os.utime(place, (0, 0), follow_symlinks=False)


def attributes(content: CommitContent, staging: Path, deployment: str) -> list[Attribute]:
    """The real extended attributes of the staged files, for paths below `staging`.

    `deployment` is the deployment's path below it. Where a deployed file shares its inode with an object, the object's
    path is named only.
    """
    found = [
        Attribute(f"{REPO}/objects/{checksum[:2]}/{checksum[2:]}.file", name, value)
        for checksum, file in content.files.items()
        for name, value in file.meta.xattrs
    ]
    found += _deployed(content, content.tree, staging, deployment)
    etc = content.tree.directory("usr/etc")
    if etc is not None:
        found += _deployed(content, etc, staging, f"{deployment}/etc")
    return found


def _deployed(content: CommitContent, tree: Directory, staging: Path, start: str) -> Iterable[Attribute]:
    for name, value in tree.meta.xattrs:
        yield Attribute(start, name, value)
    for below, what in tree.walk():
        path = f"{start}/{below}"
        if isinstance(what, Directory):
            xattrs = what.meta.xattrs
        else:
            xattrs = content.files[what].meta.xattrs
            if xattrs and _same_inode(staging / path, staging / _object(what)):
                continue
        for name, value in xattrs:
            yield Attribute(path, name, value)


def _object(checksum: Checksum) -> str:
    return f"{REPO}/objects/{checksum[:2]}/{checksum[2:]}.{ObjectType.FILE.extension}"


def _same_inode(one: Path, other: Path) -> bool:
    try:
        return os.path.samestat(os.lstat(one), os.lstat(other))
    except FileNotFoundError:
        return False


class StagedTree:
    """Writes parts of the commit's tree as directories of links to staged objects; copies where files must be own."""

    def __init__(self, content: CommitContent, repo: Repo) -> None:
        self._content = content
        self._objects = f"{repo.path}/objects"

    def __call__(self, path: str, destination: Path, *, copy: bool) -> None:
        """Write what is at `path` ("" is all) to the new directory `destination`. Raises `NotFoundError`."""
        directory = self._content.tree.directory(path)
        if directory is None:
            raise NotFoundError(f"the commit {self._content.commit} has no directory {path}")
        with space_errors("preparing the root file system", destination):
            self._write(directory, os.fspath(destination), copy)

    def _write(self, directory: Directory, place: str, copy: bool) -> None:
        os.mkdir(place, 0o700)
        for name, checksum in directory.files.items():
            source = f"{self._objects}/{checksum[:2]}/{checksum[2:]}.file"
            if not copy:
                os.link(source, f"{place}/{name}", follow_symlinks=False)
                continue
            _copy(self._content.files[checksum].meta, source, f"{place}/{name}")
        for name, below in directory.dirs.items():
            self._write(below, f"{place}/{name}", copy)
        meta = directory.meta
        os.chown(place, meta.uid, meta.gid)
        os.chmod(place, meta.mode & 0o7777)
        os.utime(place, (0, 0))
