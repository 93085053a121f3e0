import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ostler.oci.descriptor import (
    Descriptor,
    Json,
    OciFormatError,
    canonical_json,
    digest_of,
    parse_digest,
    parse_json_object,
)
from ostler.oci.metadata import format_time, image_commit_metadata, image_timestamp, parse_time

text = st.text(st.characters(exclude_categories=("Cs",)), max_size=8)
values = st.recursive(
    st.none() | st.booleans() | st.integers(-(1 << 53), 1 << 53) | text,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(text, inner, max_size=4),
    max_leaves=12,
)


@given(st.dictionaries(text, values, max_size=5))
def test_canonical_json_is_one_text_for_one_value(value: dict[str, Json]) -> None:
    data = canonical_json(value)
    assert json.loads(data) == value
    assert canonical_json(parse_json_object(data, "it")) == data
    assert canonical_json(dict(reversed(value.items()))) == data


@pytest.mark.parametrize(
    "data",
    [b"", b"[]", b"{", b'{"a":1,"a":2}', b'{"a":NaN}', b'{"a":1e999}', b'{"a":"\\ud800"}', b"\xff", b"[" * 100000],
)
def test_refuses_json_that_two_readers_could_take_differently(data: bytes) -> None:
    with pytest.raises(OciFormatError):
        parse_json_object(data, "it")


@given(st.binary(max_size=64) | values.map(lambda value: json.dumps(value).encode()))
def test_any_bytes_are_an_object_or_the_one_error(data: bytes) -> None:
    with contextlib.suppress(OciFormatError):
        assert isinstance(parse_json_object(data, "it"), dict)


@given(values)
def test_any_json_is_a_descriptor_or_the_one_error(value: Json) -> None:
    with contextlib.suppress(OciFormatError):
        Descriptor.from_json(value, "it")


def test_descriptors_survive_json() -> None:
    descriptor = Descriptor("a/b", digest_of(b"x"), 1, {"k": "v"}, ("linux", "amd64"))
    assert Descriptor.from_json(descriptor.to_json(), "it") == descriptor


@pytest.mark.parametrize("text", ["sha256:" + "A" * 64, "sha512:" + "a" * 128, "sha256:../../etc/passwd", "", None, 5])
def test_refuses_digests_of_another_form(text: object) -> None:
    with pytest.raises(OciFormatError):
        parse_digest(text)


@pytest.mark.parametrize("size", [-1, 1 << 63, 1.5, True, "1", None])
def test_refuses_descriptors_with_an_impossible_size(size: Json) -> None:
    with pytest.raises(OciFormatError):
        Descriptor.from_json({"mediaType": "a/b", "digest": digest_of(b""), "size": size}, "it")


@given(st.integers(0, 4_000_000_000))
def test_times_survive_their_text_form(seconds: int) -> None:
    assert parse_time(format_time(seconds)) == seconds


def test_times_of_other_writers_are_understood() -> None:
    assert parse_time("2024-05-06T07:08:09.123456789Z") == 1714979289
    assert parse_time("2024-05-06T09:08:09+02:00") == 1714979289
    assert parse_time("0001-01-01T00:00:00Z") == 0
    assert parse_time("yesterday") is None
    assert parse_time("2024-05-06T07:08:09") is None


def test_commit_metadata_holds_the_documents_in_canonical_form() -> None:
    manifest = b'{ "schemaVersion": 2, "annotations": {"org.opencontainers.image.created": "1970-01-01T00:01:00Z"} }'
    config = b'{"created":"1970-01-01T00:00:01Z","config":{"Labels":{"org.opencontainers.image.version":"7"}}}'
    metadata = image_commit_metadata(manifest, config)
    assert list(metadata) == sorted(metadata)
    assert metadata["ostree.manifest-digest"].value == digest_of(manifest)
    assert metadata["ostree.manifest"].value == (
        '{"annotations":{"org.opencontainers.image.created":"1970-01-01T00:01:00Z"},"schemaVersion":2}'
    )
    assert metadata["ostree.container.image-config"].value.startswith('{"config":')
    assert metadata["version"].value == "7"
    assert image_timestamp(manifest, config) == 60
    assert image_timestamp(b"{}", config) == 1
    assert image_timestamp(b"{}", b"{}") == 0
