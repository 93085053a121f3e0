import gzip
import io
import json
import stat
import tarfile
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ostler.errors import CorruptError, NotFoundError
from ostler.formats.objects import Checksum, DirMeta, FileMeta, ObjectType
from ostler.oci.descriptor import (
    CONFIG,
    LAYER,
    LAYER_GZIP,
    MANIFEST,
    Descriptor,
    Digest,
    Json,
    canonical_json,
    digest_of,
)
from ostler.oci.escape import blob_ref, image_ref
from ostler.oci.image import ImageLayer, ImageSettings, build_image
from ostler.oci.importer import (
    UnsupportedImageError,
    changed_directories,
    commit_for_image,
    import_layout,
    machine_tree,
    read_layer,
)
from ostler.oci.layer import compress_layer
from ostler.oci.layout import Layout
from ostler.oci.stored import image_documents, images, remove_unused_layers
from ostler.store.commit import commit_tree
from ostler.store.content import RepoMode
from ostler.store.fsck import fsck
from ostler.store.repo import Repo
from ostler.store.transaction import Transaction
from ostler.store.tree import Directory, load_commit_tree

LONG = "long-name-" * 20
CAPABILITY = ((b"security.capability", bytes.fromhex("0100000200200000000000000000000000000000")),)
REGULAR = stat.S_IFREG | 0o644


def new_repo(path: Path, mode: RepoMode = RepoMode.BARE_USER) -> Repo:
    return Repo.create(path, mode, settings={"fsync": "false"})


def add(transaction: Transaction, tree: Directory, path: str, content: bytes = b"", **meta: object) -> None:
    values: dict[str, object] = {"uid": 0, "gid": 0, "mode": REGULAR, **meta}
    tree.set_file(path, transaction.write_file(FileMeta(**values), content))  # type: ignore[arg-type]


def sample_layers(transaction: Transaction) -> list[Directory]:
    base, middle, top = Directory(), Directory(), Directory()
    add(transaction, base, "usr/bin/sudo", b"elf" * 1000, mode=stat.S_IFREG | 0o4755)
    add(transaction, base, "usr/bin/ping", b"elf", xattrs=CAPABILITY)
    add(transaction, base, f"usr/share/{LONG}/{LONG}", b"long")
    add(transaction, base, "usr/lib/gone", b"x")
    add(transaction, base, "usr/lib/opaque/old", b"x")
    add(transaction, base, "usr/lib/becomes-a-directory", b"x")
    add(transaction, base, "usr/lib/becomes-a-file/inner", b"x")
    add(transaction, base, "etc/passwd", b"root:x:0:0", gid=42)
    add(transaction, base, "etc/gone.conf", b"x")
    add(transaction, base, "var/lib/state", b"kept")
    add(transaction, base, "run/lock/left", b"dropped")
    add(transaction, base, "usr/etc-like", b"not moved")
    for name in ("tmp", "var/tmp"):
        base.ensure_dir(name).meta = DirMeta(0, 0, stat.S_IFDIR | 0o1777)
    for name in ("proc", "sys", "dev", "boot", "sysroot"):
        base.ensure_dir(name)
    base.ensure_dir("usr/lib/private").meta = DirMeta(7, 8, stat.S_IFDIR | 0o2750, ((b"user.x", b"1"),))
    add(transaction, base, "ostree", mode=stat.S_IFLNK | 0o777, target="sysroot/ostree")
    add(transaction, middle, "usr/lib/.wh.gone")
    add(transaction, middle, "etc/.wh.gone.conf")
    add(transaction, middle, "etc/hostname")
    add(transaction, middle, "etc/resolv.conf", b"nameserver ::1")
    add(transaction, middle, "usr/lib/opaque/.wh..wh..opq")
    add(transaction, middle, "usr/lib/opaque/new", b"y")
    add(transaction, middle, "usr/lib/becomes-a-directory/inner", b"y")
    add(transaction, middle, "usr/lib/becomes-a-file", b"y")
    add(transaction, top, "etc/passwd", b"root:x:0:0:changed")
    add(transaction, top, "usr/lib/private/file", b"z")
    add(transaction, top, "tmp/left", b"dropped")
    return [base, middle, top]


@dataclass
class Build:
    """An image built as a machine's is: layers in a store, blobs, a layout, and the commit made directly."""

    folder: Path
    repo: Repo
    layout: Layout
    commit: Checksum
    layers: list[Directory] = field(default_factory=list)


def build(folder: Path, make_layers: object = sample_layers) -> Build:
    repo = new_repo(folder / "build")
    with repo.transaction() as transaction:
        layers: list[Directory] = make_layers(transaction)  # type: ignore[operator]
        commits = [commit_tree(transaction, layer, timestamp=0) for layer in layers]
    blobs = folder / "blobs"
    listed = [ImageLayer(compress_layer(repo, commit, blobs), f"layer {n}") for n, commit in enumerate(commits)]
    layout = Layout.create(folder / "oci")
    image = build_image(listed, ImageSettings("web", 1_700_000_000, "7"), layout, blobs, name="web")
    with repo.transaction() as transaction:
        tree = machine_tree(repo, layers)
        commit = commit_for_image(transaction, tree, image.manifest_bytes, image.config_bytes)
    return Build(folder, repo, layout, commit, layers)


@pytest.mark.parametrize("mode", [RepoMode.BARE_USER, RepoMode.ARCHIVE])
def test_importing_an_image_gives_the_commit_that_building_it_gave(tmp_path: Path, mode: RepoMode) -> None:
    built = build(tmp_path)
    repo = new_repo(tmp_path / "host", mode)
    result = import_layout(repo, built.layout, "web", reference="docker://example.org/web:7")
    ours, theirs = built.repo.load_commit(built.commit), repo.load_commit(result.commit)
    assert theirs.content_checksum == ours.content_checksum
    assert result.commit == built.commit
    assert repo.resolve(image_ref("docker://example.org/web:7")) == result.commit
    assert theirs.timestamp == 1_700_000_000
    assert theirs.metadata["ostree.manifest-digest"].value == built.layout.find("web").digest
    assert theirs.parent is None
    assert fsck(repo) == []


def test_the_tree_of_the_commit_is_that_of_a_bootable_machine(tmp_path: Path) -> None:
    built = build(tmp_path)
    repo = built.repo
    tree = load_commit_tree(repo, built.commit)
    paths = {path for path, _ in tree.walk()}
    present = {
        "usr/etc/passwd",
        "usr/etc/resolv.conf",
        "usr/lib/opaque/new",
        "usr/lib/becomes-a-directory/inner",
        "usr/lib/becomes-a-file",
        f"usr/share/{LONG}/{LONG}",
        "var/lib/state",
        "usr/etc-like",
        "ostree",
        "sysroot",
    }
    absent = {
        "etc",
        "usr/etc/gone.conf",
        "usr/etc/hostname",
        "usr/lib/gone",
        "usr/lib/opaque/old",
        "usr/lib/becomes-a-file/inner",
        "tmp/left",
        "run/lock",
    }
    assert present <= paths
    assert not absent & paths
    assert not [path for path in paths if ".wh." in path]
    assert tree.dirs["tmp"].meta.mode == stat.S_IFDIR | 0o1777

    def meta_of(path: str) -> FileMeta:
        found = tree.lookup(path)
        assert isinstance(found, str)
        return repo.file_meta(found)

    assert meta_of("usr/bin/sudo").mode == stat.S_IFREG | 0o4755
    assert meta_of("usr/bin/ping").xattrs == CAPABILITY
    private = tree.directory("usr/lib/private")
    assert private is not None
    assert private.meta == built.layers[0].dirs["usr"].dirs["lib"].dirs["private"].meta


def test_directory_metadata_is_that_of_the_lowest_layer_and_the_loss_can_be_named(tmp_path: Path) -> None:
    repo = new_repo(tmp_path)
    below, above = Directory(), Directory()
    below.ensure_dir("usr/lib/d")
    above.ensure_dir("usr/lib/d").meta = DirMeta(0, 0, stat.S_IFDIR | 0o700)
    found = machine_tree(repo, [below, above]).directory("usr/lib/d")
    assert found is not None
    assert found.meta.mode == stat.S_IFDIR | 0o755
    assert changed_directories([below, above]) == ["usr/lib/d"]
    assert changed_directories([below, below]) == []


def test_layers_that_are_there_are_not_read_again(tmp_path: Path) -> None:
    built = build(tmp_path)
    repo = new_repo(tmp_path / "host")
    first = import_layout(repo, built.layout, "web", reference="oci:one")
    assert first.layers_read == 3
    assert import_layout(repo, built.layout, "web", reference="oci:one").layers_read == 0
    for layer in built.layout.manifest("web").layers:
        (built.layout.blobs / "sha256" / layer.digest.removeprefix("sha256:")).unlink()
    again = import_layout(repo, built.layout, "web", reference="oci:two")
    assert (again.layers_read, again.commit) == (0, first.commit)


def test_an_interrupted_import_goes_on_where_it_was(tmp_path: Path) -> None:
    built = build(tmp_path)
    repo = new_repo(tmp_path / "host")
    last = built.layout.manifest("web").layers[-1]
    path = built.layout.blobs / "sha256" / last.digest.removeprefix("sha256:")
    data = path.read_bytes()
    path.unlink()
    with pytest.raises(NotFoundError):
        import_layout(repo, built.layout, "web", reference="oci:web")
    assert images(repo) == {}
    path.write_bytes(data)
    assert import_layout(repo, built.layout, "web", reference="oci:web").layers_read == 1


def recompressed(built: Build, folder: Path) -> Layout:
    """The same image with its layers stored uncompressed, as some registries and tools give them."""
    manifest = built.layout.manifest("web")
    layout = Layout.create(folder)
    layers: list[Json] = []
    import zstandard

    for layer in manifest.layers:
        with built.layout.open_blob(layer) as file:
            data = zstandard.ZstdDecompressor().decompressobj().decompress(file.read())
        layers.append(layout.add_document(LAYER, data).to_json())
    with built.layout.open_blob(manifest.config) as file:
        config = layout.add_document(CONFIG, file.read())
    body = {**json.loads(manifest.data), "config": config.to_json(), "layers": layers}
    layout.set_image("web", layout.add_document(MANIFEST, canonical_json(body)))
    return layout


def test_a_layer_compressed_otherwise_is_recognised_by_its_diff_id(tmp_path: Path) -> None:
    built = build(tmp_path)
    other = recompressed(built, tmp_path / "other")
    fresh = new_repo(tmp_path / "fresh")
    first = import_layout(fresh, other, "web", reference="oci:other")
    assert first.layers_read == 3
    second = import_layout(fresh, built.layout, "web", reference="oci:web")
    assert second.layers_read == 0
    assert second.commit == built.commit
    one, two = fresh.load_commit(first.commit), fresh.load_commit(second.commit)
    assert one.content_checksum == two.content_checksum


def test_layers_of_forgotten_images_are_let_go(tmp_path: Path) -> None:
    built = build(tmp_path)
    other = recompressed(built, tmp_path / "other")
    repo = new_repo(tmp_path / "host")
    kept = import_layout(repo, built.layout, "web", reference="oci:web")
    gone = import_layout(repo, other, "web", reference="oci:other")
    assert set(images(repo)) == {"oci:web", "oci:other"}
    assert remove_unused_layers(repo) == 0
    repo.set_ref(image_ref("oci:other"), None)
    assert remove_unused_layers(repo, also=[gone.commit]) == 0
    assert remove_unused_layers(repo) == 3
    assert len(repo.refs("ostree/container/blob")) == 3
    documents = image_documents(repo, kept.commit)
    assert documents is not None
    assert [blob_ref(layer.digest) in repo.refs() for layer in documents[0].layers] == [True] * 3


@pytest.mark.parametrize("damage", ["cut", "longer", "changed", "config"])
def test_a_damaged_image_is_refused_and_leaves_nothing(tmp_path: Path, damage: str) -> None:
    built = build(tmp_path)
    manifest = built.layout.manifest("web")
    victim = manifest.config if damage == "config" else manifest.layers[0]
    path = built.layout.blobs / "sha256" / victim.digest.removeprefix("sha256:")
    data = path.read_bytes()
    middle = len(data) // 2
    changed = data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :]
    path.unlink()
    path.write_bytes({"cut": data[:-1], "longer": data + b"\0"}.get(damage, changed))
    repo = new_repo(tmp_path / "host")
    with pytest.raises(CorruptError):
        import_layout(repo, built.layout, "web")
    assert repo.refs() == {}
    assert list(repo.objects()) == []


def foreign_image(
    folder: Path,
    members: list[tuple[tarfile.TarInfo, bytes]],
    *,
    labels: dict[str, Json] | None = None,
    layers: int = 1,
) -> Layout:
    """An image made by someone else: one gzip layer out of Python's tarfile."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for member, content in members:
            archive.addfile(member, io.BytesIO(content))
    layout = Layout.create(folder)
    layer = layout.add_document(LAYER_GZIP, gzip.compress(out.getvalue(), mtime=0))
    config: dict[str, Json] = {
        "os": "linux",
        "architecture": "amd64",
        "created": "2020-01-01T00:00:00Z",
        "config": {"Labels": labels or {}},
        "rootfs": {"type": "layers", "diff_ids": [digest_of(out.getvalue())]},
    }
    body: dict[str, Json] = {
        "schemaVersion": 2,
        "config": layout.add_document(CONFIG, canonical_json(config)).to_json(),
        "layers": [layer.to_json()] * layers,
    }
    layout.set_image("foreign", layout.add_document(MANIFEST, canonical_json(body)))
    return layout


def member(
    name: str, kind: bytes = tarfile.REGTYPE, target: str = "", size: int = 0, **more: object
) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.size = kind, target, size
    for key, value in more.items():
        setattr(info, key, value)
    return info


def test_hard_links_devices_and_missing_parents_of_foreign_layers(tmp_path: Path) -> None:
    layout = foreign_image(
        tmp_path / "oci",
        [
            (member("./etc/original", size=4, mode=0o640, pax_headers={"SCHILY.xattr.user.a": "1"}), b"text"),
            (member("usr/share/again", tarfile.LNKTYPE, "./etc/original"), b""),
            (member("/usr/bin/absolute", size=1), b"x"),
            (member("dev/null", tarfile.CHRTYPE, devmajor=1, devminor=3), b""),
            (member("tmp", tarfile.DIRTYPE, mode=0o1777), b""),
            (member(f"usr/{LONG}/{LONG}", tarfile.SYMTYPE, "../" * 60 + "x"), b""),
        ],
    )
    repo = new_repo(tmp_path / "host")
    result = import_layout(repo, layout, "foreign", reference="oci:foreign")
    assert fsck(repo) == []
    tree = load_commit_tree(repo, result.commit)
    original = tree.lookup("usr/etc/original")
    assert isinstance(original, str)
    assert original == tree.lookup("usr/share/again")
    assert repo.file_meta(original) == FileMeta(0, 0, stat.S_IFREG | 0o640, ((b"user.a", b"1"),))
    assert tree.lookup("usr/bin/absolute")
    assert tree.lookup("dev/null") is None
    assert repo.load_commit(result.commit).timestamp == 1_577_836_800
    layer = repo.resolve(blob_ref(layout.manifest("foreign").layers[0].digest))
    assert load_commit_tree(repo, layer).lookup("usr/etc/original") == original


@pytest.mark.parametrize(
    "bad",
    [
        member("usr/../../escape"),
        member("usr/device", tarfile.BLKTYPE, devmajor=8),
        member("usr/link", tarfile.LNKTYPE, "usr/missing"),
    ],
)
def test_layers_with_members_no_commit_can_hold_are_refused(tmp_path: Path, bad: tarfile.TarInfo) -> None:
    from ostler.errors import OstlerError

    layout = foreign_image(tmp_path / "oci", [(bad, b"")])
    repo = new_repo(tmp_path / "host")
    with pytest.raises(OstlerError):
        import_layout(repo, layout, "foreign")
    assert repo.refs() == {}


def test_a_wrapped_ostree_commit_is_refused_with_a_reason(tmp_path: Path) -> None:
    layout = foreign_image(tmp_path / "oci", [], labels={"ostree.final-diffid": digest_of(b"")})
    with pytest.raises(UnsupportedImageError, match="final-diffid"):
        import_layout(new_repo(tmp_path / "host"), layout, "foreign")


def test_a_config_with_another_number_of_layers_is_refused(tmp_path: Path) -> None:
    layout = foreign_image(tmp_path / "oci", [], layers=2)
    with pytest.raises(CorruptError):
        import_layout(new_repo(tmp_path / "host"), layout, "foreign")


def test_a_layer_read_for_a_build_stays_in_image_form(tmp_path: Path) -> None:
    layout = foreign_image(tmp_path / "oci", [(member("etc/x", size=1), b"x"), (member("etc/.wh.y"), b"")])
    repo = new_repo(tmp_path / "build")
    with repo.transaction() as transaction:
        tree = read_layer(transaction, layout, layout.manifest("foreign").layers[0], None)
    assert [path for path, _ in tree.walk()] == ["etc", "etc/.wh.y", "etc/x"]
    assert repo.has(tree.dirs["etc"].files["x"], ObjectType.FILE)
    wrong = Digest("sha256:" + "0" * 64)
    with pytest.raises(CorruptError), repo.transaction() as transaction:
        read_layer(transaction, layout, layout.manifest("foreign").layers[0], wrong)


NAMES = st.sampled_from(["a", "b", ".wh.a", ".wh.b", "etc", ".wh.etc", ".wh..wh..opq", "usr", "dev", "run"])
METAS = st.sampled_from([0o755, 0o700, 0o2775])
TREES = st.recursive(
    st.integers(0, 3), lambda inner: st.tuples(METAS, st.dictionaries(NAMES, inner, max_size=4)), max_leaves=10
)


def directory_of(transaction: Transaction, described: object) -> Directory:
    mode, entries = described if isinstance(described, tuple) else (0o755, {})
    tree = Directory(DirMeta(0, 0, stat.S_IFDIR | mode))
    for name, entry in entries.items():
        if name.startswith(".wh.") or isinstance(entry, int):
            content = b"" if name.startswith(".wh.") or entry == 0 else bytes([entry])
            tree.files[name] = transaction.write_file(FileMeta(0, 0, REGULAR), content)
        else:
            tree.dirs[name] = directory_of(transaction, entry)
    return tree


@given(st.lists(TREES, min_size=1, max_size=3))
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_building_and_importing_agree_for_any_layers(
    tmp_path_factory: pytest.TempPathFactory, trees: list[object]
) -> None:
    folder = tmp_path_factory.mktemp("image")
    built = build(folder, lambda transaction: [directory_of(transaction, tree) for tree in trees])
    repo = new_repo(folder / "host")
    assert import_layout(repo, built.layout, "web").commit == built.commit


def test_descriptors_of_documents_keep_the_original_digest(tmp_path: Path) -> None:
    built = build(tmp_path)
    documents = image_documents(built.repo, built.commit)
    assert documents is not None
    expected: Descriptor = built.layout.find("web")
    assert documents[0].descriptor.digest == expected.digest


@pytest.mark.parametrize("how", ["missing", "partial"])
def test_commits_that_are_missing_or_partial_are_made_again(tmp_path: Path, how: str) -> None:
    built = build(tmp_path)
    repo = new_repo(tmp_path / "host")
    first = import_layout(repo, built.layout, "web", reference="oci:web")
    layer = repo.resolve(blob_ref(built.layout.manifest("web").layers[0].digest))
    for commit in (first.commit, layer):
        if how == "partial":
            repo.mark_partial(commit, True)
        else:
            repo.object_path(commit, ObjectType.COMMIT).unlink()
    if how == "partial":
        lost = load_commit_tree(repo, first.commit).lookup("usr/bin/sudo")
        assert isinstance(lost, str)
        repo.object_path(lost, ObjectType.FILE).unlink()
    again = import_layout(repo, built.layout, "web", reference="oci:web")
    assert (again.commit, again.layers_read) == (first.commit, 1)
    assert fsck(repo) == []
    assert not repo.is_partial(first.commit)
    assert not repo.is_partial(layer)


def with_diff_ids(built: Build, folder: Path, diff_ids: list[Json]) -> Layout:
    """The same image with a config that says something else about its layers."""
    manifest = built.layout.manifest("web")
    layout = Layout.create(folder)
    for layer in manifest.layers:
        with built.layout.open_blob(layer) as file:
            layout.add_document(layer.media_type, file.read())
    with built.layout.open_blob(manifest.config) as file:
        config = json.loads(file.read())
    config["rootfs"]["diff_ids"] = diff_ids
    body = {**json.loads(manifest.data), "config": layout.add_document(CONFIG, canonical_json(config)).to_json()}
    layout.set_image("web", layout.add_document(MANIFEST, canonical_json(body)))
    return layout


def test_a_config_that_lies_about_its_layers_is_not_believed_because_they_are_there(tmp_path: Path) -> None:
    built = build(tmp_path)
    repo = new_repo(tmp_path / "host")
    import_layout(repo, built.layout, "web", reference="oci:web")
    lying = with_diff_ids(built, tmp_path / "lying", [digest_of(b"other")] * 3)
    with pytest.raises(CorruptError, match="image config"):
        import_layout(repo, lying, "web", reference="oci:lying")
    assert set(images(repo)) == {"oci:web"}


def test_the_layers_of_an_image_are_its_own_although_another_claimed_them(tmp_path: Path) -> None:
    built = build(tmp_path)
    repo = new_repo(tmp_path / "host")
    other = recompressed(built, tmp_path / "other")
    import_layout(repo, other, "web", reference="oci:other")
    with built.layout.open_blob(built.layout.manifest("web").config) as file:
        diff_ids = json.loads(file.read())["rootfs"]["diff_ids"]
    lying = with_diff_ids(built, tmp_path / "lying", diff_ids[::-1])
    import_layout(repo, lying, "web", reference="oci:lying")
    result = import_layout(repo, built.layout, "web", reference="oci:web")
    assert result.commit == built.commit
