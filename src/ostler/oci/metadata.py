"""What an OSTree commit made of an OCI image records about that image, in the form of bootc's ostree-ext.

Metadata keys: `ostree.manifest-digest`, `ostree.manifest` and `ostree.container.image-config` (canonical JSON texts).
A commit has no other identity than the image's, so equal images give equal commits wherever they are made.
"""

from collections.abc import Mapping
from datetime import UTC, datetime

from ostler.formats.gvariant import Variant
from ostler.oci.descriptor import OciFormatError, canonical_json, digest_of, parse_json_object, string_map

MANIFEST_DIGEST_KEY = "ostree.manifest-digest"
MANIFEST_KEY = "ostree.manifest"
CONFIG_KEY = "ostree.container.image-config"
IMPORTER_KEY = "ostree.importer.version"
IMPORTER_VERSION = "ostler-1"
"""Counts changes of the mapping from images to commits; Ostler's own version would make equal images differ."""
DIFF_ID_KEY = "ostler.diff-id"
"""In the commit of a layer: the digest that it was verified to have uncompressed."""

CREATED = "org.opencontainers.image.created"
VERSION = "org.opencontainers.image.version"
TITLE = "org.opencontainers.image.title"


def format_time(seconds: int) -> str:
    """Unix time as RFC 3339 in UTC, as image documents write it."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def parse_time(text: str) -> int | None:
    """Unix time of an RFC 3339 text, not below 0; None if it is none."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    if moment.tzinfo is None:
        return None
    return max(0, int(moment.timestamp()))


def image_labels(config_bytes: bytes) -> dict[str, str]:
    """The labels of an image's config. Raises `OciFormatError`."""
    settings = parse_json_object(config_bytes, "the image config").get("config")
    if settings is None:
        return {}
    if not isinstance(settings, dict):
        raise OciFormatError("`config` of the image config is not an object")
    return string_map(settings.get("Labels"), "the labels of the image")


def image_timestamp(manifest_bytes: bytes, config_bytes: bytes) -> int:
    """When the image says it was made: the manifest's annotation, else the config's `created`, else 0."""
    manifest = parse_json_object(manifest_bytes, "the image manifest")
    config = parse_json_object(config_bytes, "the image config")
    annotations = string_map(manifest.get("annotations"), "annotations of the manifest")
    stated = annotations.get(CREATED, config.get("created"))
    seconds = parse_time(stated) if isinstance(stated, str) else None
    return seconds if seconds is not None else 0


def image_commit_metadata(manifest_bytes: bytes, config_bytes: bytes) -> dict[str, Variant]:
    """The metadata of the merge commit of an image, keys in order; `version` too if the image has that label.

    `manifest_bytes` and `config_bytes` are the documents' own bytes. Raises `OciFormatError` if they are no JSON.
    """
    manifest = canonical_json(parse_json_object(manifest_bytes, "the image manifest")).decode()
    config = canonical_json(parse_json_object(config_bytes, "the image config")).decode()
    texts = {
        CONFIG_KEY: config,
        IMPORTER_KEY: IMPORTER_VERSION,
        MANIFEST_KEY: manifest,
        MANIFEST_DIGEST_KEY: digest_of(manifest_bytes),
    }
    version = image_labels(config_bytes).get(VERSION)
    if version:
        texts["version"] = version
    return {key: Variant("s", texts[key]) for key in sorted(texts)}


def text_of(metadata: Mapping[str, Variant], key: str) -> str | None:
    """The text stored under `key`, or None if there is none of that type."""
    found = metadata.get(key)
    return found.value if found is not None and found.type == "s" and isinstance(found.value, str) else None
