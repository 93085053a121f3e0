"""From the store into a folder: full copies, or hard links to the objects of a bare repository."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple, TypeAlias

from ostler.formats.objects import Checksum, DirMeta
from ostler.io.files import space_errors
from ostler.io.progress import Progress, Reporter, silent
from ostler.store.checkout_options import Checkout, CheckoutOptions, Labeller, OnExisting
from ostler.store.content import RepoMode
from ostler.store.errors import StoreError
from ostler.store.forked import map_forked
from ostler.store.placing import Batch, FilePlacer, checks_out_plainly, labelled, missing, path_parts
from ostler.store.repo import Repo
from ostler.store.tree import MAX_TREE_DEPTH, Directory
from ostler.store.union import remove
from ostler.store.whiteouts import OPAQUE, apply_whiteouts

__all__ = ["Checkout", "CheckoutOptions", "Labeller", "OnExisting", "StoredTree", "checkout", "stored_tree"]

# Plain strings and `os` below: this runs once for every directory of a tree.
# ruff: noqa: PTH101, PTH102, PTH112, PTH114, PTH116, PTH208


class StoredTree(NamedTuple):
    """A directory in a repository by the names of its dirtree and dirmeta; read only as far as it is needed."""

    tree: Checksum
    meta: Checksum


Node: TypeAlias = Directory | StoredTree
_Opened: TypeAlias = tuple[DirMeta, dict[str, Checksum], "dict[str, Directory] | dict[str, StoredTree]"]
_DEFAULTS = CheckoutOptions()
_FEW = 1500
"""Fewer files than this are not worth the other processes."""


def stored_tree(repo: Repo, rev: str) -> StoredTree:
    """The tree of the commit that `rev` names."""
    commit = repo.load_commit(repo.resolve(rev))
    return StoredTree(commit.root_tree, commit.root_meta)


def checkout(
    repo: Repo,
    directory: Node,
    dest: Path,
    *,
    how: Checkout = Checkout.COPY,
    on_existing: OnExisting = OnExisting.FAIL,
    options: CheckoutOptions = _DEFAULTS,
    threads: int | None = None,
    report: Reporter = silent,
) -> None:
    """Write the tree into the folder `dest`, which is made if missing (its parent must exist).

    Large trees are written by `threads` processes (by default one a processor; threads if this process has some).

    Empty files and the symlinks of bare-user repositories are made anew in every case; where a hard link is refused
    (another file system, too many links) the file is copied. Symlinks below `dest` are never followed. Nothing is
    synced unless `options` say so. Raises `StoreError` if something is in the way, `NotFoundError` and `CorruptError`
    for objects that are missing or malformed, `NoSpaceError`.
    """
    placer = FilePlacer(repo, how, on_existing, options)
    planner = _Planner(repo, how, on_existing, options)
    found = _lookup(repo, directory, options.subpath)
    kept = False
    try:
        with space_errors("checking out files", dest):
            if isinstance(found, str):
                _place_single(placer, found, os.fspath(dest), options)
            elif options.whiteouts:  # what one directory removes another may bring: strictly in order
                for group in planner.batches(found, os.fspath(dest), size=1):
                    sum(map(placer.place_batch, group))
                planner.finish_directories()
            else:
                _run(placer, planner.batches(found, os.fspath(dest)), threads, report)
                planner.finish_directories()
        kept = True
    except (FileExistsError, IsADirectoryError, NotADirectoryError) as error:
        raise StoreError(
            f"{error.filename2 or error.filename} exists already: {error.strerror}",
            hint="check out into an empty folder, or say what to do with what exists",
        ) from error
    finally:
        if placer.cache is not None:
            placer.cache.close(keep=kept)
    if options.durable:
        from ostler.store.staging import sync_file_system

        sync_file_system(os.fspath(dest))


def _run(placer: FilePlacer, batches: Iterator[list[Batch]], workers: int | None, report: Reporter) -> None:
    def place(group: list[Batch]) -> int:
        return sum(map(placer.place_batch, group))

    groups = list(batches)
    total = sum(len(batch.files) for group in groups for batch in group)
    if total < _FEW:
        workers = 1
    done = 0
    report(Progress("checking out", done, total, "files"))
    for count in map_forked(groups, place, workers=workers):
        done += count
        report(Progress("checking out", done, total, "files"))


def _place_single(placer: FilePlacer, checksum: Checksum, dest: str, options: CheckoutOptions) -> None:
    """A file goes into the folder under its own name; the current folder need not be made."""
    parent, _, name = options.subpath.rstrip("/").rpartition("/")
    if dest != "." and not os.path.isdir(dest):
        os.mkdir(dest, 0o700)
    prefix = options.label_prefix or parent
    placer.place(checksum, Batch(dest, prefix.rstrip("/") + "/", ()), name)


def _lookup(repo: Repo, node: Node, subpath: str) -> "Node | Checksum":
    parts = path_parts(subpath)
    for number, part in enumerate(parts):
        _, files, dirs = open_node(repo, node)
        if part in dirs:
            node = dirs[part]
        elif part in files and number == len(parts) - 1:
            return files[part]
        else:
            raise missing("/" + "/".join(parts))
    return node


def open_node(repo: Repo, node: Node) -> _Opened:
    """The metadata, files and directories of a directory, wherever that is held."""
    if isinstance(node, Directory):
        return node.meta, node.files, node.dirs
    entries = repo.load_dirtree(node.tree)
    dirs = {name: StoredTree(tree, meta) for name, tree, meta in entries.dirs}
    return repo.load_dirmeta(node.meta), dict(entries.files), dirs


class _Planner:
    """Makes the directories, open for their owner only until the end, and lists the files that go into them."""

    def __init__(self, repo: Repo, how: Checkout, on_existing: OnExisting, options: CheckoutOptions) -> None:
        self._repo = repo
        self._on_existing = on_existing
        self._options = options
        self._plain = checks_out_plainly(repo, how)
        self._finish: list[tuple[str, str, DirMeta]] = []
        self._mode_mask = 0o775 if options.bareuseronly_dirs or self._repo.mode is RepoMode.BARE_USER_ONLY else 0o7777
        self._with_xattrs = not repo.config.get_bool("core", "disable-xattrs", False)

    def batches(self, root: Node, dest: str, size: int = 512) -> Iterator[list[Batch]]:
        """The files, in groups of about `size`; each group once its directories exist."""
        group: list[Batch] = []
        count = 0
        for batch in self._visit(root, dest):
            group.append(batch)
            count += len(batch.files)
            if count >= size:
                yield group
                group, count = [], 0
        if group:
            yield group

    def _visit(self, root: Node, dest: str) -> Iterator[Batch]:
        options = self._options
        skip, relabel = options.skip, options.labels is not None
        start = (options.label_prefix or options.subpath).rstrip("/") + "/" if relabel else "/"
        pending: list[tuple[Node, str, str, int]] = [(root, dest, "/", 0)]
        while pending:
            node, path, prefix, depth = pending.pop()
            if depth > MAX_TREE_DEPTH:
                raise StoreError(f"{path} lies more than {MAX_TREE_DEPTH} directories deep")
            if prefix in skip:
                continue
            meta, files, dirs = open_node(self._repo, node)
            if options.whiteouts and OPAQUE in files:
                remove(path)
            where = start + prefix[1:]
            if self._make_directory(path, is_root=depth == 0):
                self._finish.append((path, where, meta))
            if options.whiteouts:
                files = apply_whiteouts(self._repo, files, path, with_quoted=options.passthrough_whiteouts)
            if skip:
                files = {name: checksum for name, checksum in files.items() if prefix + name not in skip}
            if files:
                yield Batch(path, where, tuple(files.items()))
            for name in sorted(dirs, reverse=True):
                pending.append((dirs[name], f"{path}/{name}", f"{prefix}{name}/", depth + 1))

    def _make_directory(self, path: str, *, is_root: bool) -> bool:
        """Whether its metadata are to be set."""
        try:
            os.mkdir(path, 0o700)
        except FileExistsError:
            fails = self._on_existing is OnExisting.FAIL
            if not os.path.isdir(path) or (os.path.islink(path) and (fails or not is_root)):
                raise
            if fails and (not is_root or self._options.new_folder or os.listdir(path)):
                raise
            if not fails:
                return False
        if is_root and self._options.require_hardlinks:
            self._check_device(path)
        return True

    def _check_device(self, path: str) -> None:
        here, there = os.stat(self._repo.path).st_dev, os.stat(path).st_dev
        if here != there:
            raise StoreError(f"Unable to do hardlink checkout across devices (src={here} destination={there})")

    def finish_directories(self) -> None:
        """Set owners, modes and times, innermost first."""
        for path, where, meta in reversed(self._finish):
            if not self._plain:
                os.chown(path, meta.uid, meta.gid)
                xattrs = meta.xattrs
                if self._options.labels is not None:
                    xattrs = labelled(xattrs, self._options.labels(where.rstrip("/") or "/", meta.mode))
                for name, value in xattrs if self._with_xattrs else ():
                    os.setxattr(path, name, value)
            os.chmod(path, meta.mode & self._mode_mask)
            os.utime(path, (0, 0))
