"""What a commit brings onto a disk: its objects, how large they are there, and the boot loader's images among them."""

import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass

from ostler.disk.errors import DiskError
from ostler.disk.ext4 import BLOCK
from ostler.disk.plan import Contents
from ostler.disk.write import BootImages
from ostler.formats.objects import Checksum, DirMeta, DirTree, FileMeta, ObjectType
from ostler.store.repo import Repo
from ostler.store.tree import MAX_TREE_DEPTH, Directory

BOOT_IMAGES = "usr/lib/ostler/boot"
MODULES = "usr/lib/modules"
_MAX_BOOT_IMAGE = 32 << 20
_FAST_SYMLINK = 60  # bytes of target that fit into the inode
_OBJECT_FOLDERS = 256


@dataclass(frozen=True, slots=True)
class FileObject:
    """A file object of the source repository: where it lies, what it is, how large, and what its inode says."""

    path: str
    meta: FileMeta
    size: int
    inode_owner: tuple[int, int]
    inode_mode: int

    @property
    def linkable(self) -> bool:
        """Whether the inode as it is may stand for the file: extended attributes apart, which are never copied."""
        return (
            not self.meta.is_symlink
            and self.inode_mode == self.meta.mode
            and self.inode_owner == (self.meta.uid, self.meta.gid)
        )


@dataclass(frozen=True, slots=True)
class CommitContent:
    """Everything that belongs to a commit. `metadata` has its dirtree, dirmeta and commit objects."""

    commit: Checksum
    tree: Directory
    files: Mapping[Checksum, FileObject]
    metadata: tuple[tuple[Checksum, ObjectType], ...]

    def sizes(self) -> Contents:
        """Bytes in whole blocks that the first deployment takes, an upper bound, rather generous with directories."""
        root = sum(_blocks(file) for file in self.files.values())
        root += BLOCK * (len(self.metadata) + 4 * _OBJECT_FOLDERS + _directories(self.tree))
        etc = self.tree.directory("usr/etc")
        if etc is not None:  # /etc is a copy of it
            root += sum(_blocks(self.files[what]) for _, what in etc.walk() if not isinstance(what, Directory))
        return Contents(root, self._boot_size(), self._size_below(BOOT_IMAGES), len(self.files))

    def _boot_size(self) -> int:
        modules = self.tree.directory(MODULES)
        names = ("vmlinuz", "initramfs.img")
        found = [] if modules is None else [d.files[n] for d in modules.dirs.values() for n in names if n in d.files]
        return sum(_blocks(self.files[checksum]) for checksum in found)

    def _size_below(self, path: str) -> int:
        folder = self.tree.directory(path)
        return 0 if folder is None else sum(self.files[checksum].size for checksum in folder.files.values())


def scan(repo: Repo, commit: Checksum) -> CommitContent:
    """Read what belongs to the commit. Raises `NotFoundError` and `CorruptError`."""
    loaded = repo.load_commit(commit)
    scanner = _Scanner(repo)
    tree = scanner.load(loaded.root_tree, loaded.root_meta, 0)
    metadata = [(commit, ObjectType.COMMIT)]
    if repo.has(commit, ObjectType.DETACHED):
        metadata.append((commit, ObjectType.DETACHED))
    metadata += [(checksum, ObjectType.DIRMETA) for checksum in scanner.metas]
    metadata += [(checksum, ObjectType.DIRTREE) for checksum in scanner.trees]
    return CommitContent(commit, tree, scanner.files, tuple(metadata))


class _Scanner:
    """Loads a tree as `store.tree` does, and keeps what it met."""

    def __init__(self, repo: Repo) -> None:
        self._repo = repo
        self.trees: dict[Checksum, DirTree] = {}
        self.metas: dict[Checksum, DirMeta] = {}
        self.files: dict[Checksum, FileObject] = {}

    def load(self, tree: Checksum, meta: Checksum, depth: int) -> Directory:
        if depth > MAX_TREE_DEPTH:
            raise DiskError(f"the tree {tree} lies more than {MAX_TREE_DEPTH} directories deep")
        entries = self.trees.get(tree)
        if entries is None:
            entries = self.trees[tree] = self._repo.load_dirtree(tree)
            for _, file in entries.files:
                if file not in self.files:
                    self.files[file] = _file_object(self._repo, file)
        if meta not in self.metas:
            self.metas[meta] = self._repo.load_dirmeta(meta)
        dirs = {name: self.load(t, m, depth + 1) for name, t, m in entries.dirs}
        return Directory(self.metas[meta], dict(entries.files), dirs)


def boot_images(repo: Repo, content: CommitContent) -> BootImages:
    """GRUB as the commit carries it. Raises `DiskError` if a part is missing."""

    def load(name: str) -> bytes:
        found = content.tree.lookup(f"{BOOT_IMAGES}/{name}")
        if found is None or isinstance(found, Directory) or not stat.S_ISREG(content.files[found].meta.mode):
            raise DiskError(
                f"the commit {content.commit[:12]} cannot boot from a disk: it has no /{BOOT_IMAGES}/{name}",
                hint="build it with `ostler build`, which puts the boot loader's images there",
            )
        if content.files[found].size > _MAX_BOOT_IMAGE:
            raise DiskError(f"/{BOOT_IMAGES}/{name} of the commit {content.commit[:12]} is too large for a boot loader")
        with repo.open_file(found, verify=True) as file:
            return file.read()

    return BootImages(load("boot.img"), load("core.img"), load("BOOTX64.EFI"))


def _file_object(repo: Repo, checksum: Checksum) -> FileObject:
    meta, size, stream = repo.open_file_object(checksum)
    stream.close()
    path = repo.find_object(checksum, ObjectType.FILE)
    status = os.lstat(path)
    return FileObject(path, meta, size, (status.st_uid, status.st_gid), status.st_mode)


def _blocks(file: FileObject) -> int:
    if file.meta.is_symlink:
        return BLOCK if len(file.meta.target.encode()) >= _FAST_SYMLINK else 0
    return -(-file.size // BLOCK) * BLOCK


def _directories(tree: Directory) -> int:
    """Blocks that the tree's directories take: one for some forty names, for names of ordinary length."""
    own = 1 + (len(tree.files) + len(tree.dirs)) // 40
    return own + sum(_directories(below) for below in tree.dirs.values())
