"""The small values of the OCI image format: digests, descriptors, media types, and canonical JSON.

Source: OCI image specification 1.1, `descriptor.md`, `media-types.md` and `manifest.md`.
"""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import NewType, TypeAlias

from ostler.errors import CorruptError

Digest = NewType("Digest", str)
"""A content digest: "sha256:" and 64 lower-case hex digits. Other algorithms are refused."""

Json: TypeAlias = "dict[str, Json] | list[Json] | str | int | float | bool | None"

INDEX = "application/vnd.oci.image.index.v1+json"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar"
LAYER_GZIP = "application/vnd.oci.image.layer.v1.tar+gzip"
LAYER_ZSTD = "application/vnd.oci.image.layer.v1.tar+zstd"
DOCKER_MANIFEST_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_LAYER = "application/vnd.docker.image.rootfs.diff.tar"
DOCKER_LAYER_GZIP = "application/vnd.docker.image.rootfs.diff.tar.gzip"
DOCKER_LAYER_ZSTD = "application/vnd.docker.image.rootfs.diff.tar.zstd"

INDEX_TYPES = frozenset({INDEX, DOCKER_MANIFEST_LIST})
MANIFEST_TYPES = frozenset({MANIFEST, DOCKER_MANIFEST})

_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_NO_ANNOTATIONS: Mapping[str, str] = MappingProxyType({})


class OciFormatError(CorruptError):
    """A document or layer of an OCI image does not have the form that the specification demands."""


def parse_digest(text: object) -> Digest:
    """`text` as a digest. Raises `OciFormatError` if it is anything but sha256 in lower-case hex."""
    if not isinstance(text, str) or not _DIGEST.fullmatch(text):
        raise OciFormatError(f"{text!r} is no digest of the form sha256:HEX")
    return Digest(text)


def digest_of(data: bytes) -> Digest:
    """The digest of `data`."""
    return Digest("sha256:" + hashlib.sha256(data).hexdigest())


def hex_of(digest: Digest) -> str:
    """The 64 hex digits of a digest."""
    return digest.partition(":")[2]


def canonical_json(value: "Json | Mapping[str, Json]") -> bytes:
    """The one JSON text of `value`: UTF-8, keys sorted, no white space, no escapes that are not needed (RFC 8785)."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def parse_json_object(data: bytes, what: str) -> dict[str, Json]:
    """The JSON object in `data`; `what` names it in errors. Raises `OciFormatError`, also for keys given twice."""

    def unique(pairs: list[tuple[str, Json]]) -> dict[str, Json]:
        result = dict(pairs)
        if len(result) != len(pairs):
            raise ValueError("a key is given twice")
        return result

    def refuse(constant: str) -> Json:
        raise ValueError(f"{constant} is no JSON")

    try:
        value: Json = json.loads(data, object_pairs_hook=unique, parse_constant=refuse)
        canonical_json(value)  # refuses lone surrogates, which no byte string can carry on
    except (ValueError, RecursionError) as error:
        raise OciFormatError(f"{what} is not valid JSON: {error}") from error
    if not isinstance(value, dict):
        raise OciFormatError(f"{what} is not a JSON object")
    return value


def string_map(value: Json, what: str) -> dict[str, str]:
    """`value` as a map from text to text (annotations, labels); null or missing means empty."""
    if value is None:
        return {}
    if not isinstance(value, dict) or not all(isinstance(item, str) for item in value.values()):
        raise OciFormatError(f"{what} is not a map of texts")
    return {key: item for key, item in value.items() if isinstance(item, str)}


@dataclass(frozen=True, slots=True)
class Descriptor:
    """What points at a blob: its media type, digest and size in bytes, and free annotations."""

    media_type: str
    digest: Digest
    size: int
    annotations: Mapping[str, str] = field(default_factory=lambda: _NO_ANNOTATIONS)
    platform: tuple[str, str] | None = None
    """(os, architecture), in an index only."""

    def to_json(self) -> dict[str, Json]:
        """The descriptor as it stands in a manifest or index."""
        value: dict[str, Json] = {"mediaType": self.media_type, "digest": self.digest, "size": self.size}
        if self.annotations:
            value["annotations"] = dict(self.annotations)
        if self.platform is not None:
            value["platform"] = {"os": self.platform[0], "architecture": self.platform[1]}
        return value

    @classmethod
    def from_json(cls, value: Json, what: str) -> "Descriptor":
        """Read a descriptor; `what` names it in errors. Raises `OciFormatError`."""
        if not isinstance(value, dict):
            raise OciFormatError(f"{what} is not a descriptor")
        media_type, size = value.get("mediaType"), value.get("size")
        if not isinstance(media_type, str) or not media_type:
            raise OciFormatError(f"{what} has no media type")
        if not isinstance(size, int) or isinstance(size, bool) or not 0 <= size < 1 << 63:
            raise OciFormatError(f"{what} has no valid size")
        platform = value.get("platform")
        named: tuple[str, str] | None = None
        if isinstance(platform, dict):
            named = (str(platform.get("os", "")), str(platform.get("architecture", "")))
        annotations = string_map(value.get("annotations"), f"annotations of {what}")
        return cls(media_type, parse_digest(value.get("digest")), size, annotations, named)


def descriptor_of(media_type: str, data: bytes, annotations: Mapping[str, str] | None = None) -> Descriptor:
    """The descriptor of a blob with the content `data`."""
    return Descriptor(media_type, digest_of(data), len(data), annotations or _NO_ANNOTATIONS)
