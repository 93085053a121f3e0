"""Making the image documents, config and manifest, of a list of layers. Equal inputs give equal bytes and digests.

Source: OCI image specification 1.1, `config.md` and `manifest.md`; the labels that make an image bootable are bootc's.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ostler.errors import OstlerError
from ostler.oci.descriptor import CONFIG, MANIFEST, Descriptor, Digest, Json, canonical_json, descriptor_of
from ostler.oci.layer import LayerBlob, blob_path
from ostler.oci.layout import Layout
from ostler.oci.metadata import CREATED, TITLE, VERSION, format_time

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
MACHINE_LABELS: Mapping[str, str] = {"containers.bootc": "1", "ostree.bootable": "true"}


class ImageError(OstlerError):
    """An image cannot be made of what was given."""


@dataclass(frozen=True, slots=True)
class ImageLayer:
    """A layer of an image to make: its blob, and in words what made it (an entry of the image's history)."""

    blob: LayerBlob
    created_by: str


@dataclass(frozen=True, slots=True)
class ImageSettings:
    """What an image says of itself. `created` is Unix time; `labels` and `annotations` are added to the usual ones."""

    title: str
    created: int
    version: str | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)
    architecture: str = "amd64"
    command: tuple[str, ...] = ("/sbin/init",)
    environment: tuple[str, ...] = (f"PATH={PATH}",)
    stop_signal: str = "SIGRTMIN+3"


@dataclass(frozen=True, slots=True)
class Image:
    """A finished image: the exact bytes of its documents and what the layout's index points at."""

    manifest: Descriptor
    manifest_bytes: bytes
    config_bytes: bytes
    layers: tuple[LayerBlob, ...]

    @property
    def digest(self) -> Digest:
        """The digest of the manifest, by which registries and people name the image."""
        return self.manifest.digest

    @property
    def size(self) -> int:
        """Bytes of everything in the image, as stored and transferred."""
        return self.manifest.size + len(self.config_bytes) + sum(layer.size for layer in self.layers)


def make_config(layers: Sequence[ImageLayer], settings: ImageSettings) -> bytes:
    """The config document: how to run the image, its labels, its layers' diff_ids and history."""
    created = format_time(settings.created)
    history: list[Json] = [{"created": created, "created_by": layer.created_by} for layer in layers]
    diff_ids: list[Json] = [layer.blob.diff_id for layer in layers]
    labels: dict[str, Json] = {**MACHINE_LABELS, **_description(settings), **settings.labels}
    return canonical_json(
        {
            "architecture": settings.architecture,
            "os": "linux",
            "created": created,
            "config": {
                "Cmd": list(settings.command),
                "Env": list(settings.environment),
                "Labels": labels,
                "StopSignal": settings.stop_signal,
            },
            "rootfs": {"type": "layers", "diff_ids": diff_ids},
            "history": history,
        }
    )


def make_manifest(config_bytes: bytes, layers: Sequence[ImageLayer], settings: ImageSettings) -> bytes:
    """The manifest: the config and the layers by digest, and annotations."""
    annotations: dict[str, Json] = {**_description(settings), **settings.annotations}
    listed: list[Json] = [layer.blob.descriptor.to_json() for layer in layers]
    return canonical_json(
        {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": descriptor_of(CONFIG, config_bytes).to_json(),
            "layers": listed,
            "annotations": annotations,
        }
    )


def make_image(layers: Sequence[ImageLayer], settings: ImageSettings) -> Image:
    """The documents of an image of these layers, written nowhere yet. Raises `ImageError` if there is no layer."""
    if not layers:
        raise ImageError("an image needs at least one layer")
    config_bytes = make_config(layers, settings)
    manifest_bytes = make_manifest(config_bytes, layers, settings)
    descriptor = descriptor_of(MANIFEST, manifest_bytes)
    return Image(descriptor, manifest_bytes, config_bytes, tuple(layer.blob for layer in layers))


def write_image(layout: Layout, image: Image, blob_dir: Path, *, name: str | None) -> None:
    """Put the image into the layout under `name` (None: as its only image), layers linked from the blob folder.

    The old image of that name stays until the last step, then the blobs that nothing needs are removed.
    """
    for blob in image.layers:
        layout.link_blob(blob.descriptor, blob_path(blob_dir, blob))
    layout.add_document(CONFIG, image.config_bytes)
    layout.add_document(MANIFEST, image.manifest_bytes)
    layout.set_image(name, image.manifest)
    layout.prune()


def build_image(
    layers: Sequence[ImageLayer], settings: ImageSettings, layout: Layout, blob_dir: Path, *, name: str | None = None
) -> Image:
    """`make_image` and `write_image` in one."""
    image = make_image(layers, settings)
    write_image(layout, image, blob_dir, name=name)
    return image


def _description(settings: ImageSettings) -> dict[str, Json]:
    described: dict[str, Json] = {CREATED: format_time(settings.created), TITLE: settings.title}
    if settings.version is not None:
        described[VERSION] = settings.version
    return described
