"""The composefs image of a tree: what `ostree checkout --composefs` writes, and the digest that commits carry.

The image describes the tree as the root of a system, to be mounted with the objects of a bare repository as the place
of the files' content.
"""

import hmac
import os
from collections.abc import Callable, Iterator
from pathlib import Path

from ostler.errors import CorruptError
from ostler.formats import erofs
from ostler.formats.fsverity import FsVerity
from ostler.formats.gvariant import Variant
from ostler.formats.objects import Checksum
from ostler.io.files import space_errors
from ostler.store.checkout import Node, StoredTree, open_node
from ostler.store.content import pieces_of
from ostler.store.forked import map_forked
from ostler.store.repo import Repo

DIGEST_KEY = "ostree.composefs.digest.v0"
"""The key of the digest in a commit's metadata."""

_ROOT_DIRECTORIES = (b"usr", b"etc", b"boot", b"var", b"sysroot")
_DIRECTORY_MODE = 0o40755
_SMALL = 8 << 20
"""Bytes of content that are not worth the other processes."""
_OPENING = 1 << 14
"""What opening a file takes, in bytes that could be hashed in that time."""


def encode_composefs(repo: Repo, directory: Node, *, verity: bool = True) -> Iterator[bytes]:
    """The image of a tree in pieces; with `verity` it holds the fs-verity digest of each file, which all are read for.

    The directories that a root needs are added where they are missing. Raises `NotFoundError`, `CorruptError`.
    """
    builder = _Builder(repo)
    root = builder.directory(directory)
    if verity:
        builder.add_digests()
    for name in _ROOT_DIRECTORIES:
        root.children.setdefault(name, erofs.Node(_DIRECTORY_MODE))
    yield from erofs.encode_image(root)


def composefs_digest(repo: Repo, directory: Node) -> bytes:
    """The fs-verity digest of the image (with those of the files): 32 bytes."""
    return _write(encode_composefs(repo, directory), lambda _: None)


def composefs_metadata(repo: Repo, directory: Node) -> dict[str, Variant]:
    """The commit metadata that `ostree commit --generate-composefs-metadata` adds."""
    return {DIGEST_KEY: Variant("ay", composefs_digest(repo, directory))}


def write_composefs(
    repo: Repo, directory: Node, path: Path, *, verity: bool = True, expected: bytes | None = None
) -> bytes:
    """Write the image to the file `path` in one rename, mode 0644; returns its fs-verity digest.

    Nothing is written and `CorruptError` raised if that is not `expected`, which only images with `verity` can be.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with space_errors("writing an image", path), open(temporary, "xb") as file:
            digest = _write(encode_composefs(repo, directory, verity=verity), file.write)
            os.fchmod(file.fileno(), 0o644)
        if verity and expected is not None and not hmac.compare_digest(digest, expected):
            raise CorruptError(
                f"the composefs digest {digest.hex()} of {path} doesn't match expected digest {expected.hex()}",
                hint="the commit was made by another version of composefs, or the repository is damaged: run fsck",
            )
        temporary.rename(path)
    finally:
        temporary.unlink(missing_ok=True)
    return digest


def check_out_composefs(repo: Repo, rev: str, path: Path, *, verity: bool = True) -> bytes:
    """Write the image of the commit that `rev` names, whose own digest, if it has one, it must have."""
    commit = repo.load_commit(repo.resolve(rev))
    known = commit.metadata.get(DIGEST_KEY)
    expected = bytes(known.value) if known is not None and known.type == "ay" else None
    return write_composefs(repo, StoredTree(commit.root_tree, commit.root_meta), path, verity=verity, expected=expected)


def _write(pieces: Iterator[bytes], write: Callable[[bytes], object]) -> bytes:
    whole = FsVerity()
    for piece in pieces:
        whole.update(piece)
        write(piece)
    return whole.digest()


class _Builder:
    def __init__(self, repo: Repo) -> None:
        self._repo = repo
        self._files: dict[Checksum, list[erofs.Node]] = {}

    def directory(self, node: Node) -> erofs.Node:
        meta, files, dirs = open_node(self._repo, node)
        made = erofs.Node(meta.mode, meta.uid, meta.gid, xattrs=meta.xattrs)
        for name, checksum in files.items():
            made.children[name.encode()] = self._file(checksum)
        for name, below in dirs.items():
            made.children[name.encode()] = self.directory(below)
        return made

    def _file(self, checksum: Checksum) -> erofs.Node:
        meta, size, content = self._repo.open_file_object(checksum)
        content.close()
        if meta.is_symlink:
            return erofs.Node(meta.mode, meta.uid, meta.gid, xattrs=meta.xattrs, target=meta.target.encode())
        made = erofs.Node(meta.mode, meta.uid, meta.gid, size, meta.xattrs)
        if size:
            made.target = f"{checksum[:2]}/{checksum[2:]}.file".encode()
            self._files.setdefault(checksum, []).append(made)
        return made

    def add_digests(self) -> None:
        """Compute the digest of every file, each object once, largest first."""
        sizes = {checksum: nodes[0].size for checksum, nodes in self._files.items()}
        jobs = sorted(self._files, key=lambda checksum: -sizes[checksum])
        workers = None if sum(sizes.values()) > _SMALL else 1
        digests = map_forked(jobs, self._digest, workers=workers, weight=lambda checksum: sizes[checksum] + _OPENING)
        for checksum, digest in zip(jobs, digests, strict=True):
            for node in self._files[checksum]:
                node.digest = digest

    def _digest(self, checksum: Checksum) -> bytes:
        verity = FsVerity()
        _, size, content = self._repo.open_file_object(checksum)
        with content:
            for data in pieces_of(content, size, checksum):
                verity.update(data)
        return verity.digest()
