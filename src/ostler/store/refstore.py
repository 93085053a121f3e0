"""The ref files of a repository: `refs/heads/NAME`, `refs/remotes/REMOTE/NAME`, `refs/mirrors/COLLECTION/NAME`."""

import os
from collections.abc import Iterator
from pathlib import Path

from ostler.errors import NotFoundError
from ostler.formats.gvariant import FormatError
from ostler.formats.objects import Checksum, parse_checksum
from ostler.formats.refs import validate_ref, validate_remote
from ostler.io.files import atomic_write, fsync_directory
from ostler.store.errors import StoreError


def ref_path(repo: Path, ref: str, remote: str | None) -> Path:
    """Where the ref is kept; raises `BadRefError`."""
    validate_ref(ref)
    if remote is None:
        return repo / "refs" / "heads" / ref
    return repo / "refs" / "remotes" / validate_remote(remote) / ref


def read_ref(repo: Path, ref: str, remote: str | None = None) -> Checksum | None:
    """What the ref points at, or None if there is no such ref; raises `FormatError` for a damaged file."""
    return _read(ref_path(repo, ref, remote))


def _read(path: Path) -> Checksum | None:
    try:
        with open(path, "rb") as file:
            data = file.read(128)
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
        return None
    try:
        return parse_checksum(data.decode("ascii", "replace").rstrip("\n"))
    except FormatError as error:
        raise FormatError(f"the ref file {path} is damaged: {error.message}") from error


def write_ref(repo: Path, ref: str, checksum: Checksum | None, remote: str | None, *, durable: bool) -> None:
    """Point the ref at a commit in one rename, or (None) remove it, with parent folders left empty."""
    path = ref_path(repo, ref, remote)
    if checksum is None:
        _remove(path, repo / "refs")
        return
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        raise StoreError(f"the ref {ref} cannot exist: the beginning of its name is a ref already") from error
    if path.is_dir():
        raise StoreError(f"the ref {ref} cannot exist beside refs whose names start with {ref}/")
    atomic_write(path, parse_checksum(checksum).encode() + b"\n", durable=durable)


def _remove(path: Path, top: Path) -> None:
    try:
        path.unlink()
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError) as error:
        raise NotFoundError(f"there is no ref {path.name} at {path}") from error
    fsync_directory(path.parent)
    for folder in path.parents:
        if folder.parent in (top, top.parent, top / "remotes"):
            return
        try:
            folder.rmdir()
        except OSError:
            return


def list_refs(folder: Path) -> Iterator[tuple[str, Checksum]]:
    """(name below `folder`, commit) of every ref in it, ascending; nothing if the folder does not exist."""
    start = os.fspath(folder)
    found = []
    for where, _, names in os.walk(start):
        for name in names:
            if not name.startswith("."):
                file = Path(where, name)
                found.append((file.relative_to(start).as_posix(), file))
    for ref, file in sorted(found):
        checksum = _read(file)
        if checksum is not None:
            yield ref, checksum
