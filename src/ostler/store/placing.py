"""Making the files of a checkout: as hard links to objects where that is allowed, otherwise as copies."""

import errno
import fcntl
import os
import stat
from collections.abc import Iterator
from typing import TYPE_CHECKING, BinaryIO, NamedTuple

from ostler.errors import NotFoundError
from ostler.formats.objects import Checksum, FileMeta, Xattrs
from ostler.store.checkout_options import Checkout, CheckoutOptions, OnExisting
from ostler.store.content import META_XATTR, RepoMode, pieces_of
from ostler.store.errors import StoreError
from ostler.store.repo import Repo
from ostler.store.union import has_checksum, is_same_file, put
from ostler.store.whiteouts import QUOTED, make_device, unquoted
from ostler.store.writer import FICLONE, write_all

if TYPE_CHECKING:
    from ostler.store.uncompressed import UncompressedCache

# Plain strings and `os` below: this runs once for every file of a tree.
# ruff: noqa: PTH108, PTH115, PTH211

_LINK_REFUSED = (errno.EXDEV, errno.EMLINK, errno.EPERM)
_SELINUX = b"security.selinux"


class Batch(NamedTuple):
    """Files of one directory: the folder they go to, where in the tree that is ("/usr/"), and (name, object)."""

    folder: str
    prefix: str
    files: tuple[tuple[str, Checksum], ...]


def lineage(repo: Repo) -> Iterator[Repo]:
    """The repository, its parent, and so on."""
    found: Repo | None = repo
    while found is not None:
        yield found
        found = found.parent


def checks_out_plainly(repo: Repo, how: Checkout) -> bool:
    """Whether files come without owners, extended attributes and set-id bits."""
    return how is Checkout.USER or repo.mode is RepoMode.BARE_USER_ONLY


def _can_link(repo: Repo, plain: bool) -> bool:
    return repo.mode in (RepoMode.BARE_USER, RepoMode.BARE_USER_ONLY) if plain else repo.mode is RepoMode.BARE


class FilePlacer:
    """Makes files of one repository; several threads or forked processes may use the same one."""

    def __init__(self, repo: Repo, how: Checkout, on_existing: OnExisting, options: CheckoutOptions) -> None:
        self._repo = repo
        self._on_existing = on_existing
        self._options = options
        self._plain = checks_out_plainly(repo, how)
        self._with_xattrs = not repo.config.get_bool("core", "disable-xattrs", False)
        self._compares_xattrs = self._with_xattrs and repo.mode is not RepoMode.BARE_USER_ONLY
        self._clone = True
        links = how is not Checkout.COPY and not options.force_copy and options.labels is None
        self._sources = [source for source in lineage(repo) if _can_link(source, self._plain)] if links else []
        self.cache: UncompressedCache | None = None
        caches = options.uncompressed_cache and repo.config.get_bool("core", "enable-uncompressed-cache", True)
        if caches and links and self._plain and repo.mode is RepoMode.ARCHIVE:
            from ostler.store import uncompressed

            self.cache = uncompressed.UncompressedCache(repo)
        self._refuses_copies = options.require_hardlinks and not _can_link(repo, self._plain)

    def place_batch(self, batch: Batch) -> int:
        """Make the files; returns how many."""
        for name, checksum in batch.files:
            self.place(checksum, batch, name)
        return len(batch.files)

    def place(self, checksum: Checksum, batch: Batch, name: str) -> None:
        """Make one file or symlink."""
        path = f"{batch.folder}/{name}"
        if self._options.passthrough_whiteouts and name.startswith(QUOTED):
            meta = self._repo.file_meta(checksum)
            if not meta.is_symlink:
                target = f"{batch.folder}/{unquoted(name)}"
                make_device(target, meta, self._on_existing, plain=self._plain, with_xattrs=self._with_xattrs)
                return
        for source in self._sources:
            if self._place_link(source, checksum, path):
                return
        if self.cache is not None and self._place_cached(self.cache, checksum, path):
            return
        label = None
        if self._options.labels is not None:
            label = (batch.prefix, name)
        self._place_copy(checksum, path, label)

    # --- links

    def _place_link(self, source: Repo, checksum: Checksum, path: str) -> bool:
        """Whether the file could be linked (or what exists stays); if not it is to be copied."""
        target = f"{source.path}/objects/{checksum[:2]}/{checksum[2:]}.file"
        try:
            status = os.lstat(target)
            if not self._may_link(source, target, status):
                return False
        except FileNotFoundError:
            return False
        return self._link(target, status, checksum, path)

    def _may_link(self, source: Repo, target: str, status: os.stat_result) -> bool:
        """Empty files are copied, since a file system allows only so many links to one; so is what users cannot read.

        Symlinks are linked in bare repositories only.
        """
        if source.mode is RepoMode.BARE:
            return status.st_size > 0 or not stat.S_ISREG(status.st_mode)
        if status.st_size == 0:
            return False
        mode = status.st_mode
        if source.mode is RepoMode.BARE_USER:
            mode = int.from_bytes(os.getxattr(target, META_XATTR)[8:12], "big")
        return stat.S_ISREG(mode) and bool(mode & stat.S_IRUSR)

    def _link(self, target: str, status: os.stat_result, checksum: Checksum, path: str) -> bool:
        try:
            os.link(target, path, follow_symlinks=False)
        except FileExistsError:
            put(
                path,
                lambda place: os.link(target, place, follow_symlinks=False),
                self._on_existing,
                is_same=lambda: is_same_file(
                    status, path, checksum, with_xattrs=self._compares_xattrs, any_owner=not self._compares_xattrs
                ),
                over_directories=self._options.whiteouts,
            )
        except OSError as error:
            if error.errno not in _LINK_REFUSED or self._options.require_hardlinks:
                raise
            return False
        return True

    def _place_cached(self, cache: "UncompressedCache", checksum: Checksum, path: str) -> bool:
        target = cache.file(checksum)
        return target is not None and self._link(target, os.lstat(target), checksum, path)

    # --- copies

    def _place_copy(self, checksum: Checksum, path: str, label: tuple[str, str] | None) -> None:
        meta, size, content = self._repo.open_file_object(checksum)
        if self._refuses_copies:
            self._check_copy(meta, size)
        xattrs = self._xattrs(meta, label)

        def make(place: str) -> None:
            if meta.is_symlink:
                self._make_symlink(meta, xattrs, place)
            else:
                self._make_copy(meta, xattrs, size, content, place)

        def is_same() -> bool:
            if self._on_existing is OnExisting.REPLACE:
                return False
            if meta.is_symlink:
                return os.path.islink(path) and os.readlink(path) == meta.target  # noqa: PTH114
            compares = self._compares_xattrs
            return has_checksum(path, checksum, with_xattrs=compares, any_owner=not compares)

        with content:
            put(path, make, self._on_existing, is_same=is_same, over_directories=self._options.whiteouts)

    def _check_copy(self, meta: FileMeta, size: int) -> None:
        """Where links are required only what is never linked may be copied."""
        of_users = self._repo.mode in (RepoMode.BARE_USER, RepoMode.BARE_USER_ONLY)
        if (meta.is_symlink and of_users) or (not meta.is_symlink and size == 0):
            return
        raise StoreError(
            "User repository mode requires user checkout mode to hardlink"
            if of_users
            else "Bare repository mode cannot hardlink in user checkout mode",
            hint="leave out that links are required, or check out the way the repository stores its files",
        )

    def _xattrs(self, meta: FileMeta, label: tuple[str, str] | None) -> Xattrs:
        if self._plain or not self._with_xattrs:
            return ()
        if label is None or self._options.labels is None:
            return meta.xattrs
        return labelled(meta.xattrs, self._options.labels("".join(label), meta.mode))

    def _make_symlink(self, meta: FileMeta, xattrs: Xattrs, path: str) -> None:
        os.symlink(meta.target, path)
        if not self._plain:
            os.chown(path, meta.uid, meta.gid, follow_symlinks=False)
            for name, value in xattrs:
                os.setxattr(path, name, value, follow_symlinks=False)
        os.utime(path, (0, 0), follow_symlinks=False)

    def _make_copy(self, meta: FileMeta, xattrs: Xattrs, size: int, content: BinaryIO, path: str) -> None:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            if size:
                self._copy(content, fd, size, path)
            if self._plain:
                os.fchmod(fd, (meta.mode & 0o1777) | stat.S_IRUSR)
            else:
                os.fchown(fd, meta.uid, meta.gid)
                for name, value in xattrs:
                    os.setxattr(fd, name, value)
                os.fchmod(fd, meta.mode & 0o7777)
            os.utime(fd, (0, 0))
        except BaseException:
            os.unlink(path)
            raise
        finally:
            os.close(fd)

    def _copy(self, content: BinaryIO, fd: int, size: int, path: str) -> None:
        try:
            source = content.fileno()
        except OSError:
            source = -1
        if source >= 0 and self._copy_in_kernel(source, fd, size):
            return
        for data in pieces_of(content, size, f"of {path}"):
            write_all(fd, data)

    def _copy_in_kernel(self, source: int, target: int, size: int) -> bool:
        """Share the blocks, or copy without a detour through this process; False if the content is yet to be copied."""
        if self._clone:
            try:
                fcntl.ioctl(target, FICLONE, source)
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


def labelled(xattrs: Xattrs, label: str | None) -> Xattrs:
    """The attributes with this SELinux label, whatever they had before."""
    others = tuple(pair for pair in xattrs if pair[0] != _SELINUX)
    return others if label is None else tuple(sorted((*others, (_SELINUX, label.encode()))))


def missing(path: str) -> NotFoundError:
    """The error for a path that a tree does not have."""
    return NotFoundError(f"No such file or directory: {path}", hint="`ostler repo ls` lists what the commit has")


def path_parts(path: str) -> list[str]:
    """The names in a path; raises `StoreError` if it climbs."""
    parts = [part for part in path.split("/") if part not in ("", ".")]
    if ".." in parts:
        raise StoreError(f"the path {path!r} in a tree must not hold `..`")
    return parts
