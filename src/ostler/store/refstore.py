"""The ref files of a repository: `refs/heads/NAME`, `refs/remotes/REMOTE/NAME`, `refs/mirrors/COLLECTION/NAME`.

Aliases are symlinks in `heads` from one ref to another.
"""

import os
import re
from collections.abc import Iterator
from pathlib import Path

from ostler.errors import NotFoundError
from ostler.formats.gvariant import FormatError
from ostler.formats.objects import Checksum, parse_checksum
from ostler.formats.refs import validate_collection, validate_ref, validate_remote
from ostler.io.files import atomic_write, fsync_directory
from ostler.store.errors import StoreError

_FRAGMENT = re.compile(r"\w[-._\w]*")


def ref_path(repo: Path, ref: str, remote: str | None = None, collection: str | None = None) -> Path:
    """Where the ref is kept; raises `BadRefError`."""
    validate_ref(ref)
    if collection is not None:
        return repo / "refs" / "mirrors" / validate_collection(collection) / ref
    if remote is None:
        return repo / "refs" / "heads" / ref
    return repo / "refs" / "remotes" / validate_remote(remote) / ref


def read_ref(repo: Path, ref: str, remote: str | None = None, *, collection: str | None = None) -> Checksum | None:
    """What the ref points at, or None if there is no such ref; raises `FormatError` for a damaged file."""
    return read_path(ref_path(repo, ref, remote, collection))


def read_path(path: Path) -> Checksum | None:
    """What a ref's file says; None if it does not exist."""
    try:
        with open(path, "rb") as file:
            data = file.read(128)
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
        return None
    try:
        return parse_checksum(data.decode("ascii", "replace").rstrip("\n"))
    except FormatError as error:
        raise FormatError(f"the ref file {path} is damaged: {error.message}") from error


def write_ref(
    repo: Path,
    ref: str,
    checksum: Checksum | None,
    remote: str | None,
    *,
    collection: str | None = None,
    durable: bool,
) -> None:
    """Point the ref at a commit in one rename, or (None) remove it, with parent folders left empty.

    An alias that is written becomes a ref of its own.
    """
    path = ref_path(repo, ref, remote, collection)
    if checksum is None:
        _remove(path, ref, repo / "refs")
    else:
        if re.fullmatch("[0-9a-f]{64}", ref):
            raise StoreError(f"Rev name '{ref}' looks like a checksum")
        _make_room(path, ref)
        atomic_write(path, parse_checksum(checksum).encode() + b"\n", durable=durable)
    os.utime(repo)  # tells whoever watches the repository that refs changed


def check_room(path: Path, ref: str) -> None:
    """Raise `StoreError` if no ref can be at the path because of others: above it, or below."""
    for folder in path.parents:
        if folder.is_dir():
            break
        if os.path.lexists(folder):
            raise StoreError(f"the ref {ref} cannot exist: the beginning of its name is a ref already")
    if path.is_dir() and not path.is_symlink():
        below = next(list_refs(path), None)
        if below is not None:
            raise StoreError(f"Conflict: {ref}/{below[0]} exists under {ref} when attempting write")


def _make_room(path: Path, ref: str) -> None:
    check_room(path, ref)
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.is_dir() or path.is_symlink():
        return
    try:
        for folder, _, _ in os.walk(path, topdown=False):
            Path(folder).rmdir()
    except OSError as error:
        raise StoreError(f"the ref {ref} cannot exist: {path} is a folder that holds other files") from error


def _remove(path: Path, ref: str, top: Path) -> None:
    try:
        path.unlink()
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError) as error:
        raise NotFoundError(f"there is no ref {ref} at {path}") from error
    fsync_directory(path.parent)
    for folder in path.parents:
        if folder.parent in (top, top.parent, top / "remotes", top / "mirrors"):
            return
        try:
            folder.rmdir()
        except OSError:
            return


def write_alias(repo: Path, alias: str, target: str) -> None:
    """Make `alias` another name of the ref `target`, in one rename; both are local refs."""
    path, pointed = ref_path(repo, alias), ref_path(repo, target)
    if path == pointed:
        raise StoreError(f"the ref {alias} cannot be an alias of itself")
    if read_path(pointed) is None:
        raise NotFoundError(f"Cannot create alias to non-existent ref: {target}")
    _make_room(path, alias)
    temporary = repo / "tmp" / f"alias-{os.getpid()}"
    temporary.unlink(missing_ok=True)
    temporary.symlink_to(os.path.relpath(pointed, path.parent))
    temporary.rename(path)
    os.utime(repo)


def list_aliases(repo: Path) -> Iterator[tuple[str, str]]:
    """(alias, ref that it stands for) of every alias, ascending."""
    heads = repo / "refs" / "heads"
    for name, file in _files(heads):
        if file.is_symlink():
            target = os.path.normpath(file.parent / file.readlink())
            yield name, os.path.relpath(target, heads)


def list_refs(folder: Path) -> Iterator[tuple[str, Checksum]]:
    """(name below `folder`, commit) of every ref in it, ascending; nothing if the folder does not exist."""
    for ref, file in _files(folder):
        checksum = read_path(file)
        if checksum is not None:
            yield ref, checksum


def _files(folder: Path) -> list[tuple[str, Path]]:
    """Everything that has a ref's name; other files (of synchronising tools) are passed over.

    Raises `StoreError` for a folder that cannot be read: whoever took its refs for absent might remove their commits.
    """
    start = os.fspath(folder)
    found = []
    for where, folders, names in os.walk(start, onerror=_refuse_unreadable):
        folders[:] = [name for name in folders if _FRAGMENT.fullmatch(name)]
        for name in names:
            if _FRAGMENT.fullmatch(name):
                file = Path(where, name)
                found.append((file.relative_to(start).as_posix(), file))
    return sorted(found)


def _refuse_unreadable(error: OSError) -> None:
    if not isinstance(error, FileNotFoundError):
        raise StoreError(
            f"the refs in {error.filename} cannot be read: {error.strerror}",
            hint="see who may read that folder, and whether the disk is well",
        ) from error
