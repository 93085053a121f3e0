"""Images judged by the programs that people use: skopeo, podman, buildah; the mapping to commits by `ostree`."""

import json
import os
import stat
import subprocess
import tarfile
from dataclasses import dataclass
from pathlib import Path

import pytest
from containers import Containers, copy_programs, output, skopeo

from ostler.formats.objects import Checksum, DirMeta, FileMeta
from ostler.oci.image import Image, ImageLayer, ImageSettings, build_image
from ostler.oci.importer import commit_for_image, import_layout, layers_with_diff_ids, machine_tree, read_layer
from ostler.oci.layer import LayerBlob, compress_layer, recorded_blob, register_blob
from ostler.oci.layout import Layout
from ostler.oci.tarball import write_tar
from ostler.store.commit import commit_tree
from ostler.store.content import RepoMode
from ostler.store.fsck import fsck
from ostler.store.ingest import ingest_directory
from ostler.store.repo import Repo
from ostler.store.transaction import Transaction
from ostler.store.tree import Directory, load_commit_tree

NOTE = (b"user.note", b"kept")
CAPABILITY = (b"security.capability", bytes.fromhex("0100000200200000000000000000000000000000"))


@dataclass
class Machine:
    """A small machine image with a shell, built from two layers."""

    folder: Path
    repo: Repo
    layers: list[Checksum]
    image: Image
    layout: Layout
    commit: Checksum

    @property
    def reference(self) -> str:
        return f"oci:{self.layout.path}:web"


def add(transaction: Transaction, tree: Directory, path: str, content: bytes, **meta: object) -> None:
    values: dict[str, object] = {"uid": 0, "gid": 0, "mode": stat.S_IFREG | 0o644, **meta}
    tree.set_file(path, transaction.write_file(FileMeta(**values), content))  # type: ignore[arg-type]


def second_layer(transaction: Transaction) -> Directory:
    tree = Directory()
    add(transaction, tree, "etc/greeting", b"hello\n")
    add(transaction, tree, "etc/.wh.unwanted", b"")
    add(transaction, tree, "usr/share/opaque/.wh..wh..opq", b"")
    add(transaction, tree, "usr/share/opaque/new", b"new")
    add(transaction, tree, "usr/bin/set-uid", b"#!/bin/sh\n", mode=stat.S_IFREG | 0o4755)
    add(transaction, tree, "usr/share/noted", b"x", uid=5, gid=6, xattrs=(CAPABILITY, NOTE))
    add(transaction, tree, "usr/share/" + "long-" * 40, b"y")
    tree.ensure_dir("usr/lib").meta = DirMeta(0, 3, stat.S_IFDIR | 0o751)  # in a commit, the lower layer's stays
    tree.ensure_dir("usr/share/shared", DirMeta(0, 7, stat.S_IFDIR | 0o2775))
    return tree


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Machine:
    folder = tmp_path_factory.mktemp("machine")
    root = folder / "root"
    copy_programs(root, "sh", "cat", "rm", "ln", "mkdir", "chmod", "stat")
    for name in ("etc", "var/lib", "run", "tmp", "proc", "sys", "dev", "usr/share/opaque"):
        (root / name).mkdir(parents=True, exist_ok=True)
    (root / "etc/os-release").write_text("ID=ostler-test\n")
    (root / "etc/unwanted").write_text("x")
    (root / "usr/share/opaque/old").write_text("old")
    repo = Repo.create(folder / "repo", RepoMode.BARE_USER, settings={"fsync": "false"})
    with repo.transaction() as transaction:
        trees = [ingest_directory(transaction, root), second_layer(transaction)]
        commits = [commit_tree(transaction, tree, timestamp=0) for tree in trees]
    blobs = [compress_layer(repo, commit, folder / "blobs") for commit in commits]
    layers = [ImageLayer(blob, f"layer {number}") for number, blob in enumerate(blobs)]
    layout = Layout.create(folder / "oci")
    settings = ImageSettings("web", 1_700_000_000, "7", command=("/bin/sh",))
    image = build_image(layers, settings, layout, folder / "blobs", name="web")
    with repo.transaction() as transaction:
        commit = commit_for_image(transaction, machine_tree(repo, trees), image.manifest_bytes, image.config_bytes)
    return Machine(folder, repo, commits, image, layout, commit)


def test_skopeo_reads_the_image_as_it_was_meant(machine: Machine) -> None:
    shown = json.loads(skopeo("inspect", machine.reference))
    assert shown["Digest"] == machine.image.digest
    assert shown["Labels"]["containers.bootc"] == "1"
    assert shown["Architecture"] == "amd64"
    assert shown["Layers"] == [layer.digest for layer in machine.image.layers]
    config = json.loads(skopeo("inspect", "--config", machine.reference))
    assert config["rootfs"]["diff_ids"] == [layer.diff_id for layer in machine.image.layers]


def test_skopeo_copies_the_image_without_changing_a_byte(machine: Machine, tmp_path: Path) -> None:
    skopeo("copy", machine.reference, f"oci:{tmp_path}/copy:web")
    copied = Layout.open(tmp_path / "copy").manifest("web")
    assert copied.descriptor.digest == machine.image.digest
    skopeo("copy", machine.reference, f"dir:{tmp_path}/dir")
    assert (tmp_path / "dir/manifest.json").read_bytes() == machine.image.manifest_bytes


def test_the_image_survives_the_way_through_a_docker_archive(machine: Machine, tmp_path: Path) -> None:
    # Docker's own formats have no zstd layers, so they are unpacked on the way.
    skopeo("copy", "--dest-decompress", machine.reference, f"dir:{tmp_path}/plain")
    skopeo("copy", f"dir:{tmp_path}/plain", f"docker-archive:{tmp_path}/image.tar:example.org/web:7")
    skopeo("copy", f"docker-archive:{tmp_path}/image.tar", f"oci:{tmp_path}/again:web")
    again = Layout.open(tmp_path / "again")
    assert again.manifest("web").layers[0].media_type.endswith("+gzip")
    repo = Repo.create(tmp_path / "repo", RepoMode.BARE_USER, settings={"fsync": "false"})
    imported = repo.load_commit(import_layout(repo, again, "web").commit)
    assert imported.content_checksum == machine.repo.load_commit(machine.commit).content_checksum


def test_podman_runs_the_image(machine: Machine, tmp_path: Path) -> None:
    containers = Containers(tmp_path)
    script = (
        "cat /etc/os-release /etc/greeting /usr/share/opaque/*; stat -c %a:%u:%g /usr/bin/set-uid /usr/share/shared"
    )
    printed = containers.run_image(machine.reference, "sh", "-c", script + "; test ! -e /etc/unwanted && echo gone")
    assert printed == "ID=ostler-test\nhello\nnew4755:0:0\n2775:0:7\ngone\n"


def test_an_image_derived_by_buildah_is_imported_with_its_own_layer_read_only_once(
    machine: Machine, tmp_path: Path
) -> None:
    script = (
        "rm /etc/greeting; echo derived > /etc/derived; ln /etc/derived /usr/share/hard; ln -s derived /etc/soft;"
        "rm -r /usr/share/opaque; mkdir /usr/share/opaque; echo again > /usr/share/opaque/again;chmod 4711 /usr/bin/sh;"
        "echo x > /tmp/left; echo y > /run/left"
    )
    Containers(tmp_path / "c").derive(machine.reference, f"oci:{tmp_path}/derived:web", [("sh", "-c", script)])
    derived = Layout.open(tmp_path / "derived")
    manifest = derived.manifest("web")
    with derived.open_blob(manifest.config) as file:
        pairs = layers_with_diff_ids(manifest, file.read())
    assert [diff_id for _, diff_id in pairs[:2]] == [layer.diff_id for layer in machine.image.layers]

    # As a build does it: the new layer becomes a tree in the store, its bytes are kept.
    repo, blobs = machine.repo, machine.folder / "blobs"
    layer, diff_id = pairs[2]
    with repo.transaction() as transaction:
        tree = read_layer(transaction, derived, layer, diff_id)
        commit = commit_tree(transaction, tree, timestamp=0)
    source = derived.blobs / "sha256" / layer.digest.removeprefix("sha256:")
    register_blob(blobs, commit, LayerBlob(layer.media_type, layer.digest, layer.size, diff_id), source)
    kept = recorded_blob(blobs, commit)
    assert kept is not None
    assert kept.digest == layer.digest
    trees = [*(load_commit_tree(repo, known) for known in machine.layers), tree]
    layers = [ImageLayer(blob, "layer") for blob in (*machine.image.layers, kept)]
    layout = Layout.create(tmp_path / "final")
    image = build_image(layers, ImageSettings("web", 1_700_000_000), layout, blobs, name="web")
    with repo.transaction() as transaction:
        made = commit_for_image(transaction, machine_tree(repo, trees), image.manifest_bytes, image.config_bytes)

    # As a host does it: only what it has not yet is read.
    host = Repo.create(tmp_path / "host", RepoMode.BARE_USER, settings={"fsync": "false"})
    import_layout(host, machine.layout, "web")
    result = import_layout(host, layout, "web")
    assert (result.commit, result.layers_read, result.bytes_read) == (made, 1, layer.size)
    assert import_layout(host, derived, "web").layers_read == 0
    found = load_commit_tree(host, result.commit)
    names = {path for path, _ in found.walk()}
    assert {"usr/etc/derived", "usr/etc/soft", "usr/share/opaque/again"} <= names
    assert not {"usr/etc/greeting", "usr/share/opaque/new", "tmp/left", "run/left"} & names
    assert found.lookup("usr/share/hard") == found.lookup("usr/etc/derived")
    shell = found.lookup("usr/bin/sh")
    assert isinstance(shell, str)
    assert host.file_meta(Checksum(shell)).mode == stat.S_IFREG | 0o4711


def test_gnu_tar_lists_and_unpacks_layers_with_everything(machine: Machine, tmp_path: Path) -> None:
    with (tmp_path / "layer.tar").open("wb") as out:
        write_tar(machine.repo, load_commit_tree(machine.repo, machine.layers[1]), out)
    (tmp_path / "out").mkdir()
    output(["tar", "--xattrs", "--xattrs-include=*", "-xpf", tmp_path / "layer.tar", "-C", tmp_path / "out"])
    noted = tmp_path / "out/usr/share/noted"
    assert os.getxattr(noted, "user.note") == NOTE[1]
    assert os.getxattr(noted, "security.capability") == CAPABILITY[1]
    assert (noted.stat().st_uid, noted.stat().st_gid, noted.stat().st_mtime) == (5, 6, 0)
    assert (tmp_path / "out/usr/bin/set-uid").stat().st_mode == stat.S_IFREG | 0o4755
    assert (tmp_path / "out/usr/share" / ("long-" * 40)).read_bytes() == b"y"


def filtered_as_ostree_ext_does(source: Path, target: Path) -> None:
    """The tar filter of ostree-ext, done independently with Python's tarfile."""
    with tarfile.open(source) as reader, tarfile.open(target, "w", format=tarfile.PAX_FORMAT) as writer:
        for member in reader:
            parts = [part for part in member.name.split("/") if part not in ("", ".")]
            if len(parts) > 1 and parts[0] in ("run", "tmp", "proc", "sys", "dev"):
                continue
            if parts and parts[0] == "etc":
                parts = ["usr", *parts]
            member.name = "/".join([".", *parts])
            writer.addfile(member, reader.extractfile(member) if member.isreg() else None)


def test_the_commit_has_the_tree_that_ostree_itself_makes_of_the_layers(machine: Machine, tmp_path: Path) -> None:
    """The steps of ostree-ext with the program `ostree`: commit each filtered tar, check out in union, commit."""
    theirs = tmp_path / "ostree"
    output(["ostree", "init", f"--repo={theirs}", "--mode=bare"])
    checkout = tmp_path / "checkout"
    for number, commit in enumerate(machine.layers):
        with (tmp_path / "layer.tar").open("wb") as out:
            write_tar(machine.repo, load_commit_tree(machine.repo, commit), out)
        filtered_as_ostree_ext_does(tmp_path / "layer.tar", tmp_path / "filtered.tar")
        tree = f"--tree=tar={tmp_path}/filtered.tar"
        commit_layer = ["ostree", "commit", f"--repo={theirs}", f"--branch=layer{number}", "--no-bindings"]
        output([*commit_layer, "--tar-autocreate-parents", tree])
        output(["ostree", "checkout", f"--repo={theirs}", "--union", "--whiteouts", f"layer{number}", checkout])
    output(["ostree", "commit", f"--repo={theirs}", "--branch=merged", "--no-bindings", f"--tree=dir={checkout}"])
    ours = machine.repo.load_commit(machine.commit)
    assert Repo.open(theirs).load_commit(Repo.open(theirs).resolve("merged")).content_checksum == ours.content_checksum


def test_ostree_reads_the_imported_image(machine: Machine, tmp_path: Path) -> None:
    repo = Repo.create(tmp_path / "host", RepoMode.BARE, settings={"fsync": "false"})
    result = import_layout(repo, machine.layout, "web", reference="docker://example.org/web:7")
    assert fsck(repo) == []
    output(["ostree", "fsck", f"--repo={repo.path}"])
    refs = output(["ostree", "refs", f"--repo={repo.path}"]).split()
    assert "ostree/container/image/docker_3A__2F__2F_example_2E_org/web_3A_7" in refs
    assert len([ref for ref in refs if ref.startswith("ostree/container/blob/sha256_3A_")]) == 2
    shown = output(
        ["ostree", "show", f"--repo={repo.path}", "--print-metadata-key=ostree.manifest-digest", result.commit]
    )
    assert shown.strip().strip("'") == machine.image.digest


def test_an_image_made_by_buildah_alone_is_imported(machine: Machine, tmp_path: Path) -> None:
    containers = Containers(tmp_path / "c")
    container = containers.buildah("from", "scratch").split()[-1]
    containers.buildah("add", "--quiet", container, str(machine.folder / "root"), "/")
    containers.buildah("commit", "--quiet", container, f"oci:{tmp_path}/scratch:it")
    repo = Repo.create(tmp_path / "repo", RepoMode.BARE_USER, settings={"fsync": "false"})
    result = import_layout(repo, Layout.open(tmp_path / "scratch"), "it")
    assert load_commit_tree(repo, result.commit).lookup("usr/etc/os-release")
    done = subprocess.run(["ostree", "fsck", f"--repo={repo.path}"], capture_output=True, check=False)
    assert done.returncode == 0
