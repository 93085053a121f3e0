import io
import json
import stat
import sys
import tarfile
from dataclasses import replace
from pathlib import Path

import pytest
import zstandard

from ostler.errors import CorruptError, ExitCode, NotFoundError
from ostler.formats.objects import Checksum, FileMeta
from ostler.io.process import MissingToolError
from ostler.io.progress import Event, Progress
from ostler.oci.descriptor import LAYER_GZIP, LAYER_ZSTD, digest_of
from ostler.oci.image import ImageError, ImageLayer, ImageSettings, build_image, make_image
from ostler.oci.layer import LayerBlob, blob_path, compress_layer, prune_blobs, recorded_blob, register_blob
from ostler.oci.layout import Layout
from ostler.store.commit import commit_tree
from ostler.store.content import RepoMode
from ostler.store.repo import Repo
from ostler.store.tree import Directory

SETTINGS = ImageSettings(title="web", created=1_700_000_000, version="7")


@pytest.fixture
def repo(tmp_path: Path) -> Repo:
    return Repo.create(tmp_path / "repo", RepoMode.BARE_USER, settings={"fsync": "false"})


def layer_commit(repo: Repo, content: bytes) -> Checksum:
    with repo.transaction() as transaction:
        tree = Directory()
        tree.set_file("usr/file", transaction.write_file(FileMeta(0, 0, stat.S_IFREG | 0o644), content))
        return commit_tree(transaction, tree, timestamp=0)


def test_a_layer_becomes_a_zstd_blob_whose_digests_are_those_of_its_bytes(repo: Repo, tmp_path: Path) -> None:
    commit = layer_commit(repo, b"content" * 500_000)
    events: list[Event] = []
    blob = compress_layer(repo, commit, tmp_path / "blobs", report=events.append)
    data = blob_path(tmp_path / "blobs", blob).read_bytes()
    unpacked = zstandard.ZstdDecompressor().decompressobj().decompress(data)
    assert (blob.media_type, blob.digest, blob.size) == (LAYER_ZSTD, digest_of(data), len(data))
    assert blob.diff_id == digest_of(unpacked)
    with tarfile.open(fileobj=io.BytesIO(unpacked)) as archive:
        assert archive.getnames() == [".", "usr", "usr/file"]
    assert events[-1] == Progress("compressing", len(unpacked))


def test_a_layer_is_compressed_once(repo: Repo, tmp_path: Path) -> None:
    commit = layer_commit(repo, b"content")
    first = compress_layer(repo, commit, tmp_path / "blobs")
    status = blob_path(tmp_path / "blobs", first).stat()
    assert compress_layer(repo, commit, tmp_path / "blobs") == first
    assert blob_path(tmp_path / "blobs", first).stat() == status


def test_a_blob_that_was_lost_or_cut_off_is_made_again(repo: Repo, tmp_path: Path) -> None:
    commit = layer_commit(repo, b"content")
    first = compress_layer(repo, commit, tmp_path / "blobs")
    path = blob_path(tmp_path / "blobs", first)
    whole = path.read_bytes()
    path.write_bytes(whole[:-1])
    assert compress_layer(repo, commit, tmp_path / "blobs") == first
    path.unlink()
    with pytest.raises(NotFoundError):
        blob_path(tmp_path / "blobs", first)
    assert compress_layer(repo, commit, tmp_path / "blobs") == first
    assert path.read_bytes() == whole
    (tmp_path / "blobs/layers" / f"{commit}.json").write_text("{")
    assert compress_layer(repo, commit, tmp_path / "blobs") == first


def test_compressing_that_fails_leaves_nothing_behind(repo: Repo, tmp_path: Path) -> None:
    with pytest.raises(NotFoundError):
        compress_layer(repo, Checksum("0" * 64), tmp_path / "blobs")
    assert not [path for path in (tmp_path / "blobs").rglob("*") if path.is_file()]


def test_a_layer_made_elsewhere_keeps_its_bytes(repo: Repo, tmp_path: Path) -> None:
    commit = layer_commit(repo, b"content")
    source = tmp_path / "foreign"
    source.write_bytes(b"not looked at here")
    blob = LayerBlob(LAYER_GZIP, digest_of(source.read_bytes()), source.stat().st_size, digest_of(b"tar"))
    with pytest.raises(CorruptError):
        register_blob(tmp_path / "blobs", commit, replace(blob, size=1), source)
    register_blob(tmp_path / "blobs", commit, blob, source)
    assert compress_layer(repo, commit, tmp_path / "blobs") == blob
    assert blob_path(tmp_path / "blobs", blob).samefile(source)


def test_pruning_keeps_the_blobs_of_the_layers_named(repo: Repo, tmp_path: Path) -> None:
    one, two = layer_commit(repo, b"1"), layer_commit(repo, b"2")
    compress_layer(repo, one, tmp_path / "blobs")
    kept = compress_layer(repo, two, tmp_path / "blobs")
    assert prune_blobs(tmp_path / "blobs", [two]) > 0
    assert recorded_blob(tmp_path / "blobs", one) is None
    assert recorded_blob(tmp_path / "blobs", two) == kept
    assert prune_blobs(tmp_path / "nothing", []) == 0


def test_a_missing_zstandard_is_an_error_that_says_how_to_get_it(
    repo: Repo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit = layer_commit(repo, b"content")
    monkeypatch.setitem(sys.modules, "zstandard", None)
    with pytest.raises(MissingToolError, match="zstandard") as caught:
        compress_layer(repo, commit, tmp_path / "blobs")
    assert caught.value.exit_code is ExitCode.MISSING_TOOL
    assert "python3-zstandard" in (caught.value.hint or "")


def build(repo: Repo, folder: Path, settings: ImageSettings = SETTINGS) -> Layout:
    layers = [
        ImageLayer(compress_layer(repo, layer_commit(repo, content), folder / "blobs"), f"layer {content!r}")
        for content in (b"1", b"2")
    ]
    layout = Layout.create(folder / "oci")
    build_image(layers, settings, layout, folder / "blobs", name="web")
    return layout


def test_an_image_says_what_bootc_and_people_look_for(repo: Repo, tmp_path: Path) -> None:
    layout = build(repo, tmp_path, replace(SETTINGS, labels={"a": "b"}, annotations={"c": "d"}))
    manifest = layout.manifest("web")
    config = json.loads(layout.open_blob(manifest.config).read())
    assert (config["architecture"], config["os"], config["created"]) == ("amd64", "linux", "2023-11-14T22:13:20Z")
    assert config["config"]["Cmd"] == ["/sbin/init"]
    assert config["config"]["StopSignal"] == "SIGRTMIN+3"
    assert config["config"]["Env"][0].startswith("PATH=")
    assert config["config"]["Labels"] == {
        "a": "b",
        "containers.bootc": "1",
        "ostree.bootable": "true",
        "org.opencontainers.image.created": "2023-11-14T22:13:20Z",
        "org.opencontainers.image.title": "web",
        "org.opencontainers.image.version": "7",
    }
    assert [entry["created_by"] for entry in config["history"]] == ["layer b'1'", "layer b'2'"]
    assert len(config["rootfs"]["diff_ids"]) == len(manifest.layers) == 2
    annotations = json.loads(manifest.data)["annotations"]
    assert annotations["org.opencontainers.image.created"] == "2023-11-14T22:13:20Z"
    assert annotations["c"] == "d"


def test_equal_inputs_give_equal_digests(tmp_path: Path) -> None:
    found = set()
    for number in range(2):
        folder = tmp_path / str(number)
        repo = Repo.create(folder / "repo", list(RepoMode)[number], settings={"fsync": "false"})
        found.add(build(repo, folder).manifest("web").descriptor.digest)
    assert len(found) == 1


def test_layers_are_linked_into_the_layout_and_old_ones_removed(repo: Repo, tmp_path: Path) -> None:
    layout = build(repo, tmp_path)
    blobs = {path.stat().st_ino for path in (tmp_path / "blobs/sha256").iterdir()}
    assert blobs <= {path.stat().st_ino for path in (layout.blobs / "sha256").iterdir()}
    before = layout.manifest("web")
    build(repo, tmp_path, replace(SETTINGS, version="8"))
    names = {path.name for path in (layout.blobs / "sha256").iterdir()}
    assert len(names) == 4
    assert before.descriptor.digest.removeprefix("sha256:") not in names


def test_an_image_needs_a_layer() -> None:
    with pytest.raises(ImageError):
        make_image([], SETTINGS)
