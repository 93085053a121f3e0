"""Image layout folders (`oci:`): `oci-layout`, `index.json` and `blobs/sha256/`. Source: OCI image specification 1.1.

A layout changes at one point, the renaming of a new `index.json`; blobs come before it and are cleared away after it.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

from ostler.errors import CorruptError, NotFoundError
from ostler.io.files import atomic_write
from ostler.oci.blobs import DOCUMENT_LIMIT, blob_file, link_or_copy, new_file, open_file, read_document
from ostler.oci.descriptor import (
    INDEX,
    INDEX_TYPES,
    MANIFEST_TYPES,
    Descriptor,
    Digest,
    Json,
    OciFormatError,
    canonical_json,
    descriptor_of,
    parse_json_object,
)

REF_NAME = "org.opencontainers.image.ref.name"
PLATFORM = ("linux", "amd64")
_VERSION_FILE = canonical_json({"imageLayoutVersion": "1.0.0"})
_DEPTH = 4  # of indexes that point at indexes


@dataclass(frozen=True, slots=True)
class Manifest:
    """An image manifest: its exact bytes and what they say."""

    descriptor: Descriptor
    data: bytes
    config: Descriptor
    layers: tuple[Descriptor, ...]


def parse_manifest(descriptor: Descriptor, data: bytes) -> Manifest:
    """Read an image manifest (OCI, or Docker's schema 2). Raises `OciFormatError`."""
    what = f"the manifest {descriptor.digest}"
    value = parse_json_object(data, what)
    if value.get("schemaVersion") != 2:
        raise OciFormatError(f"{what} has not the schema version 2")
    layers = value.get("layers")
    if not isinstance(layers, list):
        raise OciFormatError(f"{what} lists no layers")
    return Manifest(
        descriptor,
        data,
        Descriptor.from_json(value.get("config"), f"the config in {what}"),
        tuple(Descriptor.from_json(layer, f"layer {number} in {what}") for number, layer in enumerate(layers, 1)),
    )


def parse_index(data: bytes, what: str) -> tuple[Descriptor, ...]:
    """The descriptors that an image index lists; `what` names it in errors. Raises `OciFormatError`."""
    value = parse_json_object(data, what)
    if value.get("schemaVersion") != 2:
        raise OciFormatError(f"{what} has not the schema version 2")
    manifests = value.get("manifests")
    if not isinstance(manifests, list):
        raise OciFormatError(f"{what} lists no manifests")
    return tuple(Descriptor.from_json(item, f"entry {number} of {what}") for number, item in enumerate(manifests, 1))


class Layout:
    """An image layout folder. Made by `Layout.create` or `Layout.open`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.blobs = path / "blobs"

    @classmethod
    def create(cls, path: Path) -> "Layout":
        """The layout at `path`, made empty if there is none yet. Raises `OciFormatError` for another kind of folder."""
        if (path / "oci-layout").exists():
            return cls.open(path)
        if path.exists() and any(path.iterdir()):
            raise OciFormatError(
                f"{path} is not empty and no OCI image layout", hint="name another folder, or move its files away"
            )
        (path / "blobs/sha256").mkdir(parents=True, exist_ok=True)
        atomic_write(path / "index.json", _index_bytes([]))
        atomic_write(path / "oci-layout", _VERSION_FILE)
        return cls(path)

    @classmethod
    def open(cls, path: Path) -> "Layout":
        """The layout at `path`. Raises `NotFoundError` or `OciFormatError`."""
        data = _read_small(path / "oci-layout", f"the OCI image layout {path}")
        version = parse_json_object(data, f"{path}/oci-layout").get("imageLayoutVersion")
        if not isinstance(version, str) or version.partition(".")[0] != "1":
            raise OciFormatError(f"{path} is an OCI image layout of the unknown version {version!r}")
        return cls(path)

    def index(self) -> tuple[Descriptor, ...]:
        """What `index.json` lists."""
        return parse_index(self._index_data(), f"{self.path}/index.json")

    def names(self) -> dict[str, Descriptor]:
        """The entries of the index that have a name (a tag), by name."""
        return {entry.annotations[REF_NAME]: entry for entry in self.index() if REF_NAME in entry.annotations}

    def find(self, name: str | None = None, platform: tuple[str, str] = PLATFORM) -> Descriptor:
        """The manifest called `name`; without a name the only image there is.

        Nested indexes are followed to the manifest for `platform` (os, architecture). Raises `NotFoundError`.
        """
        entries = self.index()
        if name is not None:
            chosen = [entry for entry in entries if entry.annotations.get(REF_NAME) == name]
            known = ", ".join(sorted(self.names())) or "none"
            if not chosen:
                raise NotFoundError(f"{self.path} has no image named {name!r}", hint=f"names there: {known}")
        else:
            chosen = [entry for entry in entries if entry.media_type in INDEX_TYPES | MANIFEST_TYPES]
        if len({entry.digest for entry in chosen}) > 1:
            return self._follow(self._choose(tuple(chosen), platform, f"{self.path}/index.json"), platform)
        if not chosen:
            raise NotFoundError(f"{self.path} holds no image")
        return self._follow(chosen[0], platform)

    def _follow(self, entry: Descriptor, platform: tuple[str, str]) -> Descriptor:
        for _ in range(_DEPTH):
            if entry.media_type in MANIFEST_TYPES:
                return entry
            if entry.media_type not in INDEX_TYPES:
                raise OciFormatError(f"{entry.digest} is no image but {entry.media_type}")
            what = f"the index {entry.digest}"
            entry = self._choose(parse_index(read_document(self, entry, "image index"), what), platform, what)
        raise OciFormatError(f"{self.path}: indexes are nested too deeply")

    def _choose(self, entries: tuple[Descriptor, ...], platform: tuple[str, str], what: str) -> Descriptor:
        fitting = [entry for entry in entries if entry.platform == platform]
        if not fitting:
            fitting = [entry for entry in entries if entry.platform is None]
        if len({entry.digest for entry in fitting}) != 1:
            found = "none" if not fitting else "several"
            names = ", ".join(sorted(self.names()))
            raise NotFoundError(
                f"{what} lists {found} of its images for {'/'.join(platform)}",
                hint=f"name one of: {names}" if names else None,
            )
        return fitting[0]

    def manifest(self, name: str | None = None) -> Manifest:
        """The image called `name`, or the only one; bytes verified."""
        descriptor = self.find(name)
        return parse_manifest(descriptor, read_document(self, descriptor, "image manifest"))

    def open_blob(self, descriptor: Descriptor) -> BinaryIO:
        """The bytes of a blob, unverified. Raises `NotFoundError`."""
        return open_file(blob_file(self.blobs, descriptor.digest), f"the blob {descriptor.digest} of {self.path}")

    def has_blob(self, descriptor: Descriptor) -> bool:
        """Whether the blob is there and has the right size."""
        try:
            status = blob_file(self.blobs, descriptor.digest).lstat()
        except FileNotFoundError:
            return False
        return status.st_size == descriptor.size

    def add_document(self, media_type: str, data: bytes) -> Descriptor:
        """Store a small blob and return what points at it."""
        descriptor = descriptor_of(media_type, data)
        if not self.has_blob(descriptor):
            with new_file(blob_file(self.blobs, descriptor.digest)) as file:
                file.write(data)
        return descriptor

    def link_blob(self, descriptor: Descriptor, source: Path) -> None:
        """Bring in a blob that lies in the file `source`: by a hard link, else by a copy. Its size must be right."""
        if source.stat().st_size != descriptor.size:
            raise CorruptError(f"{source} has not the {descriptor.size} bytes of {descriptor.digest}")
        target = blob_file(self.blobs, descriptor.digest)
        if not self.has_blob(descriptor):
            target.unlink(missing_ok=True)
            link_or_copy(source, target)

    def set_image(self, name: str | None, manifest: Descriptor) -> None:
        """Let `name` (or, without one, the whole layout) mean this manifest; the blobs must be there already."""
        if name is None:
            self._write_index([manifest.to_json()])
            return
        named = replace(manifest, annotations={**manifest.annotations, REF_NAME: name})
        self._write_index([*self._entries_but(name), named.to_json()])

    def remove_image(self, name: str) -> None:
        """Forget the image `name`; `prune` then removes its blobs. Raises `NotFoundError`."""
        if name not in self.names():
            raise NotFoundError(f"{self.path} has no image named {name!r}")
        self._write_index(self._entries_but(name))

    def _entries_but(self, name: str) -> list[Json]:
        """The index's entries as they stand, with every field that others wrote, but for those called `name`."""
        entries = self.index()
        listed = parse_json_object(self._index_data(), f"{self.path}/index.json")["manifests"]
        assert isinstance(listed, list)
        return [raw for raw, entry in zip(listed, entries, strict=True) if entry.annotations.get(REF_NAME) != name]

    def _index_data(self) -> bytes:
        return _read_small(self.path / "index.json", f"{self.path}/index.json")

    def _write_index(self, entries: list[Json]) -> None:
        atomic_write(self.path / "index.json", _index_bytes(entries))

    def referenced(self) -> frozenset[Digest]:
        """The digests of all blobs that the index leads to."""
        return frozenset(entry.digest for entry in self._reach(self.index(), _DEPTH))

    def _reach(self, entries: tuple[Descriptor, ...], depth: int) -> Iterator[Descriptor]:
        for entry in entries:
            yield entry
            if not self.has_blob(entry):
                continue
            if entry.media_type in MANIFEST_TYPES:
                manifest = parse_manifest(entry, read_document(self, entry, "image manifest"))
                yield from (manifest.config, *manifest.layers)
            elif entry.media_type in INDEX_TYPES and depth > 0:
                inner = parse_index(read_document(self, entry, "image index"), f"the index {entry.digest}")
                yield from self._reach(inner, depth - 1)

    def prune(self) -> int:
        """Remove the blobs that nothing in the index leads to; returns the bytes of their files."""
        keep = self.referenced()
        freed = 0
        with os.scandir(self.blobs / "sha256") as entries:
            for entry in entries:
                if f"sha256:{entry.name}" not in keep:
                    freed += entry.stat(follow_symlinks=False).st_size
                    Path(entry.path).unlink()
        return freed


def _read_small(path: Path, what: str) -> bytes:
    with open_file(path, what) as file:
        data = file.read(DOCUMENT_LIMIT + 1)
    if len(data) > DOCUMENT_LIMIT:
        raise OciFormatError(f"{path} is larger than {DOCUMENT_LIMIT} bytes")
    return data


def _index_bytes(entries: list[Json]) -> bytes:
    return canonical_json({"schemaVersion": 2, "mediaType": INDEX, "manifests": entries})
