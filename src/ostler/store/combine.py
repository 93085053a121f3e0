"""Trees laid over each other, as `ostree commit --tree=… --tree=…` does, and a filter applied to a stored tree."""

from ostler.formats.objects import Checksum, DirMeta, FileMeta
from ostler.store.content import RepoMode
from ostler.store.errors import StoreError
from ostler.store.modifier import Filter, canonical_filter
from ostler.store.transaction import Transaction
from ostler.store.tree import Directory


def overlay(base: Directory, top: Directory) -> None:
    """Lay `top` over `base`, which changes: files of `top` replace those of `base`, directories become one.

    A directory's metadata is that of `top`. Raises `StoreError` where one has a file and the other a directory.
    """
    base.meta = top.meta
    for name, checksum in top.files.items():
        if name in base.dirs:
            raise StoreError(f"Can't replace directory with file: {name}")
        base.files[name] = checksum
    for name, below in top.dirs.items():
        if name in base.files:
            raise StoreError(f"Can't replace file with directory: {name}")
        here = base.dirs.get(name)
        if here is None:
            base.dirs[name] = below
        else:
            overlay(here, below)


def subtree_at(prefix: str, directory: Directory) -> Directory:
    """A tree in which `directory` lies at `prefix` ("opt/app"), below directories of root's, 0755."""
    if not prefix.strip("/"):
        return directory
    root = Directory()
    root.set_dir(prefix, directory)
    return root


def apply_modifier(transaction: Transaction, directory: Directory, modifier: Filter) -> Directory:
    """A stored tree as the filter would have it, whose changed files are stored as new objects.

    A `bare-user-only` repository makes everything root's, as when a folder is stored. Raises `StoreError` if the filter
    leaves out the root.
    """
    if transaction.repo.mode is RepoMode.BARE_USER_ONLY:
        modifier = canonical_filter(modifier)
    changed = _Changed(transaction, modifier).directory(directory, "")
    if changed is None:
        raise StoreError("the filter leaves out the root of the tree")
    return changed


class _Changed:
    def __init__(self, transaction: Transaction, modifier: Filter) -> None:
        self._transaction = transaction
        self._modifier = modifier
        self._known: dict[tuple[Checksum, FileMeta], Checksum] = {}
        self._metas: dict[Checksum, FileMeta] = {}

    def directory(self, old: Directory, path: str) -> Directory | None:
        meta = self._modifier(path, old.meta)
        if meta is None:
            return None
        if not isinstance(meta, DirMeta):
            raise StoreError(f"the filter made a file of the directory {path}")
        new = Directory(meta)
        start = f"{path}/" if path else ""
        for name, checksum in old.files.items():
            kept = self._file(checksum, start + name)
            if kept is not None:
                new.files[name] = kept
        for name, below in old.dirs.items():
            made = self.directory(below, start + name)
            if made is not None:
                new.dirs[name] = made
        return new

    def _file(self, checksum: Checksum, path: str) -> Checksum | None:
        repo = self._transaction.repo
        found = self._metas.get(checksum)
        if found is None:
            found = self._metas[checksum] = repo.file_meta(checksum)
        meta = self._modifier(path, found)
        if meta is None or meta == found:
            return None if meta is None else checksum
        if not isinstance(meta, FileMeta):
            raise StoreError(f"the filter made a directory of the file {path}")
        known = self._known.get((checksum, meta))
        if known is None:
            with repo.open_file(checksum) as content:
                known = self._known[checksum, meta] = self._transaction.write_file(meta, content)
        return known
