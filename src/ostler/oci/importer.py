"""From an OCI image to an OSTree commit, mapped as bootc's ostree-ext does, so that either system can go on with it.

Each layer becomes a commit under `ostree/container/blob/…`: `etc` is `usr/etc`, what is below `run`, `tmp`, `proc`,
`sys` and `dev` is left out, whiteouts stay as files. The image is the merge of these trees, a commit under
`ostree/container/image/…` that carries manifest and config. Layers that are there already are not read again.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ostler.formats.gvariant import Variant
from ostler.formats.objects import Checksum, DirMeta, FileMeta
from ostler.io.progress import Finished, Progress, Reporter, Step, silent
from ostler.oci import escape
from ostler.oci.blobs import BlobSource, read_document
from ostler.oci.descriptor import Descriptor, Digest, OciFormatError
from ostler.oci.layout import Layout, Manifest
from ostler.oci.metadata import (
    DIFF_ID_KEY,
    IMPORTER_KEY,
    IMPORTER_VERSION,
    image_commit_metadata,
    image_labels,
    image_timestamp,
)
from ostler.oci.reading import LAYER_LIMIT, open_layer
from ostler.oci.stored import commit_of_image, commits_by_diff_id, complete_commit, diff_id_of, layers_with_diff_ids
from ostler.store.commit import commit_tree
from ostler.store.ingest import ingest_tar
from ostler.store.layers import EMPTIED, WHITEOUT_PREFIX, bootable_tree, merge_layers
from ostler.store.repo import Repo
from ostler.store.transaction import Transaction
from ostler.store.tree import Directory, load_commit_tree

ENCAPSULATED_LABEL = "ostree.final-diffid"


class UnsupportedImageError(OciFormatError):
    """An image is well-formed but of a kind that cannot be imported."""


@dataclass(frozen=True, slots=True)
class ImportResult:
    """The merge commit of an image, and how much had to be read for it."""

    commit: Checksum
    manifest_digest: Digest
    layers_read: int
    bytes_read: int


def import_layout(
    repo: Repo, layout: Layout, name: str | None = None, *, reference: str | None = None, report: Reporter = silent
) -> ImportResult:
    """Import an image of a layout folder; `reference` is what its ref is named after, by default "oci:PATH[:NAME]"."""
    suffix = f":{name}" if name is not None else ""
    return import_image(
        repo, layout, layout.manifest(name), reference or f"oci:{layout.path.resolve()}{suffix}", report=report
    )


def import_image(
    repo: Repo,
    source: BlobSource,
    manifest: Manifest,
    reference: str,
    *,
    layer_limit: int = LAYER_LIMIT,
    report: Reporter = silent,
) -> ImportResult:
    """Make the commit of an image and set the ref of `reference` ("docker://HOST/NAME:TAG", "oci:PATH:NAME").

    Each layer is committed on its own, so an interrupted import goes on with the next one. No layer gets longer than
    `layer_limit` bytes unpacked. Raises `CorruptError` for anything that does not have its digest.
    """
    ref = escape.image_ref(reference)
    known = commit_of_image(repo, ref, manifest.descriptor.digest)
    if known is not None:
        return ImportResult(known, manifest.descriptor.digest, 0, 0)
    config_bytes = read_document(source, manifest.config, "image config")
    pairs = layers_with_diff_ids(manifest, config_bytes)
    if ENCAPSULATED_LABEL in image_labels(config_bytes):
        raise UnsupportedImageError(
            f"the image {reference} wraps an OSTree commit (label {ENCAPSULATED_LABEL}), which cannot be imported yet",
            hint="derive from it with a Containerfile, or use an image without that label",
        )
    importer = _LayerImporter(repo, source, image_timestamp(manifest.data, config_bytes), layer_limit, report)
    commits = [importer.commit_of(layer, diff_id) for layer, diff_id in pairs]
    with repo.transaction() as transaction:
        tree = machine_tree(repo, [load_commit_tree(repo, commit) for commit in commits])
        commit = commit_for_image(transaction, tree, manifest.data, config_bytes)
        transaction.set_ref(ref, commit)
        transaction.set_complete(commit)
    return ImportResult(commit, manifest.descriptor.digest, importer.layers_read, importer.bytes_read)


def commit_for_image(
    transaction: Transaction,
    tree: Directory,
    manifest_bytes: bytes,
    config_bytes: bytes,
    *,
    metadata: Mapping[str, Variant] | None = None,
) -> Checksum:
    """Commit the finished tree of an image, with its documents as metadata; `metadata` is added behind them.

    A build calls this with the tree it merged itself, an import with the one from the layers: the commits are equal.
    """
    combined = {**image_commit_metadata(manifest_bytes, config_bytes), **(metadata or {})}
    return commit_tree(transaction, tree, timestamp=image_timestamp(manifest_bytes, config_bytes), metadata=combined)


def machine_tree(repo: Repo, layers: Sequence[Directory]) -> Directory:
    """The tree of the bootable commit of an image with these layers (lowest first, in image form or in bootable form).

    As in bootc's commits, each layer is brought into bootable form before they are merged, and a directory keeps the
    metadata it has in the lowest layer, unless it is hidden or opaque above (see `changed_directories`).
    """
    forms = [bootable_layer(layer) for layer in layers]
    return bootable_tree(merge_layers(forms, keep_directory_metadata=True), repo)


def changed_directories(layers: Sequence[Directory]) -> list[str]:
    """The directories whose owner, mode or attributes an upper layer changes, which the commit does not show."""
    ours = merge_layers(layers, keep_directory_metadata=True)
    theirs = merge_layers(layers)
    return [
        path
        for path, node in theirs.walk()
        if isinstance(node, Directory) and isinstance(kept := ours.lookup(path), Directory) and kept.meta != node.meta
    ]


def bootable_layer(layer: Directory) -> Directory:
    """A layer in the form its blob's commit has: `etc` is `usr/etc`, whiteouts of it too; `layer` stays as it is."""
    tree = Directory(layer.meta, layer.files.copy(), layer.dirs.copy())
    etc = tree.dirs.pop("etc", None)
    moved = {name: tree.files.pop(name) for name in ("etc", WHITEOUT_PREFIX + "etc") if name in tree.files}
    if etc is None and not moved:
        return tree
    tree.files.pop("usr", None)
    usr = tree.dirs.get("usr", Directory())
    usr = tree.dirs["usr"] = Directory(usr.meta, {**usr.files, **moved}, usr.dirs.copy())
    if etc is not None:
        usr.files.pop("etc", None)
        usr.dirs["etc"] = _united(usr.dirs["etc"], etc) if "etc" in usr.dirs else etc
    elif "etc" in moved:
        usr.dirs.pop("etc", None)
    return tree


def _united(below: Directory, above: Directory) -> Directory:
    dirs = {**below.dirs, **above.dirs}
    for name in below.dirs.keys() & above.dirs.keys():
        dirs[name] = _united(below.dirs[name], above.dirs[name])
    files = {name: checksum for name, checksum in {**below.files, **above.files}.items() if name not in above.dirs}
    return Directory(above.meta, files, {name: node for name, node in dirs.items() if name not in above.files})


def read_layer(
    transaction: Transaction,
    source: BlobSource,
    layer: Descriptor,
    diff_id: Digest | None,
    *,
    limit: int = LAYER_LIMIT,
) -> Directory:
    """The tree of a layer in image form (`etc` at `etc`, whiteouts as `.wh.` files), its files written to the store.

    What lies below `run`, `tmp`, `proc`, `sys` and `dev` is left out. Raises `CorruptError` when blob or tar stream do
    not have their digests: the transaction must then be given up.
    """
    with open_layer(source, layer, diff_id, limit=limit) as stream:
        return ingest_tar(transaction, stream, filter=keep_in_image)


def keep_in_image(path: str, meta: FileMeta | DirMeta) -> FileMeta | DirMeta | None:
    """The filter of `ingest_tar` that leaves out what is below the directories that a running system mounts over."""
    first, _, rest = path.partition("/")
    return None if rest and first in EMPTIED else meta


class _LayerImporter:
    """Finds or makes the commits of layers."""

    def __init__(self, repo: Repo, source: BlobSource, timestamp: int, limit: int, report: Reporter) -> None:
        self._repo = repo
        self._source = source
        self._timestamp = timestamp
        self._limit = limit
        self._report = report
        self._by_diff_id = commits_by_diff_id(repo)
        self.layers_read = 0
        self.bytes_read = 0

    def commit_of(self, layer: Descriptor, diff_id: Digest) -> Checksum:
        ref = escape.blob_ref(layer.digest)
        present = complete_commit(self._repo, ref)
        if present is not None and diff_id_of(self._repo, present) in (None, diff_id):
            return present
        known = self._by_diff_id.get(diff_id)
        if known is not None:
            self._repo.set_ref(ref, known)
            return known
        self._report(Step("import layer", layer.digest))
        with self._repo.transaction() as transaction:
            tree = bootable_layer(read_layer(transaction, self._source, layer, diff_id, limit=self._limit))
            metadata = {IMPORTER_KEY: Variant("s", IMPORTER_VERSION), DIFF_ID_KEY: Variant("s", diff_id)}
            commit = commit_tree(transaction, tree, timestamp=self._timestamp, metadata=metadata)
            transaction.set_ref(ref, commit)
            transaction.set_complete(commit)
        self.layers_read += 1
        self.bytes_read += layer.size
        self._by_diff_id[diff_id] = commit
        self._report(Progress("import layers", self.bytes_read))
        self._report(Finished("import layer", f"{layer.size} bytes"))
        return commit
