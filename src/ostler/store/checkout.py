"""From the store into a folder: full copies, or hard links to the objects of a bare repository."""

import errno
import fcntl
import os
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import BinaryIO

from ostler.formats.objects import Checksum, DirMeta, FileMeta, ObjectType
from ostler.io.files import space_errors
from ostler.io.progress import Reporter, silent
from ostler.store.content import META_XATTR, RepoMode, user_meta_is_symlink
from ostler.store.errors import StoreError
from ostler.store.parallel import run_parallel
from ostler.store.repo import Repo
from ostler.store.tree import Directory
from ostler.store.writer import chunks_of

# Plain strings and `os` below: this runs once for every file of a tree.
# ruff: noqa: PTH101, PTH102, PTH108, PTH112, PTH114, PTH208, PTH211

_FICLONE = 0x40049409
_LINK_REFUSED = (errno.EXDEV, errno.EMLINK, errno.EPERM)


class Checkout(StrEnum):
    """How files come into a checkout.

    `COPY`: independent files with owner, mode, extended attributes, time 0 (needs root). `HARDLINK`: links to the
    objects of a bare repository, for deployments. `USER`: links to the objects of a bare-user repository, or copies;
    without owners, extended attributes and set-id bits.
    """

    COPY = "copy"
    HARDLINK = "hardlink"
    USER = "user"


class OnExisting(StrEnum):
    """What to do where there is something: `FAIL` (the folder may exist but be empty), `REPLACE` or `KEEP` files.

    Directories are merged; `KEEP` also keeps the metadata that existing ones have.
    """

    FAIL = "fail"
    REPLACE = "replace"
    KEEP = "keep"


@dataclass(frozen=True, slots=True)
class _Place:
    checksum: Checksum
    path: str


def checkout(
    repo: Repo,
    directory: Directory,
    dest: Path,
    *,
    how: Checkout = Checkout.COPY,
    on_existing: OnExisting = OnExisting.FAIL,
    threads: int | None = None,
    report: Reporter = silent,
) -> None:
    """Write the tree into the folder `dest`, which is made if missing (its parent must exist).

    Empty files and the symlinks of bare-user repositories are made anew in every case; where a hard link is refused
    (another file system, too many links) the file is copied. Nothing is synced. Raises `StoreError` if something is in
    the way, `NotFoundError` and `CorruptError` for objects that are missing or malformed, `NoSpaceError`.
    """
    executor = _Executor(repo, how, on_existing)
    with space_errors("checking out files", dest):
        try:
            executor.make_directories(directory, os.fspath(dest))
            run_parallel(
                executor.places,
                executor.make_file,
                threads=threads,
                report=report,
                name="checking out",
                weight=lambda _: 1,
                unit="files",
            )
            executor.finish_directories()
        except FileExistsError as error:
            raise StoreError(
                f"{error.filename2 or error.filename} exists already", hint="check out into an empty folder"
            ) from error


class _Executor:
    def __init__(self, repo: Repo, how: Checkout, on_existing: OnExisting) -> None:
        self._repo = repo
        self._on_existing = on_existing
        self._plain = how is Checkout.USER
        wanted = {Checkout.HARDLINK: RepoMode.BARE, Checkout.USER: RepoMode.BARE_USER}
        self._link = wanted.get(how) is repo.mode
        self._clone = True
        self._finish: list[tuple[str, DirMeta]] = []
        self.places: list[_Place] = []

    # --- directories

    def make_directories(self, directory: Directory, dest: str) -> None:
        """Make the directories, open for their owner only until the end, and list the files that go into them."""
        pending = [(directory, dest)]
        while pending:
            here, path = pending.pop()
            if self._make_directory(path, is_root=path == dest):
                self._finish.append((path, here.meta))
            self.places.extend(_Place(checksum, f"{path}/{name}") for name, checksum in here.files.items())
            pending.extend((below, f"{path}/{name}") for name, below in here.dirs.items())

    def _make_directory(self, path: str, *, is_root: bool) -> bool:
        """Whether its metadata are to be set."""
        try:
            os.mkdir(path, 0o700)
            return True
        except FileExistsError:
            if os.path.islink(path) or not os.path.isdir(path):
                raise
            if self._on_existing is OnExisting.FAIL and not (is_root and not os.listdir(path)):
                raise
            return self._on_existing is not OnExisting.KEEP

    def finish_directories(self) -> None:
        """Set owners, modes and times, innermost first."""
        for path, meta in reversed(self._finish):
            if self._plain:
                os.chmod(path, (meta.mode & 0o777) | 0o700)
                continue
            os.chown(path, meta.uid, meta.gid)
            for name, value in meta.xattrs:
                os.setxattr(path, name, value)
            os.chmod(path, meta.mode & 0o7777)
            os.utime(path, (0, 0))

    # --- files

    def make_file(self, place: _Place) -> None:
        """Write one file or symlink."""
        try:
            self._make_file(place)
        except FileExistsError:
            if self._on_existing is OnExisting.KEEP:
                return
            if self._on_existing is OnExisting.FAIL or (os.path.isdir(place.path) and not os.path.islink(place.path)):
                raise
            os.unlink(place.path)
            self._make_file(place)

    def _make_file(self, place: _Place) -> None:
        if not (self._link and self._make_link(place)):
            meta, size, content = self._repo.open_file_object(place.checksum)
            with content:
                if meta.is_symlink:
                    self._make_symlink(meta, place.path)
                else:
                    self._make_copy(meta, size, content, place.path)

    def _make_link(self, place: _Place) -> bool:
        source = self._repo.find_object(place.checksum, ObjectType.FILE)
        if os.lstat(source).st_size == 0 or (
            self._repo.mode is RepoMode.BARE_USER and user_meta_is_symlink(os.getxattr(source, META_XATTR))
        ):
            return False
        try:
            os.link(source, place.path, follow_symlinks=False)
        except OSError as error:
            if error.errno not in _LINK_REFUSED:
                raise
            return False
        return True

    def _make_symlink(self, meta: FileMeta, path: str) -> None:
        os.symlink(meta.target, path)
        if not self._plain:
            os.chown(path, meta.uid, meta.gid, follow_symlinks=False)
            for name, value in meta.xattrs:
                os.setxattr(path, name, value, follow_symlinks=False)
        os.utime(path, (0, 0), follow_symlinks=False)

    def _make_copy(self, meta: FileMeta, size: int, content: BinaryIO, path: str) -> None:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            if self._repo.mode is RepoMode.ARCHIVE or not self._copy_in_kernel(content.fileno(), fd, size):
                for chunk in chunks_of(content):
                    _write_all(fd, chunk)
            if self._plain:
                os.fchmod(fd, meta.mode & 0o777)
            else:
                os.fchown(fd, meta.uid, meta.gid)
                for name, value in meta.xattrs:
                    os.setxattr(fd, name, value)
                os.fchmod(fd, meta.mode & 0o7777)
            os.utime(fd, (0, 0))
        except BaseException:
            os.unlink(path)
            raise
        finally:
            os.close(fd)

    def _copy_in_kernel(self, source: int, target: int, size: int) -> bool:
        """Share the blocks, or copy without a detour through this process; False if the content is yet to be copied."""
        if self._clone and size:
            try:
                fcntl.ioctl(target, _FICLONE, source)
                return True
            except OSError:
                self._clone = False
        left = size
        try:
            while left > 0 and (copied := os.copy_file_range(source, target, left)):
                left -= copied
        except OSError as error:
            if left != size or error.errno not in (errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP):
                raise
            return False
        return True


def _write_all(fd: int, data: bytes | memoryview) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]
