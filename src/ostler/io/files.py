"""Writing files so that a crash leaves the old or the new one whole, and joining paths so that none escapes."""

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from ostler.errors import NoSpaceError, OstlerError


class UnsafePathError(OstlerError):
    """A path from untrusted input is absolute or climbs out of the root it belongs to."""


def fsync_directory(path: Path) -> None:
    """Make the entries (names) of the directory durable."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def atomic_write(path: Path, data: bytes, *, mode: int = 0o644, durable: bool = True) -> None:
    """Replace `path` by a file with `data` and permission bits `mode`, in one rename.

    With `durable` the file and its directory are synced, so the new content survives a power cut once this returns.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, mode)
        with os.fdopen(fd, "wb") as file:
            os.fchmod(file.fileno(), mode)
            file.write(data)
            if durable:
                file.flush()
                os.fsync(file.fileno())
        temporary.rename(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    if durable:
        fsync_directory(path.parent)


def swap_symlink(link: Path, target: str) -> None:
    """Point the symlink `link` at `target` in one rename and make that durable."""
    temporary = link.with_name(f".{link.name}.{os.getpid()}.tmp")
    temporary.unlink(missing_ok=True)
    temporary.symlink_to(target)
    temporary.rename(link)
    fsync_directory(link.parent)


def safe_join(root: Path, relative: str) -> Path:
    """`root` joined with a path from untrusted input, which must be relative and must not climb with `..`.

    Symlinks below `root` are not resolved: callers that write use `O_NOFOLLOW` or directories they made themselves.
    """
    pure = PurePosixPath(relative)
    if pure.is_absolute() or ".." in pure.parts or "\0" in relative:
        raise UnsafePathError(f"the path {relative!r} leads out of its root")
    return root / pure


def remove_tree(path: Path) -> None:
    """Remove a directory tree (or nothing), also where directories in it are not writable for their owner."""

    def open_up(function: object, name: str, info: tuple[type, BaseException, object]) -> None:
        if isinstance(info[1], FileNotFoundError):
            return
        parent = Path(name).parent
        for directory in (parent, Path(name)):
            if directory.is_dir() and not directory.is_symlink():
                directory.chmod(0o700)
        if Path(name).is_dir() and not Path(name).is_symlink():
            remove_tree(Path(name))
        else:
            Path(name).unlink(missing_ok=True)

    if path.is_symlink() or path.is_file():
        path.unlink()
    elif path.exists():
        shutil.rmtree(path, onerror=open_up)


@contextmanager
def space_errors(what: str, where: Path) -> Iterator[None]:
    """Turn "no space left" and "quota exceeded" into a `NoSpaceError` that says what was being written and where."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise NoSpaceError(
            f"no space left on the file system of {where} while {what}",
            hint=f"free some space there (`df -h {where}` shows it) and run the same command again",
        ) from error
