"""From a layer's commit in the store to its compressed blob: made once, then remembered by the commit's checksum.

A blob folder holds `sha256/HEX` (the blobs) and `layers/COMMIT.json` (which blob a layer commit became). Layouts take
blobs from there by hard links. Layers that were made elsewhere are registered with the bytes they came with.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from ostler.errors import CorruptError, NotFoundError
from ostler.formats.objects import Checksum
from ostler.io.files import atomic_write
from ostler.io.progress import Progress, Reporter, silent
from ostler.oci.blobs import blob_file, link_or_copy, new_file
from ostler.oci.compression import ENCODER, zstd_encoder
from ostler.oci.descriptor import (
    LAYER_ZSTD,
    Descriptor,
    Digest,
    Json,
    OciFormatError,
    canonical_json,
    parse_digest,
    parse_json_object,
)
from ostler.oci.pipeline import fan_out
from ostler.oci.tarball import FORMAT, iterate_tar
from ostler.store.repo import Repo
from ostler.store.tree import load_commit_tree

MAKER = f"{FORMAT}/{ENCODER}"
"""How blobs are made here. Records of blobs that an older Ostler made otherwise are not used again."""

_FOREIGN = "registered"


@dataclass(frozen=True, slots=True)
class LayerBlob:
    """A layer as it stands in an image: the blob, and the digest of the uncompressed tar stream in it."""

    media_type: str
    digest: Digest
    size: int
    diff_id: Digest

    @property
    def descriptor(self) -> Descriptor:
        """What a manifest says of the layer."""
        return Descriptor(self.media_type, self.digest, self.size)


def compress_layer(
    repo: Repo, layer: Checksum, blob_dir: Path, *, threads: int | None = None, report: Reporter = silent
) -> LayerBlob:
    """The blob of the layer commit `layer`; compressed with zstd now unless the blob folder has it already.

    Reading, hashing and compressing run side by side on `threads` cores (all by default). Raises `MissingToolError`
    without the library `zstandard`.
    """
    known = recorded_blob(blob_dir, layer)
    if known is not None:
        return known
    encoder = zstd_encoder(threads)
    diff_hash, blob_hash = hashlib.sha256(), hashlib.sha256()
    size = read = 0
    unfinished = blob_dir / "layers" / f"{layer}.blob"
    with new_file(unfinished) as file:

        def compress(chunk: bytes) -> None:
            store(encoder.compress(chunk))

        def store(data: bytes) -> None:
            nonlocal size
            file.write(data)
            blob_hash.update(data)
            size += len(data)

        def hash_diff(chunk: bytes) -> None:
            nonlocal read
            diff_hash.update(chunk)
            read += len(chunk)
            report(Progress("compressing", read))

        fan_out(iterate_tar(repo, load_commit_tree(repo, layer)), [hash_diff, compress])
        store(encoder.flush())
    blob = LayerBlob(LAYER_ZSTD, _digest(blob_hash.hexdigest()), size, _digest(diff_hash.hexdigest()))
    target = blob_file(blob_dir, blob.digest)
    target.parent.mkdir(parents=True, exist_ok=True)
    unfinished.rename(target)
    _record(blob_dir, layer, blob, MAKER)
    return blob


def register_blob(blob_dir: Path, layer: Checksum, blob: LayerBlob, source: Path) -> None:
    """Say that the layer commit `layer` came from the blob in the file `source`, whose bytes are to be kept.

    The caller has verified the blob's digest and diff_id while reading it (`importer.read_layer` does). The file is
    linked into the blob folder, or copied. Raises `CorruptError` if it has another size.
    """
    if source.stat().st_size != blob.size:
        raise CorruptError(f"{source} has not the {blob.size} bytes of {blob.digest}")
    link_or_copy(source, blob_file(blob_dir, blob.digest))
    _record(blob_dir, layer, blob, _FOREIGN)


def recorded_blob(blob_dir: Path, layer: Checksum) -> LayerBlob | None:
    """The blob that a layer commit became before, if its record and its file are still there and whole in size."""
    try:
        data = _record_file(blob_dir, layer).read_bytes()
    except FileNotFoundError:
        return None
    try:
        record = parse_json_object(data, "a layer record")
        blob = LayerBlob(
            str(record.get("mediaType")),
            parse_digest(record.get("digest")),
            _size(record.get("size")),
            parse_digest(record.get("diffId")),
        )
        present = blob_file(blob_dir, blob.digest).lstat().st_size == blob.size
    except (OciFormatError, FileNotFoundError):
        return None
    return blob if present and record.get("maker") in (MAKER, _FOREIGN) else None


def blob_path(blob_dir: Path, blob: LayerBlob) -> Path:
    """The file of a blob in the blob folder. Raises `NotFoundError`."""
    path = blob_file(blob_dir, blob.digest)
    if not path.exists():
        raise NotFoundError(f"the blob {blob.digest} is not in {blob_dir}", hint="build the image again")
    return path


def prune_blobs(blob_dir: Path, keep: Iterable[Checksum]) -> int:
    """Remove what no layer commit in `keep` needs; returns the bytes of the removed files."""
    kept = {layer: recorded_blob(blob_dir, layer) for layer in keep}
    files = {blob_file(blob_dir, blob.digest) for blob in kept.values() if blob is not None}
    files |= {_record_file(blob_dir, layer) for layer, blob in kept.items() if blob is not None}
    freed = 0
    for folder in (blob_dir / "layers", blob_dir / "sha256"):
        for path in sorted(folder.iterdir()) if folder.is_dir() else ():
            if path not in files:
                freed += path.lstat().st_size
                path.unlink()
    return freed


def _record(blob_dir: Path, layer: Checksum, blob: LayerBlob, maker: str) -> None:
    record: dict[str, Json] = {
        "mediaType": blob.media_type,
        "digest": blob.digest,
        "size": blob.size,
        "diffId": blob.diff_id,
        "maker": maker,
    }
    path = _record_file(blob_dir, layer)
    path.parent.mkdir(parents=True, exist_ok=True)
    atomic_write(path, canonical_json(record), durable=False)


def _record_file(blob_dir: Path, layer: Checksum) -> Path:
    return blob_dir / "layers" / f"{layer}.json"


def _digest(hexadecimal: str) -> Digest:
    return parse_digest(f"sha256:{hexadecimal}")


def _size(value: Json) -> int:
    if not isinstance(value, int) or value < 0:
        raise OciFormatError("a layer record has no size")
    return value
