"""What builds keep between runs, in one folder: a store of layers, package files, apt's indexes, notes of builds.

Everything in it can be thrown away. Layers are commits in a `bare-user` repository; the ref `ostler/layer/KEY` says
which commit is the result of the step with that key, and is set in the same transaction as the layer: a step is
either there as a whole or not at all.
"""

import fcntl
import hashlib
import json
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from ostler.compose.debs import DebStore
from ostler.errors import NotFoundError
from ostler.formats.gvariant import Variant
from ostler.formats.objects import Checksum, Commit, ObjectType
from ostler.io.files import atomic_write, remove_tree
from ostler.store.commit import commit_tree
from ostler.store.content import RepoMode
from ostler.store.repo import Repo
from ostler.store.transaction import Transaction
from ostler.store.tree import Directory, load_tree

LAYER_REFS = "ostler/layer"
NOTE_KEY = "ostler.note"


class Cache:
    """The cache in the folder `root`. Open it with `Cache.open`."""

    def __init__(self, root: Path, repo: Repo) -> None:
        self.root = root
        self.repo = repo
        self.debs = DebStore(root / "debs")
        self.blobs = root / "blobs"  # layers as they stand in images, for `ostler.oci.layer`

    @staticmethod
    def open(root: Path) -> "Cache":
        """Open the cache, made if it does not exist; what interrupted builds left behind is removed."""
        root = root.absolute()  # other programs are told paths in it
        root.mkdir(parents=True, exist_ok=True)
        settings = {"fsync": "false"}
        cache = Cache(root, Repo.create(root / "repo", RepoMode.BARE_USER, exist_ok=True, settings=settings))
        cache._sweep()
        return cache

    @contextmanager
    def work(self, name: str) -> Iterator[Path]:
        """A new directory for one step, removed when the block ends however it ends.

        A lock on it tells others that it is in use; after a power cut the next `Cache.open` removes it.
        """
        parent = self.root / "work"
        parent.mkdir(exist_ok=True)
        with _locked(parent, fcntl.LOCK_SH):  # a sweep must not come between making and locking it
            directory = Path(tempfile.mkdtemp(prefix=f"{name}-", dir=parent))
            lock = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            fcntl.flock(lock, fcntl.LOCK_EX)
        try:
            directory.chmod(0o755)
            yield directory
        finally:
            remove_tree(directory)
            os.close(lock)

    @contextmanager
    def lock(self, name: str) -> Iterator[None]:
        """Wait until no other process holds the lock of this name, and hold it for the block."""
        with open(self.root / f".{name}.lock", "ab") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def layer(self, key: str) -> Checksum | None:
        """The commit that the step with this key made, if it is there."""
        try:
            commit = self.repo.resolve(f"{LAYER_REFS}/{key}")
        except NotFoundError:
            return None
        return commit if self.repo.has(commit, ObjectType.COMMIT) else None

    def layer_by_digest(self, digest: str) -> Checksum | None:
        """A layer whose content has this digest, whichever step made it."""
        for commit in self.repo.refs(LAYER_REFS).values():
            if self.repo.has(commit, ObjectType.COMMIT) and self.tree_checksum(commit) == digest:
                return commit
        return None

    def load(self, commit: Checksum) -> Directory:
        """The tree of a layer."""
        loaded = self.repo.load_commit(commit)
        return load_tree(self.repo, loaded.root_tree, loaded.root_meta)

    def tree_checksum(self, commit: Checksum) -> str:
        """The identity of a layer's content, whatever its commit says besides."""
        return self.repo.load_commit(commit).content_checksum

    def note(self, commit: Checksum) -> dict[str, Any]:
        """What the step that made this layer noted beside it."""
        return note_of(self.repo.load_commit(commit))

    def record(
        self, transaction: Transaction, key: str, tree: Directory, note: Mapping[str, Any], timestamp: int
    ) -> Checksum:
        """Commit `tree` as the layer of the step with this key, when `transaction` ends."""
        metadata = {NOTE_KEY: Variant("s", json.dumps(note, sort_keys=True))}
        commit = commit_tree(transaction, tree, timestamp=timestamp, metadata=metadata)
        transaction.set_ref(f"{LAYER_REFS}/{key}", commit)
        return commit

    def memo(self, name: str) -> str | None:
        """A small result remembered under a digest that says all it depends on."""
        try:
            return (self.root / "memo" / name).read_text()
        except OSError:
            return None

    def remember(self, name: str, value: str) -> None:
        """Keep `value` for `memo`."""
        (self.root / "memo").mkdir(exist_ok=True)
        atomic_write(self.root / "memo" / name, value.encode(), durable=False)

    def last_inputs(self, folder: Path) -> dict[str, dict[str, str]]:
        """Each step's inputs (name → digest) in the last build of the folder; empty if there was none."""
        try:
            loaded = json.loads(self._inputs_path(folder).read_text())
        except (OSError, ValueError):
            return {}
        return loaded if isinstance(loaded, dict) else {}

    def keep_inputs(self, folder: Path, inputs: Mapping[str, Mapping[str, str]]) -> None:
        """Note the inputs for the next build's `last_inputs`."""
        path = self._inputs_path(folder)
        path.parent.mkdir(exist_ok=True)
        atomic_write(path, json.dumps(inputs, sort_keys=True).encode(), durable=False)

    def _inputs_path(self, folder: Path) -> Path:
        digest = hashlib.sha256(os.fsencode(folder.resolve())).hexdigest()
        return self.root / "builds" / f"{digest[:32]}.json"

    def _sweep(self) -> None:
        parent = self.root / "work"
        if not parent.is_dir():
            return
        with _locked(parent, fcntl.LOCK_EX):
            for directory in sorted(parent.iterdir()):
                with suppress(OSError), _locked(directory, fcntl.LOCK_EX | fcntl.LOCK_NB):  # in use: left alone
                    remove_tree(directory)


@contextmanager
def _locked(directory: Path, operation: int) -> Iterator[None]:
    """Hold a lock on a directory, see flock(2); ends with the process, however that ends."""
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        fcntl.flock(fd, operation)
        yield
    finally:
        os.close(fd)


def note_of(commit: Commit) -> dict[str, Any]:
    """What the step noted in the metadata of its layer's commit."""
    value = commit.metadata.get(NOTE_KEY)
    loaded = json.loads(str(value.value)) if value is not None else {}
    return loaded if isinstance(loaded, dict) else {}
