import json
import os
from pathlib import Path

import pytest

from ostler.errors import CorruptError, NotFoundError
from ostler.oci.blobs import DOCUMENT_LIMIT, read_document
from ostler.oci.descriptor import (
    CONFIG,
    INDEX,
    LAYER,
    MANIFEST,
    Descriptor,
    Json,
    OciFormatError,
    canonical_json,
    descriptor_of,
    digest_of,
)
from ostler.oci.layout import Layout


def add_image(layout: Layout, name: str | None, payload: bytes, tmp_path: Path) -> Descriptor:
    source = tmp_path / digest_of(payload)
    source.write_bytes(payload)
    layer = descriptor_of(LAYER, payload)
    layout.link_blob(layer, source)
    config = layout.add_document(CONFIG, b"{}")
    body: dict[str, Json] = {"schemaVersion": 2, "config": config.to_json(), "layers": [layer.to_json()]}
    manifest = layout.add_document(MANIFEST, canonical_json(body))
    layout.set_image(name, manifest)
    return manifest


def test_an_image_is_found_by_its_name(tmp_path: Path) -> None:
    layout = Layout.create(tmp_path / "oci")
    one = add_image(layout, "one", b"1", tmp_path)
    two = add_image(layout, "two", b"2", tmp_path)
    again = Layout.open(tmp_path / "oci")
    assert again.manifest("one").descriptor.digest == one.digest
    assert again.manifest("two").layers[0] == descriptor_of(LAYER, b"2")
    assert set(again.names()) == {"one", "two"}
    assert two.digest != one.digest


def test_a_missing_image_is_an_error_that_names_those_there(tmp_path: Path) -> None:
    layout = Layout.create(tmp_path / "oci")
    with pytest.raises(NotFoundError):
        layout.manifest()
    add_image(layout, "one", b"1", tmp_path)
    with pytest.raises(NotFoundError) as caught:
        layout.manifest("two")
    assert caught.value.hint is not None
    assert "one" in caught.value.hint


def test_replacing_an_image_frees_the_blobs_that_only_it_had(tmp_path: Path) -> None:
    layout = Layout.create(tmp_path / "oci")
    add_image(layout, "one", b"old", tmp_path)
    add_image(layout, "two", b"shared", tmp_path)
    add_image(layout, "one", b"shared", tmp_path)
    assert layout.prune() > 0
    left = {path.name for path in (layout.blobs / "sha256").iterdir()}
    assert digest_of(b"old").removeprefix("sha256:") not in left
    assert digest_of(b"shared").removeprefix("sha256:") in left
    assert layout.prune() == 0
    layout.remove_image("one")
    assert set(layout.names()) == {"two"}


def test_blobs_are_linked_not_copied(tmp_path: Path) -> None:
    layout = Layout.create(tmp_path / "oci")
    add_image(layout, None, b"payload", tmp_path)
    inode = (tmp_path / digest_of(b"payload")).stat().st_ino
    assert (layout.blobs / "sha256" / digest_of(b"payload").removeprefix("sha256:")).stat().st_ino == inode


def test_entries_of_other_writers_keep_all_their_fields(tmp_path: Path) -> None:
    layout = Layout.create(tmp_path / "oci")
    foreign = {
        "mediaType": MANIFEST,
        "digest": digest_of(b"f"),
        "size": 1,
        "platform": {"os": "linux", "architecture": "arm64", "variant": "v8"},
        "annotations": {"org.opencontainers.image.ref.name": "foreign"},
    }
    index = layout.path / "index.json"
    index.write_text(json.dumps({"schemaVersion": 2, "manifests": [foreign]}))
    add_image(layout, "one", b"1", tmp_path)
    assert foreign in json.loads(index.read_text())["manifests"]


def test_an_index_of_several_platforms_leads_to_ours(tmp_path: Path) -> None:
    layout = Layout.create(tmp_path / "oci")
    ours, theirs = (add_image(layout, None, payload, tmp_path) for payload in (b"amd64", b"arm64"))
    entries: list[Json] = [
        {**ours.to_json(), "platform": {"os": "linux", "architecture": "amd64"}},
        {**theirs.to_json(), "platform": {"os": "linux", "architecture": "arm64"}},
    ]
    index = layout.add_document(INDEX, canonical_json({"schemaVersion": 2, "manifests": entries}))
    layout.set_image("multi", index)
    assert layout.manifest("multi").descriptor.digest == ours.digest
    layout.prune()
    assert layout.find("multi", ("linux", "arm64")).digest == theirs.digest
    with pytest.raises(NotFoundError):
        layout.find("multi", ("linux", "riscv64"))


def test_indexes_in_indexes_are_followed_only_so_far(tmp_path: Path) -> None:
    layout = Layout.create(tmp_path / "oci")
    entry: dict[str, Json] = {"mediaType": INDEX, "digest": digest_of(b"x"), "size": 1}
    for _ in range(6):
        data = canonical_json({"schemaVersion": 2, "manifests": [entry]})
        entry = layout.add_document(INDEX, data).to_json()
    layout.set_image("deep", Descriptor.from_json(entry, "it"))
    with pytest.raises(CorruptError):
        layout.manifest("deep")


def test_a_damaged_blob_is_noticed(tmp_path: Path) -> None:
    layout = Layout.create(tmp_path / "oci")
    manifest = add_image(layout, "one", b"1", tmp_path)
    path = layout.blobs / "sha256" / manifest.digest.removeprefix("sha256:")
    data = path.read_bytes()
    for damaged in (data[:-1], data + b" ", data.replace(b"schema", b"sChema")):
        path.write_bytes(damaged)
        with pytest.raises(CorruptError):
            layout.manifest("one")


def test_a_document_larger_than_registries_take_is_refused_unread(tmp_path: Path) -> None:
    layout = Layout.create(tmp_path / "oci")
    with pytest.raises(CorruptError):
        read_document(layout, Descriptor(MANIFEST, digest_of(b""), DOCUMENT_LIMIT + 1), "manifest")


def test_a_blob_that_is_a_symlink_or_a_fifo_is_refused(tmp_path: Path) -> None:
    layout = Layout.create(tmp_path / "oci")
    descriptor = descriptor_of(CONFIG, b"root:x")
    path = layout.blobs / "sha256" / descriptor.digest.removeprefix("sha256:")
    path.symlink_to("/etc/passwd")
    with pytest.raises(CorruptError):
        layout.open_blob(descriptor)
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(CorruptError):
        layout.open_blob(descriptor)


def test_other_folders_are_not_taken_for_layouts(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError):
        Layout.open(tmp_path / "nothing")
    (tmp_path / "data").mkdir()
    (tmp_path / "data/file").touch()
    with pytest.raises(OciFormatError):
        Layout.create(tmp_path / "data")
    Layout.create(tmp_path / "oci")
    (tmp_path / "oci/oci-layout").write_text('{"imageLayoutVersion":"2.0.0"}')
    with pytest.raises(OciFormatError):
        Layout.open(tmp_path / "oci")
