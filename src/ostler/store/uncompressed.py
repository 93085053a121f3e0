"""The unpacked copies of an archive repository's files that user checkouts link to: `uncompressed-objects-cache`."""

import os
import secrets
from pathlib import Path

from ostler.formats.objects import Checksum
from ostler.io.files import remove_tree
from ostler.store.content import pieces_of
from ostler.store.repo import Repo
from ostler.store.staging import sync_file_system

# ruff: noqa: PTH102, PTH103, PTH104, PTH105, PTH110, PTH208

FOLDER = "uncompressed-objects-cache"


class UncompressedCache:
    """Unpacks files on demand. They become part of the cache with `close(keep=True)`, after one sync for them all."""

    def __init__(self, repo: Repo) -> None:
        self._repo = repo
        self._root = os.path.join(repo.path, FOLDER)  # noqa: PTH118
        self._staging = os.path.join(repo.path, "tmp", f"uncompressed-{secrets.token_hex(6)}")  # noqa: PTH118
        os.mkdir(self._staging, 0o700)

    def file(self, checksum: Checksum) -> str | None:
        """The path of the unpacked file; None for those that are not cached: symlinks, empty and unreadable files."""
        known = f"{self._root}/{checksum[:2]}/{checksum[2:]}.file"
        staged = f"{self._staging}/{checksum}"
        for path in (known, staged):
            if os.path.exists(path):
                return path
        meta, size, content = self._repo.open_file_object(checksum)
        with content:
            if meta.is_symlink or size == 0 or not meta.mode & 0o400:
                return None
            temporary = f"{staged}.{secrets.token_hex(4)}"
            with open(temporary, "xb", buffering=0) as file:
                for data in pieces_of(content, size, checksum):
                    file.write(data)
                os.fchmod(file.fileno(), meta.mode & 0o1777)
        os.rename(temporary, staged)
        return staged

    def close(self, *, keep: bool) -> None:
        """End the checkout: what was unpacked is cached for the next one, or forgotten. A crash before loses it."""
        names = [name for name in os.listdir(self._staging) if len(name) == 64] if keep else []
        if names and self._repo.fsync:
            sync_file_system(self._staging)
        for name in names:
            os.makedirs(f"{self._root}/{name[:2]}", exist_ok=True)
            os.replace(f"{self._staging}/{name}", f"{self._root}/{name[:2]}/{name[2:]}.file")
        remove_tree(Path(self._staging))
